//! What stops PostgreSQL for a change, in the order in which nothing is left stopped by a change that does not come.

use crate::cluster::{Exit, Failure};

/// The steps. Each may be done again after a call that was killed.
pub(super) trait Steps {
    /// Has Pacemaker say whether it would accept what is to come. Nothing is done.
    fn verify(&mut self) -> Result<(), Failure>;
    /// Tells everything to stop, and waits until it has.
    fn stop(&mut self) -> Result<(), Failure>;
    /// Changes the configuration, in one step.
    fn change(&mut self) -> Result<(), Failure>;
    /// Whether the cluster has the change, whatever the step said: it may have ended before its answer came.
    fn is_changed(&mut self) -> bool;
    /// Lets everything be as it was before the stop.
    fn give_back(&mut self) -> Result<(), Failure>;
    /// What does the same by hand.
    fn way_back(&self) -> String;
    /// Whether what takes too long to stop is to go on with it.
    fn goes_on(&self) -> bool;
}

/// Does them.
///
/// # Errors
/// [`Failure`] of the first that failed, with what became of what was told to stop.
pub(super) fn carry_out(steps: &mut impl Steps) -> Result<(), Failure> {
    steps.verify()?;
    let Err(failed) = steps.stop() else {
        let Err(failed) = steps.change() else {
            return Ok(());
        };
        if steps.is_changed() {
            return Ok(());
        }
        return Err(taken_back(steps, &failed));
    };
    if steps.goes_on() && failed.exit == Exit::TimedOut {
        return Err(Failure::new(
            failed.exit,
            format!(
                "{}; Pacemaker goes on stopping it, and nothing was removed yet: run this again, or, to go back: {}",
                failed.why,
                steps.way_back()
            ),
        ));
    }
    Err(taken_back(steps, &failed))
}

fn taken_back(steps: &mut impl Steps, failed: &Failure) -> Failure {
    let what = match steps.give_back() {
        Ok(()) => {
            "the configuration is as it was before, and what ran then is started again".to_owned()
        }
        Err(also) => format!(
            "what was told to stop for the change stays stopped, as that could not be taken back ({}): {}",
            also.why,
            steps.way_back()
        ),
    };
    let exit = match failed.exit {
        // That is for what was done.
        Exit::TimedOut => Exit::Failed,
        Exit::Done
        | Exit::Failed
        | Exit::Usage
        | Exit::NoPrimary
        | Exit::Refused
        | Exit::Unreachable
        | Exit::NoQuorum => failed.exit,
    };
    Failure::new(exit, format!("{}; {what}", failed.why))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fake: it notes what it is asked for, and fails where it is told to.
    #[derive(Default)]
    struct Fake {
        fails: &'static [&'static str],
        is_late: bool,
        is_changed: bool,
        goes_on: bool,
        done: Vec<&'static str>,
    }

    impl Fake {
        fn step(&mut self, name: &'static str) -> Result<(), Failure> {
            self.done.push(name);
            if !self.fails.contains(&name) {
                return Ok(());
            }
            Err(Failure::new(
                if self.is_late {
                    Exit::TimedOut
                } else {
                    Exit::Failed
                },
                format!("{name} failed"),
            ))
        }
    }

    impl Steps for Fake {
        fn verify(&mut self) -> Result<(), Failure> {
            self.step("verify")
        }
        fn stop(&mut self) -> Result<(), Failure> {
            self.step("stop")
        }
        fn change(&mut self) -> Result<(), Failure> {
            self.step("change")
        }
        fn is_changed(&mut self) -> bool {
            self.is_changed
        }
        fn give_back(&mut self) -> Result<(), Failure> {
            self.step("give back")
        }
        fn way_back(&self) -> String {
            "by hand".to_owned()
        }
        fn goes_on(&self) -> bool {
            self.goes_on
        }
    }

    #[test]
    fn nothing_stays_stopped_for_a_change_that_does_not_come() {
        let all = ["verify", "stop", "change"];
        let back = ["verify", "stop", "give back"];
        let late = |goes_on| Fake {
            fails: &["stop"],
            is_late: true,
            goes_on,
            ..Fake::default()
        };
        let failing = |fails| Fake {
            fails,
            goes_on: true,
            ..Fake::default()
        };
        let unheard = Fake {
            fails: &["change"],
            is_changed: true,
            ..Fake::default()
        };
        let both = ["verify", "stop", "change", "give back"];
        for (mut steps, done, parts) in [
            // (what fails, what was done, what is said; nothing: all is well)
            (failing(&[]), &all[..], &[][..]),
            (failing(&["verify"]), &all[..1], &["verify failed"]),
            (failing(&["stop"]), &back, &["stop failed", "started again"]),
            (late(false), &back, &["stop failed", "started again"]),
            (
                late(true),
                &all[..2],
                &["stop failed", "run this again", "by hand"],
            ),
            (
                failing(&["change"]),
                &both,
                &["change failed", "started again"],
            ),
            (unheard, &all, &[]),
            (
                failing(&["change", "give back"]),
                &both,
                &[
                    "change failed",
                    "stays stopped",
                    "give back failed",
                    "by hand",
                ],
            ),
            (
                failing(&["stop", "give back"]),
                &back,
                &["stays stopped", "by hand"],
            ),
        ] {
            let result = carry_out(&mut steps);
            assert_eq!(steps.done, done, "{parts:?}");
            match result {
                Ok(()) => assert!(parts.is_empty(), "{parts:?}"),
                Err(failure) => {
                    assert!(!parts.is_empty(), "{}", failure.why);
                    for part in parts {
                        assert!(failure.why.contains(part), "{part}: {}", failure.why);
                    }
                    // Something was.
                    assert!(!failure.why.contains("nothing was done"), "{}", failure.why);
                    let goes_on = steps.is_late && steps.goes_on;
                    assert_eq!(failure.exit == Exit::TimedOut, goes_on, "{}", failure.why);
                }
            }
        }
    }
}
