//! What every story has: a cluster, the client that keeps score, and steps with a name.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lab::resources::RESOURCE;
use lab::{Agent, Builder, Cluster, Error, Node, RepMode, Result, ScoreClient, Status};

use super::attributes;

/// Limit of every wait.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The parameter that says what becomes of a node that can't follow.
pub(crate) const ON_DIVERGENCE: &str = "on_divergence";

/// Commits in a row that mean that writes go on.
const STEADY: usize = 50;

/// The agent as it is shipped, built once for the whole run.
pub(crate) fn expgsql() -> Result<Agent> {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(binary) = BINARY.get() {
        return Ok(Agent::Expgsql {
            binary: binary.clone(),
        });
    }
    let binary = lab::build_expgsql()?;
    Ok(Agent::Expgsql {
        binary: BINARY.get_or_init(|| binary).clone(),
    })
}

/// An error in words.
pub(crate) fn wrong(what: impl Into<String>) -> Error {
    Error::Other(what.into())
}

/// Demands that something is so.
pub(crate) fn expect(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if is_so {
        Ok(())
    } else {
        Err(wrong(otherwise()))
    }
}

/// What a step may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toll {
    Nothing,
    /// In async mode, the last commits before the failover. In either mode, a new copy for a node that had written or
    /// received more than the new primary.
    Failover,
}

/// A running cluster and its client.
pub(crate) struct Stage {
    // Before the cluster: it holds on to one of its hosts' networks.
    pub(crate) client: ScoreClient,
    pub(crate) lab: Cluster,
    pub(crate) mode: RepMode,
    /// Acknowledged commits that an earlier step lost.
    lost: RefCell<BTreeSet<u64>>,
}

impl Stage {
    /// Brings a healthy cluster up. The last node has more WAL than the others: the election must choose it.
    pub(crate) fn set(mode: RepMode, adapt: impl FnOnce(Builder) -> Builder) -> Result<Self> {
        let start = Instant::now();
        let builder = Cluster::builder().agent(expgsql()?).mode(mode);
        let lab = adapt(builder).boot()?;
        if let Some(last) = lab.nodes().last() {
            lab.postgres(last).plant_wal(2000)?;
        }
        lab.form()?;
        lab.configure()?;
        lab.wait_healthy(LIMIT)?;
        println!(
            "  {:<8} {:<52} {:>5.1} s",
            if attributes::is_quorum(&lab) {
                "quorum"
            } else {
                mode.as_str()
            },
            "cluster is up",
            start.elapsed().as_secs_f64()
        );
        let client = ScoreClient::start(&lab)?;
        Ok(Self {
            client,
            lab,
            mode,
            lost: RefCell::default(),
        })
    }

    /// The same with the agent's own repairs in async mode, where a failover nearly always leaves WAL that nobody received;
    /// in sync mode it says what to do, and the story does it.
    pub(crate) fn set_async_repaired(mode: RepMode) -> Result<Self> {
        Self::set(mode, |builder| match mode {
            RepMode::Async => builder.param(ON_DIVERGENCE, "rewind_or_rebuild"),
            RepMode::Sync | RepMode::Slave | RepMode::None => builder,
        })
    }

    /// A part of a story after which the cluster is not yet what it should be: a step without what a step ends with.
    pub(crate) fn scene(&self, name: &str, act: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let (start, begin) = (Instant::now(), self.client.now());
        act(self).map_err(|error| self.blame(name, error))?;
        println!(
            "  {:<8} {name:<52} {:>5.1} s  writes paused {:>5.1} s",
            self.label(),
            start.elapsed().as_secs_f64(),
            self.client.score().longest_gap_since(begin).as_secs_f64(),
        );
        Ok(())
    }

    /// An error with the step's name, and with the evidence where it does not bring it along.
    fn blame(&self, name: &str, error: Error) -> Error {
        if matches!(error, Error::Timeout { .. } | Error::Broken { .. }) {
            return wrong(format!("step {name:?}: {error}"));
        }
        let evidence = self.lab.evidence();
        wrong(format!(
            "step {name:?}: {error}\n{}\n{evidence}",
            self.picture()
        ))
    }

