//! From events to phases: each moment of an outage belongs to exactly one.

use std::collections::BTreeMap;

use super::lines::{Event, Operation, Says, What};
use super::{Expected, Millis, Phase};

/// The resources whose operations matter.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// PostgreSQL.
    pub resource: &'a str,
    /// The address that follows the primary.
    pub writer: &'a str,
}

/// What the client saw, and when the fault was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the fault was about to be made.
    pub fault: Millis,
    /// The last acknowledged write.
    pub from: Millis,
    /// The first one after that.
    pub to: Millis,
}

/// How long a phase took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// So long, in all.
    Took(Millis),
    /// It did not take place.
    None,
    /// The logs do not show where it begins or ends.
    Unknown,
}

/// A promotion's parts, as far as the server's log shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Until the server is asked: the decision, and its record.
    pub asking: Option<Millis>,
    /// Until the server takes writes.
    pub server: Option<Millis>,
    /// What the agent does after that.
    pub telling: Option<Millis>,
}

/// Something that happened, for who wants to read it step by step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the last acknowledged write.
    pub at: Millis,
    /// How long, where that is known and means something.
    pub took: Option<Millis>,
    pub text: String,
}

/// An outage, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// How long it was.
    pub total: Millis,
    /// How long writes went on after the fault.
    pub before: Millis,
    /// Every phase.
    pub spans: BTreeMap<Phase, Span>,
    pub parts: Parts,
    /// How often a plan was void before its end.
    pub aborted: usize,
    /// Whether Pacemaker held its steps back for the machine's load.
    pub throttled: bool,
    pub steps: Vec<Step>,
}

/// A time in which something was done.
#[derive(Clone, Debug)]
struct Interval {
    from: Millis,
    /// `None`: the logs do not show its end.
    to: Option<Millis>,
    phase: Option<Phase>,
    text: String,
    node: String,
}

impl Interval {
    fn covers(&self, moment: Millis) -> bool {
        self.from <= moment && self.to.is_some_and(|to| moment < to)
    }
}

/// Where the phases before and after the cluster's steps end and begin. What is `None` the logs do not show.
struct Bounds {
    noticed: Option<Millis>,
    formed: Option<Millis>,
    planning: Option<Millis>,
    ready: Option<Millis>,
}

/// Takes an outage apart. The events of a node that is cut off from the others must not be among them.
pub fn split(events: &[Event], outage: Outage, expected: Expected, names: Names<'_>) -> Split {
    let mut events: Vec<&Event> = events.iter().collect();
    // Stable: what one log tells of one millisecond stays in its order.
    events.sort_by_key(|event| event.at);
    let operations = operations(&events, names);
    let mut intervals = operations.clone();
    intervals.extend(plans(&events));
    let bounds = bounds(&events, &operations, outage, expected);
    let mut spans = attribute(&intervals, &bounds, outage);
    mark_unknown(&mut spans, &operations, &bounds, outage, expected);
    let within = |at: Millis| outage.from <= at && at <= outage.to;
    let count = |is: fn(&What) -> bool| {
        let found = events.iter().filter(|e| within(e.at) && is(&e.what));
        found.count()
    };
    Split {
        total: outage.to - outage.from,
        before: (outage.from - outage.fault).max(0),
        parts: parts(&events, &operations, outage),
        aborted: voided(&events, outage),
        throttled: count(|what| matches!(what, What::Throttled)) > 0,
        steps: steps(&events, &operations, outage),
        spans,
    }
}

/// The operations, each with its time.
fn operations(events: &[&Event], names: Names<'_>) -> Vec<Interval> {
    let mut graphs: BTreeMap<&str, u32> = BTreeMap::new();
    let mut open: BTreeMap<(&str, u32, u32), usize> = BTreeMap::new();
    let mut all: Vec<Interval> = Vec::new();
    for event in events {
        let who = event.node.as_str();
        match &event.what {
            What::Graph(graph) => {
                graphs.insert(who, *graph);
            }
            What::Begun(operation) => {
                let graph = graphs.get(who).copied();
                if let Some(graph) = graph {
                    open.insert((who, graph, operation.action), all.len());
                }
                all.push(Interval {
                    from: event.at,
                    to: None,
                    phase: phase_of(operation, names),
                    text: format!("{} on {}", in_short(operation), operation.node),
                    node: operation.node.clone(),
                });
            }
            What::Ended { graph, action } => {
                if let Some(n) = open.remove(&(who, *graph, *action)) {
                    all[n].to = Some(event.at);
                }
            }
            What::TokenLost
            | What::NodeLeft
            | What::MonitorFailed { .. }
            | What::Planning
            | What::Scheduling
            | What::Aborted(_)
            | What::Throttled
            | What::Server(_) => {}
        }
    }
    all
}

