//! Values: what is seen and said, without I/O.

pub mod cluster_view;
pub mod node_name;
