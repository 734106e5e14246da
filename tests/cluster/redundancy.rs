//! Time to redundancy: from a fault to the next commit that a standby has, too, and to the moment when every node
//! streams again without anybody's hand.
//!
//! Figures of one run on one machine, printed beside those of the other agents; what is asserted is in
//! [`super::compare`].

use std::fmt;
use std::time::Duration;

use lab::resources::RESOURCE;
use lab::{Agent, Cluster, Node, Redundancy, Result, ScoreClient, Status, StreamWatch};

use super::split;

/// How long a cluster may take to be whole again before it counts as in need of a human.
const PATIENCE: Duration = Duration::from_secs(75);
/// Pacemaker forgets a failure after this time: without it no agent could bring back a node that reached the
/// migration-threshold.
pub(crate) const FAILURE_TIMEOUT: Duration = Duration::from_secs(20);
/// Acknowledgements of the new primary after which writes go on.
const STEADY: usize = 50;

/// What takes the primary away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Switchover,
    /// The machine's power, which comes back when the others have redundancy again.
    PowerFailure,
    /// kill -9, once, with migration-threshold=1.
    Kill,
}

/// Every fault, the gentlest first.
pub(crate) const ALL: [Fault; 3] = [Fault::Switchover, Fault::PowerFailure, Fault::Kill];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Switchover => "switchover",
            Self::PowerFailure => "power off and on",
            Self::Kill => "kill -9, moves the primary",
        })
    }
}

/// When the whole cluster streamed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// So long after the fault; after a power failure so long after the power came back.
    After(Duration),
    /// It needs a human, for this reason.
    Never(String),
}

/// What one fault came to.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    pub(crate) fault: Fault,
    /// From the fault to the first commit that another node acknowledged; `None`: no other took over.
    writes: Option<Duration>,
    /// From the fault to a standby that streams from the new primary, synchronously if the agent manages that.
    standby: Option<Duration>,
    pub(crate) whole: Whole,
}

/// Lets every fault happen to a healthy cluster, one after the other.
pub(crate) fn recoveries(lab: &Cluster, faults: &[Fault]) -> Result<Vec<Recovery>> {
    let client = ScoreClient::start(lab)?;
    let watch = client.watch_streams(lab)?;
    let mut recoveries: Vec<Recovery> = Vec::new();
    for fault in faults {
        let last = recoveries.last().map(|recovery| &recovery.whole);
        if matches!(last, Some(Whole::Never(_))) && split::repair(lab).is_err() {
            println!("  it can't be repaired: the other faults are left out");
            break;
        }
        recoveries.push(recovery(lab, &client, &watch, *fault)?);
    }
    Ok(recoveries)
}

fn recovery(
    lab: &Cluster,
    client: &ScoreClient,
    watch: &StreamWatch,
    fault: Fault,
) -> Result<Recovery> {
    if fault == Fault::Kill {
        lab.set_migration_threshold(1)?;
    }
    let old = lab.primary()?;
    let begin = client.now();
    match fault {
        Fault::Switchover => lab.ban_primary(old)?,
        Fault::PowerFailure => lab.power_off(old)?,
        Fault::Kill => lab.kill_postmaster(old)?,
    }
    let first = lab.eventually("another node acknowledges commits", PATIENCE, |lab| {
        let score = client.score();
        let since = score.acks.iter().filter(|ack| ack.at >= begin);
        let mut others = since.filter(|ack| *ack.node != *old.name());
        let first = others.next().map(|ack| ack.at);
        match (first, others.count()) {
            (Some(at), count) if count >= STEADY => Ok(Ok(at)),
            (_, count) => match needs_human(lab, old) {
                Some(reason) => Ok(Err(reason)),
                None => Err(format!("{count} commits; {:?}", score.errors.last())),
            },
        }
    });
    let first = match first {
        Err(lab::Error::Timeout { .. }) => Err("no other node takes writes".to_owned()),
        other => other?,
    };
    let first = match first {
        Ok(first) => first,
        Err(reason) => {
            lab.power_on(old)?;
            return Ok(Recovery {
                fault,
                writes: None,
                standby: None,
                whole: Whole::Never(reason),
            });
        }
    };
    let one = match lab.spec().agent {
        Agent::Expgsql { .. } | Agent::StockPgsql => Redundancy::OneSynchronous,
        Agent::Paf => Redundancy::OneStreams,
    };
    let standby = lab
        .eventually("a standby of the new primary", PATIENCE, |_| {
            watch.back(one, begin).ok_or_else(|| watch.now())
        })
        .ok();
    let since = if fault == Fault::PowerFailure {
        lab.power_on(old)?;
        client.now()
    } else {
        begin
    };
    let whole = whole(lab, watch, old, since)?;
    if fault == Fault::Switchover {
        // Not before: PAF's scores may then move it back while it is on its way.
        lab.lift_bans()?;
    }
    // Redundancy is that of commits: there are none before the first.
    Ok(Recovery {
        fault,
        writes: Some(first - begin),
        standby: standby.map(|at| at.max(first) - begin),
        whole: match whole {
            Whole::After(time) => Whole::After(time.max(first.saturating_sub(since))),
            Whole::Never(reason) => Whole::Never(reason),
        },
    })
}

