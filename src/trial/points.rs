//! The points. Their list is what "killed between any two of its steps" means.

use strum::{Display, EnumString, VariantArray};

/// Each is behind a step with an effect that outlives the process, and in front of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Display, EnumString, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Point {
    /// promote: the lock is taken.
    PromoteLocked,
    /// The record of a promotion to a new timeline is written.
    PromoteRecorded,
    /// A majority has that.
    PromoteConfirmed,
    /// R9: the attempt is noted.
    PromoteNoted,
    /// R5: admin_epoch is raised.
    PromoteRaised,
    /// A majority has that.
    PromoteSpread,
    /// Epoch and revocations are in this node's notes.
    PromoteRemembered,
    /// `pg_ctl promote` was called.
    PromoteAsked,
    /// The server takes writes, and nobody was told.
    PromoteWritable,
    /// A slot of an earlier promotion is dropped, those of this one are not made.
    SlotDropped,
    /// One slot is made.
    SlotCreated,
    /// All slots are made.
    PromoteSlots,
    /// The own score says so.
    PromoteScore,
    /// The own status says so.
    PromoteStatus,
    /// The record has the exact end of the old timeline.
    PromoteCorrected,
    /// Where the new timeline begins is told.
    PromoteBaseline,
    /// The others' scores are taken away.
    PromotePeers,
    /// The own statement is taken back.
    PromoteTakenBack,

    /// promote of the recorded primary, on the same timeline: its record and its contract are written.
    RestartRecorded,
    /// They are in its notes.
    RestartRemembered,
    /// The standby is stopped.
    RestartStopped,
    /// `standby.signal` is gone.
    RestartUnsignalled,
    /// The server is started.
    RestartLaunched,

    /// demote: the server is stopped.
    DemoteStopped,
    /// The lock is given back.
    DemoteUnlocked,
    /// It runs as a standby.
    DemoteStandby,
    /// Where its timeline began is no longer told.
    DemoteBaseline,

    /// start, and whatever else starts a standby: `recovery.conf` is written.
    StartRecoveryConf,
    /// The contract it would have as a primary is written.
    StartContract,
    /// `standby.signal` is there.
    StartSignal,
    /// `postgresql.conf` includes the agent's files.
    StartIncludes,
    /// The server is started.
    StartLaunched,
    /// It answers, and runs by the agent's rules.
    StartAnswers,
    /// Its status is told.
    StartStatus,
    /// All is told but its report for an election.
    StartAnnounced,

    /// stop: the server is down.
    StopServer,
    /// The lock is given back.
    StopUnlocked,
    /// The status is told.
    StopStatus,

    /// R8: a statement is taken back.
    AttachTakenBack,
    /// A standby that had stopped receiving is to follow again, and the server was not told.
    AttachConf,
    /// Of a report for an election the timeline is told, the position is not.
    ElectionTimeline,
    /// R8: it is noted that this standby stops receiving.
    StatementNoted,
    /// `recovery.conf` names no primary.
    StatementConf,
    /// The server has been told.
    StatementReloaded,
    /// Nothing is received any more.
    StatementAlone,
    /// It is stated how far the standby is.
    StatementMade,

    /// contract: the lock's row no longer names a standby.
    RevokeLocked,
    /// Nor does the CIB, and when is not noted.
    RevokeRecorded,
    /// `rep_mode.conf` has another contract, and the server was not told.
    ContractConf,
    /// It is in force in the postmaster.
    ContractInForce,
    /// The lock's row names a standby.
    GrantLocked,
    /// So does the CIB.
    GrantRecorded,
    /// The data statuses are told, the scores are not.
    MarksRecorded,
    /// Everything is told, and the notes are not saved.
    MarksTold,
    /// R8: a new epoch is recorded, and not noted.
    EpochBegun,

    /// notify: ahead of a demotion, the checkpoint is made.
    NotifyCheckpoint,
    /// The chosen node's score is lowered, the better one's is not raised.
    NotifyGaveWay,
    /// After a promotion, the standby is to follow the new primary.
    NotifyAttached,
    /// The old primary's receiver is ended.
    FollowReceiver,
    /// The process that waits for the new primary runs.
    FollowSpawned,
    /// That process has made the server connect.
    FollowConnects,
    /// The contract that this standby would have as a primary is written, and the server was not told.
    RenewConf,
    /// The report of the election is taken back.
    NotifyWithdrawn,

    /// repair: what is to be done is noted.
    RepairJournal,
    /// It is told.
    RepairTold,
    /// The process that repairs runs, and the start that began it is killed.
    RepairLaunched,
    /// rewind: the server has recovered by itself.
    RewindRecovered,
    /// A dry run went well.
    RewindChecked,
    /// It is noted that the data are neither old nor new from here on.
    RewindDamaged,
    /// They are new, and it is noted that they are neither.
    RewindRun,
    /// They are noted to be whole.
    RewindWhole,
    /// rebuild: the copy is complete, in a place of its own.
    RebuildCopied,
    /// One entry is moved.
    SwapMoved,
    /// The old data are out.
    SwapOut,
    /// The new data are in.
    SwapIn,
    /// They are noted to be whole.
    RebuildSwapped,
    /// The repaired server runs.
    RepairStarted,
    /// The old data are removed.
    RepairPurged,
    /// So is the journal.
    RepairForgotten,
}
