//! The system from the outside; see the crate's documentation.

mod boot;
