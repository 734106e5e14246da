//! What every story has: a cluster, the client that keeps score, and steps with a name.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lab::history::Mark;
use lab::resources::{MONITOR, RESOURCE};
use lab::servers;
use lab::{
    Agent, Allowed, Builder, Cluster, Error, Node, ReadWatch, RepMode, Result, ScoreClient, Seen,
    ServerWatch, Status, Whose,
};

use super::attributes;
use super::comes_back::{named_command, obey};

/// Limit of every wait.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The parameter that says what becomes of a node that can't follow.
pub(crate) const ON_DIVERGENCE: &str = "on_divergence";

/// What the monitor says of a server that is not there.
pub(crate) const GONE: &str = "PostgreSQL does not run";

/// What a deposed primary's monitor or probe says.
pub(crate) const NEWER: &str = "has the newer epoch";

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

/// Demands what nothing may break, a busy machine neither: no acknowledged commit is lost, no two servers take writes.
pub(crate) fn promised(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if is_so {
        Ok(())
    } else {
        Err(Error::Promise(otherwise()))
    }
}

/// For so long two servers may take writes, as docs/safety.md says: the old one has not stopped yet.
const MOMENT: Duration = Duration::from_secs(10);

/// A primary is cut off, lives, and another takes over. Its server waits for its WAL senders to end, and the network may be whole again before it has stopped: then its monitor finds
/// it gone that was to stop.
pub(crate) fn cut_off() -> Allowed {
    Allowed::failover()
        .both_writable(MOMENT)
        .failing(Whose::Deposed, "monitor", GONE, 1)
}

/// A running cluster and its client.
pub(crate) struct Stage {
    // Before the cluster: it holds on to one of its hosts' networks.
    pub(crate) client: ScoreClient,
    reads: ReadWatch,
    pub(crate) lab: Cluster,
    pub(crate) mode: RepMode,
    /// Acknowledged commits that an earlier step lost.
    lost: RefCell<BTreeSet<u64>>,
    /// The commits that were there at the end of the last step.
    present: RefCell<BTreeSet<u64>>,
    /// Asks every server from the beginning to the end.
    servers: ServerWatch,
    /// Up to where the hosts' logs have been read.
    mark: RefCell<Mark>,
    /// The end of the last step, on the client's clock: who has been deposed since may need a repair.
    calm: Cell<Duration>,
}

impl Stage {
    /// Brings a healthy cluster up. The last node has more WAL than the others: the election must choose it.
    pub(crate) fn set(mode: RepMode, adapt: impl FnOnce(Builder) -> Builder) -> Result<Self> {
        Self::set_with(expgsql()?, mode, adapt)
    }

