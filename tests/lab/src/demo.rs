//! `cargo lab demo`: failures of a real cluster, second by second, as a person wants to see them.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::{Cluster, Node, Result, ScoreClient};

use crate::cli::Make;
use crate::watch;

/// Limit of every wait of the demonstration.
const PATIENCE: Duration = Duration::from_secs(120);
/// Acknowledgements for this long mean that writes go on.
const STEADY: Duration = Duration::from_secs(2);
/// How long a cluster may take to mend itself before the demonstration does it by hand.
const SELF_HELP: Duration = Duration::from_secs(45);

/// Prints lines with the seconds since the beginning; in colour on a terminal, plain elsewhere.
#[derive(Debug)]
pub(crate) struct Timeline {
    start: Instant,
    colour: bool,
}

/// What a line tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    /// A new act.
    Act,
    /// Something was broken.
    Broken,
    /// The cluster did something.
    Change,
    /// All is well again.
    Good,
    /// An aside.
    Aside,
}

impl Timeline {
    fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            start: Instant::now(),
            colour,
        }
    }

    pub(crate) fn say(&self, tone: Tone, text: &str) {
        let (mark, code) = match tone {
            Tone::Act => ("##", "1"),
            Tone::Broken => ("!!", "31"),
            Tone::Change => ("->", "36"),
            Tone::Good => ("ok", "32"),
            Tone::Aside => ("  ", "2"),
        };
        let line = format!(
            "{:7.1} s  {mark} {text}",
            self.start.elapsed().as_secs_f64()
        );
        if self.colour {
            println!("\x1b[{code}m{line}\x1b[0m")
        } else {
            println!("{line}")
        }
    }
}

/// One act: what is broken, and how.
struct Act {
    title: &'static str,
    /// Whom it hits.
    target: Target,
    inflict: fn(&Cluster, &Node) -> Result<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Primary,
    SyncStandby,
}

const ACTS: [Act; 6] = [
    Act {
        title: "PostgreSQL on the primary is killed",
        target: Target::Primary,
        inflict: Cluster::kill_postmaster,
    },
    Act {
        title: "an operator moves the primary",
        target: Target::Primary,
        inflict: |lab, _| lab.switchover(PATIENCE).map(drop),
    },
    Act {
        title: "the primary's machine loses power",
        target: Target::Primary,
        inflict: Cluster::power_off,
    },
    Act {
        title: "a synchronous standby's machine loses power",
        target: Target::SyncStandby,
        inflict: Cluster::power_off,
    },
    Act {
        title: "the primary is cut off from everything",
        target: Target::Primary,
        inflict: Cluster::isolate,
    },
    Act {
        title: "the primary is cut off from the other nodes, not from its clients",
        target: Target::Primary,
        inflict: Cluster::split,
    },
];

/// What an act came to, for the table at the end.
struct Outcome {
    title: &'static str,
    pause: Duration,
    /// From the moment when machine and network were whole to the moment when the cluster was.
    whole: Duration,
    by_hand: &'static str,
}

pub(crate) fn demo(name: &str, make: &Make, keep: bool) -> Result<()> {
    let mut builder = make.builder()?.name(name);
    if let Some((name, value)) = make.repairs() {
        builder = builder.param(name, value);
    }
    let cluster = builder.up()?;
    cluster.wait_healthy(Duration::from_secs(180))?;
    lab::quiet_progress();
    let timeline = Timeline::new();
    let spec = cluster.spec();
    timeline.say(
        Tone::Act,
        &format!("{} nodes, ocf:heartbeat:{}, rep_mode {}; a client commits one row after the other through {}", spec.nodes, spec.agent.ocf_name(), spec.mode.as_str(), lab::network::WRITER_ADDRESS),
    );
    let client = ScoreClient::start(&cluster)?;
    let over = AtomicBool::new(false);
    let outcomes = std::thread::scope(|scope| {
        scope.spawn(|| watch::watch(&cluster, &client, &timeline, &over));
        let outcomes = ACTS
            .iter()
            .filter(|act| act.target == Target::Primary || spec.nodes > 1)
            .map(|act| play(act, &cluster, &client, &timeline))
            .collect::<Result<Vec<_>>>();
        over.store(true, Ordering::Relaxed);
        outcomes
    });
    let lost = finish(&cluster, client, &timeline, &outcomes?)?;
    if keep {
        cluster.keep()?;
        println!(
            "\nThe cluster stays up. Play with it:\n{}",
            crate::hints(name)
        );
    }
    if lost > 0 {
        return Err(lab::Error::Other(format!(
            "{lost} acknowledged commits were lost"
        )));
    }
    Ok(())
}

