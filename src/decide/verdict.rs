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
/// may, by `query_timeout` or by a limit of its own. Who is rolled back for the sake of another transaction would be well a moment later, and that
/// transaction numbers have run out is so on every copy of the data: no restart and no other node would help.
#[must_use]
pub fn verdict(state: &str) -> Verdict {
    // "disk_full", "query_canceled"
    if ["53100", "57014"].contains(&state) {
        return Verdict::Fails;
    }
    // "transaction rollback", "insufficient resources", "operator intervention", "snapshot too old".
    let classes = ["40", "53", "57", "72"];
    let is_of_class = classes.iter().any(|class| state.starts_with(class));
    // "lock_not_available", "object_in_use"; "program_limit_exceeded", as the numbers of transactions.
    if is_of_class || ["55P03", "55006", "54000"].contains(&state) {
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
            ("57P05", Refused),
            // Rolled back for the sake of another transaction: "serialization_failure", "deadlock_detected".
            ("40000", Refused),
            ("40001", Refused),
            ("40P01", Refused),
            ("72000", Refused),
            // The numbers of transactions have run out, or the statement is too much by itself.
            ("54000", Refused),
            ("54001", Fails),
            // What the operator has asked for, by each class of PostgreSQL's.
            ("01000", Fails),
            ("02000", Fails),
            ("03000", Fails),
            ("08006", Fails),
            ("09000", Fails),
            ("0A000", Fails),
            ("0B000", Fails),
            ("0F000", Fails),
            ("0L000", Fails),
            ("0P000", Fails),
            ("0Z000", Fails),
            ("10608", Fails),
            ("20000", Fails),
            ("21000", Fails),
            ("22012", Fails),
            ("23505", Fails),
            ("24000", Fails),
            ("25006", Fails),
            // Its own limit, as with 57014.
            ("25P04", Fails),
            ("26000", Fails),
            ("27000", Fails),
            ("28000", Fails),
            ("2BP01", Fails),
            ("2D000", Fails),
            ("2F000", Fails),
            ("34000", Fails),
            ("38000", Fails),
            ("39000", Fails),
            ("3B000", Fails),
            ("3D000", Fails),
            ("3F000", Fails),
            ("42P01", Fails),
            ("44000", Fails),
            ("55000", Fails),
            ("58030", Fails),
            ("F0000", Fails),
            ("HV000", Fails),
            ("P0001", Fails),
            ("XX000", Fails),
            ("XX001", Fails),
            ("-", Fails),
        ] {
            assert_eq!(verdict(state), expected, "{state}");
        }
    }
}
