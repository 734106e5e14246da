//! What is kept where the cluster sees it, and what follows from that: the board, the promotion record, statements, elections, the lock.

pub(in crate::agent) mod attempt;
pub(in crate::agent) mod board;
pub(in crate::agent) mod candidacy;
pub(in crate::agent) mod election;
pub(in crate::agent) mod external_slots;
pub(in crate::agent) mod ground;
pub(in crate::agent) mod lease;
pub(in crate::agent) mod lease_length;
pub(in crate::agent) mod lock;
pub(in crate::agent) mod notes;
pub(in crate::agent) mod promotion_record;
pub(in crate::agent) mod spread;
pub(in crate::agent) mod stated;
pub(in crate::agent) mod statement;
pub(in crate::agent) mod told;
pub(in crate::agent) mod watched;
