//! Whether enough servers run for a failover in which nobody by itself is known to have everything.

use crate::model::sync_names::StandbyName;

/// What is wrong where the clone has fewer instances than there are nodes that commits may wait for, `count` at a time, with the primary. With
/// `ANY` a standby is promoted when enough of those that are named have stated what they have, and one that never runs states nothing.
/// `most`: `clone-max`.
#[must_use]
pub fn objection(most: Option<u32>, members: &[StandbyName], count: usize) -> Option<String> {
    let most = usize::try_from(most?).ok().filter(|most| *most > 0)?;
    let others = members.len().checked_sub(1)?;
    let needed = others + 1 - count.clamp(1, others.max(1));
    let running = most - 1;
    (running < needed.min(others)).then(|| {
        // What to do comes early: of a reason little more than a line is shown.
        let nodes = members.len();
        format!(
            "set clone-max to {nodes}, or shorten node_list: with clone-max={most} and sync_method=quorum no more standbys run than {running}, and a promotion \
             takes the statements of {needed} ({})",
            members.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_with_too_few_instances_for_a_quorum_is_objected_to() {
        for (most, members, count, expected) in [
            (None, "a b c", 1, None),
            (Some(0), "a b c", 1, None),
            (Some(3), "a b c", 1, None),
            (Some(5), "a b c", 1, None),
            (
                Some(2),
                "a b c",
                1,
                Some("than 1, and a promotion takes the statements of 2 ("),
            ),
            (
                Some(1),
                "a b c",
                1,
                Some("than 0, and a promotion takes the statements of 2 ("),
            ),
            // Two have everything: one of them is among any two.
            (Some(3), "a b c d", 2, None),
            (
                Some(2),
                "a b c d",
                2,
                Some("than 1, and a promotion takes the statements of 2 ("),
            ),
            (Some(2), "a b c", 2, None),
            (Some(2), "a b c", 9, None),
            // What stands alone needs nobody.
            (Some(2), "a b", 1, None),
            (
                Some(1),
                "a b",
                1,
                Some("set clone-max to 2, or shorten node_list"),
            ),
            (Some(1), "a", 1, None),
            (Some(1), "", 1, None),
        ] {
            let members: Vec<String> = members.split_whitespace().map(str::to_owned).collect();
            let got = objection(most, &members, count);
            let is_right = match (&got, expected) {
                (None, None) => true,
                (Some(got), Some(expected)) => got.contains(expected),
                (Some(_), None) | (None, Some(_)) => false,
            };
            assert!(is_right, "{most:?} {members:?} {count}: {got:?}");
        }
    }
}
