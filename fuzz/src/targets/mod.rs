//! The targets, one a file.

mod description;
mod devicetree;
mod index;
mod initramfs;
mod object;
mod parameters;
mod signature;
mod stamp;

use crate::Target;

/// All targets.
pub const TARGETS: &[Target] = &[
    object::TARGET,
    signature::TARGET,
    stamp::TARGET,
    description::TARGET,
    initramfs::TARGET,
    index::TARGET,
    parameters::TARGET,
    devicetree::TARGET,
];

/// Reads the sentence that an error is, and returns what came instead of one.
fn hear<T, E: std::error::Error>(answer: Result<T, E>) -> Option<T> {
    answer.inspect_err(|error| assert!(!error.to_string().is_empty(), "an error without a sentence")).ok()
}
