//! What makes a commit worth less than the cluster promises, although nothing is wrong with its standbys: settings that are the operator's, or a
//! client's, to choose. None of them keeps a node from being promoted.

/// What was found on a primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weak {
    Fsync,
    FullPageWrites,
    /// `synchronous_commit` for whom: by their numbers, since names may be in any encoding; 0: all.
    For {
        role: u32,
        database: u32,
        value: String,
    },
    /// `synchronous_commit` for all who don't say otherwise; `place`: the file and line, or the options.
    ForAll {
        value: String,
        place: String,
    },
}

/// What the query of the primary's state shows: `fsync`, `full_page_writes`, `ROLE DATABASE VALUE`, separated by commas.
///
/// `None`: it is of another form.
#[must_use]
pub fn parse(text: &str) -> Option<Vec<Weak>> {
    text.split(',')
        .filter(|word| !word.is_empty())
        .map(one)
        .collect()
}

fn one(word: &str) -> Option<Weak> {
    match word {
        "fsync" => return Some(Weak::Fsync),
        "full_page_writes" => return Some(Weak::FullPageWrites),
        _ => {}
    }
    let mut fields = word.splitn(3, ' ');
    Some(Weak::For {
        role: fields.next()?.parse().ok()?,
        database: fields.next()?.parse().ok()?,
        value: fields.next()?.to_owned(),
    })
}

/// What a commit with this `synchronous_commit` waits for less than for a standby's disk; `None`: nothing is amiss.
fn lacks(value: &str) -> Option<&'static str> {
    match value.to_lowercase().as_str() {
        "off" | "local" | "false" | "no" | "0" => {
            Some("wait for no standby, and the last ones are lost in a failover")
        }
        "remote_write" => Some(
            "are acknowledged before a standby has flushed them, and the last ones are lost where both machines lose power",
        ),
        _ => None,
    }
}

/// How many are told one by one: they are noted, and the notes are short.
const TOLD: usize = 8;

/// In words.
#[must_use]
pub fn told(found: &[Weak]) -> Vec<String> {
    let mut all: Vec<String> = found.iter().filter_map(sentence).collect();
    let more = all.len().saturating_sub(TOLD);
    if more > 0 {
        all.truncate(TOLD);
        all.push(format!("{more} more: look at pg_db_role_setting"));
    }
    all
}

fn sentence(weak: &Weak) -> Option<String> {
    match weak {
        Weak::Fsync => {
            Some("fsync=off: a crash of the machine may destroy the database".to_owned())
        }
        Weak::FullPageWrites => {
            Some("full_page_writes=off: a crash of the machine may destroy pages".to_owned())
        }
        Weak::For {
            role,
            database,
            value,
        } => {
            let role = (*role != 0).then(|| format!("role {role} (SELECT {role}::regrole)"));
            let database = (*database != 0).then(|| {
                format!(
                    "database {database} (SELECT datname FROM pg_database WHERE oid = {database})"
                )
            });
            let whose: Vec<String> = role.into_iter().chain(database).collect();
            let whose = if whose.is_empty() {
                "all".to_owned()
            } else {
                whose.join(" in ")
            };
            let lacks = lacks(value)?;
            Some(format!(
                "synchronous_commit={value} by ALTER ROLE or ALTER DATABASE for {whose}: its commits {lacks}"
            ))
        }
        Weak::ForAll { value, place } => {
            let lacks = lacks(value)?;
            Some(format!(
                "synchronous_commit={value} in {place}: commits {lacks}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_a_commit_worth_less_is_told_with_its_place() {
        for (text, words) in [
            ("", &[][..]),
            ("fsync", &["fsync=off"]),
            ("full_page_writes", &["full_page_writes=off"]),
            (
                "fsync,full_page_writes,16385 0 off",
                &["fsync=off", "full_page_writes=off", "role 16385 "],
            ),
            ("0 5 local", &["for database 5 "]),
            ("16385 5 no", &["(SELECT 16385::regrole) in database 5 "]),
            (
                "0 0 remote_write",
                &["for all: its commits are acknowledged before"],
            ),
            ("16385 0 on,16386 0 remote_apply,0 5 true", &[]),
        ] {
            let told = told(&parse(text).unwrap());
            assert_eq!(told.len(), words.len(), "{text}: {told:?}");
            for (told, word) in told.iter().zip(words) {
                assert!(told.contains(word), "{text}: {told}");
            }
        }
        let many: Vec<String> = (1..=20).map(|role| format!("{role} 0 off")).collect();
        let many = told(&parse(&many.join(",")).unwrap());
        assert_eq!(many.len(), TOLD + 1);
        assert!(many[TOLD].starts_with("12 more"), "{many:?}");
        for damaged in ["x", "1 off", "role 0 off", "fsync,1"] {
            assert_eq!(parse(damaged), None, "{damaged}");
        }
        for (value, word) in [
            ("off", Some("no standby")),
            ("LOCAL", Some("no standby")),
            ("remote_write", Some("flushed")),
            ("on", None),
            ("remote_apply", None),
        ] {
            let all = told(&[Weak::ForAll {
                value: value.to_owned(),
                place: "x.conf line 3".to_owned(),
            }]);
            assert_eq!(all.len(), usize::from(word.is_some()), "{value}");
            for (told, word) in all.iter().zip(word) {
                assert!(
                    told.contains(word) && told.contains("x.conf line 3"),
                    "{told}"
                );
            }
        }
    }
}
