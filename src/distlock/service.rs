//! The built-in client: take, renew, release.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;

use crate::conninfo::Conninfo;
use crate::distlock::request::{Question, Request, Take};
use crate::model::lock::{Foreign, LockRow, Renewal, Taken};
use crate::model::lock_place::Place;
use crate::params::Secret;
use crate::sys::{Deadline, poll_until};
use crate::timing;

use super::connection::{Connection, Surroundings, Value};
use super::error::LockError;
use super::row::{self, COLUMNS};

/// How often a lock that is held is tried again. It is one statement on an open connection.
const POLL: Duration = Duration::from_millis(500);

/// How often a lock that others take and give back at this very moment is tried for in one go.
const RACES: u32 = 3;

/// One lock of one service. The connection is kept from one call to the next, and opened anew after an error.
pub struct Service {
    /// As given, for another node to ask in this one's place.
    given: (String, Secret, Option<PathBuf>),
    conninfo: Conninfo,
    around: Surroundings,
    place: Place,
    open: RefCell<Option<Connection>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("conninfo", &self.conninfo)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Understands what names the service; does not connect yet. `lock` is `LOCKNAME`, `TABLE:LOCKNAME` or
    /// `SCHEMA.TABLE:LOCKNAME`. The password, where `conninfo` has none, comes from `passfile=` in it, else from
    /// `passfile`, else from `PGPASSFILE`, else from `~/.pgpass`.
    ///
    /// # Errors
    /// [`LockError::BadConninfo`].
    pub fn new(conninfo: &Secret, lock: &str, passfile: Option<&Path>) -> Result<Self, LockError> {
        let parsed = Conninfo::parse(conninfo.reveal())
            .map_err(|error| LockError::BadConninfo(format!("distlock_conninfo: {error}")))?;
        let place = lock
            .parse()
            .map_err(|error| LockError::BadConninfo(format!("distlock_lockname: {error}")))?;
        Ok(Self {
            given: (
                lock.to_owned(),
                conninfo.clone(),
                passfile.map(Path::to_owned),
            ),
            conninfo: parsed,
            around: Surroundings::of_process(passfile),
            place,
            open: RefCell::new(None),
        })
    }

    /// Of what the command line says; never relayed.
    pub(super) fn of(conninfo: Conninfo, place: Place) -> Self {
        Self {
            given: (place.to_string(), Secret::default(), None),
            conninfo,
            around: Surroundings::of_process(None),
            place,
            open: RefCell::new(None),
        }
    }

