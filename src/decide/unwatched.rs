//! A monitor that Pacemaker takes for running, and that nobody runs.
//!
//! Pacemaker keeps a note of a monitor's last result that was not the expected one, and a degraded one (190, 191) is such a result.
//! Where it cancels a monitor and the resource is not stopped (maintenance mode; a demotion that is called off once it has
//! begun, as when the two sides of a split meet), it removes the monitor's own entry from the history and leaves the note.
//! Its scheduler takes either for a monitor that runs, so it begins none: nobody watches the server any more, a primary
//! grants nothing and relaxes nothing, until something stops the resource. (Seen on Pacemaker 2.1.5, in maintenance mode and
//! after splits.) The note has to go; then the monitor begins.
//!
//! Source: Pacemaker 2.1.5 and 3.0.2, `daemons/controld/controld_execd.c` ("Avoid deleting last_failure too"),
//! `lib/pacemaker/pcmk_sched_actions.c` `process_rsc_history`, `lib/pacemaker/pcmk_sched_recurring.c`
//! `active_recurring_should_be_optional`.

use crate::model::cluster_view::{Operation, OperationKind};

/// The note that stands for a monitor which does not run, in a node's history of the resource. `None`: all is well, or
/// Pacemaker is about to do something, or what it does next begins a monitor anyway.
#[must_use]
pub fn lost_monitor(history: &[Operation]) -> Option<&Operation> {
    let note = history.iter().find(|operation| {
        operation.is_note
            && operation.kind == OperationKind::Monitor
            && operation.interval_ms > 0
            // Any other failure is recovered from, which begins a monitor.
            && matches!(operation.code, 190 | 191)
    })?;
    let mut others = history.iter().filter(|operation| !operation.is_note);
    let is_well = others.any(|other| match (other.call_id, other.kind) {
        // Something is being done; it may be the monitor itself.
        (None, _) => true,
        (Some(_), OperationKind::Monitor) if other.interval_ms > 0 => true,
        // What was before a start, a change of the role or a stop does not count to Pacemaker.
        (Some(call), _) => Some(call) > note.call_id,
    });
    (!is_well).then_some(note)
}

/// Whether a monitor is known to run.
#[must_use]
pub fn is_watched(history: &[Operation]) -> bool {
    history.iter().any(|operation| {
        !operation.is_note
            && operation.kind == OperationKind::Monitor
            && operation.interval_ms > 0
            && operation.call_id.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use OperationKind::{Demote, Monitor, Promote, Start, Stop};

    fn done(kind: OperationKind, call_id: u64, code: i32) -> Operation {
        Operation {
            kind,
            call_id: Some(call_id),
            last_change: 0,
            code,
            interval_ms: 0,
            is_note: false,
        }
    }

    fn monitor(call_id: u64, code: i32) -> Operation {
        Operation {
            interval_ms: 3000,
            ..done(Monitor, call_id, code)
        }
    }

    fn note(call_id: u64, code: i32) -> Operation {
        Operation {
            is_note: true,
            ..monitor(call_id, code)
        }
    }

    #[test]
    fn a_note_alone_is_a_monitor_that_nobody_runs() {
        let running = Operation {
            call_id: None,
            ..done(Demote, 0, 193)
        };
        let table: &[(&str, Vec<Operation>, bool)] = &[
            ("nothing is known", vec![], false),
            ("watched", vec![done(Promote, 47, 0), monitor(49, 8)], false),
            (
                "watched, and degraded once",
                vec![done(Promote, 47, 0), note(49, 191), monitor(49, 8)],
                false,
            ),
            (
                "a demotion was called off",
                vec![done(Promote, 47, 0), note(49, 191)],
                true,
            ),
            (
                "a standby, after maintenance",
                vec![done(Start, 27, 0), note(30, 190)],
                true,
            ),
            (
                "found running by a probe",
                vec![done(Monitor, 12, 0), note(30, 190)],
                true,
            ),
            (
                "the demotion goes on",
                vec![done(Promote, 47, 0), note(49, 191), running],
                false,
            ),
            (
                "demoted since",
                vec![done(Demote, 51, 0), note(49, 191)],
                false,
            ),
            (
                "promoted again since",
                vec![done(Promote, 55, 0), note(49, 191)],
                false,
            ),
            (
                "stopped since",
                vec![done(Stop, 52, 0), note(49, 191)],
                false,
            ),
            (
                "a failure, which is recovered from",
                vec![done(Promote, 47, 0), note(49, 7)],
                false,
            ),
            (
                "a failed start is no monitor",
                vec![Operation {
                    is_note: true,
                    ..done(Start, 9, 190)
                }],
                false,
            ),
        ];
        for (case, history, is_lost) in table {
            assert_eq!(lost_monitor(history).is_some(), *is_lost, "{case}");
            assert!(!(is_watched(history) && *is_lost), "{case}");
        }
    }

    #[test]
    fn neither_a_note_nor_a_probe_nor_one_that_has_not_answered_is_a_monitor() {
        let asked = Operation {
            call_id: None,
            ..monitor(0, 193)
        };
        for (history, expected) in [
            (vec![done(Promote, 47, 0), monitor(49, 8)], true),
            (vec![note(49, 191)], false),
            (vec![done(Monitor, 12, 8)], false),
            (vec![asked], false),
            (vec![], false),
        ] {
            assert_eq!(is_watched(&history), expected, "{history:?}");
        }
    }
}
