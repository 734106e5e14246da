//! Who replicates from whom, and what a commit waits for.

/// Who replicates from whom, and what a commit waits for.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    strum::VariantNames,
    strum::VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum RepMode {
    /// One server, no replication.
    #[default]
    None,
    /// A standby of a primary outside the cluster; a plain resource.
    Slave,
    /// Promotable; commits wait for no standby.
    Async,
    /// Promotable; an acknowledged commit survives every automatic action.
    Sync,
}

/// Who chooses the standbys that a commit waits for.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    strum::VariantNames,
)]
#[strum(serialize_all = "lowercase")]
pub enum SyncMethod {
    /// The agent names them.
    #[default]
    Priority,
    /// PostgreSQL: whoever answers first.
    Quorum,
}

impl RepMode {
    /// Does the cluster choose the primary?
    pub const fn is_promotable(self) -> bool {
        match self {
            Self::Async | Self::Sync => true,
            Self::None | Self::Slave => false,
        }
    }

    /// Does this mode have standbys?
    pub const fn is_replicated(self) -> bool {
        match self {
            Self::Slave | Self::Async | Self::Sync => true,
            Self::None => false,
        }
    }
}
