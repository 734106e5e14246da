//! What docs/status.md lists of the JSON, held against the JSON of every cluster that the tables of cases know.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::decide::observed::example::{healthy, lock_row, name};
use crate::decide::observed::{
    Behind, Companion, LockSeen, Observed, Outside, Place, SlotSeen, TargetRole, Votes,
};
use crate::decide::{condition, why};
use crate::model::cluster_view::Quorum;
use crate::model::lock::LockRow;

/// Every cluster that is judged in a table, and those that differ in what nobody judges.
pub(super) fn pictures() -> Vec<Observed> {
    let mut pictures = condition::tests::pictures();
    pictures.extend(why::tests::pictures());
    let with = |change: &dyn Fn(&mut Observed)| {
        let mut seen = healthy();
        change(&mut seen);
        seen
    };
    let row = |change: &dyn Fn(&mut LockRow)| {
        let LockSeen::Row { name, mut row } = lock_row("pgsql_node1", &["node1", "node3"]) else {
            panic!("it is a row");
        };
        change(&mut row);
        LockSeen::Row { name, row }
    };
    for lock in [
        LockSeen::ByCommand,
        LockSeen::NotAsked {
            name: "lab".to_owned(),
            why: "root may ask for it, and this is not root".to_owned(),
        },
        row(&|_| {}),
        row(&|row| row.owner.clear()),
        row(&|row| row.remaining = Duration::ZERO),
    ] {
        pictures.push(with(&|seen| seen.lock = lock.clone()));
    }
    pictures.push(with(&|seen| {
        seen.target_role = TargetRole::Unpromoted;
        seen.quorum = Quorum::Unknown;
        seen.hold = Some("it waits".to_owned());
        seen.unread.push("corosync does not answer".to_owned());
        seen.votes = Some(Votes {
            expected: 3,
            one_each: true,
            awaits_all: false,
        });
        for place in [Place::WithStandby, Place::Anywhere] {
            seen.companions.push(Companion {
                place,
                ..seen.companions[0].clone()
            });
        }
        let behind = Behind {
            bytes: Some(1),
            delay: Some(Duration::from_secs(1)),
        };
        let slot = |is_logical| SlotSeen {
            name: "reports".to_owned(),
            is_logical,
            is_active: true,
            held: Some(0),
            is_lost: false,
        };
        let node = seen.nodes.get_mut(&name("node3")).unwrap();
        node.wal.delay = Some(Duration::from_secs(1));
        node.wal.replay = behind;
        seen.outside.push(Outside {
            name: "reports".to_owned(),
            is_streaming: true,
            position: node.wal.position,
            lag: behind,
            replay: behind,
            slot: Some("reports".to_owned()),
        });
        seen.slots = Some(vec![slot(false), slot(true)]);
        node.streams = Some(false);
    }));
    pictures
}

/// The words between two headings of docs/status.md that are quoted as names of members or as values.
fn listed(from: &str, to: Option<&str>) -> BTreeSet<String> {
    let text = include_str!("../../docs/status.md");
    let (_, rest) = text.split_once(from).unwrap();
    let section = to.map_or(rest, |to| rest.split_once(to).unwrap().0);
    let quoted = section.split('`').skip(1).step_by(2);
    let is_of_another_place = |word: &&str| ["RSC_SYNC", "null"].contains(word);
    quoted
        .filter(|word| !is_of_another_place(word))
        .map(str::to_owned)
        .collect()
}

/// Every member that has a value, and every value that is a word.
fn words(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
                found.insert(name.clone());
                words(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| words(value, found)),
        Value::String(word) => drop(found.insert(word.clone())),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Demands that what is listed between two headings occurs in one of `documents`.
pub(super) fn assert_occurs(from: &str, to: Option<&str>, documents: &[Value]) {
    let listed = listed(from, to);
    assert!(listed.len() > 30, "{listed:?}");
    let mut found = BTreeSet::new();
    documents
        .iter()
        .for_each(|document| words(document, &mut found));
    let missing: Vec<_> = listed.difference(&found).collect();
    assert!(missing.is_empty(), "nothing shows {missing:?}");
}
