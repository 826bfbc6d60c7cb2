//! The commands: one table, and what all of them share.

mod block;
mod files;
mod firmware;
mod gpio;
mod memory;
mod modules;
mod network;
mod system;
mod threads;
mod trace;

use crate::files::{Path, Writer, completed};
use crate::table::{Column, Table};
use crate::terminal::Terminal;
use crate::words::{CommandLine, Output};
use abi::prelude::*;
use abi::text::printable;

/// A command.
struct Command {
    name: &'static str,
    /// Its arguments, as its usage line shows them.
    arguments: &'static str,
    summary: &'static str,
    run: fn(&mut Terminal, &[&str]) -> Result<(), Failure>,
}

/// Why a command did nothing.
enum Failure {
    /// It was called with arguments that it doesn't take.
    Usage,
    /// The system refused.
    Error(Error),
    /// There is something missing, as the sentence says.
    Missing(&'static str),
    /// It was ended by Ctrl-C.
    Interrupted,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    Command { name: "cat", arguments: "PATH...", summary: "show files; Ctrl-C stops", run: files::cat },
    Command { name: "cp", arguments: "[-r] SOURCE... TARGET", summary: "copy files; -r: and directories with what is in them", run: files::cp },
    Command { name: "date", arguments: "", summary: "show the date and time in UTC", run: system::date },
    Command { name: "dd", arguments: "if=NAME|zero of=NAME [bs=N] [count=N] [skip=N] [seek=N]", summary: "copy records of bs bytes (512) between block devices", run: block::dd },
    Command { name: "dmesg", arguments: "[-x] [-l LEVEL[,LEVEL...]] [--module NAME] | -n LEVEL", summary: "show the kernel's log, with -x levels; -n: what the console shows", run: system::dmesg },
    Command { name: "echo", arguments: "[WORD...]", summary: "show words, or write them to a file: echo hello > /vda1/file", run: files::echo },
    Command { name: "free", arguments: "[-m]", summary: "show how the memory is used, in KiB; -m: and what each module has of it", run: memory::free },
    Command { name: "gpio", arguments: "[PIN [in|out|altN|high|low|up|down|none]...]", summary: "show the pins for general purposes, or set one", run: gpio::gpio },
    Command { name: "help", arguments: "", summary: "show this list", run: help },
    Command { name: "hexdump", arguments: "-C [-s OFFSET] [-n LENGTH] NAME", summary: "show the bytes of a block device; Ctrl-C stops", run: block::hexdump },
    Command { name: "insmod", arguments: "[--replace] MODULE [NAME=VALUE...]", summary: "load a module and bind its devices; --replace: in place of the running one", run: modules::insmod },
    Command { name: "ip", arguments: "[addr]", summary: "show the network interfaces and their addresses", run: network::ip },
    Command { name: "irqs", arguments: "", summary: "show how often which line has interrupted", run: threads::irqs },
    Command { name: "ls", arguments: "[-l] [PATH...]", summary: "list directories, without PATH the volumes; -l: with lengths and times", run: files::ls },
    Command { name: "lsblk", arguments: "", summary: "list the block devices", run: block::lsblk },
    Command { name: "lsdev", arguments: "", summary: "list the devices and what drives them", run: modules::lsdev },
    Command { name: "lsmod", arguments: "", summary: "list the loaded modules", run: modules::lsmod },
    Command { name: "mkdir", arguments: "PATH...", summary: "make directories", run: files::mkdir },
    Command { name: "modinfo", arguments: "[-v] [MODULE]", summary: "show what a module says of itself; -v: and what loading it took", run: modules::modinfo },
    Command { name: "modprobe", arguments: "MODULE [NAME=VALUE...] | -r MODULE", summary: "load a module unless it is loaded; -r: unload it", run: modules::modprobe },
    Command { name: "mount", arguments: "", summary: "list the volumes: file systems on disks and partitions", run: files::mount },
    Command { name: "mv", arguments: "SOURCE... TARGET", summary: "rename or move files and directories", run: files::mv },
    Command { name: "ping", arguments: "ADDRESS [-c COUNT]", summary: "ask a host for echo replies; Ctrl-C stops", run: network::ping },
    Command { name: "poweroff", arguments: "", summary: "switch the machine off", run: system::poweroff },
    Command { name: "ps", arguments: "", summary: "list the threads", run: threads::ps },
    Command { name: "reboot", arguments: "", summary: "reset the machine", run: system::reboot },
    Command { name: "rm", arguments: "[-r] PATH...", summary: "remove files; -r: and directories with what is in them", run: files::rm },
    Command { name: "rmmod", arguments: "[--force] MODULE", summary: "unload a module; --force: and what can't do without it", run: modules::rmmod },
    Command { name: "sha256sum", arguments: "[-s OFFSET] [-n LENGTH] NAME", summary: "compute the SHA-256 of a block device; Ctrl-C stops", run: block::sha256sum },
    Command { name: "slabtop", arguments: "", summary: "show how the heap is used by pieces of each size", run: memory::slabtop },
    Command { name: "sync", arguments: "", summary: "wait until all changes of files would outlive a loss of power", run: files::sync },
    Command { name: "top", arguments: "[-d SECONDS] [-n COUNT]", summary: "show who uses the processors, again and again; q or Ctrl-C stops", run: threads::top },
    Command { name: "trace", arguments: "[on [KIND...] | off | show [-n COUNT] | export]", summary: "record what happens, and show or export it", run: trace::trace },
    Command { name: "uptime", arguments: "", summary: "show the time since reset", run: system::uptime },
    Command { name: "vcgencmd", arguments: "[measure_temp | measure_clock [NAME]]", summary: "show what the board's firmware tells: which board it is, its temperature, its clocks", run: firmware::vcgencmd },
];

/// What a line may become by completing its last word: the first to a command, others to a path.
pub fn completions(line: &str) -> Vec<String> {
    match line.rsplit_once(' ') {
        None => COMMANDS.iter().map(|command| command.name.to_owned()).collect(),
        Some((_, word)) => completed(word),
    }
}

/// Runs the command that `line` asks for.
pub fn run(line: &str, terminal: &mut Terminal) {
    let line = match CommandLine::parse(line) {
        Ok(line) => line,
        Err(error) => return writeln!(terminal, "{error}"),
    };
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    let Some((name, arguments)) = words.split_first() else { return };
    let Some(command) = COMMANDS.iter().find(|command| command.name == *name) else {
        writeln!(terminal, "{name}: command not found (try help)");
        return;
    };
    let result = match line.output {
        None => execute(command, terminal, arguments),
        Some(output) => redirect(command, terminal, arguments, &output),
    };
    match result {
        Ok(()) => {}
        Err(Failure::Usage) => writeln!(terminal, "{}", format!("usage: {name} {}", command.arguments).trim_end()),
        Err(Failure::Error(error)) => writeln!(terminal, "{name}: {}", printable(error.to_string())),
        Err(Failure::Interrupted) => writeln!(terminal, "^C"),
        Err(Failure::Missing(sentence)) => writeln!(terminal, "{name}: {sentence}"),
    }
}

fn execute(command: &Command, terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    // Most commands take nothing.
    match arguments {
        [_, ..] if command.arguments.is_empty() => Err(Failure::Usage),
        _ => (command.run)(terminal, arguments),
    }
}

/// Runs a command whose output goes to a file.
fn redirect(command: &Command, terminal: &mut Terminal, arguments: &[&str], output: &Output) -> Result<(), Failure> {
    terminal.redirect(Writer::new(Path::new(&output.path)?, output.append)?);
    let result = execute(command, terminal, arguments);
    // What has kept the output from being written may be what the command reports as well.
    let written = terminal.end_redirection();
    result.and(Ok(written?))
}

fn help(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    let mut table = Table::new([Column::Left("Command"), Column::Left("What it does")]);
    for command in COMMANDS {
        table.row([format!("{} {}", command.name, command.arguments), command.summary.into()]);
    }
    write!(terminal, "{table}");
    Ok(())
}
