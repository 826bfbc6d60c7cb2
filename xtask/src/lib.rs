//! Builds, packs, runs and tests Lockstep; reached through the script `x`.

mod archive;
mod backtrace;
mod bench;
mod build;
mod card;
mod cargo;
mod console;
mod contract;
mod debian;
mod describe;
mod experiments;
mod exports;
mod faults;
mod files;
mod firmware;
mod flash;
mod fuzz;
mod gdb;
mod image;
mod lockstep;
mod merge;
mod qemu;
mod rlib;
pub mod sdk;
mod sign;
mod test;
mod trace;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use cargo::Workspace;
use qemu::Board;

const HELP: &str = "\
usage: ./x COMMAND

  build                  build out/kernel.img, out/kernel.elf, out/initramfs.cpio and out/modules/*.o
  run [--board BOARD] [-- ARGUMENT...]
                         build and boot in QEMU, on board virt (the default), rpi3, rpi4 or zcu102, with further arguments
                         for QEMU
  image rpi4 [--firmware DIR]
                         build, and write what a Raspberry Pi 4 starts from to out/rpi4.img, with the board's firmware from
                         Debian's packages (fetched once) or from a folder
  flash rpi4 DISK        write out/rpi4.img to a card (such as /dev/sdX), which is erased, after asking, and read it back
  gdb [HOST:PORT] [-- ARGUMENT...]
                         attach gdb to a machine that runs, by default to that of ./x run -- -s, with the symbols of
                         the kernel and of every module
  backtrace [FILE]       show the source lines of the backtraces in what a console has shown: in a file, on the standard
                         input (-), or in the last ./x run
  trace [FILE]           write the trace that the shell's `trace export` has printed there to out/trace.json
  sdk                    pack what modules outside of this tree are built with: out/lockstep-sdk.tar
  test                   check the format, run clippy, and run all tests, those in QEMU last
  bench [--linux] [--profile]
                         count the instructions that boot, module loading, ping and idling take, for Linux too (fetched
                         once), and by function
  experiments            try what docs/experiments.md asks, in QEMU, and write there what came of it
  faults [--count N] [--seed N] [--jobs N] | --replay FAULT | --report
                         hit N instructions of running drivers (1000), or those that are missing to as many, in several
                         machines (4) side by side, and write what came of it to docs/fault-campaign.md; inject one fault
                         again, and show the console; write the page only
  fuzz [NAME [--seconds N | FILE...]]
                         list what can be fuzzed, look for inputs on which NAME fails, or run NAME on those in files
  clean                  remove all that was built
  help                   print this
";

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    with_arguments(run)
}

/// Runs a program with its arguments, and tells of its failure.
fn with_arguments(run: impl FnOnce(&[&str]) -> Result<()>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        [command, "--help" | "-h"] if let Some(help) = help_of(command) => {
            print!("{help}");
            Ok(())
        }
        ["build"] => build::build(&Workspace::find()?).map(|_| ()),
        ["run", options @ ..] => {
            let (board, more) = run_options(options)?;
            let workspace = Workspace::find()?;
            build::build(&workspace)?;
            qemu::run(&workspace, board, more)
        }
        ["image", "rpi4", options @ ..] => {
            let firmware = match options {
                [] => None,
                ["--firmware", folder] => Some(Path::new(folder)),
                _ => bail!("image rpi4 doesn't understand `{}`; there is --firmware DIR", options.join(" ")),
            };
            let workspace = Workspace::find()?;
            build::build(&workspace)?;
            card::make(&workspace, firmware)?;
            println!("{} is made; ./x flash rpi4 /dev/sdX writes it to a card", card::IMAGE);
            Ok(())
        }
        ["flash", "rpi4", disk] => flash::flash(&Workspace::find()?.root.join(card::IMAGE), Path::new(disk)),
        ["gdb", options @ ..] => {
            let (address, more) = match options {
                [] => (gdb::ADDRESS, &[][..]),
                ["--", more @ ..] => (gdb::ADDRESS, more),
                [address] => (*address, &[][..]),
                [address, "--", more @ ..] => (*address, more),
                [_, word, ..] => bail!("gdb doesn't understand `{word}`; arguments for gdb follow --"),
            };
            gdb::gdb(&Workspace::find()?, address, more)
        }
        ["backtrace"] => backtrace::backtrace(&Workspace::find()?, None),
        ["backtrace", file] => backtrace::backtrace(&Workspace::find()?, Some(file)),
        ["trace"] => trace::trace(&Workspace::find()?, None),
        ["trace", file] => trace::trace(&Workspace::find()?, Some(file)),
        ["sdk"] => sdk::pack(&Workspace::find()?),
        ["test"] => test::test(&Workspace::find()?),
        ["bench", options @ ..] => {
            let options = bench::Options::parse(options)?;
            let workspace = Workspace::find()?;
            build::build(&workspace)?;
            bench::bench(&workspace, &options)
        }
        ["experiments"] => {
            let workspace = Workspace::find()?;
            build::build(&workspace)?;
            experiments::experiments(&workspace)
        }
        ["faults", options @ ..] => {
            let options = faults::Options::parse(options)?;
            let workspace = Workspace::find()?;
            build::build(&workspace)?;
            faults::faults(&workspace, &options)
        }
        ["fuzz", arguments @ ..] => fuzz::fuzz(&Workspace::find()?, arguments),
        ["clean"] => clean(&Workspace::find()?),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        [command, ..] => match help_of(command) {
            Some(help) => bail!("`{}` isn't what ./x {command} takes:\n\n{help}", arguments.join(" ")),
            None => bail!("there is no command `{command}`; ./x help lists what there is"),
        },
    }
}

/// What [`HELP`] says of a command.
fn help_of(command: &str) -> Option<&'static str> {
    let is_start = |line: &str| line.starts_with("  ") && !line.starts_with("   ");
    let starts = HELP.match_indices('\n').map(|(index, _)| index + 1).filter(|start| is_start(&HELP[*start..]));
    let start = starts.clone().find(|start| HELP[*start..].split_whitespace().next() == Some(command))?;
    let end = starts.into_iter().find(|other| *other > start).unwrap_or(HELP.len());
    Some(&HELP[start..end])
}

fn run_options<'a>(options: &'a [&'a str]) -> Result<(Board, &'a [&'a str])> {
    let (board, rest) = match options {
        ["--board", name, rest @ ..] => (Board::named(name)?, rest),
        rest => (Board::Virt, rest),
    };
    match rest {
        [] => Ok((board, &[])),
        ["--", more @ ..] => Ok((board, more)),
        [word, ..] => bail!("run doesn't understand `{word}`; arguments for QEMU follow --"),
    }
}

fn clean(workspace: &Workspace) -> Result<()> {
    for folder in [workspace.out(), workspace.root.join("target")] {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}
