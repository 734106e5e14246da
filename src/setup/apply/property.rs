//! The cluster's properties: those that the plan can't do without, and never over a value that somebody chose.

use crate::decide::quorum_policy::{Means, needed, objection};
use crate::model::cluster_view::NoQuorumPolicy;
use crate::setup::apply::merged::Merged;
use crate::setup::apply::votes::Votes;
use crate::setup::parts::{NO_QUORUM_POLICY, Property};
use crate::setup::render::xml::PROPERTIES;

use super::find::property;
use super::{fencing, same};

/// Why a property is not as the plan has it.
enum Left {
    /// It is as good.
    Silently,
    /// And that is worth knowing.
    Told(String),
}

impl Merged {
    /// What is the plan's default depends on what else the cluster has.
    pub(super) fn property(&mut self, wanted: &Property, means: Means, votes: Votes) {
        let means = Means {
            can_fence: fencing::is_used(&self.configuration),
            has_device: votes.has_device,
            ..means
        };
        let wanted = match (wanted.name, wanted.is_default) {
            (NO_QUORUM_POLICY, true) => &Property {
                value: needed(means).to_string(),
                ..wanted.clone()
            },
            _ => wanted,
        };
        let current = property(&self.configuration, wanted.name).map(str::to_owned);
        if wanted.name == NO_QUORUM_POLICY {
            let stays = current.as_deref().filter(|_| wanted.is_default);
            let policy = stays.unwrap_or(&wanted.value);
            self.remarks.extend(loses_both(policy, means, votes));
        }
        let is_same = current
            .as_deref()
            .is_some_and(|now| same::value(now) == same::value(&wanted.value));
        if wanted.is_default {
            match self.left(wanted, current.as_deref(), means) {
                Some(Left::Told(remark)) => return self.remarks.push(remark),
                Some(Left::Silently) => return,
                None => {}
            }
        }
        if is_same {
            return;
        }
        let why = match (wanted.name, wanted.is_default) {
            ("stonith-enabled", true) => {
                " (there is no fencing device, and nothing would start otherwise)"
            }
            _ => "",
        };
        self.changes.push(match &current {
            None => format!("set the property {}={}{why}", wanted.name, wanted.value),
            Some(now) => format!(
                "change the property {} from {now} to {}{why}",
                wanted.name, wanted.value
            ),
        });
        self.set_property(PROPERTIES, wanted.name, &wanted.value);
    }

    /// Whether a property that config.ini says nothing of stays as it is.
    fn left(&self, wanted: &Property, current: Option<&str>, means: Means) -> Option<Left> {
        match (wanted.name, current) {
            ("stonith-enabled", _) => self.fencing_left(),
            (_, None) => None,
            (_, Some(now)) => Some(policy_left(now, wanted, means)),
        }
    }

    /// Somebody decided it, or there is something to fence with: Pacemaker's default is to do so.
    fn fencing_left(&self) -> Option<Left> {
        let can_fence = fencing::is_there(&self.configuration);
        let set = fencing::ENABLED
            .into_iter()
            .find_map(|name| Some((name, property(&self.configuration, name)?)));
        Some(match set {
            None if can_fence => Left::Silently,
            None => return None,
            Some((name, value)) => match (same::is_true(value), can_fence) {
                (true, true) | (false, false) => Left::Silently,
                (true, false) => Left::Told(format!(
                    "{name}={value}, and there is no fencing device: Pacemaker starts nothing before there is one; \
                     add one, or set stonith_enabled=false in config.ini"
                )),
                (false, true) => Left::Told(format!(
                    "{name}={value} stays, as somebody chose it, and what there is to fence with is not used: a node that is lost, or \
                     can't stop its server, is waited for; to use it set stonith_enabled=true in config.ini"
                )),
            },
        })
    }
}

/// Somebody decided it.
fn policy_left(now: &str, wanted: &Property, means: Means) -> Left {
    // As Pacemaker takes a word that it does not know.
    let chosen = now.parse().unwrap_or(NoQuorumPolicy::Stop);
    match objection(chosen, means) {
        Some(why) => Left::Told(format!(
            "no-quorum-policy={now} stays, as somebody chose it: {why}; to change that set no_quorum_policy={} in config.ini",
            wanted.value
        )),
        None => Left::Silently,
    }
}

