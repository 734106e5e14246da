//! Pacemaker and corosync: reading the cluster's state, and writing to it.

mod apply;
pub mod attributes;
pub(crate) mod bans;
pub mod beside;
pub mod change_set;
pub mod cib;
pub mod constraints;
pub mod corosync;
mod dates;
mod document;
pub mod failures;
mod patch;
pub mod quorum;
pub mod resources;
mod scope;
mod scores;
pub mod withheld;
mod xml;

pub(crate) use xml::xpath_literal;

/// Pacemaker's programs for the tests that call them: root installs them on a fresh machine, others must have them.
#[cfg(test)]
pub(crate) fn programs_are_there() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if nix::unistd::geteuid().is_root() {
            lab::install().expect("Pacemaker's programs");
        }
    });
}
