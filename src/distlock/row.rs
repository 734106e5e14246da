//! The row of a lock, as this client asks for it.

use std::time::Duration;

use tokio_postgres::Row;

use super::error::LockError;
use crate::model::lock::LockRow;

/// What to select to read a [`LockRow`]; the table's alias is `t`.
pub(super) const COLUMNS: &str = "t.owner, t.last_owner, t.ts::text, extract(epoch from t.expired_time)::float8, \
    extract(epoch from (t.ts + t.expired_time - now()))::float8, t.epoch, t.eligible, t.reports, t.system";

/// Reads what was selected by [`COLUMNS`].
pub(super) fn read(row: &Row) -> Result<LockRow, LockError> {
    let bad = |error: tokio_postgres::Error| {
        LockError::OldForm(format!("a column has another type than expected: {error}"))
    };
    let eligible: Option<Vec<String>> = row.try_get(6).map_err(bad)?;
    let epoch: i64 = row.try_get(5).map_err(bad)?;
    let reports: i32 = row.try_get(7).map_err(bad)?;
    Ok(LockRow {
        owner: row.try_get(0).map_err(bad)?,
        last_owner: row.try_get(1).map_err(bad)?,
        since: row.try_get(2).map_err(bad)?,
        lease: seconds(row.try_get(3).map_err(bad)?),
        remaining: seconds(row.try_get(4).map_err(bad)?),
        epoch: u64::try_from(epoch).unwrap_or(0),
        eligible: eligible.map(|names| names.into_iter().collect()),
        reports: usize::try_from(reports).unwrap_or(1),
        system: row.try_get(8).map_err(bad)?,
    })
}

/// Zero for what is not in the future.
pub(super) fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or(Duration::ZERO)
}
