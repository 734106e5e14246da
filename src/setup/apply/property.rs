//! The cluster's properties: those that the plan can't do without, and never over a value that somebody chose.

use crate::setup::plan::Property;
use crate::setup::render::xml::PROPERTIES;

use super::fencing;
use super::find::property;
use super::merge::Merged;
use super::same;

/// Why a property is not as the plan has it.
enum Left {
    /// It is as good.
    Silently,
    /// And that is worth knowing.
    Told(String),
}

impl Merged {
    pub(super) fn property(&mut self, wanted: &Property) {
        let current = property(&self.configuration, wanted.name).map(str::to_owned);
        let is_same = current
            .as_deref()
            .is_some_and(|now| same::value(now) == same::value(&wanted.value));
        if wanted.is_default {
            match self.left(wanted, current.as_deref()) {
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
    fn left(&self, wanted: &Property, current: Option<&str>) -> Option<Left> {
        if wanted.name == "stonith-enabled" {
            return self.fencing_left();
        }
        match current {
            Some(now) if wanted.value == "stop" && now != "ignore" => Some(Left::Silently),
            Some(_) | None => None,
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

#[cfg(test)]
mod tests {
    use crate::setup::apply::merge::merge;
    use crate::setup::config;
    use crate::setup::plan::{Plan, Values};
    use crate::setup::tree::Tree;

    const MULTI: &str = "node1=a\nnode2=b\nnode3=c\nwriter_vip=192.0.2.9\npgsql_pgctl=/bin/pg_ctl\npgsql_pgdata=/data\n\
                         pgsql_repuser=repl\n";

    const DEVICE: &str = "<primitive class='stonith' id='f' type='x'/>";

    /// What the plan does to these properties, and what it notes of them.
    fn merged(
        config: &str,
        properties: &[(&str, &str)],
        resources: &str,
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
        );
        let changes = merged.changes.into_iter();
        let changes = changes.filter(|change| change.contains("property"));
        (changes.collect(), merged.remarks)
    }

    #[test]
    fn properties_are_set_only_where_they_must_be() {
        let (quorum, stonith) = ("no-quorum-policy", "stonith-enabled");
        let number =
            |properties: &[(&str, &str)], resources| merged(MULTI, properties, resources).0.len();
        assert_eq!(number(&[], ""), 2);
        assert_eq!(number(&[], DEVICE), 1);
        for (properties, device, expected) in [
            ([(quorum, "freeze"), (stonith, "true")], DEVICE, 0),
            ([(quorum, "freeze"), (stonith, "true")], "", 0),
            ([(quorum, "ignore"), (stonith, "false")], DEVICE, 1),
            ([(quorum, "stop"), (stonith, "FALSE")], "", 0),
        ] {
            assert_eq!(number(&properties, device), expected, "{properties:?}");
        }
    }

    #[test]
    fn a_watchdog_fences_and_nobodys_choice_is_overruled() {
        let stop = ("no-quorum-policy", "stop");
        let watchdog = ("have-watchdog", "true");
        let cases: &[(&[(&str, &str)], &str, &str, &str)] = &[
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
}
