//! The lock's table: made, or brought from pha4pgsql's form to ours, without a held lock being lost.
//!
//! pha4pgsql's script goes on working on it: it names its four columns, all others have defaults, and what it does not
//! know of is done by triggers.

use serde::Serialize;
use tokio_postgres::types::Type;

use super::connection::Value;
use super::error::LockError;
use super::place::Place;
use super::service::Service;
use crate::model::lock::LockRow;
use crate::postgres::session::literal;
use crate::sys::Deadline;

/// What `init` found and left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// The row is new.
    New,
    /// It was there and is as it was.
    Kept(LockRow),
    /// It was there and was cleared, on demand.
    Cleared,
}

/// One change that the history tells of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// By the service's clock.
    pub since: String,
    /// Empty: given back.
    pub owner: String,
    /// `None`: written before the table was ours.
    pub epoch: Option<i64>,
    pub eligible: Option<Vec<String>>,
    pub reports: Option<i32>,
}

impl Service {
    /// Makes the table, its history and the row, as far as they are not there. Needs the right to create tables, once;
    /// whoever uses the lock afterwards needs less. A row that is there stays as it is, unless `force`: then it is
    /// given back, and whose it is and who may be promoted is forgotten.
    ///
    /// # Errors
    /// [`LockError`]; nothing was changed then.
    pub fn init(&self, force: bool, deadline: Deadline) -> Result<Made, LockError> {
        let place = self.place();
        let name = literal(place.name());
        let table = place.table();
        let was_there = self.has_row(deadline)?;
        let insert = format!(
            "insert into {table} (lockname, owner, ts, expired_time)
             values ({name}, '', now(), interval '-1 second') on conflict (lockname) do nothing"
        );
        let clear = format!(
            "update {table} set owner = '', last_owner = null, ts = now(), expired_time = interval '-1 second', \
             epoch = epoch + 1, eligible = null, reports = 1, system = null where lockname = {name}"
        );
        let mut sql = format!("{}; {insert}", structure(place));
        if force && was_there {
            sql = format!("{sql}; {clear}");
        }
        self.with(deadline, |connection| connection.run(&sql, deadline))?;
        let row = self
            .read(deadline)?
            .ok_or_else(|| LockError::RowMissing(place.to_string()))?;
        Ok(match (was_there, force) {
            (false, _) => Made::New,
            (true, true) => Made::Cleared,
            (true, false) => Made::Kept(row),
        })
    }

