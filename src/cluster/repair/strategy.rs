//! What a repair tries, in which order.

/// What is tried, in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Strategy {
    Rewind,
    Rebuild,
    RewindOrRebuild,
}

impl Strategy {
    /// What it is called in front of a resource's name.
    pub(in crate::cluster) const fn verb(self) -> &'static str {
        match self {
            Self::Rewind => "Rewind",
            Self::Rebuild => "Rebuild",
            Self::RewindOrRebuild => "Repair",
        }
    }
}
