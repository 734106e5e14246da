//! Whether what the operator asks in each monitor says that the server is not well.

/// What an error in answer to `monitor_sql` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the operator wants it: the monitor fails.
    Fails,
    /// It was not carried out for the sake of others, or for lack of something: that says nothing of what was asked.
    Refused,
}

/// The verdict on an SQLSTATE; `is_late`: all the time that the query has is over.
///
/// A disk that is full fails: nobody can write any more, which is what a query that writes is there to find.
#[must_use]
pub fn verdict(state: &str, is_late: bool) -> Verdict {
    // "disk_full", "query_canceled" by the server's own statement_timeout.
    if state == "53100" || (state == "57014" && is_late) {
        return Verdict::Fails;
    }
    // "insufficient resources", "object not in prerequisite state" as of a lock, "operator intervention".
    let is_refused = ["53", "55", "57"]
        .iter()
        .any(|class| state.starts_with(class));
    if is_refused {
        Verdict::Refused
    } else {
        Verdict::Fails
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_for_the_sake_of_others_fails_nothing() {
        use Verdict::{Fails, Refused};
        for (state, is_late, expected) in [
            // A lock that others hold, with the operator's own limit; an object in use.
            ("55P03", false, Refused),
            ("55P03", true, Refused),
            ("55006", false, Refused),
            // Memory, connections, another limit.
            ("53000", false, Refused),
            ("53200", false, Refused),
            ("53300", false, Refused),
            ("53400", false, Refused),
            ("53100", false, Fails),
            // Somebody cancels it, or ends the session; or it takes too long.
            ("57014", false, Refused),
            ("57014", true, Fails),
            ("57P01", false, Refused),
            ("57P02", false, Refused),
            // What the operator has asked for.
            ("42P01", false, Fails),
            ("22012", false, Fails),
            ("25006", false, Fails),
            ("P0001", false, Fails),
            ("XX001", false, Fails),
            ("58030", false, Fails),
            ("-", false, Fails),
        ] {
            assert_eq!(verdict(state, is_late), expected, "{state} {is_late}");
        }
    }
}
