//! What the settings make of a commit on a primary in sync mode. It is told in the log when it changes, and by `expgsql cluster status`; a role that waits for
//! nobody is often meant so, and to show the primary as degraded for ever would hide what else may come.

use crate::decide::worth::{Weak, told};
use crate::log::say;
use crate::sys::boot_clock;

use crate::agent::context::Context;
use crate::agent::server::answering::Server;
use crate::agent::server::settings;
use crate::agent::state::{State, Worth};
use crate::agent::step::{Step, failed};

const SETTING: &str = "synchronous_commit";

/// Looks, and says what is new. The files are read once for each time that the server has read them.
pub(crate) fn look(ctx: &Context<'_>, server: &Server) -> Step<()> {
    let Some(mut found) = server.state.weak.clone() else {
        return Err(failed(
            "what the server says of its settings is not understood",
        ));
    };
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id())?;
    let loaded = server.state.conf_loaded;
    let noted = old.worth.clone().unwrap_or_default();
    let for_all = if noted.loaded == loaded && loaded.is_some() {
        noted.for_all
    } else {
        settings::in_force(ctx, SETTING)?
    };
    if let Some((value, place)) = for_all.clone() {
        found.push(Weak::ForAll { value, place });
    }
    let told = told(&found);
    if told != noted.told {
        for what in &told {
            say!(
                WARN,
                "a commit is worth less than rep_mode=sync promises",
                what = what
            );
        }
        if told.is_empty() {
            say!(
                INFO,
                "every commit is worth again what rep_mode=sync promises"
            );
        }
    }
    let mut state = old.clone();
    state.worth = Some(Worth {
        loaded,
        for_all,
        told,
    });
    state.save(ctx, &old)
}
