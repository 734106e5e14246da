//! What one call of the agent leaves for the next, in a file under tmpdir.
//!
//! Nearly everything in it can be lost without losing data: a revocation that is not noted is made
//! again, a barrier is taken again, an election starts over. What can't is found out again by
//! `membership::notes`, as `decide::state_loss` says.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::contract::Revocation;
use crate::decide::distrust::{Attempt, Outside, Version};
use crate::decide::lateness::Sample;
use crate::decide::lease::Holder;
use crate::decide::recovery::Look;
use crate::decide::silence::LastWord;
use crate::decide::state_loss::Loss;
use crate::log::say;
use crate::model::lsn::Lsn;
use crate::model::sync_names::StandbyName;
use crate::postgres::last_words::Mark;
use crate::postgres::owner::as_owner;
use crate::postgres::{files, reading};

use crate::agent::context::Context;
use crate::agent::step::{Step, failed};

/// The contents of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Times in it are of this boot.
    pub(crate) boot: String,
    /// The epoch this node was last promoted with.
    pub(crate) epoch: Option<u64>,
    pub(crate) revoked: BTreeMap<StandbyName, Revocation>,
    pub(crate) barrier: Option<Barrier>,
    pub(crate) election: Option<Rounds>,
    /// R8: this standby stopped receiving from the primary of this epoch, and stated how far its WAL
    /// reaches. It follows only a later one. Ends with the boot, as the statement does.
    pub(crate) detached: Option<u64>,
    /// The running number of the last record of the contract, which a merge may have taken back.
    pub(crate) seq: u64,
    /// R9.
    pub(crate) distrust: Option<Version>,
    /// R9: where it was outside, when the distrust is because of that alone.
    #[serde(default)]
    pub(crate) outside: Option<Outside>,
    /// R9: a promotion of this node that was begun, and may not have taken place.
    #[serde(default)]
    pub(crate) attempt: Option<Attempt>,
    /// R9 for one that arrives: others may have gone on without this node, by the last look, or nobody has looked yet.
    #[serde(default)]
    pub(crate) has_missed: bool,
    /// The lock's epoch when this node took it.
    pub(crate) lock_epoch: Option<u64>,
    /// When the last renewal of the lock that was confirmed was sent; time since the machine started.
    pub(crate) lock_confirmed: Option<Duration>,
    /// Who had the lock when a promotion of this node was considered last.
    #[serde(default)]
    pub(crate) holder: Option<Holder>,
    /// Monitors in a row that found this standby receiving nothing while there was a primary.
    #[serde(default)]
    pub(crate) idle: u32,
    /// How often in a row the primary has said that it no longer has the WAL that comes next here, while an archive may bring it; and how far this
    /// standby had got each time, as an attribute has it. Kept over a restart, since the start comes to the same verdict.
    #[serde(default)]
    pub(crate) lacking: Option<(u32, String)>,
    /// Why the primary did not let this standby in when it was asked last; `None`: it did, or could not be asked.
    #[serde(default)]
    pub(crate) refusal: Option<String>,
    /// How often in a row it let this standby in when it was asked, and sent nothing.
    #[serde(default)]
    pub(crate) let_in: u32,
    /// How far a server's recovery was.
    #[serde(default)]
    pub(crate) recovery: Option<Look>,
    /// Since when too few standbys stream, or none is waited for; time since the machine started.
    #[serde(default)]
    pub(crate) degraded_since: Option<Duration>,
    /// Since when somebody else streams under a node's name; time since the machine started.
    #[serde(default)]
    pub(crate) impostor_since: Option<Duration>,
    /// The epoch that began when this primary was taken over from an agent without tickets.
    #[serde(default)]
    pub(crate) taken_over: Option<u64>,
    /// Monitors in a row in which something failed.
    #[serde(default)]
    pub(crate) failures: u32,
    /// Pacemaker knows of degraded resources; what was read last.
    #[serde(default)]
    pub(crate) knows_degraded: bool,
    /// Standbys that owe an answer, and their last one.
    #[serde(default)]
    pub(crate) last_words: BTreeMap<StandbyName, LastWord>,
    /// The last reason to let commits wait, so that it is logged when it changes.
    pub(crate) hold: Option<String>,
    /// The same in words, as it was logged.
    #[serde(default)]
    pub(crate) hold_reason: Option<String>,
    /// How far this primary's WAL was, for maxlag_time.
    #[serde(default)]
    pub(crate) samples: Vec<Sample>,
    /// What was found to make a commit worth less.
    #[serde(default)]
    pub(crate) worth: Option<Worth>,
    /// How the server's log was before its start.
    #[serde(default)]
    pub(crate) started: Option<Mark>,
    /// When the rules for connections were changed last that were found to be right; time since 1970.
    #[serde(default)]
    pub(crate) rules_judged: Option<Duration>,
    /// The notes before this one are lost, and what they said was not found out again yet.
    #[serde(default)]
    pub(crate) lost: Option<Loss>,
}

/// R2: a position that was written when `contract` was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Barrier {
    pub(crate) contract: String,
    /// As an attribute has it.
    pub(crate) lsn: String,
}

