//! Phases as bars, and an outage step by step.

use std::fmt::Write as _;

use super::Millis;
use super::split::{Split, Step};
use super::summary::{Row, Summary};

/// Columns that the whole outage takes.
const WIDTH: i64 = 48;

/// The table, with a bar for each phase: where the phases before it end, this one begins. In colour on a terminal.
pub fn bars(summary: &Summary, colour: bool) -> String {
    let whole: Millis = summary.rows.iter().filter_map(|row| row.median).sum();
    let mut text = String::new();
    let mut before = 0;
    for row in &summary.rows {
        let took = row.median.unwrap_or_default();
        let bar = bar(before, took, whole);
        before += took;
        let bar = if colour && !bar.trim().is_empty() {
            format!("\x1b[36m{bar}\x1b[0m")
        } else {
            bar
        };
        let line = format!(
            "  {:<12} {:>8}  {bar}{}",
            row.phase.name(),
            length(row),
            remark(row, summary.runs)
        );
        let _infallible = writeln!(text, "{}", line.trim_end());
        if row.phase == super::Phase::Promote {
            text.push_str(&parts(summary));
        }
    }
    let _infallible = writeln!(
        text,
        "  {:<12} {:>8}  {} to {} s in {}",
        "outage",
        seconds(summary.outage),
        number(summary.shortest),
        number(summary.longest),
        counted(summary.runs, "run"),
    );
    text
}

/// The parts of a promotion, where one was seen.
fn parts(summary: &Summary) -> String {
    let names = ["  · asking", "  · server", "  · telling"];
    let lines = names.iter().zip(summary.parts);
    lines
        .filter_map(|(name, part)| {
            part.map(|part| format!("  {name:<12} {:>8}\n", seconds(Some(part))))
        })
        .collect()
}

fn length(row: &Row) -> String {
    match row.median {
        Some(_) => seconds(row.median),
        None if row.unknown > 0 => "?".to_owned(),
        None => "-".to_owned(),
    }
}

fn remark(row: &Row, runs: usize) -> String {
    if row.unknown == 0 {
        return String::new();
    }
    format!(
        "  not to be told in {} of {}",
        row.unknown,
        counted(runs, "run")
    )
}

fn bar(before: Millis, took: Millis, whole: Millis) -> String {
    if whole <= 0 || took <= 0 {
        return String::new();
    }
    let column = |at: Millis| (at * WIDTH + whole / 2) / whole;
    let (from, to) = (column(before), column(before + took));
    // What took any time is seen.
    let long = (to - from).max(1);
    let repeat = |what: &str, times: i64| what.repeat(usize::try_from(times).unwrap_or_default());
    repeat(" ", from.min(WIDTH - 1)) + &repeat("█", long)
}

/// `1.234 s`; what is not known is a question mark.
fn seconds(millis: Option<Millis>) -> String {
    millis.map_or_else(|| "?".to_owned(), |_| format!("{} s", number(millis)))
}

fn number(millis: Option<Millis>) -> String {
    match millis {
        Some(millis) => format!(
            "{}{}.{:03}",
            if millis < 0 { "-" } else { "" },
            millis.abs() / 1000,
            millis.abs() % 1000
        ),
        None => "?".to_owned(),
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("{count} {what}")
    } else {
        format!("{count} {what}s")
    }
}

/// One outage, step by step.
pub fn steps(split: &Split) -> String {
    let line = |step: &Step| {
        let took = step
            .took
            .map_or_else(String::new, |took| number(Some(took)));
        format!("  {:>8}  {took:>6}  {}\n", number(Some(step.at)), step.text)
    };
    split.steps.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Phase;
    use super::super::split::Span;
    use super::super::summary::summarise;
    use super::super::summary::tests::run;
    use super::*;

    #[test]
    fn a_bar_begins_where_the_one_before_ends() {
        let runs = [run(
            4000,
            &[
                (Phase::Detect, Span::Took(1000)),
                (Phase::Promote, Span::Took(2000)),
                (Phase::FirstWrite, Span::Took(1000)),
            ],
        )];
        let text = bars(&summarise(&runs), false);
        let line = |phase: &str| {
            let mut lines = text.lines();
            let found = lines.find(|line| line.trim_start().starts_with(phase));
            found.unwrap().to_owned()
        };
        assert_eq!(
            line("detect"),
            format!("  detect        1.000 s  {}", "█".repeat(12))
        );
        assert_eq!(
            line("promote"),
            format!(
                "  promote       2.000 s  {}{}",
                " ".repeat(12),
                "█".repeat(24)
            )
        );
        assert_eq!(line("stop"), "  stop                -");
        assert_eq!(
            line("outage"),
            "  outage        4.000 s  4.000 to 4.000 s in 1 run"
        );
    }

    #[test]
    fn what_is_not_known_is_a_question_mark_and_said_so() {
        let known = run(4000, &[(Phase::Detect, Span::Took(1000))]);
        let unknown = run(4000, &[(Phase::Detect, Span::Unknown)]);
        let text = bars(&summarise(&[known, unknown.clone()]), false);
        assert!(text.contains("1.000 s"), "{text}");
        assert!(text.contains("not to be told in 1 of 2 runs"), "{text}");
        let text = bars(&summarise(&[unknown]), false);
        assert!(text.contains("  detect              ?"), "{text}");
    }

    #[test]
    fn colour_is_for_terminals() {
        let runs = [run(1000, &[(Phase::Detect, Span::Took(1000))])];
        assert!(!bars(&summarise(&runs), false).contains('\x1b'));
        assert!(bars(&summarise(&runs), true).contains('\x1b'));
    }

    #[test]
    fn times_are_seconds_with_three_digits() {
        assert_eq!(number(Some(-15)), "-0.015");
        assert_eq!(seconds(Some(12_030)), "12.030 s");
        assert_eq!(seconds(None), "?");
    }
}
