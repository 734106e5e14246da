//! Values: what is seen and said, without I/O.

pub mod node_name;
