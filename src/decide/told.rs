//! By which answer a monitor tells that the resource is degraded: by its code (190, 191), or by an attribute alone.
//!
//! To promote or demote, Pacemaker cancels the monitor of the role that ends, and waits for its end, of which the only sign is that the monitor's
//! own entry goes from the node's history. A monitor has one once it has answered plainly; a degraded answer is a note of a failure beside it. Where the
//! first answer was degraded there is only the note, and so there is where a new coordinator had every node write down its history anew after
//! a degraded answer. Then nothing goes, and the coordinator waits until a timer is over: minutes without a primary (seen on 2.1.5: a standby with a
//! misspelt line in pg_hba.conf, and the primary's node lost, which was the coordinator as well; nobody was promoted within 120 s).
//!
//! So a monitor whose entry is not there answers plainly, after which there is one; and so does a standby as long as the primary's node coordinates,
//! as both may be lost together, and it is promoted before its next monitor. What is wrong is told by the attribute `RSC-notice` all the same.
//!
//! Source: Pacemaker 2.1.5 and 3.0.2, `lib/pacemaker/pcmk_sched_actions.c` `pcmk__create_history_xml` (a result that is not the expected one is
//! written as `RSC_last_failure_0` only), `daemons/controld/controld_te_callbacks.c` `process_op_deletion`, `controld_te_events.c`
//! `confirm_cancel_action`.

use crate::model::cluster_view::{Operation, OperationKind, RecordedRole, recorded_role};

/// Whose monitor has found the resource degraded, and what Pacemaker has on record.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// It is a standby's.
    pub is_standby: bool,
    /// After how many milliseconds the monitor is repeated.
    pub interval_ms: u32,
    /// This node's history of the resource; empty: Pacemaker knows nothing of the resource here, and will cancel nothing.
    pub own: &'a [Operation],
    /// That of the coordinator's node; empty where there is none.
    pub coordinators: &'a [Operation],
}

/// Whether the monitor's code may say so.
#[must_use]
pub fn by_code(seen: Seen<'_>) -> bool {
    let has_entry = seen.own.iter().any(|operation| {
        !operation.is_note
            && operation.kind == OperationKind::Monitor
            && operation.interval_ms == seen.interval_ms
            && operation.call_id.is_some()
    });
    let is_primarys = recorded_role(seen.coordinators) == RecordedRole::Promoted;
    seen.own.is_empty() || has_entry && !(seen.is_standby && is_primarys)
}

/// What the attribute has to be for what is told now; `None`: as it is. Where only figures in it have changed, it is not written anew.
#[must_use]
pub fn by_attribute(is: Option<&str>, told: Option<&str>) -> Option<Option<String>> {
    let told = told.map(attribute_text);
    let is_same = is.map(without_figures) == told.as_deref().map(without_figures);
    (!is_same).then_some(told)
}

/// A text as an attribute takes it. attrd_updater refuses what is not ASCII in some locales (tried: 2.1.5, rc 64), and a second line is none
/// of ours.
fn attribute_text(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let ascii = |c: char| match c {
        ' '..='~' => c,
        _ => '?',
    };
    line.chars().map(ascii).take(LONGEST).collect()
}

/// Characters of an attribute's text: more than any reason has.
const LONGEST: usize = 1000;

/// How much, how long and how often, and which process, is no other trouble; which node, line, port or slot is.
fn without_figures(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in text.split(' ') {
        let bare = word.trim_matches(['(', ')', ',', ';', ':', '%']);
        let is_number = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let is_name = matches!(words.last(), Some(&("line" | "port")));
        words.push(if is_number && !is_name { "#" } else { word });
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(kind: OperationKind, interval_ms: u32) -> Operation {
        Operation {
            kind,
            call_id: Some(19),
            last_change: 0,
            code: 0,
            interval_ms,
            is_note: false,
        }
    }

    #[test]
    fn the_code_tells_where_pacemaker_can_cancel_the_monitor_afterwards() {
        let start = done(OperationKind::Start, 0);
        let monitor = done(OperationKind::Monitor, 4000);
        let deep = done(OperationKind::Monitor, 60_000);
        let running = Operation {
            call_id: None,
            ..monitor.clone()
        };
        let note = Operation {
            code: 190,
            is_note: true,
            ..monitor.clone()
        };
        let table: &[(&str, &[&Operation], bool)] = &[
            ("not Pacemaker's", &[], true),
            ("the first monitor", &[&start], false),
            ("it runs", &[&start, &running], false),
            ("all was well", &[&start, &monitor], true),
            ("it is told already", &[&start, &monitor, &note], true),
            (
                "a new coordinator has only the note",
                &[&start, &note],
                false,
            ),
            ("a deep monitor alone has one", &[&start, &deep], false),
        ];
        let promoted = [done(OperationKind::Promote, 0)];
        for (what, own, expected) in table {
            let own: Vec<Operation> = own.iter().map(|it| (*it).clone()).collect();
            let may = |is_standby, coordinators| {
                by_code(Seen {
                    is_standby,
                    interval_ms: 4000,
                    own: &own,
                    coordinators,
                })
            };
            for coordinators in [&[][..], std::slice::from_ref(&start)] {
                assert_eq!(may(true, coordinators), *expected, "{what}");
            }
            // The primary's node coordinates.
            assert_eq!(may(true, &promoted), own.is_empty(), "{what}");
            assert_eq!(may(false, &promoted), *expected, "{what}: a primary");
        }
    }

    #[test]
    fn the_attribute_changes_with_the_words() {
        let table = [
            (None, None, None),
            (None, Some("a slot"), Some(Some("a slot"))),
            (Some("a slot"), Some("a slot"), None),
            (
                Some("slot x holds 17 MiB"),
                Some("slot x holds 18 MiB"),
                None,
            ),
            (
                Some("it (process 17) hangs"),
                Some("it (process 218) hangs"),
                None,
            ),
            (
                Some("slot of node2 holds 17 MiB"),
                Some("slot of node3 holds 17 MiB"),
                Some(Some("slot of node3 holds 17 MiB")),
            ),
            (
                Some("correct pg_hba.conf line 93"),
                Some("correct pg_hba.conf line 97"),
                Some(Some("correct pg_hba.conf line 97")),
            ),
            (Some("no room"), None, Some(None)),
            // As the attribute has it.
            (
                None,
                Some("line \u{ab}x\u{bb}\n  and more"),
                Some(Some("line ?x? and more")),
            ),
            (
                Some("line ?x? and more"),
                Some("line \u{ab}x\u{bb}\n  and more"),
                None,
            ),
        ];
        for (is, told, expected) in table {
            let expected = expected.map(|text| text.map(str::to_owned));
            assert_eq!(by_attribute(is, told), expected, "{is:?} {told:?}");
        }
    }
}