fn in_short(operation: &Operation) -> &str {
    let key = operation.key.as_str();
    // Only a monitor has an interval.
    key.strip_suffix("_0").unwrap_or(key)
}

fn phase_of(operation: &Operation, names: Names<'_>) -> Option<Phase> {
    let of_server = operation.is_of(names.resource);
    let of_writer = operation.is_of(names.writer);
    match operation.name.as_str() {
        "notify" if of_server => Some(Phase::Notify),
        "promote" if of_server => Some(Phase::Promote),
        "start" if of_server => Some(Phase::Start),
        "demote" if of_server => Some(Phase::Stop),
        "stop" if of_server || of_writer => Some(Phase::Stop),
        "start" if of_writer => Some(Phase::Address),
        _ => None,
    }
}

/// The times in which the scheduler plans: from its first line to the plan.
fn plans(events: &[&Event]) -> Vec<Interval> {
    let mut since = None;
    let mut all = Vec::new();
    for event in events {
        match event.what {
            What::Planning => since = None,
            What::Scheduling => {
                since.get_or_insert(event.at);
            }
            What::Graph(_) => {
                if let Some(from) = since.take() {
                    all.push(Interval {
                        from,
                        to: Some(event.at),
                        phase: Some(Phase::Schedule),
                        text: String::new(),
                        node: event.node.clone(),
                    });
                }
            }
            What::TokenLost
            | What::NodeLeft
            | What::MonitorFailed { .. }
            | What::Aborted(_)
            | What::Begun(_)
            | What::Ended { .. }
            | What::Throttled
            | What::Server(_) => {}
        }
    }
    all
}

fn bounds(
    events: &[&Event],
    operations: &[Interval],
    outage: Outage,
    expected: Expected,
) -> Bounds {
    let first_since = |since: Millis, is: &dyn Fn(&What) -> bool| {
        let mut later = events
            .iter()
            .filter(|event| event.at >= since && event.at <= outage.to);
        later.find(|event| is(&event.what)).map(|event| event.at)
    };
    let is_planning = |what: &What| matches!(what, What::Planning);
    let (noticed, formed) = if expected.membership {
        let lost = first_since(outage.fault, &|what| matches!(what, What::TokenLost));
        let formed = first_since(lost.unwrap_or(outage.fault), &|what| {
            matches!(what, What::NodeLeft)
        });
        (lost, formed)
    } else {
        // An attribute that a standby's monitor changes makes a plan void, too, and says nothing of the fault.
        let failed = first_since(outage.fault, &|what| {
            matches!(what, What::MonitorFailed { .. })
        });
        let noticed = failed.or_else(|| first_since(outage.fault, &is_planning));
        (noticed, noticed)
    };
    let planning = formed.and_then(|formed| first_since(formed, &is_planning));
    let last_end = |phase: Phase| {
        let ends = operations
            .iter()
            .filter(|o| o.phase == Some(phase) && o.from >= outage.from && o.from <= outage.to);
        // One whose end is not known is later than any.
        ends.map(|o| o.to)
            .max_by_key(|to| to.unwrap_or(Millis::MAX))
    };
    let server = |says: Says| {
        let mut all = events.iter().rev();
        all.find(|e| e.what == What::Server(says) && e.at >= outage.from && e.at <= outage.to)
            .map(|e| e.at)
    };
    let ready = match (last_end(Phase::Address), expected.promotion) {
        (Some(end), _) => end,
        (None, true) => server(Says::Writable).or_else(|| last_end(Phase::Promote).flatten()),
        (None, false) => {
            let since = noticed.unwrap_or(outage.fault);
            first_since(since, &|what| *what == What::Server(Says::OtherNames))
        }
    };
    Bounds {
        noticed,
        formed,
        planning,
        ready,
    }
}

