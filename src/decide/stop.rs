//! How long each way of stopping a server may take (R4: inside the operation's timeout).

use std::time::Duration;

use crate::model::lsn::Lsn;

/// Time for each step; what is left afterwards belongs to SIGKILL and to clearing up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// For a fast shutdown: connections are closed, standbys get the shutdown checkpoint.
    pub fast: Duration,
    /// For an immediate shutdown: as after a crash.
    pub immediate: Duration,
}

/// Whether the postmaster can act on a request at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Postmaster {
    Runs,
    /// It takes a connection and says nothing, or does not get a login done.
    Hangs,
    /// Stopped by a signal (state T): it will not act on any request but SIGKILL.
    Frozen,
}

/// A standby that is further behind than this, in bytes, is not waited for at a demotion. Less is sent in the time that the
/// rest of a switchover takes.
const STRAGGLER: u64 = 64 << 20;

/// Whether a fast shutdown shall go on without sending a standby all that it lacks, which it does before it ends,
/// however long that takes. Only where nothing depends on it: one that is in the claim (`is_counted`) may be promoted.
#[must_use]
pub const fn is_left_behind(lag: Option<u64>, is_counted: bool) -> bool {
    match lag {
        Some(lag) => lag > STRAGGLER && !is_counted,
        // It has not said anything yet; most likely it has just connected.
        None => false,
    }
}

/// What is left of a server that was told to shut down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lingering {
    /// Where its shutdown checkpoint begins, once that is on disk: from then on it writes nothing that counts. Clients that are
    /// told so still come and go.
    pub checkpoint: Option<Lsn>,
    /// How far each of its WAL senders has sent; `None` where that is not known.
    pub senders: Vec<Option<Lsn>>,
    /// Since when neither its archiver, with the command that it has started, nor a WAL sender has done anything.
    pub idle: Duration,
}

/// An archive command that has not run on any CPU for so long waits for something that does not come: a file server that is
/// away. One that copies runs many times a second.
const ARCHIVER: Duration = Duration::from_millis(1500);

/// A standby that has been sent everything confirms it within milliseconds. What lasts longer is a standby that hangs, or
/// one that is gone: the kernel has the rest of its data, and delivers them without the sender.
const SENDER: Duration = Duration::from_secs(5);

/// Whether a fast shutdown that goes on does nothing but wait, so that it may be ended without losing anything: the shutdown
/// checkpoint is on disk, every standby has been sent it, and what is not archived stays marked as such.
#[must_use]
pub fn only_waits(lingering: &Lingering) -> bool {
    let Some(checkpoint) = lingering.checkpoint else {
        return false;
    };
    let has_all = |sent: &Option<Lsn>| sent.is_some_and(|sent| sent > checkpoint);
    let patience = if lingering.senders.is_empty() {
        ARCHIVER
    } else {
        SENDER
    };
    lingering.senders.iter().all(has_all) && lingering.idle >= patience
}

/// Whether a process of a server that shuts down is to be let go on, by the kernel's letter for what it does: one that was stopped by a signal
/// acts on nothing that it is told meanwhile, and ends in order as soon as it goes on. One that a debugger holds is the debugger's.
///
/// One that sleeps in code which does not react to its end is left to the time that the fast shutdown has (`stop_escalate`): to kill
/// it is to crash the server, and without a shutdown checkpoint nobody knows whether the standbys have all that there is.
#[must_use]
pub const fn is_to_go_on(state: char) -> bool {
    state == 'T'
}

/// What a server waits for before it writes its shutdown checkpoint: each subscriber has to confirm all that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribers {
    /// For how long nobody else has been left.
    pub alone: Duration,
    /// For how long none of their senders has run on a CPU.
    pub idle: Duration,
}

/// What a subscriber gets that goes on reading. Its slot keeps its place, so it loses nothing but time.
const READING: Duration = Duration::from_secs(10);

/// Whether the subscribers' senders are to be ended, so that the fast shutdown goes on. To wait longer ends in an immediate one, by which
/// the standbys miss the last checkpoint, and the server recovers at its next start.
#[must_use]
pub fn lets_subscribers_go(subscribers: Subscribers) -> bool {
    let Subscribers { alone, idle } = subscribers;
    alone >= SENDER && (idle >= SENDER || alone >= READING)
}

/// An immediate shutdown needs this long to end its children; PostgreSQL itself sends them
/// SIGKILL after 5 s (`SIGKILL_CHILDREN_AFTER_SECS` in postmaster.c).
const IMMEDIATE: Duration = Duration::from_secs(6);

/// What a hanging server gets for a fast shutdown: enough for one that is merely slow to accept
/// connections, and little against the outage that goes on meanwhile.
const HANGING: Duration = Duration::from_secs(5);

/// SIGKILL, reaping and clearing up.
const RESERVE: Duration = Duration::from_secs(3);

/// How much of the `available` time a login may take that only tells how a server is to be stopped. There may be two of them.
#[must_use]
pub fn look(available: Duration) -> Duration {
    available / 6
}

