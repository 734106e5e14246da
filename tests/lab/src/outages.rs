//! `cargo lab phases`: outages of one kind, one after the other in one cluster, taken apart (`lab::phases`).

use std::io::IsTerminal;
use std::time::Duration;

use lab::history::{Mark, Text};
use lab::phases::lines::{self, Calendar, Event};
use lab::phases::split::{Names, Outage, Span, Split, split};
use lab::phases::summary::{Summary, summarise};
use lab::phases::{Expected, Millis, draw};
use lab::resources::{MONITOR, RESOURCE, WRITER};
use lab::{Agent, Cluster, Cmd, Error, Node, Result, ScoreClient};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::cli::Make;

/// Limit of every wait.
const PATIENCE: Duration = Duration::from_secs(180);
/// Acknowledgements for this long mean that writes go on.
const STEADY: Duration = Duration::from_secs(2);
/// What a healthy cluster still has to do comes to its end, before the wait that is drawn.
const CALM: Duration = Duration::from_secs(4);
/// The agent, as a command.
const PROGRAM: &str = "/usr/lib/ocf/resource.d/heartbeat/expgsql";

/// How the outcome is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A bar for each phase.
    Bars,
    /// And a run, step by step.
    Steps,
    /// Everything.
    Json,
}

/// What ends the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Switch,
    Off,
    Cut,
    Hung,
    StandbyOff,
}

const FAULTS: [(&str, Fault, &str); 6] = [
    ("kill", Fault::Kill, "the primary's postmaster is killed"),
    ("switch", Fault::Switch, "the primary is moved"),
    ("off", Fault::Off, "the primary's machine loses power"),
    ("cut", Fault::Cut, "the primary is cut off from everything"),
    (
        "hung",
        Fault::Hung,
        "the primary's postmaster is stopped, as one that hangs",
    ),
    (
        "standby-off",
        Fault::StandbyOff,
        "a synchronous standby's machine loses power",
    ),
];

impl Fault {
    fn named(name: &str) -> Result<(Self, &'static str)> {
        let found = FAULTS.iter().find(|(known, ..)| *known == name);
        let names: Vec<&str> = FAULTS.iter().map(|(name, ..)| *name).collect();
        found
            .map(|(_, fault, title)| (*fault, *title))
            .ok_or_else(|| {
                Error::Other(format!(
                    "{name:?} is no fault that could be taken apart: {}",
                    names.join(", ")
                ))
            })
    }

    fn expected(self) -> Expected {
        Expected {
            membership: match self {
                Self::Off | Self::Cut | Self::StandbyOff => true,
                Self::Kill | Self::Switch | Self::Hung => false,
            },
            promotion: self != Self::StandbyOff,
        }
    }
}

/// Numbers by chance that a seed repeats (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `limit`.
    fn time(&mut self, limit: Duration) -> Duration {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(self.next() % limit)
    }
}

/// Makes the fault `runs` times, and prints what the outages consist of.
pub(crate) fn run(
    fault: &str,
    make: &Make,
    runs: u32,
    seed: Option<u64>,
    form: Form,
) -> Result<()> {
    let (fault, title) = Fault::named(fault)?;
    if runs == 0 {
        return Err(Error::Other("0 runs measure nothing: at least 1".into()));
    }
    if make.nodes < 2 {
        return Err(Error::Other(
            "one node has nobody to take over: at least 2 nodes".into(),
        ));
    }
    let seed = match seed {
        Some(seed) => seed,
        None => u64::try_from(wall()?).unwrap_or_default(),
    };
    eprintln!("lab: the waits are drawn with --seed {seed}");
    let mut builder = make.builder()?;
    if let Some((name, value)) = make.repairs() {
        builder = builder.param(name, value);
    }
    let lab = builder.up()?;
    lab.wait_healthy(PATIENCE)?;
    let client = match fault {
        Fault::Hung => ScoreClient::start_anew(&lab)?,
        Fault::Kill | Fault::Switch | Fault::Off | Fault::Cut | Fault::StandbyOff => {
            ScoreClient::start(&lab)?
        }
    };
    let mut chance = Chance(seed);
    let mut splits = Vec::new();
    for run in 1..=runs {
        let wait = chance.time(MONITOR);
        let split = one(&lab, &client, fault, wait)?;
        eprintln!(
            "lab: run {run} of {runs}: writes paused for {:.3} s",
            Duration::from_millis(split.total.unsigned_abs()).as_secs_f64()
        );
        splits.push(split);
        mend(&lab)?;
    }
    let lost = client.stop().lost(&lab)?;
    let summary = summarise(&splits);
    if form == Form::Json {
        println!("{:#}", as_json(fault, &lab, seed, &splits, &summary));
    } else {
        print(title, &lab, seed, &splits, &summary, form);
    }
    if lost.is_empty() {
        Ok(())
    } else {
        Err(Error::Promise(format!(
            "{} acknowledged commits were lost",
            lost.len()
        )))
    }
}

