//! `x gdb`: gdb on a running machine, with the symbols of the kernel and of its modules.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::Workspace;

/// Where QEMU's `-s` waits for a debugger.
pub const ADDRESS: &str = "localhost:1234";

/// Replaces this program by gdb, attached to the machine at `address`, with further arguments.
pub fn gdb(workspace: &Workspace, address: &str, more: &[&str]) -> Result<()> {
    // gdb itself would go on without a machine.
    TcpStream::connect(address).with_context(|| {
        format!("no machine waits for a debugger at {address}: ./x run -- -s starts one, with -S it stops at once")
    })?;
    let mut command = Command::new("gdb-multiarch");
    command.current_dir(&workspace.root).args(["-q", "out/kernel.elf", "-x", "xtask/gdb.py"]);
    command.args(["-ex", &format!("lockstep {address}")]).args(more);
    Err(command.exec()).context("cannot start gdb-multiarch")
}