    /// To be answered by `relay` on another node, which has the same files.
    pub(super) fn request(&self, question: Question) -> Request {
        let (lock, conninfo, passfile) = &self.given;
        Request {
            conninfo: conninfo.reveal().to_owned(),
            lock: lock.clone(),
            passfile: passfile.clone(),
            limit: Duration::ZERO,
            question,
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Takes the lock if it is to be had: mine, given back or expired, of this cluster, and this node may be
    /// promoted. Whether it may and the change of owner are one statement. Waits up to [`Take::patience`] for a lock
    /// that is held; a service that can't be reached is not waited for.
    ///
    /// Where the service's clock went back, a lease would last for as long as it did. A row that has not changed for
    /// a whole lease by this node's own clock is therefore taken as well, if it is still the same then.
    ///
    /// # Errors
    /// [`LockError`]. After [`LockError::Unreachable`] the lock may have been taken all the same: take it again, or
    /// release it.
    pub fn take(&self, wish: &Take, deadline: Deadline) -> Result<Taken, LockError> {
        self.take_within(wish, deadline, timing::LOCK_REQUEST)
    }

    /// The same, and waits as long for a service that says nothing as for a lock that is held.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_patiently(&self, wish: &Take, deadline: Deadline) -> Result<Taken, LockError> {
        self.take_within(wish, deadline, deadline.remaining())
    }

    /// `each`: how long one request may take.
    fn take_within(
        &self,
        wish: &Take,
        deadline: Deadline,
        each: Duration,
    ) -> Result<Taken, LockError> {
        let mut watch = Watch::default();
        let mut last = None;
        let patience = deadline.min(wish.patience);
        let done = poll_until(patience, POLL, || {
            // An answer needs its time also where patience is at its end. A service that is silent is not waited for: the other nodes are asked.
            match self.take_once(wish, &mut watch, deadline.min(each)) {
                Ok(held @ Taken::Held { .. }) => {
                    last = Some(held);
                    None
                }
                done => Some(done),
            }
        });
        match (done, last) {
            (Some(done), _) => done,
            (None, Some(held)) => Ok(held),
            (None, None) => Err(LockError::Unreachable("no time was left to ask".to_owned())),
        }
    }

    fn take_once(
        &self,
        wish: &Take,
        watch: &mut Watch,
        deadline: Deadline,
    ) -> Result<Taken, LockError> {
        let table = self.place.table();
        // `t` is the row as it is after any wait for another session: where that took it, nothing is updated.
        let sql = format!(
            "update {table} t set
                owner = $2, last_owner = $2, ts = now(), expired_time = make_interval(secs => $3),
                epoch = case when t.owner = $2 then greatest(t.epoch, $4) else greatest(t.epoch + 1, $4) end,
                system = coalesce(t.system, $5),
                reports = case when $6 and $2 in (t.owner, t.last_owner) then t.reports else 1 end,
                eligible = case when $6 then array[$7] || array(
                    select e from unnest(t.eligible) e
                    where $2 in (t.owner, t.last_owner) and e = any($8) and e <> $7 order by e) end
             where t.lockname = $1
               and (t.owner in ('', $2) or now() > t.ts + t.expired_time
                    or (t.owner = $9 and t.ts::text = $10 and t.epoch = $11))
               and (t.owner = '' or t.owner = any($12))
               and (t.system is null or t.system = $5)
               and (not $6 or t.eligible is null or t.owner = $2
                    or ($7 = any(t.eligible) and (t.last_owner = $2 or t.reports <=
                        (select count(distinct e) from unnest(t.eligible) e where e = any($13)))))
             returning {COLUMNS}"
        );
        let ttl = wish.ttl.as_secs_f64();
        let min_epoch = int8(wish.min_epoch);
        let vec = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
        let (keep, known, seen) = (vec(&wish.keep), vec(&wish.known_owners), vec(&wish.seen));
        let stale = watch.stale();
        let (stale_owner, stale_since, stale_epoch) = match &stale {
            Some(row) => (Some(&row.owner), Some(&row.since), Some(int8(row.epoch))),
            None => (None, None, None),
        };
        let name = self.place.name();
        let values: [Value<'_>; 13] = [
            (&name, Type::TEXT),
            (&wish.owner, Type::TEXT),
            (&ttl, Type::FLOAT8),
            (&min_epoch, Type::INT8),
            (&wish.system, Type::TEXT),
            (&wish.needs_eligibility, Type::BOOL),
            (&wish.node, Type::TEXT),
            (&keep, Type::TEXT_ARRAY),
            (&stale_owner, Type::TEXT),
            (&stale_since, Type::TEXT),
            (&stale_epoch, Type::INT8),
            (&known, Type::TEXT_ARRAY),
            (&seen, Type::TEXT_ARRAY),
        ];
        let mut tries = 0;
        loop {
            if let Some(row) = self.one(&sql, &values, deadline)? {
                return Ok(Taken::Mine {
                    epoch: row.epoch,
                    eligible: row.eligible,
                    reports: row.reports,
                });
            }
            let Some(row) = self.read(deadline)? else {
                return Err(LockError::RowMissing(self.place.to_string()));
            };
            let refusal = refusal(&row, wish);
            let is_held = matches!(refusal, Taken::Held { .. });
            // It became free between the two statements; a lost race for it shows in the next row.
            tries += 1;
            if is_held && row.remaining.is_zero() && tries < RACES {
                continue;
            }
            watch.saw(row);
            return Ok(refusal);
        }
    }

    /// Makes the lease last `ttl` from now.
    ///
    /// # Errors
    /// [`LockError`]; a lock that somebody else has is [`Renewal::Lost`].
    pub fn renew(
        &self,
        owner: &str,
        epoch: u64,
        ttl: Duration,
        deadline: Deadline,
    ) -> Result<Renewal, LockError> {
        let sql = format!(
            "update {} t set ts = now(), expired_time = make_interval(secs => $4)
             where t.lockname = $1 and t.owner = $2 and t.epoch = $3 returning {COLUMNS}",
            self.place.table()
        );
        self.change(&sql, owner, epoch, ttl, &[], deadline)
    }

    /// Records which nodes may be promoted, and of how many of them a promoter must have seen reports; renews the
    /// lease, too. `eligible` has to hold the owner's own node.
    ///
    /// # Errors
    /// [`LockError`]; after [`LockError::Unreachable`] either set may be the one recorded.
    pub fn set_eligible(
        &self,
        owner: &str,
        epoch: u64,
        eligible: &BTreeSet<String>,
        reports: usize,
        ttl: Duration,
        deadline: Deadline,
    ) -> Result<Renewal, LockError> {
        let sql = format!(
            "update {} t set ts = now(), expired_time = make_interval(secs => $4), eligible = $5, reports = $6
             where t.lockname = $1 and t.owner = $2 and t.epoch = $3 returning {COLUMNS}",
            self.place.table()
        );
        let names: Vec<&String> = eligible.iter().collect();
        let reports = i32::try_from(reports).unwrap_or(i32::MAX);
        let more: [Value<'_>; 2] = [(&names, Type::TEXT_ARRAY), (&reports, Type::INT4)];
        self.change(&sql, owner, epoch, ttl, &more, deadline)
    }

    fn change(
        &self,
        sql: &str,
        owner: &str,
        epoch: u64,
        ttl: Duration,
        more: &[Value<'_>],
        deadline: Deadline,
    ) -> Result<Renewal, LockError> {
        let (epoch, ttl, name) = (int8(epoch), ttl.as_secs_f64(), self.place.name());
        let mut values: Vec<Value<'_>> = vec![
            (&name, Type::TEXT),
            (&owner, Type::TEXT),
            (&epoch, Type::INT8),
            (&ttl, Type::FLOAT8),
        ];
        values.extend_from_slice(more);
        match self.one(sql, &values, deadline)? {
            Some(row) => Ok(Renewal::Mine(row)),
            None => Ok(Renewal::Lost(self.read(deadline)?)),
        }
    }

    /// Gives the lock back; who may be promoted stays recorded. `epoch` `None`: whichever it is. False: it was not
    /// the owner's.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn release(
        &self,
        owner: &str,
        epoch: Option<u64>,
        deadline: Deadline,
    ) -> Result<bool, LockError> {
        let sql = format!(
            "update {} t set owner = '', last_owner = t.owner, ts = now(), expired_time = interval '-1 second'
             where t.lockname = $1 and t.owner = $2 and t.epoch = coalesce($3, t.epoch) returning {COLUMNS}",
            self.place.table()
        );
        let (epoch, name) = (epoch.map(int8), self.place.name());
        let values: [Value<'_>; 3] = [
            (&name, Type::TEXT),
            (&owner, Type::TEXT),
            (&epoch, Type::INT8),
        ];
        Ok(self.one(&sql, &values, deadline)?.is_some())
    }

    /// Forgets who may be promoted, so that the row bars nobody: for an operator who has made another node the primary. Only
    /// while the row is still `owner`'s of `epoch`, and nobody's lease runs. False: it is not.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn forget_eligible(
        &self,
        owner: &str,
        epoch: u64,
        deadline: Deadline,
    ) -> Result<bool, LockError> {
        let sql = format!(
            "update {} t set eligible = null, reports = 1
             where t.lockname = $1 and t.owner = $2 and t.epoch = $3
               and (t.owner = '' or now() > t.ts + t.expired_time) returning {COLUMNS}",
            self.place.table()
        );
        let (epoch, name) = (int8(epoch), self.place.name());
        let values: [Value<'_>; 3] = [
            (&name, Type::TEXT),
            (&owner, Type::TEXT),
            (&epoch, Type::INT8),
        ];
        Ok(self.one(&sql, &values, deadline)?.is_some())
    }

