//! Builds, packs, runs and tests Lockstep; reached through the script `x`.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main()
}
