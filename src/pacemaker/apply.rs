//! Makes a change of the CIB, and looks afterwards whether it is there. How, is told in [`crate::pacemaker::change_set`].

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::log::say;
use crate::model::cluster_view::{CibVersion, ClusterView, NvPair};
use crate::model::node_name::NodeName;
use crate::pacemaker::attributes::WriteError;
use crate::pacemaker::change_set::{ChangeSet, Weight, permanent_pair};
use crate::pacemaker::cib::{Cib, exit_code, parse};
use crate::pacemaker::patch;
use crate::pacemaker::xml::Element;
use crate::sys::{Command, Deadline, poll_until};
use crate::timing;

/// How often a raise of the admin_epoch is tried while the CIB changes all the time. A try takes some 30 ms, so usually it is the
/// deadline that ends them.
const MOST_TRIES: u32 = 1000;

impl ChangeSet {
    /// Makes the changes that differ from `view`, in one process and a read, or two and a read where something is
    /// removed. The answer is the CIB as it was read afterwards, with all of this in it; `None`: nothing differed, and no
    /// process was run.
    ///
    /// `view` should be fresh: where the admin_epoch is to be raised, nothing is changed if it is not `view`'s any more.
    ///
    /// # Errors
    /// See [`WriteError`], which tells "nothing was changed" from "not known".
    pub fn apply(
        &self,
        cib: &Cib,
        view: &ClusterView,
        deadline: Deadline,
    ) -> Result<Option<ClusterView>, WriteError> {
        let rest = self.minus(view);
        if rest.is_empty() {
            return Ok(None);
        }
        let mut is_guarded = true;
        // Without --allow-create a pair that does not exist yet is an error.
        let modify = |path: String, xml: Vec<u8>| {
            let command = cib.cibadmin(deadline);
            let command = command.args(["--modify", "--allow-create", "--xml-pipe"]);
            let command = command.arg(format!("--xpath={path}")).stdin(xml);
            rest.run(command, cib, deadline)
        };
        match (rest.raise_admin_epoch, rest.configuration(view)?) {
            (Some(weight), configuration) if view.takes_a_path_to_the_root() => {
                let raised = view.version.admin_epoch + weight.steps();
                let mut outermost = Element::new("cib").with("admin_epoch", &raised.to_string());
                if !configuration.is_empty() {
                    outermost.merge(configuration);
                }
                let path = format!("/cib[configuration{}]", rest.predicates(view)?);
                modify(path, outermost.to_bytes())?;
            }
            (Some(weight), _) => rest.raise(weight, cib, view, deadline)?,
            (None, configuration) if configuration.is_empty() => is_guarded = false,
            (None, configuration) => {
                let path = format!("/cib/configuration{}", rest.predicates(view)?);
                modify(path, configuration.to_bytes())?;
            }
        }
        let guard = if is_guarded {
            String::new()
        } else {
            rest.predicates(view)?
        };
        if let Some(pairs) = rest.removals(view, &format!("/cib/configuration{guard}"))? {
            let delete = cib.cibadmin(deadline).args(["--delete-all", "--force"]);
            rest.run(delete.arg(format!("--xpath={pairs}")), cib, deadline)?;
        }
        let after = cib.read(deadline).map_err(WriteError::Unread)?;
        let confirmed = self.confirm(view, &after);
        // Removing nothing is no error to cibadmin, also where a condition is the reason.
        if confirmed.is_err()
            && !is_guarded
            && !rest.only_if.iter().all(|condition| condition.holds(&after))
        {
            return Err(rest.condition_failed(after));
        }
        confirmed?;
        Ok(Some(after))
    }

