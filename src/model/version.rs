//! The version of a PostgreSQL server.

/// The oldest major version that the agent runs: the first with standby.signal, and so the settings in postgresql.conf.
pub const OLDEST: u32 = 12;

/// The first version whose standbys can be told to stop receiving without a restart.
pub const RELOADS_CONNINFO: u32 = 13;

/// The first that records for each database by which version of the collations its text is sorted.
pub const RECORDS_COLLATIONS: u32 = 15;

/// The first whose standbys take over logical slots, and whose logical decoding waits for standbys.
pub const SYNCHRONISES_SLOTS: u32 = 17;

/// The first that says of each MD5 password which is set that a later one will know none.
pub const DEPRECATES_MD5: u32 = 18;

/// What `max_locks_per_transaction` is where nobody sets it. (Release notes of 19.)
#[must_use]
pub const fn default_max_locks(major: u32) -> u64 {
    if major < 19 { 64 } else { 128 }
}

/// Major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl Version {
    /// From `server_version_num`: 150013 is 15.13.
    #[must_use]
    pub const fn of(number: u32) -> Self {
        Self {
            major: number / 10_000,
            minor: number % 10_000,
        }
    }

    /// Whether commits wait for standbys from the server's first moment on. Before the minor releases of May
    /// 2025 a server that had just been started acknowledged without waiting until its
    /// checkpointer had looked at the configuration. (Release notes of 17.5, 16.9, 15.13, 14.18 and 13.21.)
    #[must_use]
    pub const fn waits_from_the_start(self) -> bool {
        match self.major {
            0..=12 => false,
            13 => self.minor >= 21,
            14 => self.minor >= 18,
            15 => self.minor >= 13,
            16 => self.minor >= 9,
            17 => self.minor >= 5,
            18.. => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_waits_from_the_start_since_may_2025() {
        for (number, waits) in [
            (120_022, false),
            (130_020, false),
            (130_021, true),
            (150_012, false),
            (150_018, true),
            (160_009, true),
            (170_004, false),
            (180_000, true),
        ] {
            assert_eq!(
                Version::of(number).waits_from_the_start(),
                waits,
                "{number}"
            );
        }
    }
}