/// To which phase each moment belongs, summed up.
fn attribute(intervals: &[Interval], bounds: &Bounds, outage: Outage) -> BTreeMap<Phase, Span> {
    let Outage { from, to, .. } = outage;
    let all = [bounds.noticed, bounds.formed, bounds.planning, bounds.ready];
    let ends = intervals.iter().flat_map(|i| [Some(i.from), i.to]);
    let mut cuts: Vec<Millis> = all.into_iter().chain(ends).flatten().collect();
    cuts.extend([from, to]);
    cuts.retain(|cut| from <= *cut && *cut <= to);
    cuts.sort_unstable();
    cuts.dedup();
    let mut sums: BTreeMap<Phase, Millis> = BTreeMap::new();
    for pair in cuts.windows(2) {
        if let [begin, end] = pair {
            *sums.entry(at(*begin, intervals, bounds)).or_default() += end - begin;
        }
    }
    let span = |phase: Phase| match sums.get(&phase) {
        Some(took) => Span::Took(*took),
        None => Span::None,
    };
    Phase::ALL
        .into_iter()
        .map(|phase| (phase, span(phase)))
        .collect()
}

/// The phase that a moment belongs to.
fn at(moment: Millis, intervals: &[Interval], bounds: &Bounds) -> Phase {
    // What nobody knows the end of reaches to the next mark.
    let noticed = bounds.noticed.or(bounds.formed).or(bounds.planning);
    if noticed.is_some_and(|noticed| moment < noticed) {
        return Phase::Detect;
    }
    if bounds.formed.is_some_and(|formed| moment < formed) {
        return Phase::Membership;
    }
    if bounds.ready.is_some_and(|ready| moment >= ready) {
        return Phase::FirstWrite;
    }
    // What the others wait for comes first.
    const ORDER: [Phase; 6] = [
        Phase::Promote,
        Phase::Start,
        Phase::Address,
        Phase::Stop,
        Phase::Notify,
        Phase::Schedule,
    ];
    let is_done = |phase: &Phase| {
        let mut done = intervals.iter().filter(|i| i.phase == Some(*phase));
        done.any(|i| i.covers(moment))
    };
    if let Some(phase) = ORDER.into_iter().find(is_done) {
        return phase;
    }
    if bounds.planning.is_some_and(|planning| moment < planning) {
        return Phase::Coordinator;
    }
    Phase::Wait
}

/// What can't be told for want of a mark.
fn mark_unknown(
    spans: &mut BTreeMap<Phase, Span>,
    operations: &[Interval],
    bounds: &Bounds,
    outage: Outage,
    expected: Expected,
) {
    let mut unknown = Vec::new();
    if bounds.noticed.is_none() {
        unknown.push(Phase::Detect);
    }
    if expected.membership && (bounds.noticed.is_none() || bounds.formed.is_none()) {
        unknown.push(Phase::Membership);
    }
    if bounds.formed.is_none() || bounds.planning.is_none() {
        unknown.push(Phase::Coordinator);
    }
    if bounds.ready.is_none() {
        unknown.push(Phase::FirstWrite);
    }
    let begun = |o: &&Interval| o.from >= outage.from && o.from <= outage.to;
    let is_promoted = |o: &Interval| o.phase == Some(Phase::Promote);
    if expected.promotion && !operations.iter().filter(begun).any(is_promoted) {
        unknown.push(Phase::Promote);
    }
    // Begun, and never seen to end.
    let open = operations.iter().filter(begun).filter(|o| o.to.is_none());
    unknown.extend(open.filter_map(|o| o.phase));
    if !unknown.is_empty() {
        // Its time is among what nobody is seen to do.
        unknown.push(Phase::Wait);
    }
    for phase in unknown {
        spans.insert(phase, Span::Unknown);
    }
}

fn parts(events: &[&Event], operations: &[Interval], outage: Outage) -> Parts {
    let is_promotion = |o: &&Interval| {
        o.phase == Some(Phase::Promote) && outage.from <= o.from && o.from <= outage.to
    };
    let last = operations.iter().rfind(is_promotion);
    let Some(Interval {
        from,
        to: Some(to),
        node,
        ..
    }) = last
    else {
        return Parts::default();
    };
    let find = |is: &dyn Fn(Says) -> bool| {
        let mut all = events.iter().filter(|e| e.node == *node);
        let found = all.find(|e| {
            let says = matches!(e.what, What::Server(says) if is(says));
            says && *from <= e.at && e.at <= *to
        });
        found.map(|e| e.at)
    };
    // A restart on the same timeline begins with a shutdown.
    let asked = find(&|says| matches!(says, Says::PromoteAsked | Says::StopAsked));
    let writable = find(&|says| says == Says::Writable);
    Parts {
        asking: asked.map(|asked| asked - from),
        server: asked
            .zip(writable)
            .map(|(asked, writable)| writable - asked),
        telling: writable.map(|writable| to - writable),
    }
}

