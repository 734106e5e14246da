//! What finite scores of location constraints add up to on one node.
//!
//! Pacemaker promotes no instance whose promotion score, with what constraints about the promoted role add, is negative. Nor does it where what other constraints
//! add keeps the resource from the node, whatever the score: stickiness and what stands beside the primary may outweigh some of it, so only what the
//! agent's highest score would not make up for counts here. Sums of both kinds are left to Pacemaker for the same reason. It adds the last
//! constraint first, and what an infinity has become stays one.
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
    [true, false].into_iter().find_map(|is_of_promoted| {
        let is_too_low = of(is_of_promoted).fold(HIGHEST, add) < Score::new(0);
        let these = parts
            .iter()
            .filter(|part| part.is_of_promoted == is_of_promoted);
        these.min_by_key(|part| part.score).filter(|_| is_too_low)
    })
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
            // Of both kinds, and stickiness may make up for it.
            ("-500", "-501", ""),
            ("-700", "-400", ""),
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