    /// The row as it is. `None`: there is none of that name.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn read(&self, deadline: Deadline) -> Result<Option<LockRow>, LockError> {
        let sql = format!(
            "select {COLUMNS} from {} t where t.lockname = $1",
            self.place.table()
        );
        let name = self.place.name();
        self.one(&sql, &[(&name, Type::TEXT)], deadline)
    }

    fn one(
        &self,
        sql: &str,
        values: &[Value<'_>],
        deadline: Deadline,
    ) -> Result<Option<LockRow>, LockError> {
        let rows = self.with(deadline, |connection| {
            connection.rows(sql, values, deadline)
        })?;
        rows.first().map(row::read).transpose()
    }

    /// Works on the connection that is open, or on a new one. After an error it is closed: its state is not known.
    pub(super) fn with<T>(
        &self,
        deadline: Deadline,
        work: impl Fn(&Connection) -> Result<T, LockError>,
    ) -> Result<T, LockError> {
        if let Some(connection) = self.open.take() {
            match work(&connection) {
                // It may have been closed since the last call, by a restart of the service. All statements may be
                // repeated.
                Err(error) if error.is_unreachable() && !deadline.is_past() => {}
                done => return self.keep(connection, done),
            }
        }
        let connection = Connection::open(&self.conninfo, &self.around, deadline)?;
        let done = work(&connection);
        self.keep(connection, done)
    }

    fn keep<T>(&self, connection: Connection, done: Result<T, LockError>) -> Result<T, LockError> {
        if done.is_ok() {
            self.open.replace(Some(connection));
        }
        done
    }
}

