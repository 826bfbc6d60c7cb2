//! The system from the outside; see the crate's documentation.

mod bad_archives;
mod bad_modules;
mod bad_trees;
mod boot;
mod fatal;
mod modules;
mod network;
mod shell;

use tests::Setup;

/// A machine that is as good as any other, without a network card.
fn plain() -> Setup {
    Setup::virt("virt", "cortex-a72", "512M")
}
