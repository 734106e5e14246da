//! The lock service's client against a real PostgreSQL, which each test starts for itself on a loopback port.
//!
//! They need a PostgreSQL server and openssl; root switches to the account `postgres` for the server.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is tests; the lint knows only the functions marked as such"
)]

mod bounds;
mod command;
mod lease;
mod nodes;
mod privileges;
mod secure;
mod server;
mod table;
