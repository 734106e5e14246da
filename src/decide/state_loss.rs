//! What is known where the file with the agent's notes (`agent::state`) is gone or damaged.
//!
//! | the file | what it said | who wants to know | what they get |
//! | --- | --- | --- | --- |
//! | can't be read | is there still, so nothing may be put in its place | promote, a statement, who is followed, who is granted, what is relaxed | an error: nothing of it is done, and the next call tries again |
//! | | | the monitor | the server answers, so it is well in the role that it has; the reason is logged |
//! | | | the right of a running primary | it keeps a right that it has without the note, and loses none for the lack of it |
//! | | | the lock's renewal | it is taken as by a primary that does not know of it, and not noted |
//! | is gone | nobody knows | all | a fresh one, with what [`recall`] finds out elsewhere |
//! | is damaged | nobody knows | all | the same, and every record there is so far is distrusted (R9) |
//!
//! A file that is gone is no reason for distrust: tmpdir may be in memory, and after a power cut every node would distrust
//! every grant. Distrust is the second line (R9); the first is what others can see.

use serde::{Deserialize, Serialize};

/// What happened to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// Somebody emptied tmpdir, it does not outlive the boot, or this is the node's first day.
    Gone,
    /// It is there, and is not what the agent writes.
    Damaged,
}

/// The statement (R8) that the cluster has of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stated {
    Nothing,
    /// About the promotion of this epoch.
    About(u64),
    /// There is one, and it is not to be understood.
    Something,
}

/// What can be known without the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// The promotion that this node does not follow any more.
    pub detached: Option<u64>,
    /// What is recorded now is not to be believed (R9).
    pub distrusts: bool,
    /// The epoch that this node was promoted with.
    pub epoch: Option<u64>,
}

/// What the cluster remembers for a node that has lost its notes. `recorded`: the epoch of the last promotion, and whether
/// it was this node's.
#[must_use]
pub fn recall(loss: Loss, stated: Stated, recorded: u64, is_mine: bool) -> Recalled {
    Recalled {
        // Whoever has stated something must not get further: a candidate may be counting on it.
        detached: match stated {
            Stated::Nothing => None,
            Stated::About(epoch) => Some(epoch),
            Stated::Something => Some(recorded),
        },
        distrusts: loss == Loss::Damaged,
        epoch: is_mine.then_some(recorded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_outlives_the_note_of_it() {
        use Loss::{Damaged, Gone};
        use Stated::{About, Nothing, Something};
        for (loss, stated, mine, detached, distrusts, epoch) in [
            (Gone, Nothing, false, None, false, None),
            (Gone, About(6), false, Some(6), false, None),
            // A later promotion is followed all the same: the epochs are compared.
            (Gone, About(5), false, Some(5), false, None),
            (Gone, Something, false, Some(6), false, None),
            (Gone, Nothing, true, None, false, Some(6)),
            (Damaged, Nothing, false, None, true, None),
            (Damaged, About(6), false, Some(6), true, None),
            (Damaged, Something, true, Some(6), true, Some(6)),
        ] {
            let expected = Recalled {
                detached,
                distrusts,
                epoch,
            };
            let found = recall(loss, stated, 6, mine);
            assert_eq!(found, expected, "{loss:?} {stated:?} {mine}");
        }
    }
}
