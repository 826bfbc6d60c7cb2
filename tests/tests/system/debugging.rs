//! Seeing what goes on: traces, backtraces with source lines, gdb.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::{Initramfs, Machine, Setup, built, test_module};

use crate::plain;

/// The number of the line in a file of the tree that contains a text, which is there once.
fn line_of(file: &str, text: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut found = (1..).zip(source.lines()).filter(|(_, line)| line.contains(text));
    let (Some((number, _)), None) = (found.next(), found.next()) else { panic!("{file}: {text:?} is not there once") };
    number
}

/// What `./x COMMAND -` prints when it reads this, and whether it succeeded.
fn xtask(command: &str, input: &str) -> (bool, String) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--package", "xtask", "--", command, "-"]);
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let child = cargo.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("cannot run cargo: {error}"));
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_backtrace_with_source_lines() {
    let initramfs = Initramfs::shipped().with_module("test-null", test_module("test-null"));
    let mut machine = plain().initramfs(&initramfs).boot();
    machine.command("insmod test-null");
    let shown = machine.command("dmesg");
    let (succeeded, output) = xtask("backtrace", &shown);
    assert!(succeeded, "{output}");
    let read = format!(
        " at tests/modules/test-null/src/lib.rs:{}",
        line_of("tests/modules/test-null/src/lib.rs", "read_volatile")
    );
    // It ends where the failure was caught.
    for expected in [read.as_str(), "(inlined by) ", " at abi/src/driver.rs:"] {
        machine.expect(&output, expected);
    }

    // From another build: a function that is elsewhere now.
    let other = shown.replace("(test-null+0x", "(test-null+0x1");
    let (succeeded, output) = xtask("backtrace", &other);
    assert!(!succeeded);
    machine.expect(&output, "the log is another build's");

    let (succeeded, output) = xtask("backtrace", "lockstep: ready\n");
    assert!(!succeeded);
    machine.expect(&output, "there is no backtrace");
}

#[test]
fn what_is_traced_is_shown_and_exported() {
    let mut machine = plain().network_cards(1).boot();
    machine.wait_for_network();
    let status = machine.command("trace");
    assert_eq!(status, "on: nothing\noff: calls interrupts switches binding loading failures");
    assert_eq!(machine.command("trace on"), "");
    machine.command("ping 10.0.2.2 -c 1");
    machine.command("rmmod virtio-net");
    machine.command("insmod virtio-net");
    machine.command("ping 10.0.2.2 -c 1");
    assert_eq!(machine.command("trace off"), "");
    let shown = machine.command("trace show");
    for expected in [
        "calls      begin /virtio_mmio@a003e00/device1 (virtio-net)",
        "calls      end   /pl011@9000000 (arm-pl011)",
        "interrupts begin interrupt 33",
        "switches         to shell",
        "binding    end   bind /virtio_mmio@a003e00/device1 (bound)",
        "loading    begin load virtio-net",
        "loading          virtio-net: link",
    ] {
        machine.expect(&shown, expected);
    }
    let last = machine.command("trace show -n 3");
    assert!(shown.ends_with(&last) && last.lines().count() == 3, "{last}");

    let exported = machine.command("trace export");
    let (succeeded, output) = xtask("trace", &exported);
    assert!(succeeded, "{output}");
    let json = std::fs::read_to_string(built("trace.json")).expect("it was written");
    let trace: Value = serde_json::from_str(&json).expect("it is JSON");
    let events = trace["traceEvents"].as_array().expect("a list");
    check_tracks(events);
    // A begin and an end of each kind that lasts, as many as are shown.
    for (category, phase, word) in [("calls", "B", "begin"), ("interrupts", "E", "end"), ("loading", "i", "")] {
        let is_meant = |event: &&Value| event["cat"] == category && event["ph"] == phase;
        let line = format!(" {category:<10} {word:<5} ");
        let expected = shown.lines().filter(|shown| shown.contains(&line)).count();
        assert_eq!(events.iter().filter(is_meant).count(), expected, "{category} {phase}");
    }

    assert_eq!(machine.command("trace on loading"), "");
    let status = machine.command("trace");
    machine.expect(&status, "on: loading\noff: calls interrupts switches binding failures\n");
}

#[test]
fn a_failure_that_was_contained_is_traced() {
    let initramfs =
        Initramfs::shipped().with_module("test-panic", test_module("test-panic")).with_claims("arm,pl061 test-panic\n");
    let mut machine = plain().initramfs(&initramfs).boot();
    machine.command("trace on failures binding");
    machine.command("rmmod test-panic");
    machine.command("insmod test-panic");
    let shown = machine.command("trace show");
    for expected in [
        "binding    begin bind /pl061@9030000 (test-panic)",
        "failures         failure of /pl061@9030000 (test-panic)",
        "binding    end   bind /pl061@9030000 (failed)",
    ] {
        machine.expect(&shown, expected);
    }
    assert_eq!(shown.matches("failures ").count(), 1, "{shown}");
}

