//! A position in the write-ahead log.

use std::fmt;
use std::str::FromStr;

/// Log sequence number: a byte position in the WAL, as PostgreSQL's `pg_lsn`.
///
/// A position alone does not say on which timeline it lies; see
/// [`WalPosition`](super::timeline::WalPosition) for comparing nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

/// A text that is neither `X/Y` nor 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a WAL position (expected X/Y in hex, or 16 hex digits)")]
pub struct LsnParseError(pub String);

impl Lsn {
    /// The position `bytes` after the beginning of the WAL.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// How many bytes this position is past `earlier`; `None` where it is before it.
    #[must_use]
    pub fn bytes_past(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// The form that node attributes use: 16 hex digits, no slash (DESIGN section 4).
    #[must_use]
    pub fn to_attribute(self) -> String {
        format!("{:016X}", self.0)
    }

    /// Reads the attribute form.
    ///
    /// # Errors
    /// Anything but exactly 16 hex digits.
    pub fn from_attribute(text: &str) -> Result<Self, LsnParseError> {
        let bad = || LsnParseError(text.to_owned());
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| bad())
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = LsnParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || LsnParseError(text.to_owned());
        let half = |part: &str| {
            let is_hex = part.bytes().all(|b| b.is_ascii_hexdigit());
            (is_hex && (1..=8).contains(&part.len()))
                .then(|| u64::from_str_radix(part, 16).ok())
                .flatten()
        };
        let (high, low) = text.split_once('/').ok_or_else(bad)?;
        match (half(high), half(low)) {
            (Some(high), Some(low)) => Ok(Self(high << 32 | low)),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_survive_display_then_parse() {
        for bytes in [0, 1, 0x0500_0060, 0xFFFF_FFFF, 0x1_0000_0000, u64::MAX] {
            let lsn = Lsn::new(bytes);
            assert_eq!(lsn.to_string().parse(), Ok(lsn));
            assert_eq!(Lsn::from_attribute(&lsn.to_attribute()), Ok(lsn));
        }
        assert_eq!(Lsn::new(0x1_0500_0060).to_string(), "1/5000060");
        assert_eq!(Lsn::new(0x1_0500_0060).to_attribute(), "0000000105000060");
        // As PostgreSQL 19 prints it.
        assert_eq!("1/05000060".parse(), Ok(Lsn::new(0x1_0500_0060)));
    }

    #[test]
    fn bad_text_is_refused() {
        for text in [
            "",
            "0",
            "/",
            "0/",
            "/0",
            "0/0/0",
            "g/0",
            "+1/0",
            "123456789/0",
            "0/-1",
            " 0/0",
        ] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?}");
        }
        for text in [
            "",
            "0/0",
            "000000010500006",
            "00000001050000600",
            "+000000105000060",
        ] {
            assert!(Lsn::from_attribute(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn distance_is_absent_when_behind() {
        assert_eq!(Lsn::new(7).bytes_past(Lsn::new(5)), Some(2));
        assert_eq!(Lsn::new(5).bytes_past(Lsn::new(7)), None);
    }
}
