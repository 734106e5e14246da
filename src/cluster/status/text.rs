//! The report for people.

use std::time::Duration;

use console::Style;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::decide::why::{and, bare};
use crate::model::progress::Bytes;

use super::report::{Lock, Node, Report};
use super::table::{Align, Column, lines, wrapped};

/// Where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct Screen {
    /// `None`: no terminal, lines may be as long as they are.
    pub(in crate::cluster) width: Option<usize>,
    pub(in crate::cluster) colour: bool,
    /// It is drawn over again and again, so no line may be longer than it.
    pub(in crate::cluster) live: bool,
}

impl Screen {
    /// Standard output, as it is at this moment.
    pub(in crate::cluster) fn of_stdout() -> Self {
        let term = console::Term::stdout();
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            width: term.is_term().then(|| usize::from(term.size().1)),
            colour: term.is_term() && !is_plain,
            live: false,
        }
    }

    pub(in crate::cluster) fn paint(self, text: impl std::fmt::Display, style: &Style) -> String {
        if self.colour {
            style.clone().force_styling(true).apply_to(text).to_string()
        } else {
            text.to_string()
        }
    }
}

pub(in crate::cluster) fn good() -> Style {
    Style::new().green()
}

pub(in crate::cluster) fn bad() -> Style {
    Style::new().red().bold()
}

pub(in crate::cluster) fn odd() -> Style {
    Style::new().yellow()
}

pub(in crate::cluster) fn faint() -> Style {
    Style::new().dim()
}

/// How wide the labels are.
const LABEL: usize = 20;

/// The whole screen, line by line.
pub(super) fn render(report: &Report, screen: Screen) -> Vec<String> {
    let mut text = head(report, screen);
    text.push(String::new());
    text.extend(table(report, screen));
    text.push(String::new());
    for (label, value) in details(report) {
        text.extend(labelled(label, &value, screen));
    }
    text
}

/// In front of what to type.
const NEXT: &str = "next";

/// `label  value`, broken where it is too long.
fn labelled(label: &str, value: &str, screen: Screen) -> Vec<String> {
    let line = format!("{label:LABEL$}{value}");
    // A command that the terminal itself breaks can be copied in one piece.
    let is_command = label.trim() == NEXT && !screen.live;
    let width = screen.width.filter(|_| !is_command);
    let mut broken = wrapped(&line, LABEL, width);
    if let Some(first) = broken.first_mut() {
        let (head, tail) = first.split_at(LABEL.min(first.len()));
        *first = format!("{}{tail}", screen.paint(head, &faint()));
    }
    broken
}

fn head(report: &Report, screen: Screen) -> Vec<String> {
    let style = match report.health.as_str() {
        "healthy" => good().bold(),
        "degraded" => odd().bold(),
        _ => bad(),
    };
    let since = report.since.as_deref().map(|at| when(at, report));
    let since = since.map_or_else(String::new, |since| format!(" (since {since})"));
    let mut text: Vec<String> = wrapped(&format!("{}{since}.", report.headline), 2, screen.width)
        .into_iter()
        .map(|line| screen.paint(line, &style))
        .collect();
    if let Some(next) = &report.next {
        text.extend(labelled(&format!("  {NEXT}"), next, screen));
    }
    text.extend(
        outlook(report)
            .iter()
            .flat_map(|line| wrapped(line, 2, screen.width)),
    );
    let skipped = usize::from(report.health != "healthy");
    // Who takes over stands there already.
    let more = report.findings.iter().skip(skipped);
    for finding in more.filter(|finding| finding.code != "no-successor") {
        let since = finding.since.as_deref().map(|at| when(at, report));
        let since = since.map_or_else(String::new, |since| format!(" (since {since})"));
        text.extend(labelled(
            "  also",
            &format!("{}{since}", finding.text),
            screen,
        ));
        if let Some(fix) = finding
            .fix
            .as_ref()
            .filter(|fix| Some(*fix) != report.next.as_ref())
        {
            text.extend(labelled(&format!("    {NEXT}"), fix, screen));
        }
    }
    text
}

