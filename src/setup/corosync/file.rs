//! corosync.conf: how many nodes it names, what timing it sets, and the same text with another. Everything else in it stays, byte
//! for byte.
//!
//! Source: corosync.conf(5): one key or one bracket a line; corosync 3.1, `exec/coroparse.c`: lines that begin with # are comments.

use std::net::IpAddr;
use std::time::Duration;

use crate::decide::detection::Timing;

const TOTEM: &str = "totem";
const VERSION: &str = "config_version";

/// Why the file can't be changed by a program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// There is nothing to put the timing into.
    #[error("it has no section totem")]
    NoTotem,
    /// Which of them counts is corosync's secret.
    #[error("it has more than one section totem")]
    Totems,
    /// token_coefficient counts the nodes of it.
    #[error("it has no nodelist")]
    NoNodes,
    /// A section is not closed, or closed twice.
    #[error("its brackets don't match: line {0}")]
    Brackets(usize),
    /// A value that should be a number.
    #[error("line {line}: {key}: {value:?} is no number")]
    Value {
        line: usize,
        key: &'static str,
        value: String,
    },
}

/// One key of the outermost `totem`.
struct Key<'a> {
    /// Its line, from 0 on.
    line: usize,
    name: &'a str,
    value: &'a str,
}

/// What of the file matters here.
pub(super) struct Conf<'a> {
    lines: Vec<&'a str>,
    keys: Vec<Key<'a>>,
    /// The line of totem's closing bracket.
    end: usize,
    /// How many nodes there are.
    pub(super) nodes: usize,
    /// What they are called, in the order of the file; `None`: Pacemaker does not take the name from here.
    pub(super) names: Vec<Option<&'a str>>,
}

/// One node of the list.
#[derive(Default)]
struct Entry<'a> {
    name: Option<&'a str>,
    address: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// As Pacemaker names it: by its name, else by its address where that is a name.
    ///
    /// Source: Pacemaker, `daemons/controld` and `lib/cluster/corosync.c`, `pcmk__corosync_name`.
    fn known_as(&self) -> Option<&'a str> {
        let is_ip = |text: &&str| text.parse::<IpAddr>().is_ok();
        self.name.or(self.address.filter(|text| !is_ip(text)))
    }
}