/// One outage.
fn one(lab: &Cluster, client: &ScoreClient, fault: Fault, wait: Duration) -> Result<Split> {
    lab.wait_healthy(PATIENCE)?;
    lab::rest(CALM + wait);
    let victim = match fault {
        Fault::StandbyOff => sync_standby(lab)?,
        Fault::Kill | Fault::Switch | Fault::Off | Fault::Cut | Fault::Hung => lab.primary()?,
    };
    let mut mark = Mark::default();
    // Up to now.
    lab.text_since(&mut mark)?;
    let calendar = calendar()?;
    let (begin, fault_at) = (client.now(), wall()?);
    inflict(lab, fault, victim)?;
    await_writes(lab, client, begin)?;
    let (now, now_at) = (client.now(), wall()?);
    let at = |time: Duration| now_at - millis(now.saturating_sub(time));
    let outages = client.score().outages(Duration::ZERO);
    let longest = outages
        .iter()
        .filter(|outage| outage.to > begin)
        .max_by_key(|outage| outage.length())
        .ok_or_else(|| Error::Other("the client never wrote".into()))?;
    let outage = Outage {
        fault: fault_at,
        from: at(longest.from),
        to: at(longest.to),
    };
    let expected = fault.expected();
    let mut events = Vec::new();
    for text in lab.text_since(&mut mark)? {
        // One that is alone has plans of its own, which nobody else follows.
        if !(expected.membership && text.node == victim.name()) {
            events.extend(read(&text, calendar));
        }
    }
    let names = Names {
        resource: RESOURCE,
        writer: WRITER,
    };
    Ok(split(&events, outage, expected, names))
}

fn read(text: &Text, calendar: Calendar) -> Vec<Event> {
    let node = &text.node;
    let mut events = lines::corosync(node, &text.corosync, calendar);
    events.extend(lines::pacemaker(node, &text.pacemaker, calendar));
    events.extend(lines::postgresql(node, &text.postgresql));
    events
}

fn inflict(lab: &Cluster, fault: Fault, victim: &Node) -> Result<()> {
    match fault {
        Fault::Kill => lab.kill_postmaster(victim),
        Fault::Hung => lab.hang_postmaster(victim),
        Fault::Off | Fault::StandbyOff => lab.power_off(victim),
        Fault::Cut => lab.isolate(victim),
        Fault::Switch if matches!(lab.spec().agent, Agent::Expgsql { .. }) => victim
            .run(&[PROGRAM, "cluster", "switch", "--yes"])?
            .ok()
            .map(drop),
        Fault::Switch => lab.switchover(PATIENCE).map(drop),
    }
}

fn sync_standby(lab: &Cluster) -> Result<&Node> {
    let status = lab.status()?;
    let standbys = lab.standbys()?;
    let sync = standbys
        .iter()
        .find(|node| status.attribute(node.name(), "pgsql-status") == Some("HS:sync"));
    sync.or(standbys.first())
        .copied()
        .ok_or_else(|| Error::Other("there is no standby".into()))
}

/// Until commits are acknowledged again, steadily, and the fault had time to be noticed at all.
fn await_writes(lab: &Cluster, client: &ScoreClient, begin: Duration) -> Result<()> {
    let notice = lab.spec().token * 3;
    lab.eventually("commits are acknowledged again", PATIENCE, |_| {
        let score = client.score();
        let steady = client.now().saturating_sub(STEADY);
        let recent = score.acks.iter().rev().take_while(|ack| ack.at >= steady);
        let goes_on = recent.count() > 10 && score.longest_gap_since(steady) < STEADY;
        if client.now() > begin + notice && goes_on {
            Ok(())
        } else {
            Err(format!("last error: {:?}", score.errors.last()))
        }
    })
}

/// Machine and network whole again, and nothing left for the next run to trip over.
fn mend(lab: &Cluster) -> Result<()> {
    lab.heal()?;
    for node in lab.nodes() {
        if !node.is_on() {
            lab.power_on(node)?;
        }
    }
    let healthy = lab.wait_healthy(PATIENCE);
    let failed = lab.status()?;
    if healthy.is_ok() && failed.fail_counts.is_empty() && failed.failures.is_empty() {
        return Ok(());
    }
    // With its failures Pacemaker would treat a node differently the next time.
    for node in lab.nodes() {
        lab.clean_up(node)?;
    }
    lab.wait_healthy(PATIENCE)
}

