//! Whether the agent and its files are there on the nodes: without them every start there would fail.

use crate::cluster::Failure;
use crate::model::node_name::NodeName;
use crate::setup::config::Site;
use crate::setup::passfiles::PasswordFiles;
use crate::setup::remote::{CALL, Host};

/// Prints those of its arguments that are not there.
const MISSING: &str = r#"for file; do test -e "$file" || printf '%s\n' "$file"; done"#;

/// What one node lacks, or why that is not known.
type Answer = (Host, Result<Vec<String>, String>);

/// Asks those of the nodes for which `is_on` holds, all at the same time: one that hangs costs its own time, and not the others'.
pub(super) fn ask(site: &Site, is_on: impl Fn(&NodeName) -> bool) -> Vec<Answer> {
    let passwords = PasswordFiles::of(site);
    let passfiles = passwords.iter().map(|file| file.path.clone());
    let files: Vec<String> = std::iter::once(site.program()).chain(passfiles).collect();
    let hosts = Host::all(&site.nodes).into_iter();
    let hosts: Vec<Host> = hosts
        .filter(|host| host.is_local || is_on(&host.name))
        .collect();
    std::thread::scope(|scope| {
        let asking: Vec<_> = hosts
            .iter()
            .map(|host| scope.spawn(|| missing(host, &files)))
            .collect();
        let answers = asking.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err("bug in expgsql: asking it panicked".to_owned()))
        });
        let answers: Vec<_> = answers.collect();
        hosts.iter().cloned().zip(answers).collect()
    })
}

fn missing(host: &Host, files: &[String]) -> Result<Vec<String>, String> {
    let mut line = vec!["sh", "-c", MISSING, "sh"];
    line.extend(files.iter().map(String::as_str));
    let output = host
        .run(&line, Vec::new(), CALL)
        .map_err(|error| error.to_string())?;
    let text = output.stdout_text();
    Ok(text.lines().map(str::to_owned).collect())
}

/// What is worth knowing where the cluster gets its resources all the same.
///
/// # Errors
/// [`Failure`]: this node lacks something, or, where `starts`, another one does, on which Pacemaker would then try in vain.
pub(super) fn judge(answers: &[Answer], starts: bool) -> Result<Vec<String>, Failure> {
    let (mut lacking, mut notes) = (Vec::new(), Vec::new());
    for (host, answer) in answers {
        match answer {
            Ok(files) if files.is_empty() => {}
            Ok(files) => {
                let files = files.join(" and ");
                if host.is_local {
                    lacking.push(format!("this node lacks {files}"));
                } else if starts {
                    lacking.push(format!("{} lacks {files}", host.name));
                } else {
                    notes.push(format!(
                        "{} lacks {files}: it can start nothing before expgsql setup install has put it there",
                        host.name
                    ));
                }
            }
            Err(why) => notes.push(format!(
                "whether the agent is installed on {} is not known: {why}",
                host.name
            )),
        }
    }
    if lacking.is_empty() {
        return Ok(notes);
    }
    Err(Failure::plain(format!(
        "nothing was done: {}; expgsql setup install puts it on every node",
        lacking.join(", and ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, is_local: bool) -> Host {
        Host {
            name: NodeName::new(name).unwrap(),
            is_local,
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(place("a file"), "").unwrap();
        let files = [place("a file"), place("no file"), "/".to_owned()];
        assert_eq!(
            missing(&host("a", true), &files),
            Ok(vec![place("no file")])
        );
    }

    #[test]
    fn nothing_is_started_where_a_node_lacks_the_agent() {
        let there = || Ok(Vec::new());
        let lacks = || Ok(vec!["/x/expgsql".to_owned(), "/x/pgpass".to_owned()]);
        let silent = || Err("b does not answer by ssh".to_owned());
        for (local, other, starts, expected) in [
            // (this node, the other, whether anything is started, what comes of it)
            (there(), there(), true, Ok("")),
            (
                lacks(),
                there(),
                false,
                Err("this node lacks /x/expgsql and /x/pgpass;"),
            ),
            (
                there(),
                lacks(),
                true,
                Err("nothing was done: b lacks /x/expgsql and /x/pgpass;"),
            ),
            (
                lacks(),
                lacks(),
                true,
                Err("this node lacks /x/expgsql and /x/pgpass, and b lacks"),
            ),
            (there(), lacks(), false, Ok("b lacks /x/expgsql")),
            (
                there(),
                silent(),
                true,
                Ok("on b is not known: b does not answer by ssh"),
            ),
        ] {
            let answers = [(host("a", true), local), (host("b", false), other)];
            match (judge(&answers, starts), expected) {
                (Ok(notes), Ok(part)) => {
                    assert_eq!(notes.is_empty(), part.is_empty(), "{notes:?}");
                    assert!(notes.iter().all(|note| note.contains(part)), "{notes:?}");
                }
                (Err(failure), Err(part)) => assert!(failure.why.contains(part), "{}", failure.why),
                (found, expected) => panic!("{answers:?}: {} {expected:?}", found.is_ok()),
            }
        }
    }
}
