//! How far a copy is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes copied, bytes in all, and bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub done: u64,
    /// An estimate that PostgreSQL's tools make beforehand; `done` may pass it.
    pub total: u64,
    /// 0 where it is not known yet.
    pub rate: u64,
}

impl Progress {
    /// Reads a line that pg_basebackup or pg_rewind prints with `--progress`, in English:
    /// `123/4567 kB (2%), 0/1 tablespace`, `123/4567 kB (2%) copied`. `None` for any other line.
    #[must_use]
    pub fn of_line(line: &str) -> Option<Self> {
        let (done, rest) = line.trim_start().split_once('/')?;
        let (total, _) = rest.split_once(" kB (")?;
        let bytes = |text: &str| text.parse::<u64>().ok()?.checked_mul(1024);
        Some(Self {
            done: bytes(done)?,
            total: bytes(total)?,
            rate: 0,
        })
    }

    /// Whole per cent, at most 100.
    #[must_use]
    pub fn percent(&self) -> u64 {
        if self.total == 0 {
            return 0;
        }
        let hundredfold = u128::from(self.done) * 100 / u128::from(self.total);
        u64::try_from(hundredfold).map_or(100, |percent| percent.min(100))
    }
}

/// `43 % of 12.3 GB, 85.0 MB/s`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % of {}", self.percent(), Bytes(self.total))?;
        if self.rate > 0 {
            write!(f, ", {}/s", Bytes(self.rate))?;
        }
        Ok(())
    }
}

/// A number of bytes for people, in PostgreSQL's units (1 kB is 1024 bytes): `12.3 GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in ["kB", "MB", "GB", "TB"] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        if unit == "B" {
            write!(f, "{} B", self.0)
        } else {
            write!(f, "{value:.1} {unit}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tools_lines_are_understood_and_nothing_else() {
        for (line, expected) in [
            ("  123/4567 kB (2%), 0/1 tablespace", Some((123, 4567))),
            (
                "31465/31465 kB (100%), 0/1 tablespace (/data/.expgsql.new/base/5/1247)",
                Some((31465, 31465)),
            ),
            ("    0/52339 kB (0%) copied", Some((0, 52339))),
            ("pg_rewind: reading source file list", None),
            (
                "need to copy 51 MB (total source directory size is 67 MB)",
                None,
            ),
            ("a/b kB (", None),
            ("", None),
        ] {
            let got = Progress::of_line(line).map(|p| (p.done / 1024, p.total / 1024));
            assert_eq!(got, expected, "{line}");
        }
    }

    #[test]
    fn it_is_shown_in_three_figures() {
        for (done, total, rate, expected) in [
            (0, 0, 0, "0 % of 0 B"),
            (512, 1024, 0, "50 % of 1.0 kB"),
            (5 << 30, 10 << 30, 85 << 20, "50 % of 10.0 GB, 85.0 MB/s"),
            (11, 10, 900, "100 % of 10 B, 900 B/s"),
        ] {
            let progress = Progress { done, total, rate };
            assert_eq!(progress.to_string(), expected);
        }
    }
}
