//! expgsql: the PostgreSQL failover agent for Pacemaker.

pub mod ocf;
pub mod params;
