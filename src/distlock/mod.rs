//! The lock service: a row in a PostgreSQL outside the cluster that says who may be primary.
//!
//! Every call is blocking and ends by its deadline. All times are the service's own: no clock of the cluster counts.
//! An error never means "locked"; what it does mean is decided in `decide::lease`.

pub mod answer;
mod auth;
pub mod cli;
mod commands;
mod connection;
mod deadcheck;
mod error;
mod guard;
mod login;
mod plain;
pub mod relay;
mod request;
mod row;
mod schema;
mod service;
mod structure;
mod tls;

pub use crate::conninfo::{Conninfo, ConninfoError};
pub use crate::distlock::request::Take;
pub use crate::model::lock_place::{Place, PlaceError, identifier};
pub use commands::Commands;
pub use connection::LOCK_PASSFILE;
pub use deadcheck::Deadcheck;
pub use error::LockError;
pub(crate) use login::keywords;
pub use schema::{Change, Made};
pub use service::Service;

pub use crate::model::lock::{Foreign, LockRow, Renewal, Taken};
