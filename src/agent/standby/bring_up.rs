//! Brings a standby up: its files, its start, and what is in force afterwards.

use std::time::Duration;

use crate::log::say;
use crate::ocf::{OcfCode, Outcome};
use crate::timing;
use crate::trial::{is_out, point};

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::statement;
use crate::agent::server::answering::Server;
use crate::agent::server::ready::{self, Up};
use crate::agent::server::{ending, in_force, launch, prepare};
use crate::agent::standby::{bar, initial_contract};
use crate::agent::step::Step;

/// Writes the files, starts the server, waits until it answers, and looks at what is in force. A long recovery goes on by
/// itself; then the monitor, and a promotion, look at that.
pub(crate) fn start_as_standby(board: &Board<'_, '_>) -> Step<Up> {
    let ctx = board.ctx;
    let expected = initial_contract::initial_contract(board)?;
    prepare::prepare(ctx, Some(&expected), statement::whom_to_follow(board)?)?;
    launch::launch_as_standby(ctx)?;
    point!(StartLaunched);
    let server = match ready::come_up(ctx, "a standby", patience(ctx))? {
        Up::Answers(server) => server,
        Up::Recovers => {
            bar::goes_on(board);
            return Ok(Up::Recovers);
        }
        // What is in force is looked at before a promotion.
        Up::Refuses(reason) => {
            not_let_in(&reason);
            bar::bar(board);
            return Ok(Up::Refuses(reason));
        }
    };
    let server = check_what_is_in_force(ctx, *server)?;
    point!(StartAnswers);
    Ok(Up::Answers(Box::new(server)))
}

/// A server that runs by other rules than the agent's would break R1 when promoted.
pub(crate) fn check_what_is_in_force(ctx: &Context<'_>, mut server: Server) -> Step<Server> {
    in_force::load_what_is_written(ctx, &mut server)?;
    let problem = if server.state.in_recovery {
        let target = server.state.replay.target.as_deref();
        let target = target.filter(|_| !is_out!(TargetUnseen));
        in_force::overridden(ctx, &server.state.sync_names)?.or_else(|| target.map(ends_replay))
    } else {
        Some("it came up as a primary although standby.signal was there".to_owned())
    };
    match problem {
        None => Ok(server),
        Some(problem) => {
            drop(server);
            ending::stop_server(ctx)?;
            Err(Outcome::because(OcfCode::ErrInstalled, problem))
        }
    }
}

fn ends_replay(target: &str) -> String {
    format!(
        "{target} is set, which ends a standby's replay: look for it with SELECT sourcefile, sourceline FROM pg_settings, and remove it"
    )
}

/// It serves others, which is what a start is for.
pub(crate) fn not_let_in(reason: &str) {
    say!(
        WARN,
        "the server is up, and does not let the agent in: look at monitor_user, monitor_password, pgdb and pg_hba.conf",
        reason = reason
    );
}

/// How long a recovery is waited for; what is left is for telling the cluster about it.
pub(crate) fn patience(ctx: &Context<'_>) -> Duration {
    timing::RECOVERY.min(ctx.deadline.remaining() / 4 * 3)
}
