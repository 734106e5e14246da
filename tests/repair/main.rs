//! The tools that bring back a node which can't follow the primary, on real PostgreSQL servers that each test starts
//! for itself on loopback ports.
//!
//! They need a PostgreSQL server; as root they also show that the server's account does all of the work, and make file
//! systems of their own. One after the other: acting as that account concerns the whole process.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is tests; the lint knows only the functions marked as such"
)]

mod node;
mod rebuild;
mod rewind;
mod source;
mod swap;
