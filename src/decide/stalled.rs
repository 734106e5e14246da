//! Why a standby receives nothing whose primary answers, and lets it in.

/// What is known of such a standby.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The system identifier of the server that answers.
    pub theirs: &'a str,
    pub ours: &'a str,
    /// It waits for more: before, it asks for nothing.
    pub has_replayed_all: bool,
    /// How often in a row the primary had let it in when it was asked, this time included.
    pub times: u32,
    /// What its own server has said last of that in its log.
    pub said: Option<&'a str>,
}

/// So often the primary is asked before its silence is told: a standby that has just found it again begins to stream in a moment.
const CERTAIN: u32 = 2;

/// What is to be told. `None`: nothing yet.
#[must_use]
pub fn why(facts: &Facts<'_>) -> Option<String> {
    if facts.theirs != facts.ours {
        return Some(format!(
            "the server at the primary's address is of another database cluster (system identifier {}, this one's is {}): correct the address, or \
             copy the data anew",
            facts.theirs, facts.ours
        ));
    }
    if !facts.has_replayed_all || facts.times < CERTAIN {
        return None;
    }
    Some(match facts.said {
        Some(said) => format!("this standby receives nothing: {said}"),
        None => "this standby receives nothing, and the server's log says why: look for a slot that is not there or is in use, \
                 and for WAL that was removed"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_when_it_lasts_and_another_cluster_at_once() {
        for (theirs, has_replayed_all, times, said, expected) in [
            ("7", true, 1, Some("no slot"), None),
            (
                "7",
                true,
                2,
                Some("no slot"),
                Some("receives nothing: no slot"),
            ),
            ("7", true, 9, None, Some("the server's log says why")),
            // It asks for nothing yet.
            ("7", false, 9, Some("no slot"), None),
            ("8", true, 1, None, Some("another database cluster")),
            (
                "8",
                false,
                1,
                Some("no slot"),
                Some("identifier 8, this one's is 7"),
            ),
        ] {
            let facts = Facts {
                theirs,
                ours: "7",
                has_replayed_all,
                times,
                said,
            };
            let told = why(&facts);
            assert_eq!(told.is_some(), expected.is_some(), "{facts:?}: {told:?}");
            let words = expected.unwrap_or_default();
            assert!(told.unwrap_or_default().contains(words), "{facts:?}");
        }
    }
}