    /// Sets the values and raises the admin_epoch in one step, if all is as it should be, by a patch of the coordinator's copy.
    ///
    /// The patch fits one version of the CIB only, so each change that comes in between, of the status as well, takes
    /// another look and another try. A member whose copy has another version refuses it, and the daemons tell nobody: so it is
    /// done when every member's copy has been read and has it.
    fn raise(
        &self,
        weight: Weight,
        cib: &Cib,
        before: &ClusterView,
        deadline: Deadline,
    ) -> Result<(), WriteError> {
        let mut refused: Option<(CibVersion, WriteError)> = None;
        for refusals in 0..MOST_TRIES {
            if refusals > 0 && deadline.is_past() {
                return Err(WriteError::Restless(refusals));
            }
            let text = cib.coordinators_text(before, deadline);
            let text = text.map_err(WriteError::NotRead)?;
            let now = parse(&text).map_err(WriteError::NotRead)?;
            if let Some((version, error)) = refused
                && version == now.version
            {
                return Err(error);
            }
            if !self.only_if.iter().all(|condition| condition.holds(&now)) {
                return Err(self.condition_failed(now));
            }
            if now.version.admin_epoch != before.version.admin_epoch {
                return Err(WriteError::Superseded);
            }
            let patch = patch::raising(&text, &now, &self.minus(&now), weight)?;
            let limit = deadline.remaining();
            let command = cib.cibadmin(deadline).args(["--patch", "--xml-pipe"]);
            let Err(error) = command.stdin(patch).run(deadline) else {
                if refusals > 0 {
                    say!(
                        INFO,
                        "the CIB was changed by others between looking and writing",
                        times = refusals
                    );
                }
                let raised = now.version.admin_epoch + weight.steps();
                return self.is_everywhere(raised, cib, deadline);
            };
            let error = WriteError::from_run(error, limit);
            if !matches!(error, WriteError::Superseded | WriteError::Failed(_)) {
                return Err(error);
            }
            // It has another version by now, or the change is refused for good: the next look tells.
            refused = Some((now.version, error));
        }
        Err(WriteError::Restless(MOST_TRIES))
    }

    /// Waits until every member's own copy has what was changed. A copy that was behind is brought up to the coordinator's within
    /// moments.
    fn is_everywhere(&self, raised: u64, cib: &Cib, deadline: Deadline) -> Result<(), WriteError> {
        if cib.is_file() {
            return Ok(());
        }
        let mut have: BTreeSet<NodeName> = BTreeSet::new();
        let mut last = None;
        let is_there = poll_until(deadline, timing::CIB_COPY_POLL, || {
            last = self.odd_one(raised, cib, &mut have, deadline);
            last.is_none().then_some(())
        });
        is_there.ok_or_else(|| WriteError::NotConfirmed {
            what: format!("admin_epoch {raised} in every member's copy"),
            found: last.unwrap_or_default(),
        })
    }

    /// A member whose copy lacks what was changed, in words. `have`: those whose copies have been seen with it.
    fn odd_one(
        &self,
        raised: u64,
        cib: &Cib,
        have: &mut BTreeSet<NodeName>,
        deadline: Deadline,
    ) -> Option<String> {
        // Anew each time: a member may have left.
        let now = match cib.read(deadline) {
            Ok(now) => now,
            Err(error) => return Some(error.to_string()),
        };
        for node in now.members().map(|node| &node.name) {
            if have.contains(node) {
                continue;
            }
            match cib.read_at(node, deadline.min(timing::CIB_COPY)) {
                Ok(copy) if self.is_in(&copy, raised) => {
                    have.insert(node.clone());
                }
                Ok(copy) => return Some(format!("{} on {node}", copy.version)),
                Err(error) => return Some(format!("no copy of {node}: {error}")),
            }
        }
        None
    }

    /// Whether a copy has this change, made under the admin_epoch `raised`. One that was raised further since had it first: a copy
    /// that refused this patch meets the next one with a lesser admin_epoch, and is brought up to the coordinator's.
    fn is_in(&self, copy: &ClusterView, raised: u64) -> bool {
        let mut values = self.clone();
        values.raise_admin_epoch = None;
        match copy.version.admin_epoch.cmp(&raised) {
            Ordering::Less => false,
            Ordering::Equal => values.minus(copy).is_empty(),
            Ordering::Greater => true,
        }
    }

