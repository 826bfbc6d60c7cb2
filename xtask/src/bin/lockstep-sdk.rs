//! Builds modules outside of the tree; packed into the archive that `./x sdk` makes.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::sdk::main()
}
