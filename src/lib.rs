//! expgsql: the PostgreSQL failover agent for Pacemaker.

pub mod decide;
pub mod model;
pub mod postgres;
pub mod sys;
