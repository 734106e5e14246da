//! A server's WAL: its commits, in order, and the timelines they lie on.

use expgsql::model::lsn::Lsn;
use expgsql::model::timeline::{Lineage, Relation, Switch, TimelineId, WalPosition};

/// Commits that one story may have.
const LONGEST: usize = 4;
/// Promotions that one story may have.
const FORKS: usize = 4;

/// A set of commits.
pub(crate) type Commits = u8;

/// A position is the number of commits before it. Timelines count up from 1, as PostgreSQL's do:
/// two servers promoted apart from each other take the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Wal {
    commits: [u8; LONGEST],
    len: u8,
    ends: [u8; FORKS],
    forks: u8,
}

impl Wal {
    pub(crate) fn len(&self) -> u8 {
        self.len
    }

    pub(crate) fn forks(&self) -> u8 {
        self.forks
    }

    pub(crate) fn set(&self) -> Commits {
        self.entries().iter().fold(0, |set, id| set | 1 << id)
    }

    /// What was written before the present timeline began.
    pub(crate) fn inherited(&self) -> Commits {
        let end = usize::from(self.last_end().unwrap_or(0));
        self.commits[..end].iter().fold(0, |set, id| set | 1 << id)
    }

    fn entries(&self) -> &[u8] {
        &self.commits[..usize::from(self.len)]
    }

    /// Where `commit` ends.
    pub(crate) fn position_of(&self, commit: u8) -> Option<u8> {
        let place = self.entries().iter().position(|id| *id == commit)?;
        u8::try_from(place + 1).ok()
    }

    pub(crate) fn append(&mut self, commit: u8) {
        self.commits[usize::from(self.len)] = commit;
        self.len += 1;
    }

    /// What is not past `end`.
    pub(crate) fn up_to(&self, end: u8) -> Self {
        let mut first = Self {
            len: end,
            ..Self::default()
        };
        first.commits[..usize::from(end)].copy_from_slice(&self.commits[..usize::from(end)]);
        first.adopt(self);
        first
    }

    /// Begins a timeline, here.
    pub(crate) fn fork(&mut self) {
        self.ends[usize::from(self.forks)] = self.len;
        self.forks += 1;
    }

    pub(crate) fn lineage(&self) -> Lineage {
        let timeline = |n: u8| TimelineId::new(u32::from(n) + 1).expect("from 1");
        Lineage {
            timeline: timeline(self.forks),
            ancestors: (0..self.forks)
                .map(|n| Switch {
                    timeline: timeline(n),
                    end: lsn(self.ends[usize::from(n)]),
                })
                .collect(),
        }
    }

    pub(crate) fn position(&self) -> WalPosition {
        WalPosition {
            lineage: self.lineage(),
            end: lsn(self.len),
        }
    }

    /// Whether PostgreSQL would stream from `primary`: all of this lies on its history. Where two
    /// timelines have the same number and fork, the bytes differ, which the record's link to the
    /// one before shows.
    pub(crate) fn can_follow(&self, primary: &Self) -> bool {
        let is_ancestor = self == primary
            || match self.position().relate(&primary.position()) {
                Relation::Equal | Relation::Behind => true,
                Relation::Ahead | Relation::Diverged { .. } => false,
            };
        is_ancestor && primary.entries().starts_with(self.entries())
    }

    /// Goes over to the timelines of `primary`, as far as this reaches.
    pub(crate) fn adopt(&mut self, primary: &Self) {
        let reached = |n: &u8| primary.ends[usize::from(*n)] <= self.len;
        let forks = (0..primary.forks).take_while(reached).count();
        self.ends = [0; FORKS];
        self.ends[..forks].copy_from_slice(&primary.ends[..forks]);
        self.forks = u8::try_from(forks).expect("few");
    }

    /// The next commit arrives.
    pub(crate) fn receive(&mut self, primary: &Self) {
        self.append(primary.commits[usize::from(self.len)]);
        self.adopt(primary);
    }

    pub(crate) fn last_end(&self) -> Option<u8> {
        let last = usize::from(self.forks).checked_sub(1)?;
        Some(self.ends[last])
    }
}

/// The library's form of a position.
pub(crate) fn lsn(position: u8) -> Lsn {
    Lsn::new(u64::from(position))
}
