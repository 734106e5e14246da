//! The plan as a shell script of pcs commands.
//!
//! It is written so that pcs 0.10.10, 0.11 and 0.12 understand it: the clone's options by `resource meta`, because `promotable`
//! takes them with the word `meta` in some versions and without in others; `score=`, `kind=` and new role names, because the older
//! forms are gone in 0.12.

use super::super::plan::{Plan, seconds};
use crate::setup::parts::{Constraint, Operation, Primitive, Property, Way};
use crate::setup::render::format::Quoting;
use crate::setup::render::words::{
    WHY_CLONE, WHY_GATEWAY, WHY_READER, WHY_WRITER, and_without, heading, said, way_of,
    why_properties, without_fencing,
};

/// Where the script prepares the configuration.
const FILE: &str = "pgsql_cfg";

pub(super) fn render(plan: &Plan, quoting: Quoting) -> String {
    let how: &[&str] = match quoting {
        Quoting::Names => &[
            "For pcs 0.10.10 to 0.12. The names in braces are keys of config.ini, whose lines a shell understands:",
            "",
            "    set -a; . ./config.ini; sh FILE",
            "",
            "`expgsql setup render` writes the same with the values in place, and keeps passwords out of it. Made by",
            "`expgsql setup render --template`; don't edit.",
        ],
        Quoting::Values => &[
            "For pcs 0.10.10 to 0.12: sh FILE, as root, on one node. `expgsql setup apply` does the same without pcs.",
        ],
    };
    let mut script = Script {
        text: "#!/bin/sh\n".to_owned(),
        quoting,
    };
    heading(plan, how)
        .iter()
        .for_each(|line| script.comment(line));
    script.line("set -eu");
    script.line("");
    script.line(&format!("pcs cluster cib {FILE}"));
    script.line(&format!("cp {FILE} {FILE}.orig"));
    script.line("");
    why_properties(plan)
        .iter()
        .for_each(|line| script.comment(line));
    for property in said(plan) {
        script.pcs(
            &[&["property", "set"]],
            vec![pair(property.name, &property.value)],
        );
    }
    for property in without_fencing(plan) {
        script.unless(property);
    }
    script.line("");
    script.primitive(&plan.pgsql);
    WHY_CLONE.iter().for_each(|line| script.comment(line));
    script.pcs(
        &[&[
            "resource",
            "promotable",
            &plan.names.resource,
            &plan.names.clone,
        ]],
        vec![],
    );
    let meta = plan.clone_meta.iter().filter(|it| it.name != "promotable");
    script.pcs(
        &[&["resource", "meta", &plan.names.clone]],
        meta.map(|it| pair(it.name, &it.value)).collect(),
    );
    script.line("");
    plan.addresses
        .iter()
        .for_each(|address| script.primitive(address));
    if let Some(gateway) = &plan.gateway {
        script.primitive(gateway);
        let words = [
            "resource",
            "clone",
            &gateway.id,
            &plan.names.gateway_clone(),
        ];
        script.pcs(&[&words], vec![]);
    }
    script.line("");
    for constraint in &plan.constraints {
        match constraint {
            Constraint::With { address, .. } if *address == plan.names.writer => {
                script.comment(WHY_WRITER)
            }
            Constraint::With { address, .. } if plan.names.readers.first() == Some(address) => {
                WHY_READER.iter().for_each(|line| script.comment(line));
            }
            Constraint::With { .. }
            | Constraint::Apart { .. }
            | Constraint::Spread { .. }
            | Constraint::Order { .. }
            | Constraint::Prefers { .. }
            | Constraint::Reaches {
                way: Way::Unknown, ..
            } => {}
            Constraint::Reaches { .. } => {
                WHY_GATEWAY.iter().for_each(|line| script.comment(line));
            }
        }
        script.constraint(constraint, &plan.names.clone);
    }
    script.line("");
    script.line(&format!(
        "pcs cluster cib-push {FILE} diff-against={FILE}.orig"
    ));
    script.text
}

struct Script {
    text: String,
    quoting: Quoting,
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

impl Script {
    fn line(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
    }

    fn comment(&mut self, line: &str) {
        let line = format!("# {line}");
        self.line(line.trim_end());
    }

    /// `name=value` as one word of a shell.
    fn word(&self, (name, value): &(String, String)) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+=".contains(c);
        if !value.is_empty() && value.chars().all(is_plain) {
            return format!("{name}={value}");
        }
        match self.quoting {
            // Replaced by a shell: what it is replaced with is one word then, whatever is in it.
            Quoting::Names => format!("{name}=\"{value}\""),
            Quoting::Values => format!("{name}={}", shell_words::quote(value)),
        }
    }

    /// One command; the options on lines of their own where it becomes long.
    fn pcs(&mut self, words: &[&[&str]], options: Vec<(String, String)>) {
        let mut line = format!("pcs -f {FILE}");
        for word in words.iter().flat_map(|words| words.iter()) {
            line = format!("{line} {word}");
        }
        for option in &options {
            let word = self.word(option);
            self.put(&mut line, &word);
        }
        self.line(&line);
    }

    /// Sets a property of a cluster that has neither it nor anything to fence with.
    fn unless(&mut self, property: &Property) {
        let own = property.name.replace("stonith", "(stonith|fencing)");
        let fences = "class=\"stonith\"|name=\"(stonith|fencing)-watchdog-timeout\"";
        self.line(&format!(
            "grep -Eq 'name=\"{own}\"|{fences}' {FILE}.orig || \\"
        ));
        self.line(&format!(
            "    pcs -f {FILE} property set {}={}",
            property.name, property.value
        ));
    }

