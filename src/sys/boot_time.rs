//! Times that outlive a process and end with the boot.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A time that may be kept between calls of the agent: each call is a process of its own, the wall clock may jump,
/// and the monotonic clock says nothing after a restart of the machine. The clock runs on while the machine sleeps.
///
/// As text: `BOOT_ID/MILLISECONDS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTime {
    /// Which start of the machine.
    boot_id: String,
    /// Time since that start.
    since_boot: Duration,
}

/// Now, as a time to keep.
///
/// # Errors
/// When the kernel gives no boot id or no boot clock: /proc is missing.
///
/// Source: proc(5), `/proc/sys/kernel/random/boot_id`; `clock_gettime(2)`, `CLOCK_BOOTTIME`.
pub fn boot_clock() -> io::Result<BootTime> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned();
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    Ok(BootTime {
        boot_id,
        since_boot: Duration::from(now),
    })
}

impl BootTime {
    /// Which start of the machine this is of.
    #[must_use]
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Time since the machine started, sleep included.
    #[must_use]
    pub fn since_boot(&self) -> Duration {
        self.since_boot
    }

    /// Time from `earlier` to this. `None`: the machine was started in between, or `earlier` is not earlier, so
    /// nothing is known.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Duration> {
        if self.boot_id != earlier.boot_id {
            return None;
        }
        self.since_boot.checked_sub(earlier.since_boot)
    }
}

impl fmt::Display for BootTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.boot_id, self.since_boot.as_millis())
    }
}

/// The text is not a [`BootTime`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not BOOT_ID/MILLISECONDS")]
pub struct BootTimeError(String);

impl FromStr for BootTime {
    type Err = BootTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BootTimeError(text.to_owned());
        let (boot_id, millis) = text.split_once('/').ok_or_else(bad)?;
        let millis = millis.parse().map_err(|_| bad())?;
        if boot_id.is_empty() {
            return Err(bad());
        }
        Ok(Self {
            boot_id: boot_id.to_owned(),
            since_boot: Duration::from_millis(millis),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_times_survive_text_and_not_a_reboot() {
        let earlier = boot_clock().unwrap();
        let kept: BootTime = earlier.to_string().parse().unwrap();
        assert!(boot_clock().unwrap().since(&kept).is_some());
        let other: BootTime = "another-boot/5".parse().unwrap();
        assert_eq!(earlier.since(&other), None);
        let later = BootTime {
            since_boot: earlier.since_boot + Duration::from_secs(5),
            ..earlier.clone()
        };
        assert_eq!(earlier.since(&later), None);
        assert_eq!(later.since(&earlier), Some(Duration::from_secs(5)));
        for bad in ["", "a", "/5", "a/", "a/-5", "a/5s"] {
            assert!(bad.parse::<BootTime>().is_err(), "{bad:?}");
        }
    }
}
