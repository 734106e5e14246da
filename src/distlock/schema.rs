//! The lock's table: made, or brought from pha4pgsql's form to ours, without a held lock being lost.
//!
//! pha4pgsql's script goes on working on it: it names its four columns, all others have defaults, and what it does not
//! know of is done by triggers. What is made, and who may do what with it, is in `structure`.

use serde::Serialize;
use tokio_postgres::types::Type;

use super::connection::Value;
use super::error::LockError;
use super::service::Service;
use super::structure::{self, structure};
use crate::model::lock::LockRow;
use crate::model::lock_place::Place;
use crate::postgres::session::literal;
use crate::sys::Deadline;

/// Where a table that is named without a schema is, or would be made.
const SCHEMA: &str = "select coalesce(
    (select n.nspname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.oid = pg_catalog.to_regclass($1)), pg_catalog.current_schema())::text";

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
        let place = self.qualified_place(deadline)?;
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
        let mut sql = format!("{}; {insert}", structure(&place));
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

    /// Makes the lock the role's, which gets what it needs to use it and nothing more; no other role changes it then. Needs a
    /// table that [`Self::init`] has made or mended, and the rights of its owner.
    ///
    /// # Errors
    /// [`LockError`]; nothing was changed then.
    pub fn bind(&self, role: &str, deadline: Deadline) -> Result<(), LockError> {
        let sql = structure::bind(&self.qualified_place(deadline)?, role);
        self.with(deadline, |connection| connection.run(&sql, deadline))
    }

    /// The role whose the lock is. `None`: it is anybody's who may change the whole table.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn role(&self, deadline: Deadline) -> Result<Option<String>, LockError> {
        let sql = format!(
            "select role::text from {} where lockname = $1",
            self.place().table()
        );
        let name = self.place().name();
        let values: [Value<'_>; 1] = [(&name, Type::TEXT)];
        let rows = self.with(deadline, |connection| {
            connection.rows(&sql, &values, deadline)
        })?;
        let role = rows.first().map(|row| row.try_get(0)).transpose();
        role.map(Option::flatten)
            .map_err(|error| LockError::OldForm(error.to_string()))
    }

    /// The place with the schema that its table is in, or will be made in.
    fn qualified_place(&self, deadline: Deadline) -> Result<Place, LockError> {
        let place = self.place();
        if place.schema().is_some() {
            return Ok(place.clone());
        }
        let table = place.table();
        let values: [Value<'_>; 1] = [(&table, Type::TEXT)];
        let rows = self.with(deadline, |connection| {
            connection.rows(SCHEMA, &values, deadline)
        })?;
        let schema = rows.first().map(|row| row.try_get(0)).transpose();
        let schema: Option<String> = schema
            .map(Option::flatten)
            .map_err(|error| LockError::Failed(error.to_string()))?;
        schema.map(|schema| place.in_schema(schema)).ok_or_else(|| {
            LockError::TableMissing(
                "no schema of search_path exists that a table could be made in".to_owned(),
            )
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
