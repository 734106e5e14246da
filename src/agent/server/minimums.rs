//! Settings that a standby needs at least as large as its primary: where the configuration has less, a server that is started
//! as a standby gets what the WAL needs. Otherwise a node would not start, or stop replaying, because a setting was lowered
//! everywhere, or raised on the primary first. Decided in `decide::replay`.

use crate::decide::replay::too_small;
use crate::log::say;
use crate::model::version::default_max_locks;
use crate::postgres::config::{Contents, Setting};
use crate::postgres::control;

use crate::agent::context::Context;
use crate::agent::server::settings;
use crate::agent::step::{Step, failed};

/// PostgreSQL's defaults, of a major version from 12 on.
const fn defaults(major: u32) -> [(&'static str, u64); 5] {
    [
        ("max_connections", 100),
        ("max_worker_processes", 8),
        ("max_wal_senders", 10),
        ("max_prepared_transactions", 0),
        ("max_locks_per_transaction", default_max_locks(major)),
    ]
}

/// The last line that sets `name`: what ALTER SYSTEM has written comes after the other files.
fn last<'a>((files, auto): &'a (Contents, Contents), name: &str) -> Option<&'a Setting> {
    let mut all = files.settings.iter().chain(&auto.settings);
    all.rfind(|s| s.name == name)
}

/// Options for the server, for what the next start as a standby needs beyond the configuration: an option wins over every file.
/// A primary is started without them, so there the configuration counts.
pub(crate) fn options(ctx: &Context<'_>) -> Step<Vec<String>> {
    let control = control::read(&ctx.programs(), ctx.pgdata(), ctx.deadline).map_err(failed)?;
    let configured = settings::all(ctx)?;
    let defaults = defaults(ctx.data_version().unwrap_or_default());
    let here = |name: &str| match (settings::option(ctx, name), last(&configured, name)) {
        (Some(value), _) => Some(value),
        // What is no plain number is left to the server.
        (None, Some(setting)) => setting.value.parse().ok(),
        (None, None) => defaults.iter().find(|(n, _)| *n == name).map(|(_, v)| *v),
    };
    let mut options = Vec::new();
    for setting in too_small(control.needed(), here) {
        let place = match last(&configured, &setting.name) {
            Some(line) => format!("{} line {}", line.file.display(), line.line),
            None => "PostgreSQL's default".to_owned(),
        };
        say!(
            WARN,
            "a setting is smaller than the primary's: the standby starts with the primary's",
            setting = setting.name,
            configured = setting.here,
            primary = setting.needed,
            place = place
        );
        options.extend([
            "-c".to_owned(),
            format!("{}={}", setting.name, setting.needed),
        ]);
    }
    Ok(options)
}
