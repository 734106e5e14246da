//! Medians over runs.

use std::collections::BTreeMap;

use super::split::{Span, Split};
use super::{Millis, Phase};

/// What a phase came to in all runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub phase: Phase,
    /// Over the runs in which it is known; one in which it did not take place counts as nought. `None`: it is known in no run, or
    /// took place in none.
    pub median: Option<Millis>,
    pub shortest: Option<Millis>,
    pub longest: Option<Millis>,
    /// In how many runs it took place and was seen.
    pub seen: usize,
    /// In how many runs the logs do not show it.
    pub unknown: usize,
}

/// All runs of one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub runs: usize,
    pub outage: Option<Millis>,
    pub shortest: Option<Millis>,
    pub longest: Option<Millis>,
    /// How long writes went on after the fault.
    pub before: Option<Millis>,
    pub rows: Vec<Row>,
    /// A promotion's parts: until the server is asked, until it takes writes, and the rest.
    pub parts: [Option<Millis>; 3],
    /// Plans that were void before their end, in a run.
    pub aborted: Option<Millis>,
    /// In how many runs Pacemaker held its steps back for the machine's load.
    pub throttled: usize,
    /// The run whose outage is nearest to the median.
    pub typical: Option<usize>,
}

/// The middle one; of two, the mean. `None` of none.
pub fn median(values: &[Millis]) -> Option<Millis> {
    let mut values = values.to_vec();
    values.sort_unstable();
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((values.get(middle - 1)? + upper) / 2)
}

/// Sums up.
pub fn summarise(runs: &[Split]) -> Summary {
    let outages: Vec<Millis> = runs.iter().map(|run| run.total).collect();
    let of = |pick: fn(&Split) -> Option<Millis>| {
        let values: Vec<Millis> = runs.iter().filter_map(pick).collect();
        median(&values)
    };
    let outage = median(&outages);
    let distance = |n: &usize| (outages[*n] - outage.unwrap_or_default()).abs();
    Summary {
        runs: runs.len(),
        outage,
        shortest: outages.iter().min().copied(),
        longest: outages.iter().max().copied(),
        before: of(|run| Some(run.before)),
        rows: Phase::ALL
            .into_iter()
            .map(|phase| row(phase, runs))
            .collect(),
        parts: [
            of(|run| run.parts.asking),
            of(|run| run.parts.server),
            of(|run| run.parts.telling),
        ],
        aborted: of(|run| Millis::try_from(run.aborted).ok()),
        throttled: runs.iter().filter(|run| run.throttled).count(),
        typical: (0..runs.len()).min_by_key(distance),
    }
}

fn row(phase: Phase, runs: &[Split]) -> Row {
    let mut spans: BTreeMap<&str, usize> = BTreeMap::new();
    let mut known = Vec::new();
    for run in runs {
        match run.spans.get(&phase) {
            Some(Span::Took(took)) => {
                *spans.entry("seen").or_default() += 1;
                known.push(*took);
            }
            Some(Span::None) => known.push(0),
            Some(Span::Unknown) | None => *spans.entry("unknown").or_default() += 1,
        }
    }
    let count = |name: &str| spans.get(name).copied().unwrap_or_default();
    let seen = count("seen");
    // What never took place has no length.
    let values = if seen == 0 { Vec::new() } else { known };
    Row {
        phase,
        median: median(&values),
        shortest: values.iter().min().copied(),
        longest: values.iter().max().copied(),
        seen,
        unknown: count("unknown"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::split::Parts;
    use super::*;

    /// A run with these phases; the others did not take place.
    pub(in super::super) fn run(total: Millis, spans: &[(Phase, Span)]) -> Split {
        let mut all: BTreeMap<Phase, Span> =
            Phase::ALL.into_iter().map(|p| (p, Span::None)).collect();
        all.extend(spans.iter().copied());
        Split {
            total,
            before: 0,
            spans: all,
            parts: Parts::default(),
            aborted: 1,
            throttled: false,
            steps: Vec::new(),
        }
    }

    fn row_of(runs: &[Split], phase: Phase) -> Row {
        let rows = summarise(runs).rows;
        rows.into_iter().find(|row| row.phase == phase).unwrap()
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(median(&[30, 10, 20]), Some(20));
        assert_eq!(median(&[10, 40, 20, 30]), Some(25));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn an_unknown_is_never_nought() {
        let detect = |span| run(1000, &[(Phase::Detect, span)]);
        let runs = [
            detect(Span::Took(800)),
            detect(Span::Unknown),
            detect(Span::Unknown),
        ];
        let row = row_of(&runs, Phase::Detect);
        assert_eq!((row.median, row.seen, row.unknown), (Some(800), 1, 2));
        let row = row_of(&runs[1..], Phase::Detect);
        assert_eq!((row.median, row.seen, row.unknown), (None, 0, 2));
    }

    #[test]
    fn what_took_place_in_some_runs_counts_as_nought_in_the_others() {
        let start = |span| run(1000, &[(Phase::Start, span)]);
        let runs = [start(Span::None), start(Span::Took(500)), start(Span::None)];
        let row = row_of(&runs, Phase::Start);
        assert_eq!((row.median, row.longest, row.seen), (Some(0), Some(500), 1));
        let row = row_of(&runs[..1], Phase::Start);
        assert_eq!((row.median, row.seen, row.unknown), (None, 0, 0));
    }

    #[test]
    fn the_typical_run_is_the_one_nearest_to_the_median() {
        let runs = [run(3000, &[]), run(1000, &[]), run(1400, &[])];
        let summary = summarise(&runs);
        assert_eq!(summary.outage, Some(1400));
        assert_eq!(summary.typical, Some(2));
        assert_eq!(summarise(&[]).typical, None);
    }
}
