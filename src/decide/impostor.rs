//! Whose rows in `pg_stat_replication` are whose. PostgreSQL lets commits wait for a *name*, `application_name`, which any server may
//! have: one of another cluster with nodes of the same names, a clone of a virtual machine, somebody's pg_receivewal. What such a
//! one confirms is acknowledged, and no node has it. A node's own server streams by its ticket, a slot that nobody else asks for.

use std::collections::BTreeMap;

use crate::model::status::SenderState;
use crate::model::sync_names::StandbyName;

/// By which slot a server streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The node's ticket.
    Ticket,
    /// None: as before it asks for one, while the primary has sent all of an old timeline, and where an older agent set it up.
    None,
    /// Another one.
    Other,
}

/// One row, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `application_name`, in lower case.
    pub name: StandbyName,
    pub state: SenderState,
    pub slot: Slot,
    /// Whose address it is from; empty where PostgreSQL does not say.
    pub address: String,
}

/// How a name is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// By its name alone: an outside standby, asynchronous mode, a server before PostgreSQL 13.
    ByName,
    /// By its ticket.
    ByTicket,
    /// By its ticket once it has one: it streams as an older agent has set it up, and the cluster was taken over a moment ago.
    Soon,
}

/// Who is who.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// For each name the index of the row that is its standby's.
    pub of: BTreeMap<StandbyName, usize>,
    /// Nodes' names under which somebody else is connected, and from where.
    pub impostors: BTreeMap<StandbyName, String>,
}

/// Of rows that may be one standby's the one that streams is; another is about to, or dies.
#[must_use]
pub fn tell_apart(rows: &[Row], known: impl Fn(&StandbyName) -> Known) -> Rows {
    let mut told = Rows::default();
    for (index, row) in rows.iter().enumerate() {
        if is_other(rows, row, known(&row.name)) {
            told.impostors.insert(row.name.clone(), row.address.clone());
            continue;
        }
        let streams = |at: &usize| rows[*at].state == SenderState::Streaming;
        if !told.of.get(&row.name).is_some_and(streams) {
            told.of.insert(row.name.clone(), index);
        }
    }
    told
}

/// Whether a row is somebody else's.
fn is_other(rows: &[Row], row: &Row, known: Known) -> bool {
    // Only these may let a commit go, or are about to. A standby's own begins without a slot, each time it connects.
    let counts = |row: &Row| {
        matches!(
            row.state,
            SenderState::Catchup | SenderState::Streaming | SenderState::Stopping
        )
    };
    let same_name = || rows.iter().filter(|other| other.name == row.name);
    if known == Known::ByName || row.slot == Slot::Ticket {
        return false;
    }
    // A clone asks for the same ticket, and one of the two has it; the other one is at the door, from another machine.
    let elsewhere = |other: &Row| other.slot == Slot::Ticket && other.address != row.address;
    if same_name().any(elsewhere) {
        return true;
    }
    let is_only_one = same_name().filter(|other| counts(other)).count() == 1;
    let may_be_early = known == Known::Soon && row.slot == Slot::None && is_only_one;
    counts(row) && !may_be_early
}

#[cfg(test)]
mod tests {
    use super::*;
    use SenderState::{Backup, Catchup, Startup, Stopping, Streaming};

    const OWN: &str = "10.0.0.2";
    const ELSEWHERE: &str = "10.9.0.2";

    fn row(state: SenderState, slot: Slot, address: &str) -> Row {
        Row {
            name: "node2".to_owned(),
            state,
            slot,
            address: address.to_owned(),
        }
    }

    /// Which row is node2's, and whether somebody else has its name.
    fn told(rows: &[Row], known: Known) -> (Option<usize>, Option<String>) {
        let told = tell_apart(rows, |_| known);
        let of = told.of.get("node2").copied();
        (of, told.impostors.get("node2").cloned())
    }

    #[test]
    fn a_nodes_row_is_the_one_with_its_ticket() {
        let own = row(Streaming, Slot::Ticket, OWN);
        let other = row(Streaming, Slot::None, ELSEWHERE);
        let impostor = || Some(ELSEWHERE.to_owned());
        let by_ticket = |rows: &[Row]| told(rows, Known::ByTicket);
        assert_eq!(by_ticket(std::slice::from_ref(&own)), (Some(0), None));
        // Beside it, before or after, and in its place; by another slot, and on the same machine.
        assert_eq!(
            by_ticket(&[other.clone(), own.clone()]),
            (Some(1), impostor())
        );
        assert_eq!(
            by_ticket(&[own.clone(), other.clone()]),
            (Some(0), impostor())
        );
        assert_eq!(by_ticket(&[other]), (None, impostor()));
        let archiver = row(Streaming, Slot::Other, OWN);
        assert_eq!(by_ticket(&[own, archiver]), (Some(0), Some(OWN.to_owned())));
        for state in [Catchup, Stopping] {
            let rows = [row(state, Slot::None, ELSEWHERE)];
            assert_eq!(by_ticket(&rows), (None, impostor()), "{state:?}");
        }
    }

    #[test]
    fn a_standby_at_the_door_is_itself() {
        let by_ticket = |rows: &[Row]| told(rows, Known::ByTicket);
        // It connects, or waits for the rest of an old timeline to be replayed, or is copied.
        for state in [Startup, Backup] {
            let rows = [row(state, Slot::None, OWN)];
            assert_eq!(by_ticket(&rows), (Some(0), None), "{state:?}");
        }
        // Beside its own old row, which dies.
        let rows = [
            row(Streaming, Slot::Ticket, OWN),
            row(Startup, Slot::None, OWN),
        ];
        assert_eq!(by_ticket(&rows), (Some(0), None));
        // A clone has what it asks for: whoever of the two got it, the name proves nothing.
        let rows = [
            row(Streaming, Slot::Ticket, ELSEWHERE),
            row(Startup, Slot::None, OWN),
        ];
        assert_eq!(by_ticket(&rows), (Some(0), Some(OWN.to_owned())));
    }

    #[test]
    fn one_that_was_taken_over_gets_its_ticket_soon() {
        let soon = |rows: &[Row]| told(rows, Known::Soon);
        assert_eq!(soon(&[row(Streaming, Slot::None, OWN)]), (Some(0), None));
        // Two of them, or one with another slot.
        let two = [
            row(Streaming, Slot::None, OWN),
            row(Streaming, Slot::None, ELSEWHERE),
        ];
        assert_eq!(soon(&two).0, None);
        assert!(soon(&two).1.is_some());
        assert!(soon(&[row(Streaming, Slot::Other, OWN)]).1.is_some());
    }

    #[test]
    fn who_has_no_tickets_is_known_by_its_name() {
        let by_name = |rows: &[Row]| told(rows, Known::ByName);
        let two = [
            row(Startup, Slot::None, OWN),
            row(Streaming, Slot::None, ELSEWHERE),
        ];
        assert_eq!(by_name(&two), (Some(1), None));
        let two = [
            row(Streaming, Slot::None, OWN),
            row(Streaming, Slot::Other, ELSEWHERE),
        ];
        assert_eq!(by_name(&two), (Some(0), None));
    }
}
