//! What can be wrong with the parameters.

use super::RepMode;
use super::kind::Expected;
use crate::ocf::OcfCode;

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
        "rep_mode={rep_mode}, but master_ip is not set, so a standby can't find its primary; set it to the virtual address \
         that follows the primary"
    )]
    MasterIpMissing { rep_mode: RepMode },
    #[error(
        "replication_slot_name={seen:?} has {bad:?} in it; PostgreSQL allows a-z, 0-9 and _ in the name of a slot, so rename it"
    )]
    SlotName { seen: String, bad: char },
    #[error(
        "external_standby_node_list is set, but rep_mode={rep_mode} waits for no standby; use rep_mode=sync or unset the list"
    )]
    ExternalStandbysUnused { rep_mode: RepMode },
    #[error(
        "monitor_password is set without monitor_user, so nobody logs in with it; set monitor_user too, or unset the password"
    )]
    PasswordWithoutUser,
    #[error(
        "enable_distlock=true, but the lock service is not in this version of expgsql yet; unset it, and let quorum or fencing \
         decide (three votes, a quorum device or stonith)"
    )]
    LockServiceAbsent,
    #[error(
        "sync_strict=true (commits wait for a standby, always) contradicts unsafe_relax=true (they may stop waiting without \
         proof); unset one of them"
    )]
    StrictAndUnsafe,
    #[error(
        "rep_mode={rep_mode}, but the resource is not a promotable clone; make it one: pcs resource promotable RESOURCE notify=true"
    )]
    NotPromotable { rep_mode: RepMode },
    #[error(
        "rep_mode={rep_mode}, but the resource is a promotable clone, whose instances would be independent databases; use \
         rep_mode=sync or async, or a plain resource"
    )]
    NothingToPromote { rep_mode: RepMode },
    #[error(
        "promoted-max={max} would allow several primaries, each with its own data; set promoted-max=1 on the clone"
    )]
    SeveralPrimaries { max: u32 },
}

impl ParamError {
    /// What the agent answers.
    pub const fn ocf_code(&self) -> OcfCode {
        match self {
            // Fatal: the parameters are the same on every node, so no other node would do better.
            Self::NotUtf8 { .. }
            | Self::Unparsable { .. }
            | Self::MasterIpMissing { .. }
            | Self::SlotName { .. }
            | Self::ExternalStandbysUnused { .. }
            | Self::PasswordWithoutUser
            | Self::LockServiceAbsent
            | Self::StrictAndUnsafe
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