/// Who takes over, unless the headline has said it.
fn outlook(report: &Report) -> Option<String> {
    let outlook = &report.outlook;
    let Some((who, then)) = outlook.split_once(" If it fails now, ") else {
        return (!report.headline.contains(bare(outlook))).then(|| outlook.clone());
    };
    if report.headline.contains(then.trim_end_matches('.')) {
        Some(who.to_owned())
    } else {
        Some(outlook.clone())
    }
}

fn table(report: &Report, screen: Screen) -> Vec<String> {
    let nodes = &report.nodes;
    let column = |head, align, spare, cell: &dyn Fn(&Node) -> String| Column {
        head,
        cells: nodes.iter().map(cell).collect(),
        align,
        spare,
    };
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let may = |node: &Node| match (node.role, node.may_be_promoted) {
        ("primary", _) => "-".to_owned(),
        (_, true) => screen.paint("yes", &good()),
        (_, false) if node.barred_by.is_some() => screen.paint("barred", &odd()),
        (_, false) => screen.paint("no", &odd()),
    };
    let mut columns = vec![
        column("NODE", Align::Left, 0, &|n| n.name.to_string()),
        column("STATE", Align::Left, 0, &|n| state(n, screen)),
        column("ROLE", Align::Left, 0, &|n| role(n, screen)),
        column("STATUS", Align::Left, 5, &|n| dash(&n.status)),
        column("DATA STATUS", Align::Left, 2, &|n| dash(&n.data_status)),
        column("TL", Align::Right, 4, &|n| {
            n.timeline
                .map_or_else(|| "-".to_owned(), |tl| tl.to_string())
        }),
        column("POSITION", Align::Left, 3, &|n| dash(&n.position)),
        column("LAG", Align::Right, 1, &lag),
        column("PROMOTABLE", Align::Left, 0, &may),
    ];
    // Next to the lag, where it is another.
    if nodes.iter().any(replays_late) {
        columns.insert(
            8,
            column("REPLAY LAG", Align::Right, 1, &|n| {
                amount(n.replay_lag_bytes, n.replay_lag_seconds)
            }),
        );
    }
    if nodes.iter().any(|node| node.fail_count != "0") {
        columns.push(column(
            "FAILED",
            Align::Right,
            1,
            &|n| match n.migration_threshold {
                _ if n.fail_count == "0" => "0".to_owned(),
                Some(limit) if n.fail_count != "INFINITY" => format!("{}/{limit}", n.fail_count),
                _ => n.fail_count.clone(),
            },
        ));
    }
    let mut rows = lines(columns, screen.width);
    if let Some(head) = rows.first_mut() {
        *head = screen.paint(&*head, &faint());
    }
    rows
}

fn state(node: &Node, screen: Screen) -> String {
    match node.state.as_str() {
        "online" => "online".to_owned(),
        // Whether it said goodbye matters to fencing; JSON has it.
        "lost" | "offline" => screen.paint("offline", &bad()),
        other => screen.paint(other, &odd()),
    }
}

fn role(node: &Node, screen: Screen) -> String {
    match node.role {
        "primary" => screen.paint("primary", &Style::new().bold()),
        "none" => "-".to_owned(),
        "stopped" if node.replica => screen.paint("stopped", &bad()),
        other => other.to_owned(),
    }
}

/// What is received and not replayed, from where on it is told: a busy standby is always some pages behind.
const LATE: u64 = 1 << 20;

fn replays_late(node: &Node) -> bool {
    let written = node.lag_bytes.unwrap_or_default();
    node.replay_lag_bytes
        .is_some_and(|bytes| bytes.saturating_sub(written) >= LATE)
}

fn lag(node: &Node) -> String {
    amount(node.lag_bytes, node.lag_seconds)
}

fn amount(bytes: Option<u64>, seconds: Option<f64>) -> String {
    let Some(bytes) = bytes else {
        return "-".to_owned();
    };
    match seconds {
        Some(seconds) if bytes > 0 && seconds >= 1.0 => format!("{}, {seconds:.0} s", Bytes(bytes)),
        _ => Bytes(bytes).to_string(),
    }
}

