//! The actions that Pacemaker calls, one file each: observe, decide, log, apply.

pub(in crate::agent) mod deep;
pub(in crate::agent) mod demote;
pub(in crate::agent) mod monitor;
pub(in crate::agent) mod notify;
pub(in crate::agent) mod promote;
pub(in crate::agent) mod reload;
pub(in crate::agent) mod start;
pub(in crate::agent) mod stop;
pub(in crate::agent) mod validate;