    /// What commits wait for, in a word.
    pub(crate) fn label(&self) -> &'static str {
        if attributes::is_quorum(&self.lab) {
            return "quorum";
        }
        self.mode.as_str()
    }

    /// One step. Afterwards the cluster is healthy, writes go on, the attributes are what they must be, and no
    /// acknowledged commit is missing where none may be.
    pub(crate) fn step(
        &self,
        name: &str,
        toll: Toll,
        act: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let (start, begin) = (Instant::now(), self.client.now());
        let lost = act(self)
            .and_then(|()| self.afterwards(toll))
            .map_err(|error| self.blame(name, error))?;
        println!(
            "  {:<8} {name:<52} {:>5.1} s  writes paused {:>5.1} s  lost {lost}",
            self.label(),
            start.elapsed().as_secs_f64(),
            self.client.score().longest_gap_since(begin).as_secs_f64(),
        );
        Ok(())
    }

    fn afterwards(&self, toll: Toll) -> Result<usize> {
        match toll {
            Toll::Nothing => self.lab.wait_healthy(LIMIT)?,
            Toll::Failover => self.recovers()?,
        }
        self.writes_go_on()?;
        self.lab
            .eventually("the attributes are what they must be", LIMIT, |lab| {
                attributes::check(lab, self.mode)
            })?;
        self.newly_lost(toll)
    }

    fn newly_lost(&self, toll: Toll) -> Result<usize> {
        let all: BTreeSet<u64> = self.client.score().lost(&self.lab)?.into_iter().collect();
        let new: Vec<u64> = all.difference(&self.lost.borrow()).copied().collect();
        let allowed = toll == Toll::Failover && self.mode == RepMode::Async;
        expect(allowed || new.is_empty(), || {
            format!("{} acknowledged commits are lost: {new:?}", new.len())
        })?;
        self.lost.borrow_mut().extend(&new);
        Ok(new.len())
    }

    fn picture(&self) -> String {
        self.lab
            .status()
            .map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    /// Waits for acknowledgements that come after this call.
    pub(crate) fn writes_go_on(&self) -> Result<()> {
        let goal = self.client.acked_count() + STEADY;
        self.lab.eventually("commits are acknowledged", LIMIT, |_| {
            if self.client.acked_count() >= goal {
                return Ok(());
            }
            let last = self.client.score().errors.pop();
            Err(format!(
                "the last acknowledgement was {:.1} s ago; {last:?}",
                self.client.silence().as_secs_f64()
            ))
        })
    }

    /// Waits until a node that is not `old` is promoted, and gives it.
    pub(crate) fn taken_over_from(&self, old: &Node) -> Result<&Node> {
        taken_over_from(&self.lab, old)
    }

    /// Waits until the cluster is healthy. Where the agent may not repair a node (`on_divergence=stop`), one whose start was
    /// refused because its WAL passed the fork must have been told both positions; it gets a new copy, as the reason asks
    /// for. Else nobody lifts a hand.
    pub(crate) fn recovers(&self) -> Result<()> {
        if self.is_unaided() {
            return self.lab.wait_healthy(LIMIT);
        }
        loop {
            let refused = self.lab.eventually(
                "a healthy cluster, or a refusal with a reason",
                LIMIT,
                |lab| {
                    let Err(missing) = lab.health() else {
                        return Ok(None);
                    };
                    let status = lab.status().map_err(|error| error.to_string())?;
                    refusals(&status).pop_first().map(Some).ok_or(missing)
                },
            )?;
            let Some((name, reason)) = refused else {
                return Ok(());
            };
            println!("         {name} was refused: {reason}");
            expect(positions(&reason) >= 2, || {
                format!("the refusal does not say both positions: {reason}")
            })?;
            self.lab.rebuild(self.lab.node(&name)?, LIMIT)?;
            self.lab
                .eventually("the refusal is forgiven", LIMIT, |lab| {
                    let status = lab.status().map_err(|error| error.to_string())?;
                    if refusals(&status).contains_key(&name) {
                        return Err(status.to_string());
                    }
                    Ok(())
                })?;
        }
    }

    /// The agent was told at the beginning to repair what can't follow.
    fn is_unaided(&self) -> bool {
        let spec = self.lab.spec();
        let mut params = spec.params.iter();
        params.any(|(name, value)| name == ON_DIVERGENCE && value != "stop")
    }

    /// Pacemaker's account of a node's failures; 0 where there is none.
    pub(crate) fn fail_count(&self, node: &Node) -> Result<String> {
        let status = self.lab.status()?;
        let count = status
            .fail_counts
            .iter()
            .find(|f| f.node == node.name() && f.resource == RESOURCE);
        Ok(count.map_or_else(|| "0".to_owned(), |f| f.count.clone()))
    }

    /// Forgives the nodes their failures, as an operator does: again, where Pacemaker counted one anew that it was still
    /// dealing with, and until it has found out what runs there, since it counts a failure twice that happens meanwhile.
    pub(crate) fn forgive(&self, node: &Node) -> Result<()> {
        self.lab.clean_up(node)?;
        self.lab
            .eventually("the failures are forgiven", LIMIT, |lab| {
                let calm = node.run(&["crm_resource", "--wait", "--timeout=10s"]);
                calm.and_then(lab::Output::ok)
                    .map_err(|error| error.to_string())?;
                let status = lab.status().map_err(|error| error.to_string())?;
                let Some(count) = status.fail_counts.first() else {
                    return Ok(());
                };
                let failed = lab.node(&count.node).map_err(|error| error.to_string())?;
                lab.clean_up(failed).map_err(|error| error.to_string())?;
                Err(status.to_string())
            })
    }

    /// The timeline that a primary writes on.
    pub(crate) fn timeline(&self, primary: &Node) -> Result<String> {
        self.lab
            .postgres(primary)
            .sql("select substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)")
    }
}