fn play(
    act: &Act,
    cluster: &Cluster,
    client: &ScoreClient,
    timeline: &Timeline,
) -> Result<Outcome> {
    let target = match act.target {
        Target::Primary => cluster.primary()?,
        Target::SyncStandby => sync_standby(cluster)?,
    };
    timeline.say(Tone::Act, "");
    timeline.say(Tone::Act, &format!("{} ({})", act.title, target.name()));
    let begin = client.now();
    (act.inflict)(cluster, target)?;
    timeline.say(Tone::Broken, &format!("now, to {}", target.name()));
    wait_for_writes(cluster, client, begin)?;
    if target.is_on() && cluster.cuts()?.is_empty() {
        timeline.say(Tone::Aside, "nothing needs mending from outside");
    } else {
        cluster.heal()?;
        cluster.power_on(target)?;
        timeline.say(
            Tone::Change,
            &format!("{} is back: power on, network whole", target.name()),
        );
    }
    let mended = Instant::now();
    let by_hand = recover(cluster, timeline)?;
    let whole = mended.elapsed();
    let pause = client.score().longest_gap_since(begin);
    timeline.say(
        Tone::Good,
        &format!(
            "every node is back, {:.1} s after machine and network; writes had paused for {:.1} s",
            whole.as_secs_f64(),
            pause.as_secs_f64()
        ),
    );
    Ok(Outcome {
        title: act.title,
        pause,
        whole,
        by_hand,
    })
}

fn sync_standby(cluster: &Cluster) -> Result<&Node> {
    let status = cluster.status()?;
    let standbys = cluster.standbys()?;
    let sync = standbys
        .iter()
        .find(|node| status.attribute(node.name(), "pgsql-status") == Some("HS:sync"));
    sync.or(standbys.first())
        .copied()
        .ok_or_else(|| lab::Error::Other("there is no standby".into()))
}

/// Until commits are acknowledged again, steadily, and the failure had time to be noticed at all.
fn wait_for_writes(cluster: &Cluster, client: &ScoreClient, begin: Duration) -> Result<()> {
    // A cut or a dead standby shows only after corosync's token timeout; a cluster that just went on is fine, too.
    let notice = cluster.spec().token * 3;
    cluster.eventually("commits are acknowledged again", PATIENCE, |_| {
        let score = client.score();
        let steady = client.now().saturating_sub(STEADY);
        let recent = score
            .acks
            .iter()
            .rev()
            .take_while(|ack| ack.at >= steady)
            .count();
        if client.now() > begin + notice && recent > 20 && score.longest_gap_since(steady) < STEADY
        {
            Ok(())
        } else {
            Err(format!(
                "last acknowledgement {:.1} s ago; {:?}",
                client.silence().as_secs_f64(),
                score.errors.last()
            ))
        }
    })
}

/// Waits for a healthy cluster; helps as an operator would when it does not get there by itself, and tells how.
fn recover(cluster: &Cluster, timeline: &Timeline) -> Result<&'static str> {
    if mends_itself(cluster)? {
        return Ok("-");
    }
    for node in cluster.unhealthy()? {
        timeline.say(
            Tone::Broken,
            &format!(
                "{} does not come back by itself: clearing its failures",
                node.name()
            ),
        );
        cluster.clean_up(node)?;
    }
    if mends_itself(cluster)? {
        return Ok("cleanup");
    }
    for node in cluster.unhealthy()? {
        timeline.say(
            Tone::Broken,
            &format!(
                "still not: a new copy of the primary's data for {}",
                node.name()
            ),
        );
        cluster.rebuild(node, PATIENCE)?;
    }
    cluster.wait_healthy(PATIENCE)?;
    Ok("new copy")
}

/// Waits until the cluster is healthy; not any longer once Pacemaker has given a node up.
fn mends_itself(cluster: &Cluster) -> Result<bool> {
    let start = Instant::now();
    loop {
        if cluster.health().is_ok() {
            return Ok(true);
        }
        let status = cluster.status()?;
        let unhealthy = cluster.unhealthy()?;
        let given_up = |node: &&Node| {
            status.fail_counts.iter().any(|f| {
                f.node == node.name() && f.resource == lab::resources::RESOURCE && f.is_infinite()
            })
        };
        if start.elapsed() > SELF_HELP || (!unhealthy.is_empty() && unhealthy.iter().all(given_up))
        {
            return Ok(false);
        }
        lab::rest(Duration::from_millis(500));
    }
}

/// The table, and the verdict; gives the number of lost commits.
fn finish(
    cluster: &Cluster,
    client: ScoreClient,
    timeline: &Timeline,
    outcomes: &[Outcome],
) -> Result<usize> {
    let score = client.stop();
    let lost = score.lost(cluster)?;
    timeline.say(Tone::Act, "");
    println!(
        "\n{:<68} {:>12} {:>15}  work by hand",
        "what happened", "writes pause", "all nodes back"
    );
    for outcome in outcomes {
        println!(
            "{:<68} {:>10.1} s {:>13.1} s  {}",
            outcome.title,
            outcome.pause.as_secs_f64(),
            outcome.whole.as_secs_f64(),
            outcome.by_hand
        );
    }
    println!(
        "\n{} commits acknowledged, {} unanswered, {} lost",
        score.acked(),
        score.unknown.len(),
        lost.len()
    );
    Ok(lost.len())
}
