//! Splits, again and again: the primary is cut off from the nodes, not from its clients. The hard one: its clients still
//! reach it, and it does not know yet that it is cut off.
//!
//! One round takes most of a minute, so `cargo test` makes two; `EXPGSQL_ROUNDS=10` makes ten. The stock agent is left
//! out unless `EXPGSQL_STOCK=1` asks for it: it says nothing about this agent, only about the test, which must be able to
//! see a loss, and its nodes get a new copy after every round, which takes minutes.

use std::time::{Duration, Instant};

use lab::resources::RESOURCE;
use lab::{Ack, Agent, Cluster, Error, Node, RepMode, Result, Score, ScoreClient};

use super::stage::{LIMIT, Stage, cut_off, expect, promised, taken_over_from, wrong};

const ROUNDS_VARIABLE: &str = "EXPGSQL_ROUNDS";
const ROUNDS: u32 = 2;
const STOCK_VARIABLE: &str = "EXPGSQL_STOCK";
/// Acknowledgements of the new primary after which it is taken for the primary.
const STEADY: usize = 50;

pub(crate) fn repeated_splits_lose_nothing_with_quorum_commit() -> Result<()> {
    let quorum = Stage::set(RepMode::Sync, |builder| {
        builder.param("sync_method", "quorum")
    });
    let stage = quorum?;
    repeatedly(&stage)?;
    stage.step(
        "cut off, it says nothing of the others' scores",
        // As long as its controller hangs nobody stops it.
        cut_off().both_writable(Duration::from_secs(15)),
        scores_of_the_others,
    )
}

/// For some 100 ms after it was cut off a node's CIB still has the others as members, and as long as its controller hangs.
/// What its attrd is told of them in that time may win when the two sides meet: then the new primary is demoted.
fn scores_of_the_others(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    let mut others = lab.nodes().iter().filter(|node| node.name() != old.name());
    let other = others
        .next()
        .ok_or_else(|| wrong("there is one node only"))?;
    lab.freeze_controller(old)?;
    lab.split(old)?;
    let new = lab.eventually("another node is promoted", LIMIT, |lab| {
        let status = lab.status_on(other).map_err(|error| error.to_string())?;
        match status.promoted()[..] {
            [new] if new != old.name() => Ok(new.to_owned()),
            _ => Err(status.to_string()),
        }
    })?;
    let revoked = format!(
        "//node[@uname='{new}']//nvpair[@name='{RESOURCE}-data-status'][@value='DISCONNECT']"
    );
    lab.eventually("the old primary has revoked it", LIMIT, |_| {
        is_in_its_cib(old, &revoked).map_err(|error| error.to_string())
    })?;
    is_in_its_cib(
        old,
        &format!("//node_state[@uname='{new}'][@in_ccm='true']"),
    )?;
    // What goes with that is written after it; one more monitor, from its beginning to its end, has had the time.
    lab.call_agent(old, "monitor")?;
    let score = format!("--name=master-{RESOURCE}");
    let told = old
        .run(&["attrd_updater", "--query", "--all", &score])?
        .ok()?;
    expect(
        told.contains(old.name()) && told.lines().count() == 1,
        || format!("attrd on {} has\n{told}", old.name()),
    )?;
    lab.thaw_controller(old)?;
    lab.heal()
}

fn is_in_its_cib(node: &Node, what: &str) -> Result<()> {
    let query = ["cibadmin", "--query", "--xpath", what];
    node.run(&query)?.ok().map(drop)
}

/// Splits the cluster as often as asked for.
pub(crate) fn repeatedly(stage: &Stage) -> Result<()> {
    let mut table = Table::new(stage.label());
    for round in 1..=rounds(ROUNDS)? {
        stage.step(&format!("split {round}"), cut_off(), |stage| {
            let split = split(&stage.lab, &stage.client, round, |_| stage.recovers())?;
            table.row(&split);
            promised(split.lost == 0, || {
                format!("{} acknowledged commits are lost", split.lost)
            })?;
            promised(split.too_late.is_empty(), || {
                format!(
                    "{} acknowledged after {} had: {:?}",
                    split.old, split.new, split.too_late
                )
            })
        })?;
    }
    table.close();
    Ok(())
}

pub(crate) fn the_stock_agent_loses_commits_in_a_split() -> Result<()> {
    if !others_asked_for() {
        return Err(Error::LeftOut(format!(
            "the stock agent, for comparison only; {STOCK_VARIABLE}=1 runs it"
        )));
    }
    let lab = Cluster::builder()
        .agent(Agent::StockPgsql)
        .mode(RepMode::Sync)
        .up()?;
    lab.wait_healthy(LIMIT)?;
    let client = ScoreClient::start(&lab)?;
    let mut table = Table::new("stock");
    for round in 1..=rounds(ROUNDS)? {
        table.row(&split(&lab, &client, round, repair)?);
    }
    table.close();
    expect(table.lost > 0, || {
        "it lost nothing: then this test can't tell a loss".into()
    })
}

/// Whether the other agents are to be run as well, for comparison.
pub(crate) fn others_asked_for() -> bool {
    std::env::var_os(STOCK_VARIABLE).is_some_and(|value| value == "1")
}

