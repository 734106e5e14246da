//! expgsql: the PostgreSQL failover agent for Pacemaker.

mod agent;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod conninfo;
pub mod decide;
pub mod distlock;
pub mod links;
pub mod log;
pub mod metadata;
pub mod model;
pub mod ocf;
pub mod pacemaker;
pub mod params;
pub mod postgres;
pub mod run;
pub mod setup;
pub mod sys;
pub mod timing;
pub mod trial;