/// Neither of two nodes has quorum without the other, and what has none stops.
fn loses_both(policy: &str, means: Means, votes: Votes) -> Option<String> {
    let is_lost = means.two_nodes && !votes.is_two_node && !means.has_device;
    (is_lost && policy != "ignore").then(|| {
        "corosync has neither two_node nor a quorum device: when one node is lost, the other has no quorum and stops, too; set two_node: 1 in \
         the section quorum of corosync.conf on both nodes, and restart corosync"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use crate::setup::apply::merge::merge;
    use crate::setup::config;
    use crate::setup::plan::{Plan, Values};
    use crate::setup::tree::Tree;

    use crate::setup::apply::votes::Votes;

    const MULTI: &str = "node1=a\nnode2=b\nnode3=c\nwriter_vip=192.0.2.9\npgsql_pgctl=/bin/pg_ctl\npgsql_pgdata=/data\n\
                         pgsql_repuser=repl\n";

    const DEVICE: &str = "<primitive class='stonith' id='f' type='x'/>";

    type Properties<'a> = &'a [(&'a str, &'a str)];

    /// What the plan does to these properties, and what it notes of them, where corosync has no quorum device.
    fn merged(
        config: &str,
        properties: Properties<'_>,
        resources: &str,
    ) -> (Vec<String>, Vec<String>) {
        counted(config, properties, resources, Votes::default())
    }

    fn counted(
        config: &str,
        properties: Properties<'_>,
        resources: &str,
        votes: Votes,
    ) -> (Vec<String>, Vec<String>) {
        let pairs: String = properties
            .iter()
            .map(|(name, value)| format!("<nvpair id='{name}' name='{name}' value='{value}'/>"))
            .collect();
        let text = format!(
            "<configuration><crm_config><cluster_property_set id='s'>{pairs}</cluster_property_set></crm_config>\
             <resources>{resources}</resources><constraints/></configuration>"
        );
        let (site, _) = config::read(config).unwrap();
        let merged = merge(
            &Tree::parse(&text).unwrap(),
            &Plan::new(&Values::from(&site)),
            votes,
        );
        let changes = merged.changes.into_iter();
        let changes = changes.filter(|change| change.contains("property"));
        (changes.collect(), merged.remarks)
    }

    #[test]
    fn properties_are_set_only_where_they_must_be() {
        let (quorum, stonith) = ("no-quorum-policy", "stonith-enabled");
        let number =
            |properties: Properties<'_>, resources| merged(MULTI, properties, resources).0.len();
        assert_eq!(number(&[], ""), 2);
        assert_eq!(number(&[], DEVICE), 1);
        for (properties, device, expected) in [
            ([(quorum, "freeze"), (stonith, "true")], DEVICE, 0),
            ([(quorum, "freeze"), (stonith, "true")], "", 0),
            ([(quorum, "ignore"), (stonith, "false")], DEVICE, 0),
            ([(quorum, "stop"), (stonith, "FALSE")], "", 0),
        ] {
            assert_eq!(number(&properties, device), expected, "{properties:?}");
        }
    }

    #[test]
    fn a_watchdog_fences_and_nobodys_choice_is_overruled() {
        let stop = ("no-quorum-policy", "stop");
        let watchdog = ("have-watchdog", "true");
        let cases: &[(Properties<'_>, &str, &str, &str)] = &[
            // (properties, resources, a change, a remark)
            (&[], "", "set the property stonith-enabled=false", ""),
            (&[], DEVICE, "", ""),
            (&[watchdog, ("stonith-watchdog-timeout", "10s")], "", "", ""),
            (&[watchdog, ("stonith-watchdog-timeout", "-1")], "", "", ""),
            (&[watchdog, ("fencing-watchdog-timeout", "10")], "", "", ""),
            // A watchdog by itself fences nobody.
            (
                &[watchdog],
                "",
                "set the property stonith-enabled=false",
                "",
            ),
            (
                &[watchdog, ("stonith-watchdog-timeout", "0s")],
                "",
                "set the property stonith-enabled=false",
                "",
            ),
            (
                &[("stonith-watchdog-timeout", "10s")],
                "",
                "set the property stonith-enabled=false",
                "",
            ),
            (
                &[("stonith-enabled", "true")],
                "",
                "",
                "there is no fencing device: Pacemaker starts nothing",
            ),
            (
                &[
                    ("stonith-enabled", "true"),
                    watchdog,
                    ("stonith-watchdog-timeout", "10s"),
                ],
                "",
                "",
                "",
            ),
            (&[("stonith-enabled", "false")], "", "", ""),
            (
                &[("stonith-enabled", "false")],
                DEVICE,
                "",
                "stonith-enabled=false stays",
            ),
            (
                &[("fencing-enabled", "false")],
                DEVICE,
                "",
                "fencing-enabled=false stays",
            ),
            (
                &[
                    ("stonith-enabled", "no"),
                    watchdog,
                    ("stonith-watchdog-timeout", "10s"),
                ],
                "",
                "",
                "stonith-enabled=no stays",
            ),
        ];
        for (properties, resources, change, remark) in cases {
            let all = [*properties, &[stop]].concat();
            let (changes, remarks) = merged(MULTI, &all, resources);
            for (found, expected) in [(changes, *change), (remarks, *remark)] {
                let is_expected = match &found[..] {
                    [] => expected.is_empty(),
                    [one] => !expected.is_empty() && one.contains(expected),
                    _ => false,
                };
                assert!(is_expected, "{properties:?} {resources}: {found:?}");
            }
        }
        // What config.ini says is done.
        let asked = format!("{MULTI}stonith_enabled=false\n");
        let (changes, _) = merged(&asked, &[stop, ("stonith-enabled", "true")], DEVICE);
        assert_eq!(changes.len(), 1, "{changes:?}");
    }

    #[test]
    fn quorum_is_ignored_only_for_a_lock_and_nobodys_choice_is_overruled() {
        const TWO: &str = "node1=a\nnode2=b\nwriter_vip=192.0.2.9\npgsql_pgctl=/bin/pg_ctl\npgsql_pgdata=/data\npgsql_repuser=repl\n";
        let lock = format!("{TWO}pgsql_distlock_conninfo='host=lock user=u'\n");
        let two = format!("{TWO}pgsql_enable_distlock=false\n");
        let policy = "no-quorum-policy";
        let two_node = Votes {
            is_two_node: true,
            has_device: false,
        };
        let device = Votes {
            is_two_node: false,
            has_device: true,
        };
        let bare = Votes::default();
        let (off, on) = (("stonith-enabled", "false"), ("stonith-enabled", "true"));
        let set = |value: &str| format!("set the property {policy}={value}");
        let cases: &[(&str, Votes, Properties<'_>, &str, &str, &str)] = &[
            // (config.ini, votes, properties, resources, a change, a remark)
            (&lock, two_node, &[off], "", &set("ignore"), ""),
            (&lock, bare, &[off], "", &set("ignore"), ""),
            (&lock, device, &[off], "", &set("stop"), ""),
            (&lock, two_node, &[], DEVICE, &set("stop"), ""),
            (&two, two_node, &[], DEVICE, &set("stop"), ""),
            (&two, two_node, &[off], "", &set("stop"), ""),
            (&two, device, &[off], "", &set("stop"), ""),
            (&two, bare, &[on], DEVICE, &set("stop"), "set two_node: 1"),
            // Chosen, and as good as what is needed.
            (&two, device, &[off, (policy, "freeze")], "", "", ""),
            (&lock, two_node, &[off, (policy, "ignore")], "", "", ""),
            (&two, two_node, &[on, (policy, "STOP")], DEVICE, "", ""),
            // Chosen, and worse.
            (
                &two,
                device,
                &[off, (policy, "ignore")],
                "",
                "",
                "set no_quorum_policy=stop",
            ),
            (
                &two,
                two_node,
                &[on, (policy, "ignore")],
                DEVICE,
                "",
                "fences the other",
            ),
            (
                MULTI,
                bare,
                &[off, (policy, "ignore")],
                "",
                "",
                "without a majority goes on",
            ),
            (
                &lock,
                two_node,
                &[off, (policy, "stop")],
                "",
                "",
                "does not ask the lock service",
            ),
        ];
        for (config, votes, properties, resources, change, remark) in cases {
            let (changes, remarks) = counted(config, properties, resources, *votes);
            for (found, expected) in [(changes, *change), (remarks, *remark)] {
                let is_expected = match &found[..] {
                    [] => expected.is_empty(),
                    [one] => !expected.is_empty() && one.contains(expected),
                    _ => false,
                };
                assert!(
                    is_expected,
                    "{config} {votes:?} {properties:?} {resources}: {found:?}"
                );
            }
        }
        for word in ["no", "0", "off", "False", "FALSE", "nein"] {
            let two = format!("{TWO}pgsql_enable_distlock={word}\n");
            let (changes, _) = counted(&two, &[off], "", two_node);
            assert_eq!(changes, [set("stop")], "{word}");
        }
        let asked = format!("{MULTI}no_quorum_policy=freeze\n");
        let (changes, _) = merged(&asked, &[off, (policy, "stop")], "");
        assert_eq!(changes.len(), 1, "{changes:?}");
    }
}