/// Waits until a node that is not `old` is promoted, and gives it.
pub(crate) fn taken_over_from<'a>(lab: &'a Cluster, old: &Node) -> Result<&'a Node> {
    let name = lab.eventually("another node is promoted", LIMIT, |lab| {
        match lab.primary() {
            Ok(new) if new.name() != old.name() => Ok(new.name().to_owned()),
            Ok(new) => Err(format!("{} is the primary", new.name())),
            Err(error) => Err(error.to_string()),
        }
    })?;
    lab.node(&name)
}

/// The nodes whose last start failed, and the reasons.
pub(crate) fn refusals(status: &Status) -> BTreeMap<String, String> {
    let start = format!("{RESOURCE}_start_0 on ");
    let one = |failure: &String| {
        let (name, reason) = failure.strip_prefix(&start)?.split_once(": ")?;
        Some((name.to_owned(), reason.to_owned()))
    };
    status.failures.iter().filter_map(one).collect()
}

/// How many WAL positions (`16/B374D848`) a text names.
pub(crate) fn positions(text: &str) -> usize {
    let is_hex = |part: &str| {
        !part.is_empty() && part.len() <= 8 && part.chars().all(|c| c.is_ascii_hexdigit())
    };
    let words = text.split(|c: char| !(c.is_ascii_hexdigit() || c == '/'));
    words
        .filter(|word| {
            word.split_once('/')
                .is_some_and(|(high, low)| is_hex(high) && is_hex(low))
        })
        .count()
}

/// Runs something while every server is asked, again and again, whether it takes writes. Gives the pairs that did at
/// the same time, each in words.
pub(crate) fn watching_for_two_writable<T>(
    lab: &Cluster,
    act: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<String>)> {
    let (over, seen) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let [first, second, ..] = lab.writable()[..] {
                    // Asked one after the other: only if the first still does, both did when the second was asked.
                    if lab.postgres(first).is_writable() == Some(true) {
                        let pair = format!("{} and {}", first.name(), second.name());
                        seen.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(pair);
                    }
                }
                lab::rest(Duration::from_millis(100));
            }
        });
        let outcome = act();
        over.store(true, Ordering::Relaxed);
        outcome
    })?;
    Ok((
        outcome,
        seen.into_inner().unwrap_or_else(PoisonError::into_inner),
    ))
}