/// Waits, without a hand, until every node streams.
fn whole(lab: &Cluster, watch: &StreamWatch, old: &Node, since: Duration) -> Result<Whole> {
    let mut last = String::new();
    let outcome = lab.eventually("every node streams", PATIENCE, |lab| {
        if let Some(reason) = needs_human(lab, old) {
            return Ok(Whole::Never(reason));
        }
        let full = watch.steady(Redundancy::Full, since);
        match (lab.health(), full) {
            (Ok(()), Some(at)) => Ok(Whole::After(at - since)),
            (Ok(()), None) => Err(watch.now()),
            (Err(missing), _) => {
                missing.clone_into(&mut last);
                Err(missing)
            }
        }
    });
    match outcome {
        Err(lab::Error::Timeout { .. }) => {
            let status = lab.status()?;
            let of_old = format!(" on {}: ", old.name());
            let failure = status.failures.iter().find(|text| text.contains(&of_old));
            let missing = last.lines().next().unwrap_or_default();
            Ok(Whole::Never(
                failure.map_or_else(|| missing.to_owned(), Clone::clone),
            ))
        }
        other => other,
    }
}

/// Why a node does not come back however long one waits: the stock agent refuses to start where its lock file is left,
/// and Pacemaker does nothing more with a resource whose stop failed.
fn needs_human(lab: &Cluster, old: &Node) -> Option<String> {
    let status = lab.status().ok()?;
    let failed = |action: &str| {
        let start = format!("{RESOURCE}_{action}_0 on {}: ", old.name());
        let mut failures = status.failures.iter();
        failures.find_map(|failure| Some(failure.strip_prefix(&start)?.to_owned()))
    };
    if is_blocked(&status, old) {
        let reason = failed("stop").unwrap_or_default();
        return Some(format!("blocked, its stop failed: {reason}"));
    }
    failed("start")
        .filter(|reason| reason.contains("PGSQL.lock"))
        .map(|_| "PGSQL.lock has to be removed by hand".to_owned())
}

fn is_blocked(status: &Status, node: &Node) -> bool {
    let of_node = status
        .instances
        .iter()
        .filter(|instance| instance.node.as_deref() == Some(node.name()));
    of_node
        .filter(|instance| instance.resource == RESOURCE)
        .any(|instance| instance.blocked)
}

/// Prints the figures of several agents, a line for a fault and an agent.
pub(crate) fn print(agents: &[(&str, Vec<Recovery>)]) {
    println!(
        "  {:<28} {:<12} {:>9} {:>13} {:>15}",
        "time to redundancy", "", "writes", "one standby", "every node"
    );
    for fault in ALL {
        for (name, recoveries) in agents {
            for recovery in recoveries.iter().filter(|r| r.fault == fault) {
                println!("  {:<28} {name:<12} {recovery}", fault.to_string());
            }
        }
    }
    println!(
        "  from the fault on; every node: after a power failure from power on; after kill -9 with {} s of failure-timeout; there is no fencing here",
        FAILURE_TIMEOUT.as_secs()
    );
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let or_never = |time: Option<Duration>| time.map_or_else(|| "never".to_owned(), seconds);
        let (writes, standby) = (or_never(self.writes), or_never(self.standby));
        write!(f, "{writes:>9} {standby:>13} ")?;
        match &self.whole {
            Whole::After(time) => write!(f, "{:>15}", seconds(*time)),
            Whole::Never(reason) => write!(f, "{:>15} ({reason})", "never"),
        }
    }
}
