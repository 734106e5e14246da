//! One rewind or rebuild, seen through: shown, interrupted, given up.
//!
//! The work itself is the agent's ([`agent::by_hand`]), as is its lock against the agent. It runs in a thread,
//! so that this one can answer the operator: when the command ends, so does the thread, and with it the programs that it
//! runs.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::agent;
use crate::model::repair::{Journal, Phase, Work};
use crate::ocf::{OcfCode, Outcome};
use crate::sys::Deadline;

use super::interrupt::{Reaction, react};
use crate::cluster::interrupt;
use crate::cluster::node::Here;
use crate::cluster::show::Display;
use crate::cluster::{Exit, Failure};

/// How often it is looked whether the operator has asked for the end.
const LOOK: Duration = Duration::from_millis(100);

/// What is to be done.
pub(super) struct Job<'a> {
    pub(super) here: &'a Here,
    pub(super) work: Work,
    /// How long it may wait for what passes by itself, such as a primary that does not answer.
    pub(super) limit: Duration,
    /// The server ran before, and Pacemaker starts it where it does not.
    pub(super) is_watched: bool,
}

/// It did not come to its end.
pub(super) struct Stopped {
    pub(super) failure: Failure,
    /// The work was a rewind which failed before it wrote anything, and nobody asked for the end.
    pub(super) may_rebuild: bool,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            may_rebuild: false,
        }
    }
}

/// What has become of the data so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Data {
    Untouched,
    /// pg_rewind has begun to write.
    Written,
    /// They are the primary's.
    Replaced,
}

/// The last that was told, and what it amounts to.
#[derive(Clone, Debug)]
struct Stand {
    journal: Journal,
    data: Data,
    /// Since when it waits, as the end of its patience.
    patience: Option<Deadline>,
}

impl Stand {
    fn new(work: Work) -> Self {
        Self {
            journal: Journal::new(work),
            data: Data::Untouched,
            patience: None,
        }
    }

    fn told(&mut self, journal: Journal, limit: Duration) {
        let data = match (journal.work, journal.phase) {
            (Work::Rewind, Phase::Copying) => Data::Written,
            (_, Phase::Swapping | Phase::Starting | Phase::Done) => Data::Replaced,
            (Work::Rebuild, Phase::Copying)
            | (_, Phase::Waiting | Phase::Recovering | Phase::Checking | Phase::Failed) => {
                Data::Untouched
            }
        };
        self.data = self.data.max(data);
        match journal.phase {
            Phase::Waiting => {
                self.patience.get_or_insert_with(|| Deadline::after(limit));
            }
            // Each new attempt begins with these.
            Phase::Recovering | Phase::Checking => {}
            Phase::Copying | Phase::Swapping | Phase::Starting | Phase::Done | Phase::Failed => {
                self.patience = None;
            }
        }
        self.journal = journal;
    }

    fn is_out_of_patience(&self) -> bool {
        self.patience.is_some_and(Deadline::is_past)
    }

    /// What has become of the data, for whoever has to go on from here.
    const fn in_words(&self) -> &'static str {
        match (self.data, self.journal.damaged) {
            (Data::Untouched, false) => "this node's data are as they were",
            (Data::Untouched, true) => {
                "this node's data are as they were: half rewound, and only a new copy repairs them: expgsql cluster rebuild"
            }
            (Data::Written, true) => {
                "this node's data are neither the old ones nor the primary's, and only a new copy repairs them: expgsql cluster rebuild"
            }
            (Data::Written, false) => {
                "this node's data are rewound, but its own files may not all be back: run the same command again"
            }
            (Data::Replaced, _) => {
                "this node's data are the primary's already, and what is left is to start the server: run the same command again"
            }
        }
    }
}

enum Event {
    Told(Journal),
    Ended(Outcome),
}

impl Job<'_> {
    /// Does the work to its end.
    ///
    /// # Errors
    /// [`Stopped`]: it failed, was interrupted, or waited too long.
    pub(super) fn run(&self, display: &mut Display) -> Result<(), Stopped> {
        let events = self.start()?;
        let mut stand = Stand::new(self.work);
        let (mut answered, mut was_warned) = (interrupt::times_asked(), false);
        loop {
            match events.recv_timeout(LOOK) {
                Ok(Event::Told(journal)) => {
                    display.tell(&journal);
                    stand.told(journal, self.limit);
                }
                Ok(Event::Ended(outcome)) => return conclude(&outcome, &stand),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::plain(
                        "bug in expgsql: the repair ended without a result; please report it with what is printed above",
                    )
                    .into());
                }
            }
            if stand.is_out_of_patience() {
                return Err(self.gave_up(&stand).into());
            }
            let asked = interrupt::times_asked();
            if asked == answered {
                continue;
            }
            answered = asked;
            match react(&stand.journal, was_warned) {
                Reaction::End => return Err(self.interrupted(&stand).into()),
                Reaction::AskAgain => {
                    was_warned = true;
                    display.say(
                        "pg_rewind is writing: if it is interrupted now, only a rebuild repairs this node; press Ctrl-C once more to interrupt it",
                    );
                }
                Reaction::Finish => {
                    display.say("this can't be interrupted; it is done in a moment");
                }
            }
        }
    }

    fn start(&self) -> Result<Receiver<Event>, Failure> {
        let (send, events) = mpsc::channel();
        let (env, params) = (self.here.env.clone(), self.here.params.clone());
        let work = self.work;
        let body = move || {
            // Nobody listens any more only when the process ends.
            let mut tell = |journal: &Journal| drop(send.send(Event::Told(journal.clone())));
            let outcome = agent::by_hand(&env, &params, work, &mut tell);
            let _ = send.send(Event::Ended(outcome));
        };
        std::thread::Builder::new()
            .name(work.to_string())
            .spawn(body)
            .map_err(Failure::plain)?;
        Ok(events)
    }

    fn gave_up(&self, stand: &Stand) -> Failure {
        let note = stand.journal.note.as_deref().unwrap_or("it waits");
        let why = format!(
            "given up after {:?}: {note}; {}{}",
            self.limit,
            stand.in_words(),
            self.server()
        );
        Failure::new(Exit::TimedOut, why)
    }

    fn interrupted(&self, stand: &Stand) -> Failure {
        if interrupt::was_told() {
            return Failure::plain(format!(
                "ended by SIGTERM, as Pacemaker does when it stops the resource on this node: {}; \
                 run the command again when Pacemaker has settled",
                stand.in_words()
            ));
        }
        Failure::plain(format!(
            "interrupted: {}{}",
            stand.in_words(),
            self.server()
        ))
    }

    /// What becomes of the server that was stopped for the work.
    const fn server(&self) -> &'static str {
        if self.is_watched {
            "; Pacemaker starts the server again with its next monitor"
        } else {
            ""
        }
    }
}