    /// The same with another build of the agent.
    pub(crate) fn set_with(
        agent: Agent,
        mode: RepMode,
        adapt: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self> {
        let start = Instant::now();
        let builder = Cluster::builder().agent(agent).mode(mode);
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
        Self::on(lab, mode)
    }

    /// The same on a cluster that was brought up in another way, and is healthy.
    pub(crate) fn on(lab: Cluster, mode: RepMode) -> Result<Self> {
        let client = ScoreClient::start(&lab)?;
        let reads = client.watch_reads(&lab)?;
        let servers = client.watch_servers(&lab)?;
        let mark = lab.mark()?;
        Ok(Self {
            client,
            reads,
            lab,
            mode,
            lost: RefCell::default(),
            present: RefCell::default(),
            servers,
            mark: RefCell::new(mark),
            calm: Cell::default(),
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
    pub(crate) fn scene(
        &self,
        name: &str,
        allowed: Allowed,
        act: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let (start, begin) = (Instant::now(), self.client.now());
        act(self)
            .and_then(|()| self.judge(&allowed, begin))
            .and_then(|seen| {
                self.tell(name, start, &seen, String::new());
                self.no_more_lost(&allowed)
            })
            .map_err(|error| self.blame(name, error))
    }

    /// One step. It did what is allowed and nothing else; afterwards the cluster is healthy, writes go on, the attributes
    /// are what they must be, every standby has the primary's data, and no acknowledged commit is missing where none
    /// may be.
    pub(crate) fn step(
        &self,
        name: &str,
        allowed: Allowed,
        act: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let mut allowed = allowed;
        let (start, begin) = (Instant::now(), self.client.now());
        act(self)
            .map(|()| {
                // Not before: the step may have changed it.
                if allowed.may_promote() && !self.is_unaided() {
                    allowed = allowed.clone().refused();
                }
            })
            .and_then(|()| self.afterwards(&allowed))
            .and_then(|lost| Ok((self.judge(&allowed, begin)?, lost)))
            .map(|(seen, lost)| self.tell(name, start, &seen, format!("  lost {lost}")))
            .map_err(|error| self.blame(name, error))?;
        self.calm.set(self.client.now());
        Ok(())
    }

    fn tell(&self, name: &str, start: Instant, seen: &Seen, more: String) {
        println!(
            "  {:<8} {name:<52} {:>5.1} s  writes paused {:>5.1} s, reads {:>5.1} s{more}",
            self.label(),
            start.elapsed().as_secs_f64(),
            seen.pause.as_secs_f64(),
            seen.reads.as_secs_f64(),
        );
        print!("{seen}");
    }

    /// What happened since `begin`, where it is allowed.
    fn judge(&self, allowed: &Allowed, begin: Duration) -> Result<Seen> {
        let seen = self.seen(begin)?;
        promised(!allowed.two_took_writes(&seen), || {
            format!("two took writes:\n{seen}")
        })?;
        allowed
            .judge(&seen, self.detection())
            .map_err(|why| wrong(format!("not allowed here:\n{why}")))?;
        Ok(seen)
    }

    /// What it takes to notice that a node is lost, and to know that every other has noticed: corosync's token and consensus
    /// twice, and an interval of the monitor's; with a quorum device the time after which that has given a node up, too.
    fn detection(&self) -> Duration {
        let spec = self.lab.spec();
        let device = if spec.quorum_device {
            lab::DEVICE_TIMEOUT
        } else {
            Duration::ZERO
        };
        spec.token * 22 / 10 * 2 + MONITOR + device
    }

    fn seen(&self, begin: Duration) -> Result<Seen> {
        let events = self.lab.events_since(&mut self.mark.borrow_mut())?;
        let changes = self.servers.changes();
        Ok(Seen {
            promotions: servers::promotions(&changes, begin),
            deposed: servers::deposed(&changes, self.calm.get()),
            restarts: servers::restarts(&changes, begin),
            both: servers::both_writable(&changes, begin, self.client.now()),
            failures: events.failures,
            copies: events.copies,
            pause: self.client.score().longest_gap_since(begin),
            reads: self.reads.longest_gap_since(begin),
            degraded: events.degraded.into_iter().collect(),
            errors: self.errors(begin),
        })
    }

    /// What the client was told since `begin`, without numbers.
    fn errors(&self, begin: Duration) -> BTreeSet<String> {
        let errors = self.client.score().errors;
        let recent = errors.iter().filter(|(at, _)| *at >= begin);
        recent
            .map(|(_, error)| error.replace(|c: char| c.is_ascii_digit(), ""))
            .collect()
    }

    /// An error with the step's name, and with the evidence where it does not bring it along.
    fn blame(&self, name: &str, error: Error) -> Error {
        if matches!(error, Error::Timeout { .. } | Error::Broken { .. }) {
            return wrong(format!("step {name:?}: {error}"));
        }
        let evidence = self.lab.evidence();
        let text = format!("step {name:?}: {error}\n{}\n{evidence}", self.picture());
        if matches!(error, Error::Promise(_)) {
            Error::Promise(text)
        } else {
            wrong(text)
        }
    }

    /// What commits wait for, in a word.
    pub(crate) fn label(&self) -> &'static str {
        if attributes::is_quorum(&self.lab) {
            return "quorum";
        }
        self.mode.as_str()
    }

    fn afterwards(&self, allowed: &Allowed) -> Result<usize> {
        if allowed.may_promote() {
            self.recovers()?;
        } else {
            self.lab.wait_healthy(LIMIT)?;
        }
        self.writes_go_on()?;
        self.lab
            .eventually("the attributes are what they must be", LIMIT, |lab| {
                attributes::check(lab, self.mode)
            })?;
        self.same_everywhere()?;
        self.newly_lost(allowed)
    }

    /// For a scene, after which there may be no primary to ask: then it is left to the next step.
    fn no_more_lost(&self, allowed: &Allowed) -> Result<()> {
        match self.lab.primary() {
            Ok(_) => self.newly_lost(allowed).map(drop),
            Err(_) => Ok(()),
        }
    }

    /// How many acknowledged commits are lost that were not lost before. In async mode a failover may take a primary's last
    /// commits along, and no others. A commit without an answer that was there once may not be gone either.
    fn newly_lost(&self, allowed: &Allowed) -> Result<usize> {
        let score = self.client.score();
        let present = score.present(&self.lab)?;
        let all: BTreeSet<u64> = score.missing(&present).into_iter().collect();
        let new: Vec<u64> = all.difference(&self.lost.borrow()).copied().collect();
        let is_async = self.mode == RepMode::Async;
        let may_lose = allowed.may_lose() || (is_async && allowed.may_promote());
        promised(may_lose || new.is_empty(), || {
            format!("{} acknowledged commits are lost: {new:?}", new.len())
        })?;
        let hole = score.hole(&all);
        promised(hole.is_none(), || {
            format!(
                "commit {hole:?} is there, and an earlier one of the same primary is lost: {new:?}"
            )
        })?;
        let gone = score.gone(&self.present.borrow(), &present);
        promised(may_lose || gone.is_empty(), || {
            format!("commits that had no answer were there, and are gone: {gone:?}")
        })?;
        self.lost.borrow_mut().extend(&new);
        *self.present.borrow_mut() = present;
        Ok(new.len())
    }

    /// Waits until every standby has replayed what the primary has now, and finds the same there.
    fn same_everywhere(&self) -> Result<()> {
        let same = |lab: &Cluster| {
            let score = self.client.score();
            let standbys = lab.standbys().map_err(|error| error.to_string())?;
            standbys
                .iter()
                .try_for_each(|standby| lab.same_data(&score, standby))
                .map_err(|error| error.to_string())
        };
        self.lab
            .eventually("every standby has the primary's data", LIMIT, same)
            .map_err(|error| Error::Promise(error.to_string()))
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

    /// Waits until the cluster is healthy. Where the agent may not repair a node (`on_divergence=stop`), one that was the
    /// primary may be refused, once, because its WAL passed the fork; it must have been told both positions, and the
    /// command that the reason names must help. Else nobody lifts a hand.
    pub(crate) fn recovers(&self) -> Result<()> {
        if self.is_unaided() {
            return self.lab.wait_healthy(LIMIT);
        }
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
        let deposed = servers::deposed(&self.servers.changes(), self.calm.get());
        expect(deposed.contains(&name), || {
            format!("{name} was no primary ({deposed:?} were), and was refused: {reason}")
        })?;
        expect(positions(&reason) >= 2, || {
            format!("the refusal does not say both positions: {reason}")
        })?;
        self.lab
            .eventually("a primary to repair it from", LIMIT, |lab| {
                lab.primary().map(drop).map_err(|error| error.to_string())
            })?;
        obey(
            self.lab.node(&name)?,
            &named_command(&reason, "cluster re")?,
        )?;
        self.lab.wait_healthy(LIMIT)
    }

    /// The agent was told to repair what can't follow.
    fn is_unaided(&self) -> bool {
        let spec = self.lab.spec();
        spec.param(ON_DIVERGENCE)
            .is_some_and(|value| value != "stop")
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

    /// Waits until `RSC-degraded` of a primary says this; `None`: nothing.
    pub(crate) fn told(&self, primary: &Node, expected: Option<&str>) -> Result<()> {
        self.lab
            .eventually("what is told of the primary", LIMIT, |lab| {
                let status = lab.status().map_err(|error| error.to_string())?;
                let attribute = format!("{RESOURCE}-degraded");
                if status.attribute(primary.name(), &attribute) == expected {
                    Ok(())
                } else {
                    Err(status.to_string())
                }
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
