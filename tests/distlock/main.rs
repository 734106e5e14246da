//! The lock service's client against a real PostgreSQL, which each test starts for itself on a loopback port.
//!
//! They need a PostgreSQL server and openssl; root switches to the account `postgres` for the server.

mod bounds;
mod command;
mod lease;
mod nodes;
mod secure;
mod server;
mod table;
