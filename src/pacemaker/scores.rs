//! What finite scores of location constraints add up to on one node.
//!
//! Pacemaker promotes no instance whose promotion score, with what constraints about the promoted role add, is negative, nor one for which the sum of
//! that and of what other constraints add for the node is. It adds the last constraint first, and what an infinity has become stays one.
//!
//! Source: Pacemaker 2.1.5, `lib/pacemaker/pcmk_sched_promotable.c` (`set_instance_priority`, `set_sort_index_to_node_weight`,
//! `set_instance_role`) and `pcmk_utils.c` (`pcmk__add_scores`).

use crate::model::cluster_view::Score;

/// The highest that the agent gives.
const HIGHEST: Score = Score::new(1000);

/// What one constraint adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) id: String,
    pub(super) score: Score,
    pub(super) is_of_promoted: bool,
    pub(super) until: Option<String>,
}

/// The constraint that has the most to do with it that nobody is ever promoted there; `None`: somebody may be. Of constraints in the order of the CIB.
pub(super) fn culprit(parts: &[Part]) -> Option<&Part> {
    let of = |is_of_promoted: bool| {
        let all = parts.iter().rev();
        let these = all.filter(move |part| part.is_of_promoted == is_of_promoted);
        these.map(|part| part.score)
    };
    let promoted = of(true).fold(HIGHEST, add);
    let is_too_low = |score: Score| score < Score::new(0);
    let whole = of(false).fold(Score::new(0), add);
    let lowest = parts.iter().min_by_key(|part| part.score);
    if is_too_low(promoted) {
        let about = parts.iter().filter(|part| part.is_of_promoted);
        return about.min_by_key(|part| part.score);
    }
    lowest.filter(|_| is_too_low(add(whole, promoted)))
}

fn add(one: Score, other: Score) -> Score {
    for infinity in [Score::MINUS_INFINITY, Score::INFINITY] {
        if one == infinity || other == infinity {
            return infinity;
        }
    }
    Score::new(one.value() + other.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen with Pacemaker 2.1.5 and a promotion score of 1000: `crm_simulate -x FILE -S`.
    #[test]
    fn nobody_is_promoted_where_the_sum_is_negative() {
        for (promoted, any, expected) in [
            ("", "", ""),
            ("-1000", "", ""),
            ("-1001", "", "p0"),
            ("-5000", "", "p0"),
            ("-500 -500", "", ""),
            ("-500 -501", "", "p1"),
            ("5000 -5999", "", ""),
            ("5000 -6001", "", "p1"),
            ("INFINITY -5000", "", ""),
            ("-900000 -900000 INFINITY", "", ""),
            ("INFINITY -900000 -900000", "", "p1"),
            // What draws the resource there is no help.
            ("-5000", "5000", "p0"),
            ("-5000", "INFINITY", "p0"),
            // What keeps all of it away is no better.
            ("", "-1001", "a0"),
            ("", "-5000", "a0"),
            ("-500", "-501", "a0"),
            ("100", "-1101", "a0"),
            ("", "INFINITY -900000 -900000", "a1"),
            // One that runs there may stay, and be promoted.
            ("", "-1", ""),
        ] {
            let part = |kind: &str, at: usize, score: &str| Part {
                id: format!("{kind}{at}"),
                score: score.parse().unwrap(),
                is_of_promoted: kind == "p",
                until: None,
            };
            let list = |kind: &'static str, scores: &'static str| {
                let scores = scores.split_whitespace().enumerate();
                scores.map(move |(at, score)| part(kind, at, score))
            };
            let parts: Vec<Part> = list("p", promoted).chain(list("a", any)).collect();
            let got = culprit(&parts).map_or("", |part| part.id.as_str());
            assert_eq!(got, expected, "{promoted:?} {any:?}");
        }
    }
}
