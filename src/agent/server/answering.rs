//! A server that answers, and one that does not let the agent in.

use crate::ocf::{OcfCode, Outcome};
use crate::postgres::process::Running;
use crate::postgres::session::{Session, SqlError};
use crate::postgres::views::ServerState;

/// A server that answers.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) session: Session,
    pub(crate) state: ServerState,
}

/// The server runs, and does not let the agent in, or not see: only a human can repair that.
pub(crate) fn refused(error: &SqlError) -> Outcome {
    not_let_in(&error.to_string())
}

pub(crate) fn not_let_in(error: &str) -> Outcome {
    Outcome::because(
        OcfCode::ErrGeneric,
        format!(
            "the server runs but does not answer the agent: {error}; check monitor_user, monitor_password, pgdb and pg_hba.conf"
        ),
    )
}
