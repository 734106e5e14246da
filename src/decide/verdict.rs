//! Whether what the operator asks in each monitor says that the server is not well.

/// What an error in answer to `monitor_sql` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the operator wants it: the monitor fails.
    Fails,
    /// It was not carried out for the sake of others, or for lack of something: that says nothing of what was asked.
    Refused,
}

/// The verdict on an SQLSTATE.
///
/// A disk that is full fails: nobody can write any more, which is what a query that writes is there to find. So does a query that takes longer than it
/// may, by `query_timeout` or by a limit of its own.
#[must_use]
pub fn verdict(state: &str) -> Verdict {
    // "disk_full", "query_canceled"
    if ["53100", "57014"].contains(&state) {
        return Verdict::Fails;
    }
    // "insufficient resources", "operator intervention"; "lock_not_available", "object_in_use".
    let is_of_class = ["53", "57"].iter().any(|class| state.starts_with(class));
    if is_of_class || ["55P03", "55006"].contains(&state) {
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
        for (state, expected) in [
            // A lock that others hold, with the operator's own limit; an object in use.
            ("55P03", Refused),
            ("55006", Refused),
            // Memory, connections, another limit.
            ("53000", Refused),
            ("53200", Refused),
            ("53300", Refused),
            ("53400", Refused),
            ("53100", Fails),
            // Somebody cancels it, or ends the session; or it takes too long.
            ("57014", Fails),
            ("57P01", Refused),
            ("57P02", Refused),
            // What the operator has asked for.
            ("42P01", Fails),
            ("55000", Fails),
            ("22012", Fails),
            ("25006", Fails),
            ("P0001", Fails),
            ("XX001", Fails),
            ("58030", Fails),
            ("-", Fails),
        ] {
            assert_eq!(verdict(state), expected, "{state}");
        }
    }
}
