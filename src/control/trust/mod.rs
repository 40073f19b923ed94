//! Trust: the cluster's authorities, the server's own certificates, and joining.

pub mod ca;
pub mod join;
pub mod join_tokens;
pub mod node_names;
pub mod tls;
pub mod work_key;