fn details(report: &Report) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    all.extend(contract(report));
    for (i, text) in outside(report).into_iter().enumerate() {
        all.push((if i == 0 { "outside" } else { "" }, text));
    }
    for (i, text) in slots(report).into_iter().enumerate() {
        all.push((if i == 0 { "slots" } else { "" }, text));
    }
    if let Some(promotion) = &report.last_promotion {
        let mut text = promotion.node.to_string();
        if let Some(at) = &promotion.at {
            text = format!("{text}, {}", when(at, report));
        }
        if let (Some(timeline), Some(at)) = (promotion.left_timeline, &promotion.left_at) {
            text = format!("{text}; it left timeline {timeline} at {at}");
        }
        if let Some(epoch) = promotion.epoch {
            text = format!("{text}; epoch {epoch}");
        }
        all.push(("last promotion", text));
    }
    all.extend(lock(report).map(|text| ("lock", text)));
    for (i, address) in report.addresses.iter().enumerate() {
        let label = if i == 0 { "addresses" } else { "" };
        let names: Vec<&str> = address.nodes.iter().map(|n| n.as_str()).collect();
        let on = if names.is_empty() {
            "runs nowhere".to_owned()
        } else {
            format!("on {}", and(&names))
        };
        let what = address.address.as_ref().unwrap_or(&address.agent);
        all.push((label, format!("{} {what} {on}", address.name)));
    }
    all.push(("cluster", cluster(report)));
    let failures = report.nodes.iter().flat_map(|node| {
        node.failures
            .iter()
            .map(move |failure| (&node.name, failure))
    });
    let is_said = |reason: &str| report.findings.iter().any(|f| f.text.contains(reason));
    let unsaid = failures.filter(|(_, failure)| !is_said(&failure.reason));
    for (i, (name, failure)) in unsaid.enumerate() {
        let label = if i == 0 { "failed actions" } else { "" };
        let at = failure
            .at
            .as_deref()
            .map(|at| format!(", {}", when(at, report)));
        all.push((
            label,
            format!(
                "{} on {name}{}: {}",
                failure.operation,
                at.unwrap_or_default(),
                failure.reason
            ),
        ));
    }
    for (i, text) in report.unread.iter().enumerate() {
        all.push((if i == 0 { "not known" } else { "" }, text.clone()));
    }
    all
}

/// Who else streams from the primary.
fn outside(report: &Report) -> Vec<String> {
    let one = |it: &super::report::Outside| {
        let name = match it.application_name.as_str() {
            "" => "somebody without a name",
            name => name,
        };
        let mut text = if it.streaming {
            format!(
                "{name} streams: lag {}, replay lag {}",
                amount(it.lag_bytes, it.lag_seconds),
                amount(it.replay_lag_bytes, it.replay_lag_seconds)
            )
        } else {
            format!("{name} is connected, and does not stream")
        };
        if let Some(slot) = &it.slot {
            text = format!("{text}; slot {slot}");
        }
        text
    };
    report.outside.iter().map(one).collect()
}

/// Those that keep WAL for somebody who is away, or that are of no use any more.
fn slots(report: &Report) -> Vec<String> {
    let slots = report.slots.iter().flatten();
    slots
        .filter_map(|it| match (it.lost, it.active, it.held_bytes) {
            (true, _, _) => Some(format!(
                "{} ({}) is lost: the WAL that it needs is gone",
                it.slot, it.kind
            )),
            (false, false, Some(bytes)) => Some(format!(
                "{} ({}) keeps {} of WAL for nobody who is connected",
                it.slot,
                it.kind,
                Bytes(bytes)
            )),
            (false, true, _) | (false, false, None) => None,
        })
        .collect()
}

