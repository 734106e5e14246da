//! expgsql: the PostgreSQL failover agent for Pacemaker.

pub mod cli;
pub mod ocf;
pub mod params;
pub mod run;
