//! Whose rows in `pg_stat_replication` are whose. PostgreSQL lets commits wait for a *name*, `application_name`, which any server may
//! have: one of another cluster with nodes of the same names, a clone of a virtual machine, somebody's pg_receivewal. What such a
//! one confirms is acknowledged, and no node has it. A node's own server streams by its ticket, a slot that nobody else asks for.

use std::collections::BTreeMap;

use crate::model::sync_names::StandbyName;

/// One row, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `application_name`, in lower case.
    pub name: StandbyName,
    /// It streams; else it is about to, or dies.
    pub streams: bool,
    /// The slot is a ticket.
    pub has_ticket: bool,
    /// Whose address it is from; empty where PostgreSQL does not say.
    pub address: String,
}

/// Who is who.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// For each name the index of the row that is its standby's.
    pub of: BTreeMap<StandbyName, usize>,
    /// Nodes' names under which somebody else is connected, and from where.
    pub impostors: BTreeMap<StandbyName, String>,
}

/// `has_tickets`: whether a row under this name should have one. Where it should not (an outside standby, asynchronous mode, a server
/// before PostgreSQL 13) the row that streams is the standby's, and another under the same name is dying.
#[must_use]
pub fn tell_apart(rows: &[Row], has_tickets: impl Fn(&StandbyName) -> bool) -> Rows {
    let mut told = Rows::default();
    for (index, row) in rows.iter().enumerate() {
        if has_tickets(&row.name) && !row.has_ticket {
            told.impostors.insert(row.name.clone(), row.address.clone());
            continue;
        }
        let is_there = told.of.get(&row.name).is_some_and(|at| rows[*at].streams);
        if !is_there {
            told.of.insert(row.name.clone(), index);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, streams: bool, has_ticket: bool, address: &str) -> Row {
        Row {
            name: name.to_owned(),
            streams,
            has_ticket,
            address: address.to_owned(),
        }
    }

    #[test]
    fn a_nodes_row_is_the_one_with_its_ticket() {
        let told = |rows: &[Row], nodes: &[&str]| {
            let told = tell_apart(rows, |name| nodes.contains(&name.as_str()));
            let of: Vec<(String, usize)> = told.of.into_iter().collect();
            let impostors: Vec<(String, String)> = told.impostors.into_iter().collect();
            (of, impostors)
        };
        let of = |name: &str, at: usize| vec![(name.to_owned(), at)];
        let by = |name: &str, at: &str| vec![(name.to_owned(), at.to_owned())];
        let own = row("node2", true, true, "10.0.0.2");
        let other = row("node2", true, false, "10.9.0.2");
        let nodes = ["node2"];
        assert_eq!(
            told(std::slice::from_ref(&own), &nodes),
            (of("node2", 0), vec![])
        );
        // Beside it, before or after, and in its place.
        let both = [other.clone(), own.clone()];
        assert_eq!(
            told(&both, &nodes),
            (of("node2", 1), by("node2", "10.9.0.2"))
        );
        let both = [own, other.clone()];
        assert_eq!(
            told(&both, &nodes),
            (of("node2", 0), by("node2", "10.9.0.2"))
        );
        let alone = [other];
        assert_eq!(told(&alone, &nodes), (vec![], by("node2", "10.9.0.2")));
        // One that does not stream yet is counted as soon as it does.
        let early = [row("node2", false, false, "10.9.0.2")];
        assert_eq!(told(&early, &nodes), (vec![], by("node2", "10.9.0.2")));
        // No node's name, or no tickets at all: the row that streams.
        let two = [row("dr", false, false, "a"), row("dr", true, false, "b")];
        assert_eq!(told(&two, &nodes), (of("dr", 1), vec![]));
        let two = [row("dr", true, false, "a"), row("dr", true, false, "b")];
        assert_eq!(told(&two, &[]), (of("dr", 0), vec![]));
    }
}