/// Values of `bigint`; an epoch grows by one with each failover.
fn int8(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

/// Why the statement did not take this row. Nothing depends on it but what is said, and whether to wait.
fn refusal(row: &LockRow, wish: &Take) -> Taken {
    if let Some(theirs) = row.system.as_ref().filter(|system| **system != wish.system) {
        return Taken::Foreign {
            whose: Foreign::System {
                theirs: theirs.clone(),
                ours: wish.system.clone(),
            },
        };
    }
    if !row.is_free() && !wish.known_owners.contains(&row.owner) {
        return Taken::Foreign {
            whose: Foreign::Owner(row.owner.clone()),
        };
    }
    let was_mine = row.last_owner.as_ref() == Some(&wish.owner);
    match &row.eligible {
        Some(eligible) if wish.needs_eligibility && row.owner != wish.owner => {
            let reported = eligible.intersection(&wish.seen).count();
            let may = eligible.contains(&wish.node) && (was_mine || reported >= row.reports);
            if !may {
                return Taken::NotEligible {
                    eligible: eligible.clone(),
                    reports: row.reports,
                    seen: wish.seen.clone(),
                };
            }
        }
        Some(_) | None => {}
    }
    Taken::Held {
        owner: row.owner.clone(),
        remaining: row.remaining,
    }
}

/// How long a row has been as it is, by this node's clock.
#[derive(Default)]
struct Watch(Option<(LockRow, Instant)>);

impl Watch {
    fn saw(&mut self, row: LockRow) {
        let is_same = self.0.as_ref().is_some_and(|(before, _)| {
            (&before.owner, &before.since, before.epoch) == (&row.owner, &row.since, row.epoch)
        });
        if !is_same {
            self.0 = Some((row, Instant::now()));
        }
    }

    /// The row, when a whole lease has passed without a renewal.
    fn stale(&self) -> Option<&LockRow> {
        let (row, first_seen) = self.0.as_ref()?;
        (!row.is_free() && first_seen.elapsed() > row.lease).then_some(row)
    }
}