    /// In a table of either form.
    pub(super) fn has_row(&self, deadline: Deadline) -> Result<bool, LockError> {
        let sql = format!("select 1 from {} where lockname = $1", self.place().table());
        let name = self.place().name();
        let values: [Value<'_>; 1] = [(&name, Type::TEXT)];
        let found = self.with(deadline, |connection| {
            connection.rows(&sql, &values, deadline)
        });
        match found {
            Ok(rows) => Ok(!rows.is_empty()),
            Err(LockError::TableMissing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The last `count` changes, the latest first.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn history(&self, count: u32, deadline: Deadline) -> Result<Vec<Change>, LockError> {
        let sql = format!(
            "select ts::text, owner, epoch, eligible, reports from {}
             where lockname = $1 order by id desc limit $2",
            self.place().qualified("_history")
        );
        let (name, count) = (self.place().name(), i64::from(count));
        let values: [Value<'_>; 2] = [(&name, Type::TEXT), (&count, Type::INT8)];
        let rows = self.with(deadline, |connection| {
            connection.rows(&sql, &values, deadline)
        })?;
        rows.iter()
            .map(|row| {
                Ok(Change {
                    since: row.try_get(0)?,
                    owner: row.try_get(1)?,
                    epoch: row.try_get(2)?,
                    eligible: row.try_get(3)?,
                    reports: row.try_get(4)?,
                })
            })
            .collect::<Result<_, tokio_postgres::Error>>()
            .map_err(|error| LockError::OldForm(error.to_string()))
    }
}

/// The statements that make the structure. Each may be run again.
fn structure(place: &Place) -> String {
    let table = place.table();
    let history = place.qualified("_history");
    let before = place.qualified("_before_update");
    let after = place.qualified("_log");
    // pha4pgsql's trigger, whatever it is called, would write each change a second time.
    let old_triggers = format!(
        "do $do$ declare t record; begin
           for t in select tgname from pg_trigger g join pg_proc p on p.oid = g.tgfoid
                    where g.tgrelid = {}::regclass and not g.tgisinternal
                      and p.prosrc ilike '%distlock_history%' and g.tgname not in ({}, {})
           loop execute format('drop trigger %I on %s', t.tgname, {}); end loop;
         end $do$",
        literal(&table),
        literal(&format!("{}_log", place.table_name())),
        literal(&format!("{}_before_update", place.table_name())),
        literal(&table),
    );
    let trigger =
        |suffix: &str| super::place::identifier(&format!("{}{suffix}", place.table_name()));
    let statements = [
        place.schema().map_or_else(
            || "set local client_min_messages = warning".to_owned(),
            |schema| {
                format!(
                    "set local client_min_messages = warning; create schema if not exists {}",
                    super::place::identifier(schema)
                )
            },
        ),
        format!(
            "create table if not exists {table} (
               lockname text primary key, owner text not null, ts timestamptz not null, expired_time interval not null)"
        ),
        // Nobody takes or renews the lock while the table is half of each form.
        format!("lock table {table} in access exclusive mode"),
        format!("alter table {table} add column if not exists epoch bigint not null default 0"),
        format!("alter table {table} add column if not exists eligible text[]"),
        format!("alter table {table} add column if not exists reports int not null default 1"),
        format!("alter table {table} add column if not exists system text"),
        format!("alter table {table} add column if not exists last_owner text"),
        format!(
            "create table if not exists {history} (
               id serial primary key, lockname text not null, owner text not null, ts timestamptz not null, \
               expired_time interval not null)"
        ),
        format!("alter table {history} add column if not exists epoch bigint"),
        format!("alter table {history} add column if not exists eligible text[]"),
        format!("alter table {history} add column if not exists reports int"),
        old_triggers,
        format!(
            "create or replace function {before}() returns trigger language plpgsql as $fn$
             begin
               -- pha4pgsql's script knows no epoch: a change of owner is one all the same, and what the row says of
               -- standbys that may be promoted is not about the new primary.
               if new.owner <> old.owner and new.owner <> '' then
                 if new.epoch = old.epoch then
                   new.epoch := old.epoch + 1;
                   new.eligible := null;
                   new.reports := 1;
                 end if;
                 new.last_owner := new.owner;
               end if;
               return new;
             end $fn$"
        ),
        // With the rights of the table's owner: who may take the lock need not be able to write its history.
        format!(
            "create or replace function {after}() returns trigger language plpgsql security definer
             set search_path = pg_catalog, pg_temp as $fn$
             begin
               if tg_op = 'INSERT' or new.owner <> old.owner or new.epoch <> old.epoch
                  or new.eligible is distinct from old.eligible or new.reports <> old.reports then
                 execute format('insert into %I.%I (lockname, owner, ts, expired_time, epoch, eligible, reports)
                                 values ($1, $2, $3, $4, $5, $6, $7)', tg_table_schema, tg_table_name || '_history')
                 using new.lockname, new.owner, new.ts, new.expired_time, new.epoch, new.eligible, new.reports;
               end if;
               return null;
             end $fn$"
        ),
        format!("drop trigger if exists {} on {table}", trigger("_before_update")),
        format!(
            "create trigger {} before update on {table} for each row execute function {before}()",
            trigger("_before_update")
        ),
        format!("drop trigger if exists {} on {table}", trigger("_log")),
        format!(
            "create trigger {} after insert or update on {table} for each row execute function {after}()",
            trigger("_log")
        ),
    ];
    statements.join("; ")
}
