//! `x fuzz`: looks for inputs on which something that reads bytes from outside fails.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::Workspace;

/// For how long a search goes on unless told otherwise, in seconds.
const SECONDS: u64 = 60;

/// The comparison of the module loader with other linkers, which is a test of its own and no target of crate `fuzz`.
const RELOCATIONS: &str = "relocations";

/// Has rustc count how often each edge of the program is taken, and show libFuzzer what is compared with what.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// What libFuzzer is told: no larger inputs than lead anywhere (in bytes), and what counts as hanging (in seconds).
const LIBFUZZER: &[&str] = &["-max_len=65536", "-timeout=10", "-print_final_stats=1"];

/// Lists the targets, searches for failures in one, or runs one on the inputs in files.
pub fn fuzz(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    match *arguments {
        [] => {
            run(&mut program(workspace))?;
            println!("  {RELOCATIONS:<12} the module loader compared with GNU ld and lld, on random distances");
            println!("./x fuzz NAME [--seconds N] searches for failures; ./x fuzz NAME FILE... runs on inputs");
            Ok(())
        }
        [name] => search(workspace, name, SECONDS),
        [name, "--seconds", seconds] => {
            let seconds = seconds.parse().with_context(|| format!("'{seconds}' should be a number of seconds"))?;
            search(workspace, name, seconds)
        }
        [name, ref files @ ..] => run(program(workspace).arg(name).args(files)),
    }
}

fn search(workspace: &Workspace, name: &str, seconds: u64) -> Result<()> {
    if name == RELOCATIONS {
        let mut test = workspace.cargo();
        test.args(["test", "--package", "loader", "--profile", "checked", "--test", "comparison"]);
        return run(test.args(["--", "--ignored", "--nocapture"]).env("LOCKSTEP_FUZZ_SECONDS", seconds.to_string()));
    }
    let folder = Path::new("target/fuzz");
    let (growing, failure) = (folder.join(name), folder.join(format!("{name}.failure")));
    run(program(workspace).args([name, "--seeds"]).arg(&growing))?;
    if workspace.root.join(&failure).exists() {
        std::fs::remove_file(workspace.root.join(&failure))?;
    }

    let result = if coverage_program(workspace, "build").status()?.success() {
        let mut command = coverage_program(workspace, "run");
        command.arg("--").arg(&growing).arg(Path::new("fuzz/corpus").join(name)).args(LIBFUZZER);
        command.arg(format!("-max_total_time={seconds}"));
        command.arg(format!("-exact_artifact_path={}", failure.display()));
        run(command.env("LOCKSTEP_FUZZ_TARGET", name))
    } else {
        eprintln!("libFuzzer can't be built here (see above): running on random mutants instead");
        run(program(workspace).args([name, "--seconds", &seconds.to_string()]))
    };
    if workspace.root.join(&failure).exists() {
        let failure = failure.display();
        bail!("{name} fails on the input in {failure}; to run it again: ./x fuzz {name} {failure}");
    }
    result
}

/// Runs the program of crate `fuzz`; its arguments are to be added.
fn program(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["run", "--quiet", "--package", "fuzz", "--profile", "checked", "--"]);
    command
}

/// Builds or runs the program that brings libFuzzer. The target is named so that build scripts are not instrumented.
fn coverage_program(workspace: &Workspace, subcommand: &str) -> Command {
    let mut command = workspace.cargo();
    command.args([subcommand, "--quiet", "--package", "fuzz", "--profile", "checked", "--target", "host-tuple"]);
    command.args(["--bin", "coverage", "--features", "coverage"]).env("RUSTFLAGS", COVERAGE.join(" "));
    command
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "it failed for the reason above ({status})");
    Ok(())
}