/// Checks that on each track time goes on, and what has begun last ends first.
fn check_tracks(events: &[Value]) {
    let mut tracks: BTreeMap<(u64, u64), (f64, Vec<&str>)> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] != "M") {
        let number = |key: &str| event[key].as_u64().unwrap_or_else(|| panic!("{key} of {event}"));
        let time = event["ts"].as_f64().unwrap_or_else(|| panic!("ts of {event}"));
        let name = event["name"].as_str().unwrap_or_else(|| panic!("name of {event}"));
        let (last, open) = tracks.entry((number("pid"), number("tid"))).or_default();
        assert!(time >= *last, "{event} comes before {last}");
        *last = time;
        match event["ph"].as_str() {
            Some("B") => open.push(name),
            Some("E") => assert_eq!(open.pop(), Some(name), "{event}"),
            _ => {}
        }
    }
    assert!(tracks.len() > 3, "{tracks:?}");
}

/// Runs gdb on a machine with these commands; `action` is called when gdb has printed `when`.
fn gdb(machine: &mut Machine, commands: &[&str], when: &str, action: impl FnOnce(&mut Machine)) -> String {
    let mut gdb = Command::new("gdb-multiarch");
    gdb.args(["-batch", "-nx", "-x", "../xtask/gdb.py"]).arg(built("kernel.elf"));
    let port = machine.ports().last().copied().expect("a debugger's port");
    for command in [format!("lockstep 127.0.0.1:{port}").as_str()].iter().chain(commands) {
        gdb.args(["-ex", command]);
    }
    gdb.current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut gdb = gdb.spawn().unwrap_or_else(|error| panic!("gdb-multiarch: {error}; ./x test installs it"));
    let mut output = String::new();
    let mut action = Some(action);
    for line in BufReader::new(gdb.stdout.take().expect("a pipe")).lines() {
        let line = line.expect("gdb prints text");
        output += &line;
        output.push('\n');
        if line.contains(when)
            && let Some(action) = action.take()
        {
            action(machine);
        }
    }
    gdb.wait().expect("gdb can be waited for");
    assert!(action.is_none(), "gdb never printed {when:?}:\n{output}");
    output
}

const DRIVER: &str = "drivers/virtio-net/src/lib.rs";
const CONSOLE: &str = "drivers/arm-pl011/src/lib.rs";

#[test]
fn gdb_stops_in_a_module_that_is_loaded_later() {
    // Nothing runs yet that could tell where the kernel will be.
    let setup = Setup::virt("virt", "cortex-a72", "512M").network_cards(1).boot_arguments("nokaslr");
    let mut machine = setup.waiting_for_debugger().start();
    let probe = format!("{DRIVER}:{}", line_of(DRIVER, "Device::open("));
    let commands = [&format!("break {probe}"), "continue", "backtrace", "detach"];
    let output = gdb(&mut machine, &commands, "The kernel doesn't run yet", |_| ());
    for expected in [&format!(" at {probe}"), "probe", "kernel/src/binding/mod.rs:", "kernel/src/lib.rs:"] {
        machine.expect(&output, expected);
    }
    machine.wait_for_shell();
}

#[test]
fn gdb_knows_the_modules_of_a_machine_that_runs() {
    let mut machine = Setup::virt("virt", "cortex-a72", "512M").network_cards(1).debuggable().boot();
    machine.wait_for_network();
    let probe = format!("{DRIVER}:{}", line_of(DRIVER, "Device::open("));
    let interrupt = format!("{CONSOLE}:{}", line_of(CONSOLE, "fn interrupt_now("));
    let commands = [
        // Loaded already, and then once more, elsewhere perhaps.
        &format!("break {interrupt}"),
        "continue",
        "backtrace 1",
        "delete",
        &format!("break {probe}"),
        "continue",
        "backtrace",
        "delete",
        "detach",
    ];
    let output = gdb(&mut machine, &commands, "Breakpoint 1 at ", |machine| {
        machine.type_in("rmmod virtio-net\rinsmod virtio-net\r");
    });
    let (first, second) = output.split_once("Breakpoint 2 at ").unwrap_or_else(|| machine.fail(&output));
    machine.expect(first, CONSOLE);
    for expected in [&format!(" at {probe}"), "kernel/src/binding/mod.rs:", "services/shell/src/commands/modules.rs:"] {
        machine.expect(second, expected);
    }
    machine.wait_for_network();
}