/// Splits the `available` time of the operation. `stop_escalate` is the operator's wish for the
/// fast shutdown; zero asks for an immediate one at once.
#[must_use]
pub fn escalation(
    available: Duration,
    stop_escalate: Duration,
    postmaster: Postmaster,
) -> Escalation {
    let stop_escalate = match postmaster {
        Postmaster::Runs | Postmaster::Frozen => stop_escalate,
        Postmaster::Hangs => stop_escalate.min(HANGING),
    };
    match postmaster {
        Postmaster::Frozen => Escalation {
            fast: Duration::ZERO,
            immediate: Duration::ZERO,
        },
        Postmaster::Runs | Postmaster::Hangs => {
            // In a short operation each step still gets its share: SIGKILL must come before
            // Pacemaker's own timeout, or the node counts as unstoppable.
            let reserve = RESERVE.min(available / 4);
            let immediate = IMMEDIATE.min(available / 4);
            let fast = stop_escalate.min(available.saturating_sub(reserve + immediate));
            Escalation { fast, immediate }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_standby_that_nothing_depends_on_is_left_behind() {
        for (lag, is_counted, expected) in [
            (None, false, false),
            (Some(0), false, false),
            (Some(STRAGGLER), false, false),
            (Some(STRAGGLER + 1), false, true),
            (Some(STRAGGLER + 1), true, false),
        ] {
            assert_eq!(
                is_left_behind(lag, is_counted),
                expected,
                "{lag:?} {is_counted}"
            );
        }
    }

    #[test]
    fn a_shutdown_is_ended_only_when_all_is_written_and_sent_and_nothing_moves() {
        let (checkpoint, after) = (Lsn::new(0x100), Some(Lsn::new(0x178)));
        let lingering = |senders: &[Option<Lsn>], idle| Lingering {
            checkpoint: Some(checkpoint),
            senders: senders.to_vec(),
            idle,
        };
        let short = Duration::from_millis(1);
        for (senders, idle, expected) in [
            // Only the archiver, or nothing that can be seen.
            (&[][..], ARCHIVER, true),
            (&[], ARCHIVER - short, false),
            // A standby that was sent everything, and does not confirm it.
            (&[after], SENDER, true),
            (&[after], ARCHIVER, false),
            // One that lacks the checkpoint, or nobody knows.
            (&[Some(checkpoint)], SENDER, false),
            (&[None], SENDER, false),
            (&[after, Some(checkpoint)], SENDER, false),
        ] {
            let got = only_waits(&lingering(senders, idle));
            assert_eq!(got, expected, "{senders:?} {idle:?}");
        }
        assert!(!only_waits(&Lingering {
            checkpoint: None,
            ..lingering(&[], Duration::MAX)
        }));
    }

    #[test]
    fn who_was_stopped_by_a_signal_goes_on() {
        for (state, expected) in [
            ('T', true),
            ('t', false),
            ('S', false),
            ('D', false),
            ('R', false),
            ('Z', false),
        ] {
            assert_eq!(is_to_go_on(state), expected, "{state}");
        }
    }

    #[test]
    fn subscribers_hold_a_shutdown_up_for_seconds_only() {
        let s = Duration::from_secs;
        let short = Duration::from_millis(1);
        for (alone, idle, expected) in [
            (s(0), s(60), false),
            (SENDER - short, SENDER, false),
            (SENDER, SENDER - short, false),
            (SENDER, SENDER, true),
            // One that reads on and on.
            (READING - short, s(0), false),
            (READING, s(0), true),
        ] {
            let got = lets_subscribers_go(Subscribers { alone, idle });
            assert_eq!(got, expected, "{alone:?} {idle:?}");
        }
    }

    #[test]
    fn every_step_fits_the_operation() {
        let s = Duration::from_secs;
        for (available, wish, fast, immediate) in [
            (s(60), s(90), s(51), s(6)),
            (s(60), s(20), s(20), s(6)),
            (s(60), s(0), s(0), s(6)),
            (s(8), s(90), s(4), s(2)),
            (s(0), s(90), s(0), s(0)),
        ] {
            let got = escalation(available, wish, Postmaster::Runs);
            assert_eq!(
                got,
                Escalation { fast, immediate },
                "{available:?} {wish:?}"
            );
            assert!(got.fast + got.immediate <= available);
        }
    }

    #[test]
    fn a_hanging_server_is_not_given_the_whole_operation() {
        let s = Duration::from_secs;
        for (wish, fast) in [(s(90), s(5)), (s(2), s(2)), (s(0), s(0))] {
            assert_eq!(escalation(s(60), wish, Postmaster::Hangs).fast, fast);
        }
    }

    #[test]
    fn a_frozen_postmaster_is_killed_at_once() {
        let got = escalation(
            Duration::from_secs(60),
            Duration::from_secs(90),
            Postmaster::Frozen,
        );
        assert_eq!(
            got,
            Escalation {
                fast: Duration::ZERO,
                immediate: Duration::ZERO
            }
        );
    }
}
