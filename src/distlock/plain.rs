//! Lock and unlock with the four columns that pha4pgsql's script knows: for the command line, on tables of either form.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::connection::Value;
use super::error::LockError;
use super::service::Service;
use crate::sys::Deadline;

impl Service {
    /// Takes the lock if it is the owner's, given back or expired. Knows nothing of who may be promoted; a trigger of
    /// the table makes it a new epoch.
    ///
    /// # Errors
    /// [`LockError`]; a row that does not exist is one.
    pub fn plain_lock(
        &self,
        owner: &str,
        lease: Duration,
        deadline: Deadline,
    ) -> Result<bool, LockError> {
        let sql = format!(
            "update {} set owner = $2, ts = now(), expired_time = make_interval(secs => $3)
             where lockname = $1 and (owner in ('', $2) or now() > ts + expired_time) returning 1",
            self.place().table()
        );
        let (name, lease) = (self.place().name(), lease.as_secs_f64());
        let values: [Value<'_>; 3] = [
            (&name, Type::TEXT),
            (&owner, Type::TEXT),
            (&lease, Type::FLOAT8),
        ];
        self.changed(&sql, &values, deadline)
    }

    /// Gives the lock back if it is the owner's.
    ///
    /// # Errors
    /// As [`Self::plain_lock`].
    pub fn plain_unlock(&self, owner: &str, deadline: Deadline) -> Result<bool, LockError> {
        let sql = format!(
            "update {} set owner = '', ts = now(), expired_time = interval '-1 second'
             where lockname = $1 and owner = $2 returning 1",
            self.place().table()
        );
        let name = self.place().name();
        let values: [Value<'_>; 2] = [(&name, Type::TEXT), (&owner, Type::TEXT)];
        self.changed(&sql, &values, deadline)
    }

    fn changed(
        &self,
        sql: &str,
        values: &[Value<'_>],
        deadline: Deadline,
    ) -> Result<bool, LockError> {
        let rows = self.with(deadline, |connection| {
            connection.rows(sql, values, deadline)
        })?;
        // The script says 0 for a lock that does not exist, and everybody waits for ever.
        if rows.is_empty() && !self.has_row(deadline)? {
            return Err(LockError::RowMissing(self.place().to_string()));
        }
        Ok(!rows.is_empty())
    }
}