/// Now, by the machine's clock.
fn wall() -> Result<Millis> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)
        .map_err(|error| Error::Other(format!("read the clock: {error}")))?;
    Ok(now.tv_sec() * 1000 + now.tv_nsec() / 1_000_000)
}

fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}

/// The year, and what local time is ahead of UTC, as `+0130`.
fn calendar() -> Result<Calendar> {
    let text = Cmd::new(&["date", "+%Y %z"]).ok()?;
    let read = || {
        let (year, zone) = text.trim().split_once(' ')?;
        let (sign, digits) = zone.split_at_checked(1)?;
        let (hours, minutes) = digits.split_at_checked(2)?;
        let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
        let ahead = minutes * 60_000;
        Some(Calendar {
            year: year.parse().ok()?,
            ahead: if sign == "-" { -ahead } else { ahead },
        })
    };
    read().ok_or_else(|| Error::Other(format!("date says {text:?}")))
}

fn print(title: &str, lab: &Cluster, seed: u64, splits: &[Split], summary: &Summary, form: Form) {
    let spec = lab.spec();
    println!(
        "{title}: {} nodes, ocf:heartbeat:{}, rep_mode {}, token {} ms, monitor {} s; medians of {}, --seed {seed}\n",
        spec.nodes,
        spec.agent.ocf_name(),
        spec.mode.as_str(),
        spec.token.as_millis(),
        MONITOR.as_secs(),
        summary.runs,
    );
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    print!("{}", draw::bars(summary, colour));
    if let Some(before) = summary.before.filter(|before| *before > 0) {
        println!("\nAfter the fault writes went on for {before} ms.");
    }
    if let Some(aborted) = summary.aborted {
        println!("Plans that were void before their end: {aborted}.");
    }
    if summary.throttled > 0 {
        println!(
            "In {} of {} runs Pacemaker held its steps back for the machine's load: --property load-threshold=10000% keeps it from that.",
            summary.throttled, summary.runs
        );
    }
    if form == Form::Steps
        && let Some(split) = summary.typical.and_then(|n| splits.get(n))
    {
        println!("\nThe run nearest to the median, in seconds since the last write:\n");
        print!("{}", draw::steps(split));
    }
}

fn as_json(fault: Fault, lab: &Cluster, seed: u64, splits: &[Split], summary: &Summary) -> Value {
    let spec = lab.spec();
    let name = FAULTS.iter().find(|(_, known, _)| *known == fault);
    let rows = summary.rows.iter().map(|row| {
        json!({
            "phase": row.phase.name(), "median_ms": row.median, "shortest_ms": row.shortest, "longest_ms": row.longest,
            "runs_seen": row.seen, "runs_unknown": row.unknown,
        })
    });
    let runs = splits.iter().map(|split| {
        let spans = split.spans.iter().map(|(phase, span)| {
            let value = match span {
                Span::Took(took) => json!(took),
                Span::None => json!("none"),
                Span::Unknown => Value::Null,
            };
            (phase.name().to_owned(), value)
        });
        let steps = split
            .steps
            .iter()
            .map(|step| json!({ "at_ms": step.at, "took_ms": step.took, "what": step.text }));
        json!({
            "outage_ms": split.total, "writes_went_on_ms": split.before, "phases_ms": spans.collect::<serde_json::Map<_, _>>(),
            "promote_ms": { "asking": split.parts.asking, "server": split.parts.server, "telling": split.parts.telling },
            "plans_void": split.aborted, "held_back_for_load": split.throttled, "steps": steps.collect::<Vec<_>>(),
        })
    });
    json!({
        "fault": name.map(|(name, ..)| *name), "nodes": spec.nodes, "agent": spec.agent.ocf_name(), "rep_mode": spec.mode.as_str(),
        "token_ms": millis(spec.token), "monitor_ms": millis(MONITOR), "seed": seed,
        "outage_ms": { "median": summary.outage, "shortest": summary.shortest, "longest": summary.longest },
        "phases": rows.collect::<Vec<_>>(),
        "promote_ms": { "asking": summary.parts[0], "server": summary.parts[1], "telling": summary.parts[2] },
        "plans_void": summary.aborted, "runs": runs.collect::<Vec<_>>(),
    })
}