/// How many plans were void before their end.
fn voided(events: &[&Event], outage: Outage) -> usize {
    let mut is_void = false;
    let mut count = 0;
    for event in events {
        let is_within = outage.from <= event.at && event.at <= outage.to;
        if matches!(event.what, What::Graph(_)) {
            is_void = false;
        } else if matches!(event.what, What::Aborted(_)) && is_within && !is_void {
            is_void = true;
            count += 1;
        }
    }
    count
}

/// What happened, one after the other.
fn steps(events: &[&Event], operations: &[Interval], outage: Outage) -> Vec<Step> {
    let begin = outage.fault.min(outage.from);
    let mut steps = vec![
        Step {
            at: outage.fault - outage.from,
            took: None,
            text: "the fault".to_owned(),
        },
        Step {
            at: 0,
            took: None,
            text: "the client's last write".to_owned(),
        },
    ];
    let within = |at: Millis| begin <= at && at <= outage.to;
    for event in events.iter().filter(|event| within(event.at)) {
        let node = &event.node;
        let text = match &event.what {
            What::TokenLost => format!("{node}: corosync gives a node up"),
            What::NodeLeft => format!("{node}: a membership that a node has left"),
            What::MonitorFailed { resource, node } => {
                format!("the monitor of {resource} on {node} fails")
            }
            What::Planning => format!("{node}: the coordinator begins to plan"),
            What::Graph(graph) => format!("{node}: plan {graph}"),
            What::Aborted(why) => format!("{node}: the plan is void: {why}"),
            What::Throttled => format!("{node}: steps are held back for the machine's load"),
            What::Server(says) => format!("{node}: PostgreSQL {}", in_words(*says)),
            What::Scheduling | What::Begun(_) | What::Ended { .. } => continue,
        };
        steps.push(Step {
            at: event.at - outage.from,
            took: None,
            text,
        });
    }
    for operation in operations.iter().filter(|o| within(o.from)) {
        steps.push(Step {
            at: operation.from - outage.from,
            took: operation.to.map(|to| to - operation.from),
            text: operation.text.clone(),
        });
    }
    steps.push(Step {
        at: outage.to - outage.from,
        took: None,
        text: "the client's next write".to_owned(),
    });
    steps.sort_by_key(|step| step.at);
    steps
}

