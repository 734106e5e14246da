//! One call of the lock service made on another node: the request comes on standard input, because a connection string
//! must not stand in an argument list, and the answer goes to standard output.

use crate::distlock::request::{Question, Request, Told};
use crate::params::Secret;
use crate::sys::Deadline;

use super::error::LockError;
use super::service::Service;

/// Answers one request. The answer to what is no request is an error that says so, without a word of it.
#[must_use]
pub fn serve(request: &[u8]) -> String {
    let told = match serde_json::from_slice::<Request>(request) {
        Ok(request) => ask(&request),
        Err(error) => Err(LockError::Failed(format!(
            "this is no request, or one of another version of expgsql (line {}, column {})",
            error.line(),
            error.column()
        ))),
    };
    // Texts and numbers only: this can't fail.
    serde_json::to_string(&told).unwrap_or_default()
}

fn ask(request: &Request) -> Result<Told, LockError> {
    let deadline = Deadline::after(request.limit);
    let service = Service::new(
        &Secret::new(&request.conninfo),
        &request.lock,
        request.passfile.as_deref(),
    )?;
    match &request.question {
        Question::Take(wish) => service.take(wish, deadline).map(Told::Taken),
        Question::Renew { owner, epoch, ttl } => service
            .renew(owner, *epoch, *ttl, deadline)
            .map(Told::Renewal),
        Question::SetEligible {
            owner,
            epoch,
            eligible,
            reports,
            ttl,
        } => service
            .set_eligible(owner, *epoch, eligible, *reports, *ttl, deadline)
            .map(Told::Renewal),
    }
}
