//! Pure functions: what was seen → what to do, and why.
//!
//! Every choice that can lose data or stop service is made here, without I/O, clock or
//! environment (`tests/layering.rs` holds this module to it), so that the table of cases beside
//! each function is the whole truth about it.

pub mod barred;
pub mod condition;
pub mod contract;
pub mod deep;
pub mod detection;
pub mod distrust;
pub mod divergence;
pub mod election;
pub mod eligibility;
pub mod external_slots;
pub mod first_primary;
pub mod health;
pub mod impostor;
pub mod instances;
pub mod lateness;
pub mod lease;
pub mod lease_length;
pub mod life;
pub mod marks;
pub mod membership;
pub mod observed;
pub mod promote;
pub mod proof;
pub mod quorum_policy;
pub mod reachable;
pub mod recovery;
pub mod recovery_command;
pub mod repair;
pub mod repair_refusal;
pub mod replay;
pub mod reset;
pub mod right;
pub mod serve;
pub mod silence;
pub mod slots;
pub mod stalled;
pub mod state_loss;
pub mod stop;
pub mod switch;
pub mod told;
pub mod unwatched;
pub mod upkeep;
pub mod verdict;
pub mod waited_for;
pub mod why;
pub mod witness;
pub mod worth;