fn in_words(says: Says) -> &'static str {
    match says {
        Says::StopAsked => "is asked to shut down",
        Says::Down => "is down",
        Says::PromoteAsked => "is asked to leave its recovery",
        Says::Writable => "takes writes",
        Says::OtherNames => "waits for other standbys",
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::{Calendar, corosync, pacemaker, postgresql};
    use super::*;

    const CALENDAR: Calendar = Calendar {
        year: 2026,
        ahead: 0,
    };
    const NAMES: Names<'_> = Names {
        resource: "pgsql",
        writer: "vip-master",
    };
    const LOST: Expected = Expected {
        membership: true,
        promotion: true,
    };
    const HERE: Expected = Expected {
        membership: false,
        promotion: true,
    };

    /// The primary's machine went off; what two nodes that were left wrote, shortened.
    const COROSYNC: &str = include_str!("../../testdata/phases/off-corosync.log");
    const COORDINATOR: &str = include_str!("../../testdata/phases/off-pacemaker.log");
    const SERVER: &str = include_str!("../../testdata/phases/off-postgresql.log");
    /// A postmaster was killed, and started again.
    const KILLED: &str = include_str!("../../testdata/phases/kill-pacemaker.log");
    const KILLED_ELSEWHERE: &str = include_str!("../../testdata/phases/kill-pacemaker-node1.log");
    const KILLED_SERVER: &str = include_str!("../../testdata/phases/kill-postgresql.log");

    /// A time of that day.
    fn clock(text: &str) -> Millis {
        let line = format!("2026-12-01 {text} GMT [1]  LOG:  received promote request");
        postgresql("x", &line)[0].at
    }

    fn off() -> (Vec<Event>, Outage) {
        let mut events = corosync("node1", COROSYNC, CALENDAR);
        events.extend(pacemaker("node2", COORDINATOR, CALENDAR));
        events.extend(postgresql("node1", SERVER));
        let outage = Outage {
            fault: clock("04:51:26.766"),
            from: clock("04:51:26.790"),
            to: clock("04:51:37.500"),
        };
        (events, outage)
    }

    fn killed() -> (Vec<Event>, Outage) {
        let mut events = pacemaker("node2", KILLED, CALENDAR);
        events.extend(pacemaker("node1", KILLED_ELSEWHERE, CALENDAR));
        events.extend(postgresql("node1", KILLED_SERVER));
        let outage = Outage {
            fault: clock("04:49:40.483"),
            from: clock("04:49:40.560"),
            to: clock("04:49:45.150"),
        };
        (events, outage)
    }

    fn took(split: &Split, phase: Phase) -> Millis {
        match split.spans[&phase] {
            Span::Took(took) => took,
            other @ (Span::None | Span::Unknown) => panic!("{phase}: {other:?}"),
        }
    }

    fn sum(split: &Split) -> Millis {
        let took = split.spans.values().map(|span| match span {
            Span::Took(took) => *took,
            Span::None | Span::Unknown => 0,
        });
        took.sum()
    }

    #[test]
    fn a_lost_machine_is_noticed_given_up_waited_for_and_replaced() {
        let (events, outage) = off();
        let split = split(&events, outage, LOST, NAMES);
        // 26.790, token lost 30.313, membership 34.697, planning 34.701, scheduler 35.729.
        assert_eq!(took(&split, Phase::Detect), 3523);
        assert_eq!(took(&split, Phase::Membership), 4384);
        assert_eq!(took(&split, Phase::Coordinator), 4);
        assert!(took(&split, Phase::Wait) >= 1000, "{:?}", split.spans);
        // 36.137 to 36.625.
        assert_eq!(took(&split, Phase::Promote), 488);
        assert_eq!(sum(&split), split.total);
    }

    #[test]
    fn a_killed_postmaster_is_found_by_the_monitor_and_started_again() {
        let (events, outage) = killed();
        let split = split(&events, outage, HERE, NAMES);
        // 40.560 to 42.661.
        assert_eq!(took(&split, Phase::Detect), 2101);
        assert_eq!(split.spans[&Phase::Membership], Span::None);
        assert_eq!(split.spans[&Phase::Address], Span::None);
        // 43.133 to 44.121.
        assert_eq!(took(&split, Phase::Start), 988);
        // Until the server takes writes: the address is where it was.
        assert!(took(&split, Phase::FirstWrite) < 100, "{:?}", split.spans);
        assert!(split.throttled);
        assert_eq!(sum(&split), split.total);
    }

    #[test]
    fn a_promotion_has_parts() {
        let (events, outage) = killed();
        let split = split(&events, outage, HERE, NAMES);
        // Begun 44.613, asked 44.844, takes writes 45.093, ended 45.233.
        let expected = Parts {
            asking: Some(231),
            server: Some(249),
            telling: Some(140),
        };
        assert_eq!(split.parts, expected);
    }

    #[test]
    fn what_the_logs_do_not_show_is_unknown() {
        let (events, outage) = off();
        let without = |is: fn(&What) -> bool| {
            let rest: Vec<Event> = events.iter().filter(|e| !is(&e.what)).cloned().collect();
            split(&rest, outage, LOST, NAMES).spans
        };
        let spans = without(|what| matches!(what, What::TokenLost));
        assert_eq!(spans[&Phase::Detect], Span::Unknown);
        assert_eq!(spans[&Phase::Membership], Span::Unknown);
        assert_eq!(spans[&Phase::Promote], Span::Took(488));
        let spans = without(|what| matches!(what, What::NodeLeft));
        assert_eq!(spans[&Phase::Membership], Span::Unknown);
        assert_eq!(spans[&Phase::Coordinator], Span::Unknown);
        let spans = without(|what| matches!(what, What::Ended { .. }));
        assert_eq!(spans[&Phase::Promote], Span::Unknown);
        assert_eq!(spans[&Phase::Address], Span::Unknown);
        assert_eq!(spans[&Phase::FirstWrite], Span::Unknown);
        let spans = split(&[], outage, LOST, NAMES).spans;
        for phase in [
            Phase::Detect,
            Phase::Membership,
            Phase::Promote,
            Phase::Wait,
        ] {
            assert_eq!(spans[&phase], Span::Unknown, "{phase}");
        }
    }

    #[test]
    fn the_steps_are_in_order_and_begin_with_the_fault() {
        let (events, outage) = off();
        let steps = split(&events, outage, LOST, NAMES).steps;
        assert!(steps.is_sorted_by_key(|step| step.at));
        let texts: Vec<&str> = steps.iter().map(|step| step.text.as_str()).collect();
        assert_eq!(texts.first(), Some(&"the fault"));
        assert_eq!(texts.last(), Some(&"the client's next write"));
        assert!(texts.contains(&"pgsql_promote on node1"), "{texts:?}");
        assert!(
            texts.contains(&"node1: PostgreSQL takes writes"),
            "{texts:?}"
        );
    }
}
