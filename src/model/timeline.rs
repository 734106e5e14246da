//! Timelines, where they forked, and how two nodes' WAL relate.

use std::fmt;
use std::str::FromStr;

use super::lsn::{Lsn, LsnParseError};

/// A timeline number (TLI), from 1. Not ordered on purpose: timeline 3 may have forked before
/// data acknowledged on timeline 2, so only a history can rank them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimelineId(u32);

impl TimelineId {
    /// The timeline of a newly initialised data directory.
    pub const FIRST: Self = Self(1);

    /// `None` for 0, which PostgreSQL never uses.
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Name of the file in pg_wal that holds this timeline's ancestry. Timeline 1 has none.
    #[must_use]
    pub fn history_file_name(self) -> String {
        format!("{:08X}.history", self.0)
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The end of one timeline on the way to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switch {
    /// The timeline that was left.
    pub timeline: TimelineId,
    /// Where it was left: the next timeline's first byte.
    pub end: Lsn,
}

/// A timeline with its ancestry, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lineage {
    /// The timeline itself.
    pub timeline: TimelineId,
    /// Its ancestors, each with where it ended.
    pub ancestors: Vec<Switch>,
}

/// A history that cannot be read is never taken for a short one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineageParseError {
    /// Of a file, which may be another than it should be: what is in it is for nobody else to see.
    #[error("line {number} is not 'timeline position reason'")]
    BadLine { number: usize },
    #[error("{0:?} is not 'timeline:position'")]
    BadPart(String),
    #[error("timeline history: {0}")]
    BadLsn(#[from] LsnParseError),
    #[error("{0:?} is not a timeline number")]
    BadTimeline(String),
}

impl Lineage {
    /// A timeline without ancestors, such as timeline 1.
    #[must_use]
    pub fn root(timeline: TimelineId) -> Self {
        Self {
            timeline,
            ancestors: Vec::new(),
        }
    }

    /// Reads a `.history` file of `timeline`: lines `timeline <tab> position <tab> reason`,
    /// empty lines and `#` comments.
    ///
    /// # Errors
    /// A line of another form. Source: PostgreSQL, `src/backend/access/transam/timeline.c`.
    pub fn from_history_file(timeline: TimelineId, text: &str) -> Result<Self, LineageParseError> {
        let mut ancestors = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = || LineageParseError::BadLine { number };
            let mut fields = line.split_whitespace();
            let id = fields
                .next()
                .and_then(|f| f.parse().ok())
                .and_then(TimelineId::new);
            let end = fields.next().and_then(|f| f.parse().ok());
            ancestors.push(Switch {
                timeline: id.ok_or_else(bad)?,
                end: end.ok_or_else(bad)?,
            });
        }
        Ok(Self {
            timeline,
            ancestors,
        })
    }

    /// The fork this timeline began with; `None` where it has no ancestor.
    #[must_use]
    pub fn last_switch(&self) -> Option<Switch> {
        self.ancestors.last().copied()
    }

    /// Where `timeline` ended on the way here; `None` where it is not an ancestor.
    #[must_use]
    pub fn end_of(&self, timeline: TimelineId) -> Option<Lsn> {
        self.ancestors
            .iter()
            .find(|s| s.timeline == timeline)
            .map(|s| s.end)
    }

    /// The timeline on which the byte at `position` was written: the one that a standby asks for which needs it next.
    #[must_use]
    pub fn timeline_at(&self, position: Lsn) -> TimelineId {
        let left = self.ancestors.iter().find(|left| left.end > position);
        left.map_or(self.timeline, |left| left.timeline)
    }

    fn segments(&self, end: Lsn) -> impl Iterator<Item = Segment> {
        let ended = self.ancestors.iter().map(|s| Segment {
            timeline: s.timeline,
            end: s.end,
            last: false,
        });
        ended.chain([Segment {
            timeline: self.timeline,
            end,
            last: true,
        }])
    }
}

struct Segment {
    timeline: TimelineId,
    end: Lsn,
    last: bool,
}

