//! What can be wrong with the parameters.

use super::kind::Expected;
use crate::conninfo::ConninfoError;
use crate::conninfo::words::SyntaxError;
use crate::model::lock_place::PlaceError;
use crate::ocf::OcfCode;
use crate::params::mode::RepMode;

/// One thing that is wrong with the parameters: what was seen, what it means, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    #[error("the value of {name} is not UTF-8 text; set it again, in a terminal that uses UTF-8")]
    NotUtf8 { name: &'static str },
    #[error("{name}={seen:?} is not {expected}; set another value, or none to get the default")]
    Unparsable {
        name: &'static str,
        /// Shortened when long.
        seen: String,
        expected: Expected,
    },
    #[error(
        "rep_mode={rep_mode}, but master_ip is not set: set it to the virtual address that follows the primary, so that \
         standbys find it"
    )]
    MasterIpMissing { rep_mode: RepMode },
    #[error(
        "rep_mode=slave, but neither master_ip nor restore_command is set: set master_ip to the primary's address, or restore_command \
         for a standby that takes its WAL from an archive alone"
    )]
    NoSource,
    #[error(
        "{name} is set, but master_ip is not, so this standby takes its WAL from the archive alone (restore_command) and connects to \
         nobody: unset {name}, or set master_ip"
    )]
    NobodyToConnectTo { name: &'static str },
    #[error(
        "{param}={seen:?} has {bad:?} in it: rename it, PostgreSQL allows a-z, 0-9 and _ in the name of a slot"
    )]
    SlotName {
        param: &'static str,
        seen: String,
        bad: char,
    },
    #[error(
        "external_slot_list has {seen}, which is too long: rename it, the name of a slot has at most 63 characters"
    )]
    LongSlotName { seen: String },
    #[error(
        "external_slot_list has {seen}, which is the name of a slot of a node of this cluster: those are made without being named; \
         take it off the list"
    )]
    SlotOfMember { seen: String },
    #[error(
        "external_slot_list is set, but rep_mode={rep_mode} promotes nobody: use rep_mode=sync or async, or unset the list"
    )]
    ExternalSlotsUnused { rep_mode: RepMode },
    #[error(
        "external_standby_node_list is set, but rep_mode={rep_mode} waits for no standby: use rep_mode=sync or unset the list"
    )]
    ExternalStandbysUnused { rep_mode: RepMode },
    #[error(
        "sync_method=quorum is set, but rep_mode={rep_mode} waits for no standby: use rep_mode=sync or unset it"
    )]
    QuorumUnused { rep_mode: RepMode },
    #[error(
        "sync_method=quorum and external_standby_node_list exclude each other: a quorum that a standby outside the cluster belongs \
         to says too little about those inside; unset one"
    )]
    QuorumWithExternal,
    #[error(
        "sync_node_list is set, but rep_mode={rep_mode} waits for no standby: use rep_mode=sync or unset the list"
    )]
    SyncNodesUnused { rep_mode: RepMode },
    #[error(
        "nofailover_node_list is set, but rep_mode={rep_mode} promotes nobody: use rep_mode=sync or async, or unset the list"
    )]
    NoFailoverUnused { rep_mode: RepMode },
    #[error(
        "sync_node_list names {node}, which external_standby_node_list has: commits wait for that one as long as it streams; take \
         it off sync_node_list"
    )]
    SyncNodeOutside { node: String },
    #[error(
        "nofailover_node_list names every node that could be promoted: nobody would ever take over; take one off"
    )]
    NobodyToPromote,
    #[error(
        "monitor_password is set without monitor_user, so nobody logs in with it; set monitor_user too, or unset the password"
    )]
    PasswordWithoutUser,
    #[error(
        "enable_distlock=true, but nothing says where the lock is; set distlock_conninfo (or the older distlock_lock_cmd and \
         distlock_unlock_cmd)"
    )]
    LockServiceUnnamed,
    #[error(
        "only one of distlock_lock_cmd and distlock_unlock_cmd is set; set both, or distlock_conninfo"
    )]
    HalfOfLockCommands,
    #[error("primary_conninfo_opt can't be used: {0}")]
    PrimaryConninfo(SyntaxError),
    #[error("master_ip={seen}: PostgreSQL takes no brackets around an address, leave them out")]
    Brackets { seen: String },
    #[error("distlock_conninfo can't be used: {0}")]
    LockConninfo(ConninfoError),
    #[error("distlock_lockname: {0}")]
    LockName(PlaceError),
    #[error(
        "sync_strict=true contradicts unsafe_relax=true, unset one: commits wait for a standby always, or may stop waiting without proof"
    )]
    StrictAndUnsafe,
    #[error(
        "rep_mode={rep_mode}, but the resource is not a promotable clone; make it one: pcs resource promotable RESOURCE notify=true"
    )]
    NotPromotable { rep_mode: RepMode },
    #[error(
        "rep_mode={rep_mode}, but the resource is a promotable clone: use rep_mode=sync or async, or a plain resource; its \
         instances would be independent databases"
    )]
    NothingToPromote { rep_mode: RepMode },
    #[error(
        "promoted-max={max} would allow several primaries, each with its own data; set promoted-max=1 on the clone"
    )]
    SeveralPrimaries { max: u32 },
}

impl ParamError {
    /// What the agent answers.
    pub fn ocf_code(&self) -> OcfCode {
        match self {
            // resource-agents' own tests (tools/ocft/pgsql) demand of pgctl=no_such what they demand of /no/such.
            Self::Unparsable {
                name: "pgctl" | "psql",
                ..
            } => OcfCode::ErrInstalled,
            // Fatal: the parameters are the same on every node, so no other node would do better.
            Self::NotUtf8 { .. }
            | Self::Unparsable { .. }
            | Self::MasterIpMissing { .. }
            | Self::NoSource
            | Self::NobodyToConnectTo { .. }
            | Self::SlotName { .. }
            | Self::LongSlotName { .. }
            | Self::SlotOfMember { .. }
            | Self::ExternalSlotsUnused { .. }
            | Self::ExternalStandbysUnused { .. }
            | Self::SyncNodesUnused { .. }
            | Self::NoFailoverUnused { .. }
            | Self::SyncNodeOutside { .. }
            | Self::NobodyToPromote
            | Self::PasswordWithoutUser
            | Self::LockServiceUnnamed
            | Self::HalfOfLockCommands
            | Self::LockConninfo(_)
            | Self::PrimaryConninfo(_)
            | Self::Brackets { .. }
            | Self::LockName(_)
            | Self::StrictAndUnsafe
            | Self::QuorumUnused { .. }
            | Self::QuorumWithExternal
            | Self::NotPromotable { .. }
            | Self::NothingToPromote { .. }
            | Self::SeveralPrimaries { .. } => OcfCode::ErrConfigured,
        }
    }

    /// `seen` keeps its beginning only: the reason that crm_mon shows has room for about a hundred bytes.
    pub(super) fn unparsable(name: &'static str, seen: &str, expected: Expected) -> Self {
        const KEPT: usize = 40;
        let seen = match seen.char_indices().nth(KEPT) {
            Some((end, _)) => format!("{}...", &seen[..end]),
            None => seen.to_owned(),
        };
        Self::Unparsable {
            name,
            seen,
            expected,
        }
    }
}
