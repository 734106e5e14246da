//! expgsql: the PostgreSQL failover agent for Pacemaker.

pub mod model;
pub mod pacemaker;
pub mod sys;