/// The attribute form: `3<2:0000000005000060<1:0000000003000000`, newest first.
impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timeline)?;
        for switch in self.ancestors.iter().rev() {
            write!(f, "<{}:{}", switch.timeline, switch.end.to_attribute())?;
        }
        Ok(())
    }
}

impl FromStr for Lineage {
    type Err = LineageParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let timeline = |part: &str| {
            let id = part.parse().ok().and_then(TimelineId::new);
            id.ok_or_else(|| LineageParseError::BadTimeline(part.to_owned()))
        };
        let mut parts = text.split('<');
        let own = timeline(parts.next().unwrap_or_default())?;
        let mut ancestors = Vec::new();
        for part in parts {
            let bad = || LineageParseError::BadPart(part.to_owned());
            let (id, end) = part.split_once(':').ok_or_else(bad)?;
            ancestors.push(Switch {
                timeline: timeline(id)?,
                end: Lsn::from_attribute(end)?,
            });
        }
        ancestors.reverse();
        Ok(Self {
            timeline: own,
            ancestors,
        })
    }
}

/// How far a node's WAL reaches, and along which timelines: the only form in which two nodes'
/// positions may be compared (R7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalPosition {
    pub lineage: Lineage,
    pub end: Lsn,
}

/// What the WAL of one node is to that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same bytes.
    Equal,
    /// The other has all of this, and more.
    Behind,
    /// This has all of the other, and more.
    Ahead,
    /// Each has bytes that the other has not; up to `fork` they are the same.
    Diverged { fork: Lsn, newer: Newer },
}

/// Which of two diverged positions lies on the timeline that was begun later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newer {
    /// This one: the other stayed on a timeline that this one left.
    This,
    /// The other one.
    Other,
    /// Both left the common timeline: no history can rank them.
    Unknown,
}

impl WalPosition {
    /// Compares along the timeline histories.
    #[must_use]
    pub fn relate(&self, other: &Self) -> Relation {
        let mut fork = Lsn::new(0);
        let mut ours = self.lineage.segments(self.end);
        let mut theirs = other.lineage.segments(other.end);
        // Both lists end with a `last` segment, and the loop returns at the first of these.
        while let (Some(a), Some(b)) = (ours.next(), theirs.next()) {
            if a.timeline != b.timeline {
                // Both left the common timeline at `fork`, to different ones. Who wrote nothing
                // there has only what is common.
                return match (a.last && a.end <= fork, b.last && b.end <= fork) {
                    (true, true) => Relation::Equal,
                    (true, false) => Relation::Behind,
                    (false, true) => Relation::Ahead,
                    (false, false) => Relation::Diverged {
                        fork,
                        newer: Newer::Unknown,
                    },
                };
            }
            match (a.last, b.last) {
                (true, true) => {
                    return match a.end.cmp(&b.end) {
                        std::cmp::Ordering::Less => Relation::Behind,
                        std::cmp::Ordering::Equal => Relation::Equal,
                        std::cmp::Ordering::Greater => Relation::Ahead,
                    };
                }
                (true, false) if a.end <= b.end => return Relation::Behind,
                (true, false) => {
                    return Relation::Diverged {
                        fork: b.end,
                        newer: Newer::Other,
                    };
                }
                (false, true) if b.end <= a.end => return Relation::Ahead,
                (false, true) => {
                    return Relation::Diverged {
                        fork: a.end,
                        newer: Newer::This,
                    };
                }
                (false, false) if a.end != b.end => {
                    return Relation::Diverged {
                        fork: a.end.min(b.end),
                        newer: Newer::Unknown,
                    };
                }
                (false, false) => fork = a.end,
            }
        }
        Relation::Diverged {
            fork,
            newer: Newer::Unknown,
        }
    }
}

