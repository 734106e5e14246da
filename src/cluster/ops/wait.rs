//! Waiting for what Pacemaker does, in view of the operator.

use std::time::Duration;

use crate::cluster::show::Display;
use crate::cluster::{Exit, Failure, interrupt};
use crate::sys::{Deadline, poll_until};
use crate::timing;

use super::scene::Scene;

/// What one look says about what is waited for.
pub(super) enum Look<T> {
    Done(T),
    /// What is missing yet, in a few words.
    NotYet(String),
    /// It will not come.
    Never(Failure),
}

/// Why a wait has ended without what it was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With what was missing then.
    TimedOut {
        after: Duration,
        missing: String,
    },
    /// By the operator, with what was missing then.
    Interrupted {
        missing: String,
    },
    Never(Failure),
}

impl Ended {
    /// The same, of a wait that was part of one for so long.
    pub(super) fn of(self, limit: Duration) -> Self {
        match self {
            Self::TimedOut { missing, .. } => Self::TimedOut {
                after: limit,
                missing,
            },
            ended @ (Self::Interrupted { .. } | Self::Never(_)) => ended,
        }
    }

    /// The failure, where `done` says what has been done so far, and what becomes of it.
    pub(super) fn after(self, done: &str) -> Failure {
        match self {
            Self::TimedOut { after, missing } => Failure::new(
                Exit::TimedOut,
                format!("given up after {} s: {missing}; {done}", after.as_secs()),
            ),
            Self::Interrupted { missing } => {
                Failure::plain(format!("interrupted: {missing}; {done}"))
            }
            Self::Never(failure) => Failure::new(failure.exit, format!("{}; {done}", failure.why)),
        }
    }
}

/// Progress, and the operator's Ctrl-C.
pub(super) struct Watch {
    display: Display,
    told: String,
    asked: u32,
}

impl Watch {
    /// From here on Ctrl-C ends a wait, and not the program.
    ///
    /// # Errors
    /// The system's, in words.
    pub(super) fn begin() -> Result<Self, Failure> {
        interrupt::listen().map_err(Failure::plain)?;
        Ok(Self {
            display: Display::new(false, false),
            told: String::new(),
            asked: interrupt::times_asked(),
        })
    }

    /// A line that stays.
    pub(super) fn say(&self, text: &str) {
        self.display.say(text);
    }

    /// What goes on; where it goes on for long, said once.
    pub(super) fn doing(&mut self, text: &str) {
        if self.told != text {
            self.display.wait(text);
            text.clone_into(&mut self.told);
        }
    }

    /// Looks at the cluster until `look` finds what it is waiting for. A CIB that can't be read says nothing.
    ///
    /// # Errors
    /// [`Ended`].
    pub(super) fn until<T>(
        &mut self,
        scene: &mut Scene,
        limit: Duration,
        mut look: impl FnMut(&Scene) -> Look<T>,
    ) -> Result<T, Ended> {
        let mut last = "nothing was seen".to_owned();
        let found = poll_until(Deadline::after(limit), timing::COMMAND_POLL, || {
            match scene.refresh() {
                Ok(()) => match look(scene) {
                    Look::Done(value) => return Some(Ok(value)),
                    Look::NotYet(missing) => last = missing,
                    Look::Never(failure) => return Some(Err(Ended::Never(failure))),
                },
                Err(failure) => last = failure.why,
            }
            if interrupt::times_asked() != self.asked {
                self.asked = interrupt::times_asked();
                return Some(Err(Ended::Interrupted {
                    missing: last.clone(),
                }));
            }
            self.doing(&format!("waiting: {last}"));
            None
        });
        found.unwrap_or(Err(Ended::TimedOut {
            after: limit,
            missing: last,
        }))
    }

    /// Nothing more is to come: a bar goes, what was said stays.
    pub(super) fn close(&self) {
        self.display.close();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.close();
    }
}