impl Barrier {
    pub(crate) fn position(&self) -> Option<Lsn> {
        Lsn::from_attribute(&self.lsn).ok()
    }
}

/// What `worth` has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worth {
    /// When the server had read its configuration.
    pub(crate) loaded: Option<Duration>,
    /// `synchronous_commit` in that: its value, and where it is set.
    pub(crate) for_all: Option<(String, String)>,
    /// In words, as it was logged.
    pub(crate) told: Vec<String>,
}

/// How often the same reports were seen in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rounds {
    pub(crate) reports: String,
    pub(crate) seen: u32,
}

const FILE: &str = "expgsql.state";

/// More than the file is long with the notes of a dozen nodes; bytes.
const ROOM: usize = 4096;

/// What the agent's last call on this node left, as far as it explains what it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Why commits go on waiting (R1).
    pub(crate) hold: Option<String>,
    /// R9.
    pub(crate) distrust: Option<Version>,
    /// R9 for one that arrives.
    pub(crate) has_missed: bool,
    /// What makes a commit on this primary worth less.
    pub(crate) weak: Vec<String>,
}

/// Reads it, for people. `None`: there is none.
///
/// # Errors
/// The file is there and this user may not read it, say; or it is damaged.
pub(crate) fn memory(tmpdir: &Path) -> io::Result<Option<Memory>> {
    let text = match reading::read_own(tmpdir, &tmpdir.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let state: State = serde_json::from_str(&text)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is damaged"))?;
    Ok(Some(Memory {
        hold: state.hold_reason,
        distrust: state.distrust,
        has_missed: state.has_missed,
        weak: state.worth.unwrap_or_default().told,
    }))
}

impl State {
    /// The state of this boot; times of an earlier boot are dropped. Where the file is gone or damaged, a fresh one
    /// that says so.
    ///
    /// Fails where the file can't be read: what is in it is unknown then, and nothing may be put in its place.
    pub(crate) fn load(ctx: &Context<'_>, boot: &str) -> Step<Self> {
        let path = ctx.tmp(FILE);
        let state = Self::read(ctx).map_err(|error| {
            failed(format!(
                "{}: {error}; what this node has to remember is in there: make it readable for {}, or remove it",
                path.display(),
                ctx.owner.name
            ))
        })?;
        if state.lost == Some(Loss::Damaged) {
            say!(
                WARN,
                "the file with this node's notes is damaged",
                file = path.display()
            );
        }
        Ok(state.of_boot(boot))
    }

    /// What the file says, of whichever boot.
    pub(crate) fn read(ctx: &Context<'_>) -> io::Result<Self> {
        found(reading::read_as(&ctx.owner, &ctx.tmp(FILE)))
    }

    fn of_boot(self, boot: &str) -> Self {
        if self.boot == boot {
            return self;
        }
        Self {
            boot: boot.to_owned(),
            epoch: self.epoch,
            seq: self.seq,
            distrust: self.distrust,
            attempt: self.attempt,
            lock_epoch: self.lock_epoch,
            lost: self.lost,
            ..Self::default()
        }
    }

    /// Makes sure that the state can be written, ahead of something that has to be noted once it has begun.
    pub(crate) fn require_room(ctx: &Context<'_>) -> Step<()> {
        let path = ctx.tmp(FILE);
        let text = " ".repeat(ROOM);
        as_owner(&ctx.owner, || files::try_out(&path, &text, 0o600))
            .map_err(io::Error::from)
            .flatten()
            .map_err(|e| failed(format!("{} can't be written: {e}", path.display())))
    }

    /// Writes the state where it differs from `old`.
    pub(crate) fn save(&self, ctx: &Context<'_>, old: &Self) -> Step<()> {
        if self == old {
            return Ok(());
        }
        let path = ctx.tmp(FILE);
        let text = serde_json::to_string(self).map_err(failed)?;
        as_owner(&ctx.owner, || files::write(&path, &text, 0o600))
            .map_err(io::Error::from)
            .flatten()
            .map_err(|e| failed(format!("{}: {e}", path.display())))
    }
}

/// What is to be made of the file.
fn found(read: io::Result<String>) -> io::Result<State> {
    let lost = match read {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(state) => return Ok(state),
            Err(_) => Loss::Damaged,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Loss::Gone,
        // A link, a pipe, a file without end: not what the agent writes, and it is replaced by that.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Loss::Damaged,
        Err(error) => return Err(error),
    };
    Ok(State {
        lost: Some(lost),
        ..State::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::recovery::Server;

    #[test]
    fn only_a_file_that_is_not_there_is_none() {
        let known = State {
            boot: "b".to_owned(),
            epoch: Some(3),
            detached: Some(3),
            distrust: Some((3, 1)),
            ..State::default()
        };
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(found(Ok(text.clone())).unwrap(), known);
        for damaged in [&text[..text.len() / 2], "", "{}", "root:$6$salt$hash:1::"] {
            let lost = found(Ok(damaged.to_owned())).unwrap().lost;
            assert_eq!(lost, Some(Loss::Damaged), "{damaged}");
        }
        let of = |kind: io::ErrorKind| found(Err(kind.into())).map(|state| state.lost);
        assert_eq!(of(io::ErrorKind::NotFound).unwrap(), Some(Loss::Gone));
        assert_eq!(of(io::ErrorKind::InvalidData).unwrap(), Some(Loss::Damaged));
        for errno in [
            nix::libc::EIO,
            nix::libc::EMFILE,
            nix::libc::ENOMEM,
            nix::libc::EACCES,
        ] {
            assert!(
                found(Err(io::Error::from_raw_os_error(errno))).is_err(),
                "{errno}"
            );
        }
    }

    /// Something in every field.
    fn full(boot: &str) -> State {
        let since_boot = Some(Duration::from_secs(500));
        State {
            boot: boot.to_owned(),
            epoch: Some(3),
            revoked: BTreeMap::from([(
                "node2".to_owned(),
                Revocation {
                    at: Duration::from_secs(400),
                    ring: "1.c".to_owned(),
                },
            )]),
            barrier: Some(Barrier {
                contract: "FIRST 1 (\"node2\")".to_owned(),
                lsn: "0000000003000000".to_owned(),
            }),
            election: Some(Rounds {
                reports: "node1=1".to_owned(),
                seen: 2,
            }),
            detached: Some(3),
            seq: 7,
            distrust: Some((3, 1)),
            attempt: Some(Attempt {
                by: (3, 1),
                ring: "1.c".to_owned(),
            }),
            outside: Some(Outside {
                ring: "1.8".to_owned(),
                weight: 2,
            }),
            has_missed: true,
            lock_epoch: Some(5),
            lock_confirmed: since_boot,
            holder: Some(Holder {
                owner: "pgsql_node2".to_owned(),
                renewed: "2026-07-01 10:00:07+00".to_owned(),
                at: Duration::from_secs(450),
            }),
            idle: 2,
            lacking: Some((2, "0000000003000000".to_owned())),
            refusal: Some("no pg_hba.conf entry".to_owned()),
            let_in: 2,
            samples: vec![Sample {
                at: Duration::from_secs(300),
                timeline: 1,
                end: "0000000003000000".to_owned(),
            }],
            recovery: Some(Look {
                pid: 77,
                run_time: 9,
                at: Duration::from_secs(450),
                server: Server {
                    pid: 70,
                    started: since_boot,
                },
            }),
            degraded_since: since_boot,
            impostor_since: since_boot,
            taken_over: Some(u64::MAX),
            failures: 4,
            knows_degraded: true,
            last_words: BTreeMap::from([(
                "node2".to_owned(),
                LastWord {
                    report: "0/3000000".to_owned(),
                    seen: Duration::from_secs(450),
                },
            )]),
            hold: Some("out-of-reach".to_owned()),
            hold_reason: Some("node2 is out of reach".to_owned()),
            worth: Some(Worth {
                loaded: since_boot,
                for_all: Some(("off".to_owned(), "x.conf line 1".to_owned())),
                told: vec!["synchronous_commit=off".to_owned()],
            }),
            started: serde_json::from_str(
                r#"{"file":"/log","length":7,"at":{"secs_since_epoch":1,"nanos_since_epoch":0}}"#,
            )
            .unwrap(),
            rules_judged: since_boot,
            lost: Some(Loss::Gone),
        }
    }

    #[test]
    fn of_another_boot_only_that_is_kept_which_no_reboot_undoes() {
        let noted = full("b");
        assert_eq!(noted.clone().of_boot("b"), noted);
        // No time, since the clock began anew and may be anywhere; no statement, which went with the membership; nothing that was
        // seen of servers or nodes.
        let expected = State {
            boot: "c".to_owned(),
            epoch: noted.epoch,
            seq: noted.seq,
            distrust: noted.distrust,
            attempt: noted.attempt.clone(),
            lock_epoch: noted.lock_epoch,
            lost: noted.lost,
            ..State::default()
        };
        let rebooted = noted.of_boot("c");
        assert_eq!(rebooted, expected);
        // Once is enough: what is noted in this boot stays.
        let again = State {
            detached: Some(4),
            ..rebooted
        };
        assert_eq!(again.clone().of_boot("c"), again);
    }

    #[test]
    fn a_loss_outlives_the_boot_and_what_an_older_agent_wrote_is_read() {
        let mut state = found(Err(io::ErrorKind::NotFound.into()))
            .unwrap()
            .of_boot("b");
        assert_eq!((state.boot.as_str(), state.lost), ("b", Some(Loss::Gone)));
        state.detached = Some(4);
        let later = state.of_boot("c");
        assert_eq!((later.detached, later.lost), (None, Some(Loss::Gone)));
        let older = r#"{"boot":"b","epoch":2,"revoked":{},"barrier":null,"election":null,"detached":2,"seq":7,
            "distrust":[2,7],"lock_epoch":null,"lock_confirmed":null,"hold":null}"#;
        let state = found(Ok(older.to_owned())).unwrap();
        assert_eq!(
            (state.detached, state.distrust, state.lost),
            (Some(2), Some((2, 7)), None)
        );
    }
}