    fn put(&mut self, line: &mut String, word: &str) {
        if line.len() + word.len() > WIDTH {
            self.line(&format!("{line} \\"));
            *line = format!("    {word}");
        } else {
            *line = format!("{line} {word}");
        }
    }

    fn primitive(&mut self, primitive: &Primitive) {
        let mut line = format!(
            "pcs -f {FILE} resource create {} ocf:{}:{}",
            primitive.id, primitive.provider, primitive.agent
        );
        for (name, value) in primitive.set_params() {
            let word = self.word(&pair(name, value));
            self.put(&mut line, &word);
        }
        for operation in primitive.made_operations() {
            self.line(&format!("{line} \\"));
            line = format!("    op {}", operation_words(operation));
        }
        if !primitive.meta.is_empty() {
            self.line(&format!("{line} \\"));
            line = "    meta".to_owned();
            for it in &primitive.meta {
                line = format!("{line} {}={}", it.name, it.value);
            }
        }
        self.line(&line);
    }

    fn constraint(&mut self, constraint: &Constraint, clone: &str) {
        let line = match constraint {
            Constraint::Apart { id, address, role } => {
                format!("colocation add {address} with {role} {clone} score=-INFINITY id={id}")
            }
            Constraint::Spread {
                id,
                address,
                other,
                score,
            } => format!("colocation add {address} with {other} score=-{score} id={id}"),
            Constraint::With { id, address, role } => {
                let role = role.map_or_else(String::new, |role| format!("{role} "));
                format!("colocation add {address} with {role}{clone} score=INFINITY id={id}")
            }
            Constraint::Order {
                id,
                first,
                then,
                address,
                is_mandatory,
            } => {
                let kind = if *is_mandatory {
                    "Mandatory"
                } else {
                    "Optional"
                };
                format!(
                    "order {first} {clone} then {then} {address} kind={kind} symmetrical=false id={id}"
                )
            }
            Constraint::Reaches {
                id,
                score,
                attribute,
                way,
            } => format!(
                "location {clone} rule id={id}-rule constraint-id={id} role=Promoted score={score} {}",
                way_of(*way, attribute)
            ),
            Constraint::Prefers {
                id,
                address,
                score,
                attribute,
                value,
                without,
            } => format!(
                "location {address} rule id={id}-rule constraint-id={id} score={score} {attribute} eq {value}{}",
                and_without(without.as_deref())
            ),
        };
        self.line(&format!("pcs -f {FILE} constraint {line}"));
    }
}

const WIDTH: usize = 118;

fn operation_words(operation: &Operation) -> String {
    let mut text = format!(
        "{} interval={} timeout={}",
        operation.name,
        seconds(operation.interval),
        seconds(operation.timeout)
    );
    if let Some(on_fail) = operation.on_fail {
        text += &format!(" on-fail={on_fail}");
    }
    if operation.is_of_promoted {
        text += " role=Promoted";
    }
    text + &operation.level_words()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::setup::config;
    use crate::setup::plan::Values;

    const DUAL: &str = "node1=a\nnode2=b\nwriter_vip=192.0.2.9\npgsql_pgctl=/bin/pg_ctl\npgsql_pgdata=/data\npgsql_repuser=repl\n\
                        pgsql_distlock_conninfo='host=lock user=u'\n";

    /// The properties that the script sets in a cluster with this configuration.
    fn set(config: &str, cib: &str) -> Vec<String> {
        let (site, _) = config::read(config).unwrap();
        let script = render(&Plan::new(&Values::from(&site)), Quoting::Values);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cib"), cib).unwrap();
        let pcs = "pcs() { case \"$*\" in 'cluster cib '*) cp cib \"$3\";; *' property set '*) echo \"$5\";; esac; }\n";
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("{pcs}{script}"))
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn fencing_and_what_somebody_chose_are_not_switched_off() {
        let both = ["stonith-enabled=false", "no-quorum-policy=ignore"];
        for (cib, expected) in [
            ("<cib/>", &both[..]),
            ("<primitive id=\"f\" class=\"stonith\"/>", &[]),
            (
                "<nvpair name=\"stonith-watchdog-timeout\" value=\"10\"/>",
                &[],
            ),
            (
                "<nvpair name=\"stonith-enabled\" value=\"true\"/>",
                &both[1..],
            ),
            (
                "<nvpair name=\"fencing-enabled\" value=\"true\"/>",
                &both[1..],
            ),
            (
                "<nvpair name=\"no-quorum-policy\" value=\"freeze\"/>",
                &both[..1],
            ),
        ] {
            assert_eq!(set(DUAL, cib), expected, "{cib}");
        }
        for word in ["no", "0", "off", "False", "FALSE", "nein"] {
            let without = format!("{DUAL}pgsql_enable_distlock={word}\n");
            assert_eq!(set(&without, "<cib/>"), &both[..1], "{word}");
        }
        let asked = format!("{DUAL}stonith_enabled=true\nno_quorum_policy=stop\n");
        let expected = ["stonith-enabled=true", "no-quorum-policy=stop"];
        assert_eq!(set(&asked, "<cib/>"), expected);
    }
}
