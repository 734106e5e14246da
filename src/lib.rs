//! expgsql: the PostgreSQL failover agent for Pacemaker.
