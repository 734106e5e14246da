//! Values: what was read from PostgreSQL, Pacemaker and the operator, parsed once.

pub mod ban;
pub mod claim;
pub mod cluster_view;
pub mod lock;
pub mod lock_place;
pub mod lsn;
pub mod node_name;
pub mod progress;
pub mod repair;
pub mod repl_info;
pub mod secret;
pub mod status;
pub mod sync_names;
pub mod sync_record;
pub mod ticket;
pub mod timeline;
pub mod version;
