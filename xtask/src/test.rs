//! `x test`: everything that has to hold before a change is good.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::build;
use crate::card;
use crate::cargo::Workspace;
use crate::firmware;
use crate::sdk;

/// The packages that only make sense on the machine: they are linted for it, and tested by booting it.
const MACHINE: [&str; 3] = ["boot", "kernel", "experiment-kernel"];

/// The package of the tests that boot the system in QEMU.
const SYSTEM: &str = "tests";

/// The package of the fuzz targets, which begin with what was built.
const FUZZ: &str = "fuzz";

/// Runs all checks, the quick ones first, and ends at the first that fails.
pub fn test(workspace: &Workspace) -> Result<()> {
    let modules: Vec<String> = workspace
        .module_crates(&["drivers", "services", "tests/modules", "bench/modules", "examples"])?
        .into_iter()
        .map(|module| module.package)
        .collect();

    step("format", workspace.cargo().args(["fmt", "--all", "--check"]))?;

    let mut clippy = workspace.cargo();
    clippy.args(["clippy", "--workspace", "--all-targets"]);
    for package in MACHINE {
        clippy.args(["--exclude", package]);
    }
    step("clippy, for this machine", clippy.args(["--", "-D", "warnings"]))?;

    let mut clippy = workspace.target_cargo("clippy");
    for package in MACHINE.into_iter().chain(["abi"]).chain(modules.iter().map(String::as_str)) {
        clippy.args(["-p", package]);
    }
    step("clippy, for the target", clippy.args(["--", "-D", "warnings"]))?;

    firmware::fetch(workspace)?;
    let mut tests = workspace.cargo();
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    for package in MACHINE.into_iter().chain([SYSTEM, FUZZ]) {
        tests.args(["--exclude", package]);
    }
    step("tests on this machine", &mut tests)?;

    sdk::pack(workspace)?;
    build::build_test_modules(workspace)?;
    card::make(workspace, None)?;
    step("fuzz targets", workspace.cargo().args(["test", "--package", FUZZ, "--profile", "checked"]))?;
    step("tests in QEMU", workspace.cargo().args(["test", "--package", SYSTEM, "--tests", "--no-fail-fast"]))
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    eprintln!("--- {name}");
    ensure!(command.status()?.success(), "{name}: failed");
    Ok(())
}