/// How often what is repeated is repeated: `default`, unless the variable says otherwise.
pub(crate) fn rounds(default: u32) -> Result<u32> {
    let Some(text) = std::env::var_os(ROUNDS_VARIABLE) else {
        return Ok(default);
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Error::Other(format!("{ROUNDS_VARIABLE}={text:?} is no number")))
}

/// What one split came to.
struct Split {
    old: String,
    new: String,
    /// The longest time without an acknowledgement from anybody, for the client of the writer's address.
    pause: Duration,
    /// How many commits the old primary acknowledged after the cut.
    after_cut: usize,
    /// Those of them that it acknowledged after the new one had acknowledged something.
    too_late: Vec<Ack>,
    lost: usize,
}

/// Cuts the primary off until another one has taken its place, heals, and has `recover` bring the cluster back. A second
/// client holds on to the old primary all the time: the writer's address is on both sides then, and leads away from it.
fn split(
    lab: &Cluster,
    client: &ScoreClient,
    round: u32,
    recover: impl FnOnce(&Cluster) -> Result<()>,
) -> Result<Split> {
    let old = lab.primary()?;
    let held = client.beside(lab, old, &format!("held_{round}"))?;
    lab.eventually("a client holds on to the primary", LIMIT, |_| {
        if held.acked_count() > 0 {
            Ok(())
        } else {
            Err(format!("{:?}", held.score().errors.last()))
        }
    })?;
    let begin = client.now();
    let lost_before = client.score().lost(lab)?.len();
    lab.split(old)?;
    let new = taken_over_from(lab, old)?;
    // In every other round the two sides meet again at once, whether the old primary has noticed anything or not.
    if round.is_multiple_of(2) {
        lab.heal()?;
    }
    lab.eventually(
        &format!("{} acknowledges commits", new.name()),
        LIMIT,
        |_| {
            let score = client.score();
            let since = acks(&score, begin).filter(|ack| *ack.node == *new.name());
            let count = since.count();
            if count >= STEADY {
                Ok(())
            } else {
                Err(format!("{count} commits; {:?}", score.errors.last()))
            }
        },
    )?;
    if !round.is_multiple_of(2) {
        takes_no_writes(lab, old)?;
        lab.heal()?;
    }
    recover(lab)?;
    let (free, held) = (client.score(), held.stop());
    let mut both: Vec<Ack> = acks(&free, begin)
        .chain(acks(&held, begin))
        .cloned()
        .collect();
    both.sort_by_key(|ack| ack.at);
    let first = both.iter().find(|ack| *ack.node != *old.name());
    let first = first.map_or(Duration::MAX, |ack| ack.at);
    let of_old = || both.iter().filter(|ack| *ack.node == *old.name());
    Ok(Split {
        old: old.name().to_owned(),
        new: new.name().to_owned(),
        pause: free.longest_gap_since(begin),
        after_cut: of_old().count(),
        too_late: of_old().filter(|ack| ack.at > first).cloned().collect(),
        lost: free.lost(lab)?.len() - lost_before + held.lost(lab)?.len(),
    })
}

fn acks(score: &Score, since: Duration) -> impl Iterator<Item = &Ack> {
    score.acks.iter().filter(move |ack| ack.at >= since)
}

fn takes_no_writes(lab: &Cluster, node: &Node) -> Result<()> {
    let what = format!("{} takes no writes", node.name());
    lab.eventually(&what, LIMIT, |lab| match lab.postgres(node).is_writable() {
        Some(true) => Err("it is writable".into()),
        Some(false) | None => Ok(()),
    })
}

/// What an operator does after the stock agent: a new copy for every node that is not a standby by itself, once
/// Pacemaker has nothing more to do. Such a node may well run, and ask for WAL that does not exist.
pub(crate) fn repair(lab: &Cluster) -> Result<()> {
    let mut last: Option<(lab::Status, Instant)> = None;
    lab.eventually("one primary, and nothing on its way", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let primary = lab.primary().map_err(|error| error.to_string())?;
        let all_online = lab.nodes().iter().all(|node| status.is_online(node.name()));
        let since = match &last {
            Some((same, since)) if *same == status => *since,
            Some(_) | None => Instant::now(),
        };
        last = Some((status.clone(), since));
        let serves = lab.postgres(primary).is_writable() == Some(true);
        if all_online && serves && since.elapsed() > lab.spec().token * 2 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })?;
    for node in lab.unhealthy()? {
        lab.rebuild(node, LIMIT)?;
    }
    lab.wait_healthy(LIMIT)
}

/// The figures, a line a round.
struct Table {
    name: String,
    rounds: u32,
    lost: usize,
    too_late: usize,
}

impl Table {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rounds: 0,
            lost: 0,
            too_late: 0,
        }
    }

    fn row(&mut self, split: &Split) {
        self.rounds += 1;
        self.lost += split.lost;
        self.too_late += split.too_late.len();
        println!(
            "  {:<8} split {:>2}: {} -> {}  writes paused {:>5.1} s  acknowledged by {} after the cut {:>4}, after {} had {:>4}  lost {}",
            self.name,
            self.rounds,
            split.old,
            split.new,
            split.pause.as_secs_f64(),
            split.old,
            split.after_cut,
            split.new,
            split.too_late.len(),
            split.lost,
        );
    }

    fn close(&self) {
        println!(
            "  {:<8} {} splits: lost {}, acknowledged by both sides {}",
            self.name, self.rounds, self.lost, self.too_late
        );
    }
}
