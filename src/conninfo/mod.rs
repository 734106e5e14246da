//! Connection strings as libpq understands them: taken apart into words, and understood. No I/O.

pub(crate) mod require_auth;
mod server;
pub mod words;

pub use server::{Conninfo, ConninfoError, Host, SslMode};