fn contract(report: &Report) -> Vec<(&'static str, String)> {
    if report.mode == "async" {
        let text = "nobody (rep_mode=async): with the primary's machine the last commits are lost";
        return vec![("commits wait for", text.to_owned())];
    }
    let Some(contract) = &report.contract else {
        return Vec::new();
    };
    let names = |set: &std::collections::BTreeSet<String>| {
        and(&set.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let list = |set: &std::collections::BTreeSet<String>| {
        let names: Vec<&str> = set.iter().map(String::as_str).collect();
        names.join(", ")
    };
    let wait = |count: usize, standbys: &std::collections::BTreeSet<String>| match count {
        0 => "nobody".to_owned(),
        count if count < standbys.len() => format!("any {count} of {}", list(standbys)),
        _ => names(standbys),
    };
    let primary = &contract.primary;
    let recorded = wait(contract.count, &contract.standbys);
    let waits = match &contract.in_force {
        Some(now) => wait(now.count, &now.standbys),
        None if report.primary.as_ref().is_some_and(|now| now != primary) => {
            format!("not recorded yet; for {recorded} as long as {primary} was the primary")
        }
        None => recorded,
    };
    let on = if !contract.is_current {
        let primary = report
            .last_promotion
            .as_ref()
            .map_or(primary, |last| &last.node);
        format!("{primary} alone")
    } else if contract.eligible.is_empty() {
        format!("{primary} alone")
    } else if contract.count < contract.standbys.len() {
        format!(
            "{primary}, and at least {} of {}",
            contract.count,
            list(&contract.eligible)
        )
    } else {
        let mut all = vec![primary.to_string()];
        all.extend(contract.eligible.iter().cloned());
        and(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let label = match report.primary {
        Some(_) => "commits wait for",
        None => "commits waited for",
    };
    vec![(label, waits), ("every commit is on", on)]
}

fn lock(report: &Report) -> Option<String> {
    let Lock {
        name, owner, why, ..
    } = &report.lock;
    let name = name.as_deref().unwrap_or_default();
    let why = why.as_deref().unwrap_or_default();
    let epoch = report.lock.epoch.unwrap_or_default();
    let owner = owner.as_deref().unwrap_or_default();
    let eligible = report
        .lock
        .eligible
        .as_ref()
        .map_or_else(String::new, |names| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!("; it lets {} be promoted", and(&names))
        });
    Some(match report.lock.state {
        "unused" => return None,
        "by-command" => {
            "by distlock_lock_cmd, which says who holds it to nobody but the holder".to_owned()
        }
        "held" => format!(
            "{name}: held by {owner}, {:.0} s left of {:.0}, epoch {epoch}{eligible}",
            report.lock.remaining_seconds.unwrap_or_default(),
            report.lock.lease_seconds.unwrap_or_default()
        ),
        "expired" => {
            format!("{name}: {owner} held it, and its lease has expired; epoch {epoch}{eligible}")
        }
        "free" => format!("{name}: nobody holds it; epoch {epoch}{eligible}"),
        "silent" => format!("{name}: no answer, so who holds it is not known"),
        _ => format!("{name}: {why}"),
    })
}

fn cluster(report: &Report) -> String {
    let c = &report.cluster;
    let quorum = match c.quorum.as_str() {
        "yes" => "quorum",
        "no" => "NO QUORUM",
        _ => "no coordinator yet",
    };
    let mut text = format!("{quorum}, {} of {} nodes", c.members, c.nodes);
    if let Some(votes) = c.expected_votes.filter(|votes| *votes != c.nodes) {
        text = format!("{text}, {votes} votes");
    }
    if let Some(dc) = &c.dc {
        text = format!("{text}, DC {dc}");
    }
    text = format!(
        "{text}; no-quorum-policy={}, fencing {}",
        c.no_quorum_policy,
        if c.fencing { "on" } else { "off" }
    );
    if c.maintenance {
        text = format!("{text}, MAINTENANCE");
    }
    if !c.managed {
        text = format!("{text}, UNMANAGED");
    }
    if c.target_role != "any" {
        text = format!("{text}, target-role={}", c.target_role);
    }
    text
}

/// A time of now, as a clock on the wall has it.
pub(super) fn clock(at: &str) -> String {
    let zone = TimeZone::system();
    at.parse::<Timestamp>().map_or_else(
        |_| at.to_owned(),
        |at| at.to_zoned(zone).strftime("%H:%M:%S").to_string(),
    )
}

/// `18:03:11, 4 min ago`, with the date where that is another day.
fn when(at: &str, report: &Report) -> String {
    let (Ok(at), Ok(now)) = (at.parse::<Timestamp>(), report.seen_at.parse::<Timestamp>()) else {
        // In a comparison without figures there is no "now".
        return at.to_owned();
    };
    let zone = TimeZone::system();
    let (local, today) = (at.to_zoned(zone.clone()), now.to_zoned(zone));
    let shown = if local.date() == today.date() {
        local.strftime("%H:%M:%S")
    } else {
        local.strftime("%Y-%m-%d %H:%M:%S")
    };
    match now.duration_since(at).try_into() {
        Ok(ago) => format!("{shown}, {} ago", in_words(ago)),
        // The clocks of two machines.
        Err(_) => shown.to_string(),
    }
}

/// `4 min`, `2 h 5 min`, `3 d`
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::documented;
    use crate::decide::condition::judge;
    use crate::decide::observed::example::{healthy, lock_row, name};
    use crate::decide::observed::{Behind, Observed, Outside, Presence, SlotSeen};
    use crate::decide::why::explain;

    const PLAIN: Screen = Screen {
        width: None,
        colour: false,
        live: false,
    };

    #[test]
    fn what_is_received_and_not_replayed_is_told_where_it_is_much() {
        let with = |bytes| {
            let mut seen = healthy();
            let node = seen.nodes.get_mut(&name("node2")).unwrap();
            node.wal.replay.bytes = Some(bytes);
            render(&report(&seen), PLAIN).join("\n")
        };
        assert!(!with(LATE - 1).contains("REPLAY LAG"), "{}", with(LATE - 1));
        let text = with(5 * LATE);
        assert!(text.contains("  LAG  REPLAY LAG  PROMOTABLE"), "{text}");
        assert!(text.contains("  0 B      5.0 MB  no"), "{text}");
    }

    #[test]
    fn who_streams_outside_and_slots_that_nobody_reads_are_told() {
        let mut seen = healthy();
        let text = |seen: &Observed| render(&report(seen), PLAIN).join("\n");
        let behind = |bytes| Behind {
            bytes: Some(bytes),
            delay: None,
        };
        seen.outside.push(Outside {
            name: "reports".to_owned(),
            is_streaming: true,
            position: None,
            lag: behind(0),
            replay: behind(2 << 20),
            slot: Some("r".to_owned()),
        });
        let slot = |name: &str, is_active, held, is_lost| SlotSeen {
            name: name.to_owned(),
            is_logical: false,
            is_active,
            held,
            is_lost,
        };
        seen.slots = Some(vec![
            slot("r", true, Some(5), false),
            slot("unused", false, None, false),
        ]);
        let shown = text(&seen);
        assert!(
            shown.contains(
                "outside             reports streams: lag 0 B, replay lag 2.0 MB; slot r\n"
            ),
            "{shown}"
        );
        assert!(!shown.contains("slots"), "{shown}");
        seen.slots = Some(vec![
            slot("away", false, Some(3 << 20), false),
            slot("gone", false, None, true),
        ]);
        let shown = text(&seen);
        for part in [
            "slots               away (physical) keeps 3.0 MB of WAL for nobody who is connected\n",
            "                    gone (physical) is lost: the WAL that it needs is gone\n",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
    }

    fn report(seen: &Observed) -> Report {
        let why = explain(seen);
        let now = Timestamp::from_second(1_795_272_492).unwrap();
        Report::new(seen, &why, &judge(seen, &why), now)
    }

    #[test]
    fn a_healthy_cluster_is_two_sentences_and_a_table() {
        let mut seen = healthy();
        seen.lock = lock_row("pgsql_node1", &["node1", "node3"]);
        let text = render(&report(&seen), PLAIN);
        assert_eq!(
            text[..7],
            [
                "pgsql is healthy.",
                "node1 is the primary. If it fails now, node3 takes over.",
                "",
                "NODE   STATE   ROLE     STATUS    DATA STATUS      TL  POSITION   LAG  PROMOTABLE",
                "node1  online  primary  PRI       LATEST            2  0/1501428    -  -",
                "node2  online  standby  HS:async  STREAMING|ASYNC   2  0/1501428  0 B  no",
                "node3  online  standby  HS:sync   STREAMING|SYNC    2  0/1501428  0 B  yes",
            ]
        );
        let has = |line: &str| assert!(text.iter().any(|l| l == line), "{line}: {text:#?}");
        has("commits wait for    node3");
        has("every commit is on  node1 and node3");
        has(
            "lock                lab: held by pgsql_node1, 6 s left of 9, epoch 3; it lets node1 and node3 be promoted",
        );
        has("addresses           vip-master 10.77.0.100 on node1");
        has(
            "cluster             quorum, 3 of 3 nodes, DC node3; no-quorum-policy=stop, fencing off",
        );
        assert!(
            text.iter()
                .any(|l| l.contains("1 min ago; it left timeline 1 at 0/15012D8"))
        );
    }

    #[test]
    fn a_degraded_one_says_what_to_do_next() {
        let mut seen = healthy();
        seen.nodes.get_mut(&name("node2")).unwrap().presence = Presence::Offline;
        let text = render(&report(&seen), PLAIN);
        assert_eq!(text[0], "pgsql is degraded: node2 is offline.");
        assert!(
            text[1].starts_with("  next              bring node2 back"),
            "{}",
            text[1]
        );
    }

    #[test]
    fn every_line_fits_its_terminal_and_colours_need_one() {
        let mut seen = healthy();
        seen.nodes.get_mut(&name("node2")).unwrap().presence = Presence::Offline;
        seen.lock = lock_row("pgsql_node1", &["node1", "node3"]);
        for width in [60, 80, 120] {
            for colour in [false, true] {
                let screen = Screen {
                    width: Some(width),
                    colour,
                    live: true,
                };
                let text = render(&report(&seen), screen);
                for line in &text {
                    assert!(
                        console::measure_text_width(line) <= width,
                        "{width}: {line}"
                    );
                }
                let is_coloured = text.iter().any(|line| line.contains('\u{1b}'));
                assert_eq!(is_coloured, colour);
            }
        }
    }

    #[test]
    fn the_json_has_its_documented_members() {
        let documented = include_str!("../../../docs/status.md");
        let value = serde_json::to_value(report(&healthy())).unwrap();
        let mut names = Vec::new();
        let members = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        names.extend(members(&value));
        for part in ["contract", "last_promotion", "lock", "cluster"] {
            names.extend(members(&value[part]));
        }
        for list in ["nodes", "addresses"] {
            names.extend(members(&value[list][0]));
        }
        assert!(names.len() > 50, "{names:?}");
        for name in names {
            assert!(
                documented.contains(&format!("`{name}`")),
                "docs/status.md lacks {name}"
            );
        }
    }

    #[test]
    fn every_documented_member_and_value_of_the_json_occurs() {
        let documents: Vec<_> = documented::pictures()
            .iter()
            .map(|seen| serde_json::to_value(report(seen)).unwrap())
            .collect();
        documented::assert_occurs("### status --json", Some("### why --json"), &documents);
    }

    #[test]
    fn what_only_moves_is_no_change() {
        let seen = healthy();
        let mut later = healthy();
        for node in later.nodes.values_mut() {
            node.wal.position = Some(crate::model::lsn::Lsn::new(0x0200_0000));
            node.wal.lag = node.wal.lag.map(|lag| lag + 100);
        }
        let still =
            |seen: &Observed| serde_json::to_string(&report(seen).without_figures()).unwrap();
        assert_eq!(still(&seen), still(&later));
        later.nodes.get_mut(&name("node2")).unwrap().presence = Presence::Offline;
        assert_ne!(still(&seen), still(&later));
    }

    #[test]
    fn times_are_told_in_the_greatest_unit_that_fits() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3 * 3600 + 65, "3 h 1 min"),
            (2 * 86_400 + 3600, "2 d 1 h"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), text);
        }
    }
}