impl fmt::Display for WalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.lineage.timeline, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(lineage: &str, end: u64) -> WalPosition {
        WalPosition {
            lineage: lineage.parse().unwrap(),
            end: Lsn::new(end),
        }
    }

    #[test]
    fn a_byte_is_on_the_timeline_that_had_not_ended_there() {
        let lineage: Lineage = "3<2:0000000000000200<1:0000000000000100".parse().unwrap();
        for (position, timeline) in [
            (0, 1),
            (0xff, 1),
            (0x100, 2),
            (0x1ff, 2),
            (0x200, 3),
            (0x900, 3),
        ] {
            let at = lineage.timeline_at(Lsn::new(position));
            assert_eq!(at.get(), timeline, "{position:x}");
        }
    }

    #[test]
    fn positions_relate_along_their_histories() {
        use Relation::{Ahead, Behind, Diverged, Equal};
        let at = |fork, newer| Diverged {
            fork: Lsn::new(fork),
            newer,
        };
        let two_from_one = "2<1:0000000000000100";
        let three = "3<2:0000000000000200<1:0000000000000100";
        for (a, a_end, b, b_end, expected) in [
            ("1", 0x50, "1", 0x50, Equal),
            ("1", 0x50, "1", 0x60, Behind),
            // Left behind before the fork: it can follow, over any number of failovers.
            ("1", 0x100, two_from_one, 0x100, Behind),
            ("1", 0x80, three, 0x300, Behind),
            (two_from_one, 0x150, three, 0x300, Behind),
            // A larger position on an abandoned timeline is not "ahead".
            ("1", 0x900, two_from_one, 0x180, at(0x100, Newer::Other)),
            (two_from_one, 0x250, three, 0x220, at(0x200, Newer::Other)),
            // Two promotions from the same timeline: nobody can rank them by history.
            (
                two_from_one,
                0x180,
                "3<1:0000000000000120",
                0x500,
                at(0x100, Newer::Unknown),
            ),
            (
                "2<1:0000000000000100",
                0x180,
                "3<1:0000000000000100",
                0x180,
                at(0x100, Newer::Unknown),
            ),
            // Promoted, but nothing written on the new timeline: nothing to lose.
            (
                "2<1:0000000000000100",
                0x100,
                "3<1:0000000000000100",
                0x180,
                Behind,
            ),
            // Different clusters share nothing.
            ("7", 0x10, "8", 0x20, at(0, Newer::Unknown)),
        ] {
            let (this, other) = (position(a, a_end), position(b, b_end));
            assert_eq!(this.relate(&other), expected, "{this} to {other}");
            let mirrored = match expected {
                Equal => Equal,
                Behind => Ahead,
                Ahead => Behind,
                Diverged { fork, newer } => Diverged {
                    fork,
                    newer: match newer {
                        Newer::This => Newer::Other,
                        Newer::Other => Newer::This,
                        Newer::Unknown => Newer::Unknown,
                    },
                },
            };
            assert_eq!(other.relate(&this), mirrored, "{other} to {this}");
        }
    }

    #[test]
    fn lineage_survives_display_then_parse() {
        for text in [
            "1",
            "2<1:0000000003000000",
            "3<2:0000000005000060<1:0000000003000000",
        ] {
            assert_eq!(text.parse::<Lineage>().unwrap().to_string(), text);
        }
        for text in ["", "0", "2<1", "2<0:0000000003000000", "2<1:3000000", "x"] {
            assert!(text.parse::<Lineage>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_history_file_is_read_with_comments_and_refused_when_torn() {
        let three = TimelineId::new(3).unwrap();
        let text = "# note\n1\t0/3000000\tno recovery target specified\n\n2\t0/5000060\tbefore x\n";
        let lineage = Lineage::from_history_file(three, text).unwrap();
        // As 19 writes positions: nodes of two minor versions must not differ about the same history.
        let wide = text.replace("0/3", "0/03").replace("0/5", "0/05");
        assert_eq!(
            Lineage::from_history_file(three, &wide).as_ref(),
            Ok(&lineage)
        );
        assert_eq!(
            lineage.to_string(),
            "3<2:0000000005000060<1:0000000003000000"
        );
        assert_eq!(lineage.last_switch().unwrap().timeline.get(), 2);
        assert_eq!(
            lineage.end_of(TimelineId::FIRST),
            Some(Lsn::new(0x0300_0000))
        );
        for torn in ["1", "1\t0/", "x\t0/3000000", "0\t0/3000000"] {
            assert!(Lineage::from_history_file(three, torn).is_err(), "{torn:?}");
        }
    }
}