impl<'a> Conf<'a> {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// See [`Unfit`].
    pub(super) fn parse(text: &'a str) -> Result<Self, Unfit> {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let mut open: Vec<&str> = Vec::new();
        let (mut keys, mut ends) = (Vec::new(), Vec::new());
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for (line, text) in lines.iter().enumerate() {
            let text = text.trim();
            if text.starts_with('#') {
                continue;
            }
            if let Some((name, _)) = text.split_once('{') {
                let name = name.trim();
                if open == ["nodelist"] && name == "node" {
                    entries.push(Entry::default());
                }
                open.push(name);
            } else if text.starts_with('}') {
                let closed = open.pop().ok_or(Unfit::Brackets(line + 1))?;
                if open.is_empty() && closed == TOTEM {
                    ends.push(line);
                }
            } else if let Some((name, value)) = text.split_once(':') {
                let (name, value) = (name.trim(), value.trim());
                if open == [TOTEM] {
                    keys.push(Key { line, name, value });
                } else if open == ["nodelist", "node"]
                    && let Some(entry) = entries.last_mut()
                {
                    match name {
                        "name" => entry.name = Some(value),
                        "ring0_addr" => entry.address = Some(value),
                        _ => {}
                    }
                }
            }
        }
        if !open.is_empty() {
            return Err(Unfit::Brackets(lines.len()));
        }
        let end = match ends[..] {
            [end] => end,
            [] => return Err(Unfit::NoTotem),
            _ => return Err(Unfit::Totems),
        };
        if entries.is_empty() {
            return Err(Unfit::NoNodes);
        }
        Ok(Self {
            lines,
            keys,
            end,
            nodes: entries.len(),
            names: entries.iter().map(Entry::known_as).collect(),
        })
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>, Unfit> {
        // Of a key given twice corosync takes the last.
        let Some(key) = self.keys.iter().rfind(|key| key.name == name) else {
            return Ok(None);
        };
        let bad = |_| Unfit::Value {
            line: key.line + 1,
            key: name,
            value: key.value.to_owned(),
        };
        key.value.parse().map(Some).map_err(bad)
    }

    /// What it sets.
    ///
    /// # Errors
    /// [`Unfit::Value`].
    pub(super) fn timing(&self) -> Result<Timing, Unfit> {
        let milliseconds = |name| Ok(self.number(name)?.map(Duration::from_millis));
        Ok(Timing {
            token: milliseconds("token")?,
            coefficient: milliseconds("token_coefficient")?,
            consensus: milliseconds("consensus")?,
        })
    }

    /// The text with this timing, and the next version where it counts them.
    ///
    /// # Errors
    /// [`Unfit::Value`].
    pub(super) fn with(&self, timing: Timing) -> Result<String, Unfit> {
        let value = |time: Option<Duration>| time.map(|time| time.as_millis().to_string());
        let mut values = vec![
            ("token", value(timing.token)),
            ("token_coefficient", value(timing.coefficient)),
            ("consensus", value(timing.consensus)),
        ];
        if let Some(version) = self.number(VERSION)? {
            values.push((VERSION, Some(version.saturating_add(1).to_string())));
        }
        let mut lines: Vec<Option<String>> = self
            .lines
            .iter()
            .map(|line| Some((*line).to_owned()))
            .collect();
        let mut added = String::new();
        for (name, value) in values {
            let mut places = self.keys.iter().filter(|key| key.name == name);
            let first = places.next();
            for key in first.into_iter().chain(places) {
                lines[key.line] = None;
            }
            match (first, value) {
                (Some(key), Some(value)) => {
                    let line = self.lines[key.line];
                    let indent = &line[..line.len() - line.trim_start().len()];
                    lines[key.line] = Some(format!("{indent}{name}: {value}\n"));
                }
                (None, Some(value)) => added += &format!("{}{name}: {value}\n", self.indent()),
                (_, None) => {}
            }
        }
        let end = lines[self.end].take().unwrap_or_default();
        lines[self.end] = Some(added + &end);
        Ok(lines.into_iter().flatten().collect())
    }

    /// What the other keys begin with.
    fn indent(&self) -> &str {
        let line = self.keys.first().map_or("  ", |key| self.lines[key.line]);
        &line[..line.len() - line.trim_start().len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As pcs 0.11 writes it.
    const PCS: &str = "totem {
    version: 2
    cluster_name: lab
    transport: knet
    crypto_cipher: aes256
    crypto_hash: sha256
    cluster_uuid: 9a
}

nodelist {
    node {
        ring0_addr: 10.0.0.1
        name: node1
        nodeid: 1
    }

    node {
        ring0_addr: 10.0.0.2
        name: node2
        nodeid: 2
    }
}

quorum {
    provider: corosync_votequorum
    two_node: 1
}
";

    fn lan() -> Timing {
        Timing {
            token: Some(Duration::from_secs(1)),
            coefficient: Some(Duration::ZERO),
            consensus: None,
        }
    }

    fn with(text: &str, timing: Timing) -> String {
        Conf::parse(text).unwrap().with(timing).unwrap()
    }

    #[test]
    fn what_is_set_is_added_at_the_end_of_totem_and_nothing_else_changes() {
        let conf = Conf::parse(PCS).unwrap();
        assert_eq!((conf.nodes, conf.timing().unwrap()), (2, Timing::default()));
        let expected = PCS.replace(
            "    cluster_uuid: 9a\n",
            "    cluster_uuid: 9a\n    token: 1000\n    token_coefficient: 0\n",
        );
        assert_eq!(with(PCS, lan()), expected);
        assert_eq!(Conf::parse(&expected).unwrap().timing().unwrap(), lan());
        // And back.
        assert_eq!(with(&expected, Timing::default()), PCS);
    }

    #[test]
    fn what_is_there_is_changed_in_its_place_and_the_version_counted() {
        let text = "# totem {\ntotem {\n\tversion: 2\n\tconfig_version: 7\n\ttoken: 5000\n\t# token: 9\n\ttoken:6000\n\tconsensus: 7000\n\tinterface {\n\t\ttoken: 3\n\t}\n}\nnodelist {\n node {\n }\n}";
        let conf = Conf::parse(text).unwrap();
        assert_eq!(conf.timing().unwrap().token, Some(Duration::from_secs(6)));
        let expected = "# totem {\ntotem {\n\tversion: 2\n\tconfig_version: 8\n\ttoken: 1000\n\t# token: 9\n\tinterface {\n\t\ttoken: 3\n\t}\n\ttoken_coefficient: 0\n}\nnodelist {\n node {\n }\n}";
        assert_eq!(conf.with(lan()).unwrap(), expected);
    }

    #[test]
    fn the_nodes_are_known_by_the_names_that_pacemaker_takes() {
        let text = "totem {\n}\nnodelist {\n node {\n  ring0_addr: 10.0.0.1\n  name: a\n }\n node {\n  # name: x\n  ring0_addr: b.example\n }\n \
                    node {\n  ring0_addr: 10.0.0.3\n  name:c\n }\n node {\n  ring0_addr: fd00::4\n }\n}\nquorum {\n device {\n  name: q\n }\n}\n";
        let conf = Conf::parse(text).unwrap();
        assert_eq!(conf.names, [Some("a"), Some("b.example"), Some("c"), None]);
        assert_eq!(conf.nodes, 4);
    }

    #[test]
    fn a_file_that_is_not_understood_is_not_changed() {
        let unfit = |text: &str| match Conf::parse(text) {
            Ok(conf) => conf.timing().unwrap_err(),
            Err(unfit) => unfit,
        };
        let nodes = "nodelist {\nnode {\n}\n}\n";
        for (text, expected) in [
            (nodes.to_owned(), Unfit::NoTotem),
            (
                format!("totem {{\n}}\ntotem {{\n}}\n{nodes}"),
                Unfit::Totems,
            ),
            ("totem {\n}\n".to_owned(), Unfit::NoNodes),
            ("totem {\n".to_owned(), Unfit::Brackets(1)),
            ("totem {\n}\n}\n".to_owned(), Unfit::Brackets(3)),
            (
                format!("totem {{\n token: 1s\n}}\n{nodes}"),
                Unfit::Value {
                    line: 2,
                    key: "token",
                    value: "1s".to_owned(),
                },
            ),
        ] {
            assert_eq!(unfit(&text), expected, "{text}");
        }
    }
}
