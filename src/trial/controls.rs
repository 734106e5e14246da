//! The negative controls: agents that lack one rule. For each the suite must have a scenario that is red with it.

use strum::{Display, EnumString, VariantArray};

/// What is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Display, EnumString, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Control {
    /// R8: a standby that was restarted states how far it has replayed, whatever more it has on its disk.
    StateWhileReplaying,
    /// R3: nobody looks for a recovery target, at the start or later.
    TargetUnseen,
    /// R6: whoever is in the claim is refused its repair, whether it has followed the recorded promotion or not.
    ClaimedByName,
    /// R1: commits stop waiting for a standby that may still be promoted.
    RelaxWithoutRevoking,
    /// R1 (b), (c): a revocation counts at once.
    NoSettleTime,
    /// R1 (b): who is a member is read from the CIB alone.
    MembersByTheCib,
    /// R2: whoever streams is granted.
    GrantWithoutBarrier,
    /// R4: a primary that has lost its right goes on.
    RightUnchecked,
    /// R4: a primary whose lease is over goes on.
    LeaseUnchecked,
    /// R5: neither a promotion nor a revocation raises admin_epoch.
    NoAdminEpoch,
    /// R6: a node is started whatever its WAL is.
    DivergedFollows,
    /// R8: a standby that has more than the chosen one says nothing, and the chosen one does not look.
    LargerPositionIgnored,
    /// R9: a grant is believed after isolation.
    NoDistrust,
    /// Standbys stream from whoever answers at the primary's address, without a slot.
    NoTickets,
    /// Asynchronous: whoever is chosen is promoted, and everybody asks to be.
    AsyncElectsAnybody,
    /// A server that takes no connections while it recovers has failed.
    RecoveryIsFailure,
    /// A swap that was interrupted is not finished by the next start.
    SwapUnfinished,
}