    /// Runs cibadmin, and finds out which condition it was that failed.
    fn run(&self, command: Command, cib: &Cib, deadline: Deadline) -> Result<(), WriteError> {
        let limit = deadline.remaining();
        match command.run(deadline) {
            Ok(_) => Ok(()),
            // "No such object": the path, which has our conditions, matched nothing.
            Err(error)
                if error.exit_code() == Some(exit_code::NO_SUCH) && !self.only_if.is_empty() =>
            {
                let view = cib.read(deadline).map_err(WriteError::Unread)?;
                Err(self.condition_failed(view))
            }
            Err(error) => Err(WriteError::from_run(error, limit)),
        }
    }

    fn condition_failed(&self, view: ClusterView) -> WriteError {
        let failed: Vec<String> = self
            .only_if
            .iter()
            .filter(|condition| !condition.holds(&view))
            .map(ToString::to_string)
            .collect();
        let condition = if failed.is_empty() {
            self.only_if
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" and ")
        } else {
            failed.join(" and ")
        };
        WriteError::ConditionFailed {
            condition,
            view: Box::new(view),
        }
    }

    /// Everything asked for is in the CIB, also what was left out because an older view had it already.
    fn confirm(&self, before: &ClusterView, after: &ClusterView) -> Result<(), WriteError> {
        let missing = self.minus(after);
        let not_confirmed = |what: String, value: &Option<String>, found: Option<&NvPair>| {
            let show = |value: Option<&str>| {
                value.map_or("nothing".to_owned(), |value| format!("{value:?}"))
            };
            WriteError::NotConfirmed {
                what: format!("{what} = {}", show(value.as_deref())),
                found: show(found.map(|pair| pair.value.as_str())),
            }
        };
        if let Some(change) = missing.properties.first() {
            let found = after.properties.pair(&change.name);
            return Err(not_confirmed(
                format!("property {}", change.name),
                &change.value,
                found,
            ));
        }
        if let Some(change) = missing.permanent.first() {
            let what = format!("attribute {} of {}", change.name, change.node);
            return Err(not_confirmed(
                what,
                &change.value,
                permanent_pair(after, change),
            ));
        }
        if self.raise_admin_epoch.is_some()
            && after.version.admin_epoch <= before.version.admin_epoch
        {
            return Err(WriteError::NotConfirmed {
                what: format!("admin_epoch {}", before.version.admin_epoch + 1),
                found: after.version.admin_epoch.to_string(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::cluster_view::{ClusterProperty, ResourceName};
    use crate::pacemaker::change_set::Condition;
    use crate::pacemaker::cib::parse;

    const ONLINE: &str = include_str!("../../tests/fixtures/cib/two-nodes-online-2.1.5.xml");
    const PEER_LOST: &str = include_str!("../../tests/fixtures/cib/peer-lost-2.1.5.xml");
    const REPL_INFO: &str = "pgsql_REPL_INFO";
    const DATA_STATUS: &str = "pgsql-data-status";

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    /// One of the members has a Pacemaker that takes patches only.
    fn newer() -> String {
        let old = r##"name="#feature-set" value="3.16.1""##;
        let new = r##"name="#feature-set" value="3.20.1""##;
        let text = ONLINE.replacen(old, new, 1);
        assert!(!parse(&text).unwrap().takes_a_path_to_the_root());
        text
    }

    /// A CIB file of its own, changed by the real cibadmin.
    struct OnFile {
        cib: Cib,
        deadline: Deadline,
        _dir: tempfile::TempDir,
    }

    impl OnFile {
        fn new(text: &str) -> Self {
            crate::pacemaker::programs_are_there();
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("cib.xml");
            std::fs::write(&file, text).unwrap();
            let deadline = Deadline::after(Duration::from_secs(30));
            Self {
                cib: Cib::file(file),
                deadline,
                _dir: dir,
            }
        }

        fn view(&self) -> ClusterView {
            self.cib.read(self.deadline).unwrap()
        }

        fn text(&self) -> String {
            self.cib.read_text(self.deadline).unwrap()
        }

        fn patch(&self, patch: String) -> Result<(), crate::sys::RunError> {
            let command = self.cib.cibadmin(self.deadline);
            let command = command.args(["--patch", "--xml-pipe"]).stdin(patch);
            command.run(self.deadline).map(drop)
        }

        fn apply(&self, changes: &ChangeSet) -> Result<Option<ClusterView>, WriteError> {
            changes.apply(&self.cib, &self.view(), self.deadline)
        }
    }

    #[test]
    fn raising_the_epoch_alone_touches_nothing_else() {
        for text in [ONLINE, &newer()] {
            let file = OnFile::new(text);
            let before = file.text();
            file.apply(&ChangeSet::default().raise_admin_epoch(Weight::Promotion))
                .unwrap();
            let is_counter = |line: &str| line.starts_with("<cib ");
            let rest = |text: &str| {
                let lines = text.lines().filter(|line| !is_counter(line));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            let after = file.text();
            assert_eq!(rest(&after), rest(&before));
            let kept = [
                "crm_feature_set=\"3.16.1\"",
                "validate-with=\"pacemaker-3.9\"",
                "have-quorum=\"1\"",
                "dc-uuid=\"1\"",
                "admin_epoch=\"111\"",
            ];
            let outermost = after.lines().find(|line| is_counter(line)).unwrap();
            for attribute in kept {
                assert!(outermost.contains(attribute), "{attribute}: {outermost}");
            }
        }
    }

    #[test]
    fn whoever_comes_in_between_makes_it_look_again() {
        for text in [ONLINE, &newer()] {
            let file = OnFile::new(text);
            let stale = file.view();
            // The status and the configuration have changed since, not what the condition is about.
            file.apply(&ChangeSet::default().property("somebody-s", Some("1")))
                .unwrap();
            let change = ChangeSet::default()
                .permanent(&node("node2"), DATA_STATUS, Some("DISCONNECT"))
                .raise_admin_epoch(Weight::Revocation)
                .only_if(Condition::Property {
                    name: REPL_INFO.to_owned(),
                    is: Some("node2|2|0000000004000000".to_owned()),
                });
            let after = change
                .apply(&file.cib, &stale, file.deadline)
                .unwrap()
                .unwrap();
            assert_eq!(after.property("somebody-s"), Some("1"));
            assert_eq!(after.version.admin_epoch, stale.version.admin_epoch + 1);
        }
    }

    #[test]
    fn a_patch_for_another_version_changes_nothing() {
        let file = OnFile::new(ONLINE);
        let (text, before) = (file.text(), file.view());
        let change = ChangeSet::default().property(REPL_INFO, Some("x"));
        let made = patch::raising(&text, &before, &change, Weight::Revocation).unwrap();
        let made = String::from_utf8(made).unwrap();
        // One change of the status more, or less, than there was.
        for other in [r#"num_updates="0""#, r#"num_updates="2""#] {
            let stale = made.replacen(r#"num_updates="1""#, other, 1);
            assert_ne!(stale, made);
            let result = file.patch(stale);
            assert!(result.is_err(), "{other}");
            assert_eq!(file.view(), before, "{other}");
        }
        // What is not there fails as a whole.
        let result = file.patch(made.replace(
            "[@id=&apos;pgsql_replication&apos;]",
            "[@id=&apos;gone&apos;]",
        ));
        assert!(result.is_err());
        assert_eq!(file.view(), before);
        file.patch(made).unwrap();
        assert_eq!(file.view().property(REPL_INFO), Some("x"));
    }

    #[test]
    fn what_pacemaker_refuses_for_good_is_not_tried_for_ever() {
        // Two names that get the same id, which no schema lets through.
        let file = OnFile::new(&newer());
        let change = ChangeSet::default()
            .property("a:b", Some("x"))
            .property("a;b", Some("y"))
            .raise_admin_epoch(Weight::Revocation);
        let error = file.apply(&change).unwrap_err();
        assert!(!error.leaves_it_open(), "{error}");
        assert!(matches!(error, WriteError::Failed(_)), "{error}");
    }

    #[test]
    fn a_copy_has_a_change_by_its_values_or_by_a_later_one() {
        let change = ChangeSet::default()
            .property(REPL_INFO, Some("new"))
            .raise_admin_epoch(Weight::Revocation);
        for (admin_epoch, value, expected) in [
            (12, "new", true),
            // Somebody has gone on from there.
            (13, "newer", true),
            (11, "old", false),
            (11, "new", false),
            // It refused the patch, and was raised by somebody else.
            (12, "old", false),
        ] {
            let text = ONLINE.replace("node2|2|0000000004000000", value);
            let mut copy = parse(&text).unwrap();
            copy.version.admin_epoch = admin_epoch;
            assert_eq!(change.is_in(&copy, 12), expected, "{admin_epoch} {value}");
        }
    }

    #[test]
    fn a_whole_change_set_arrives_in_one_step() {
        for text in [ONLINE, &newer()] {
            let file = OnFile::new(text);
            let before = file.view();
            let changes = ChangeSet::default()
                .property(REPL_INFO, Some("node1|3|0000000005000000"))
                .property("pgsql_SYNC", Some("7|1|node1|a<&\"'>b"))
                .permanent(&node("NODE2"), DATA_STATUS, Some("DISCONNECT"))
                .permanent(&node("node2"), "new", Some(""))
                .raise_admin_epoch(Weight::Revocation);
            let after = file.apply(&changes).unwrap().unwrap();
            assert_eq!(after, file.view());
            assert_eq!(after.version.admin_epoch, before.version.admin_epoch + 1);
            assert!(after.version > before.version);
            assert_eq!(after.property(REPL_INFO), Some("node1|3|0000000005000000"));
            assert_eq!(after.property("pgsql_SYNC"), Some("7|1|node1|a<&\"'>b"));
            let node2 = after.node(&node("node2")).unwrap();
            assert_eq!(node2.permanent.get(DATA_STATUS), Some("DISCONNECT"));
            assert_eq!(node2.permanent.pair("new").unwrap().value, "");
            assert_eq!(after.nodes.len(), 2);
            assert_eq!(
                after.properties.iter().count(),
                before.properties.iter().count() + 1,
                "no pair is doubled"
            );
        }
    }

    #[test]
    fn a_change_that_is_there_already_runs_no_process() {
        let file = OnFile::new(ONLINE);
        let changes = ChangeSet::default().permanent(&node("node1"), DATA_STATUS, Some("LATEST"));
        let view = file.view();
        let nowhere = Cib::file("/nonexistent/cib.xml");
        assert!(
            changes
                .apply(&nowhere, &view, file.deadline)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_node_that_is_away_gets_its_permanent_attribute() {
        let file = OnFile::new(PEER_LOST);
        let changes =
            ChangeSet::default().permanent(&node("node2"), DATA_STATUS, Some("DISCONNECT"));
        let after = file.apply(&changes).unwrap().unwrap();
        assert_eq!(
            after
                .node(&node("node2"))
                .unwrap()
                .permanent
                .get(DATA_STATUS),
            Some("DISCONNECT")
        );
    }

    #[test]
    fn a_pair_is_changed_where_it_is() {
        let text = ONLINE
            .replace("id=\"pgsql_replication\"", "id=\"set-of-pcs\"")
            .replace(
                "id=\"pgsql_replication-pgsql_REPL_INFO\"",
                "id=\"somebody-s\"",
            );
        let file = OnFile::new(&text);
        let after = file
            .apply(&ChangeSet::default().property(REPL_INFO, Some("x")))
            .unwrap()
            .unwrap();
        let pair = after.properties.pair(REPL_INFO).unwrap();
        assert_eq!(
            (pair.id.as_str(), pair.set_id.as_str(), pair.value.as_str()),
            ("somebody-s", "set-of-pcs", "x")
        );
    }

    #[test]
    fn removal_takes_the_named_pairs_and_nothing_else() {
        let file = OnFile::new(ONLINE);
        let changes = ChangeSet::default()
            .property(REPL_INFO, None)
            .permanent(&node("node1"), DATA_STATUS, None)
            .permanent(&node("node2"), DATA_STATUS, Some("DISCONNECT"))
            .property("never-there", None);
        let before = file.view();
        let after = file.apply(&changes).unwrap().unwrap();
        assert_eq!(after.properties.pair(REPL_INFO), None);
        assert_eq!(
            after.node(&node("node1")).unwrap().permanent.iter().count(),
            0
        );
        assert_eq!(
            after
                .node(&node("node2"))
                .unwrap()
                .permanent
                .get(DATA_STATUS),
            Some("DISCONNECT")
        );
        assert_eq!(
            after.properties.iter().count(),
            before.properties.iter().count() - 1
        );
        assert!(file.apply(&changes).unwrap().is_none(), "twice is once");
    }

    #[test]
    fn a_condition_is_checked_in_the_same_step() {
        for text in [ONLINE, &newer()] {
            let file = OnFile::new(text);
            let resource = ResourceName::new("pgsql").unwrap();
            let name = ClusterProperty::ReplInfo.name(&resource);
            let condition = |is: Option<&str>| Condition::Property {
                name: name.clone(),
                is: is.map(str::to_owned),
            };
            let revoke = ChangeSet::default()
                .permanent(&node("node2"), DATA_STATUS, Some("DISCONNECT"))
                .raise_admin_epoch(Weight::Revocation);

            let stale = file.view();
            for wrong in [
                condition(Some("node1|1|0")),
                condition(None),
                condition(Some("both ' and x")),
            ] {
                let error = file.apply(&revoke.clone().only_if(wrong)).unwrap_err();
                assert!(
                    matches!(error, WriteError::ConditionFailed { .. }),
                    "{error}"
                );
            }
            assert_eq!(file.view(), stale, "nothing was changed");

            let data_status = |is: &str| Condition::Permanent {
                node: node("node2"),
                name: DATA_STATUS.to_owned(),
                is: Some(is.to_owned()),
            };
            let right = revoke
                .clone()
                .only_if(condition(Some("node2|2|0000000004000000")));
            let error = file
                .apply(&right.clone().only_if(data_status("LATEST")))
                .unwrap_err();
            let expected = "attribute pgsql-data-status of node2 is \"LATEST\"";
            assert!(
                matches!(&error, WriteError::ConditionFailed { condition, view }
                if condition == expected && **view == stale),
                "{error}"
            );
            let absent = Condition::Permanent {
                node: node("node1"),
                name: "voided".to_owned(),
                is: None,
            };
            file.apply(&right.only_if(data_status("STREAMING|SYNC")).only_if(absent))
                .unwrap()
                .unwrap();
        }
    }

    #[test]
    fn a_conditional_removal_is_not_done_when_the_condition_fails() {
        let file = OnFile::new(ONLINE);
        let condition = |is: &str| Condition::Property {
            name: REPL_INFO.to_owned(),
            is: Some(is.to_owned()),
        };
        let remove = ChangeSet::default().permanent(&node("node1"), DATA_STATUS, None);
        let error = file
            .apply(&remove.clone().only_if(condition("no")))
            .unwrap_err();
        assert!(
            matches!(error, WriteError::ConditionFailed { .. }),
            "{error}"
        );
        file.apply(&remove.only_if(condition("node2|2|0000000004000000")))
            .unwrap()
            .unwrap();
    }

    #[test]
    fn a_value_no_xpath_can_hold_is_refused() {
        let file = OnFile::new(ONLINE);
        let is = Some("'\"".to_owned());
        let changes = ChangeSet::default().property("b", Some("c"));
        let result = file.apply(&changes.only_if(Condition::Property {
            name: "a".to_owned(),
            is,
        }));
        assert!(
            matches!(result, Err(WriteError::BadValue { .. })),
            "{result:?}"
        );
    }

    #[test]
    fn a_second_writer_who_raised_the_epoch_is_noticed() {
        for text in [ONLINE.to_owned(), newer()] {
            let file = OnFile::new(&text);
            let stale = file.view();
            let raise = ChangeSet::default().raise_admin_epoch(Weight::Promotion);
            file.apply(&raise).unwrap();
            let less = ChangeSet::default().raise_admin_epoch(Weight::Revocation);
            let result = less.apply(&file.cib, &stale, file.deadline);
            assert!(matches!(result, Err(WriteError::Superseded)), "{result:?}");
        }
    }
}