fn conclude(outcome: &Outcome, stand: &Stand) -> Result<(), Stopped> {
    if outcome.code == OcfCode::Success {
        return Ok(());
    }
    let reason = outcome.reason.as_deref().unwrap_or(outcome.code.name());
    Err(Stopped {
        failure: Failure::plain(format!("{reason}; {}", stand.in_words())),
        may_rebuild: stand.journal.work == Work::Rewind && stand.data == Data::Untouched,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn stand(work: Work, phases: &[(Phase, bool)]) -> Stand {
        let mut stand = Stand::new(work);
        for (phase, damaged) in phases {
            let journal = Journal {
                phase: *phase,
                damaged: *damaged,
                ..Journal::new(work)
            };
            stand.told(journal, HOUR);
        }
        stand
    }

    #[test]
    fn whoever_has_to_go_on_is_told_what_has_become_of_the_data() {
        use Phase::{Checking, Copying, Failed, Starting, Swapping, Waiting};
        for (work, phases, part) in [
            (
                Work::Rebuild,
                &[(Copying, false), (Failed, false)][..],
                "are as they were",
            ),
            (Work::Rebuild, &[(Waiting, false)], "are as they were"),
            (
                Work::Rebuild,
                &[(Copying, true), (Failed, true)],
                "half rewound",
            ),
            (
                Work::Rebuild,
                &[(Copying, false), (Swapping, false), (Waiting, false)],
                "the primary's already",
            ),
            (
                Work::Rewind,
                &[(Checking, false), (Failed, false)],
                "are as they were",
            ),
            (
                Work::Rewind,
                &[(Checking, true), (Failed, true)],
                "half rewound",
            ),
            (
                Work::Rewind,
                &[(Copying, true), (Failed, true)],
                "neither the old ones",
            ),
            (
                Work::Rewind,
                &[(Copying, true), (Waiting, false)],
                "own files",
            ),
            (
                Work::Rewind,
                &[(Copying, true), (Starting, false), (Waiting, false)],
                "the primary's already",
            ),
        ] {
            let stand = stand(work, phases);
            assert!(
                stand.in_words().contains(part),
                "{stand:?}: {}",
                stand.in_words()
            );
        }
    }

    #[test]
    fn a_rebuild_follows_only_a_rewind_that_wrote_nothing() {
        use Phase::{Checking, Copying, Failed, Recovering, Starting};
        let failed = Outcome::because(OcfCode::ErrGeneric, "no");
        for (work, phases, expected) in [
            (
                Work::Rewind,
                &[(Recovering, false), (Checking, false), (Failed, false)][..],
                true,
            ),
            // Somebody's earlier one.
            (Work::Rewind, &[(Failed, true)], true),
            (Work::Rewind, &[(Copying, true), (Failed, true)], false),
            (Work::Rewind, &[(Copying, true), (Failed, false)], false),
            (Work::Rewind, &[(Starting, false), (Failed, false)], false),
            (Work::Rebuild, &[(Failed, false)], false),
        ] {
            let stopped = conclude(&failed, &stand(work, phases)).err().unwrap();
            assert_eq!(stopped.may_rebuild, expected, "{phases:?}");
            assert!(stopped.failure.why.starts_with("no; this node's data"));
        }
        let done = stand(Work::Rewind, &[(Phase::Done, false)]);
        assert!(conclude(&Outcome::of(OcfCode::Success), &done).is_ok());
    }

    #[test]
    fn patience_is_for_one_wait_and_not_for_the_whole_work() {
        let told = |stand: &mut Stand, phase| {
            let journal = Journal {
                phase,
                ..Journal::new(Work::Rewind)
            };
            stand.told(journal, Duration::ZERO);
        };
        let mut stand = Stand::new(Work::Rewind);
        assert!(!stand.is_out_of_patience());
        told(&mut stand, Phase::Waiting);
        assert!(stand.is_out_of_patience());
        // The next attempt, which has got no further.
        told(&mut stand, Phase::Checking);
        assert!(stand.is_out_of_patience());
        told(&mut stand, Phase::Copying);
        assert!(!stand.is_out_of_patience());
    }
}
