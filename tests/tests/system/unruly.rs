//! Modules that do to the loader what they shouldn't.

use tests::{Initramfs, Machine, PROMPT, READY, test_module};

use crate::libraries::with_information;
use crate::plain;

fn machine() -> Machine {
    machine_with("")
}

fn machine_with(arguments: &str) -> Machine {
    let archive = ["test-unruly", "test-library", "test-user"]
        .into_iter()
        .fold(Initramfs::shipped(), |archive, name| archive.with_module(name, test_module(name)));
    plain().initramfs(&archive).boot_arguments(arguments).boot()
}

/// Neither the module nor what was loaded for it is left, and others can be loaded.
fn expect_nothing_left(machine: &mut Machine) {
    assert!(machine.table("lsmod").iter().all(|row| !row[0].starts_with("test-")));
    expect_others_load(machine);
    assert_eq!(machine.command("rmmod --force test-library"), "");
}

/// Binding isn't stuck. What the module says goes to the console as well.
fn expect_others_load(machine: &mut Machine) {
    machine.command("insmod test-user");
    assert_eq!(machine.row("lsmod", "test-user").len(), 4);
}

#[test]
fn loading_and_unloading_while_being_started() {
    let mut machine = machine();
    for mode in ["load", "unload"] {
        let answer = machine.command(&format!("insmod test-unruly mode={mode}"));
        let reason = "a module that is being bound or removed can't load or remove modules meanwhile";
        assert_eq!(answer, format!("insmod: service test-unruly: {reason}"));
        expect_nothing_left(&mut machine);
    }
}

#[test]
fn calls_that_wait_for_ever() {
    let mut machine = machine_with("budget.wait=1000");
    let answer = machine.command("insmod test-unruly mode=wait");
    machine.expect(&answer, "insmod: service test-unruly: the module was stopped: it waited for more than 1 s");
    expect_nothing_left(&mut machine);
    machine.command("rmmod arm-pl031");
    assert_eq!(machine.command("insmod test-unruly mode=stay"), "");
    let answer = machine.command("date");
    machine.expect(&answer, "was stopped: it waited for more than 1 s");
}

#[test]
fn a_start_that_fails_with_many_words() {
    let mut machine = machine();
    let answer = machine.command("insmod test-unruly mode=words");
    machine.expect(&answer, "insmod: service test-unruly: the device misbehaved: xxx");
    assert!(answer.ends_with("xxx...") && answer.len() < 2000, "{} bytes", answer.len());
    expect_nothing_left(&mut machine);
}

#[test]
fn a_panic_before_the_start() {
    let mut machine = machine();
    let answer = machine.command("insmod test-unruly mode=panic");
    machine.expect(&answer, "insmod: modules/test-unruly.o: the module panicked: ");
    machine.expect(&answer, "it was told to");
    expect_nothing_left(&mut machine);
}

#[test]
fn a_start_that_fails_gives_everything_back() {
    let mut machine = machine();
    let leak = |machine: &mut Machine| {
        let answer = machine.command("insmod test-unruly mode=leak");
        assert!(
            answer.ends_with("insmod: service test-unruly: the device misbehaved: it was told to fail"),
            "{answer}"
        );
        machine.row("free", "Heap:")[2].parse::<u64>().expect("a number of KiB")
    };
    for _ in 0..3 {
        leak(&mut machine);
    }
    let before = leak(&mut machine);
    for _ in 0..20 {
        leak(&mut machine);
    }
    // The log grows.
    let after = leak(&mut machine);
    assert!(after <= before + 16, "{before} KiB of heap became {after}");
    expect_nothing_left(&mut machine);
}

#[test]
fn a_call_that_waits_until_its_module_is_removed() {
    let mut machine = machine();
    assert_eq!(machine.command("insmod test-unruly mode=stay"), "");
    machine.command("date");
    assert_eq!(machine.command("rmmod test-unruly"), "");
    expect_others_load(&mut machine);
}

#[test]
fn a_service_that_fails_before_it_is_there() {
    let archive = Initramfs::shipped().with_module("test-unruly", test_module("test-unruly"));
    let mut machine = plain().initramfs(&archive).boot_arguments("log=off restart.limit=2").boot();
    assert_eq!(machine.command("insmod test-unruly mode=early"), "");
    let log = machine.command_until("dmesg", |log| log.contains("test-unruly: it failed 3 times"));
    assert_eq!(log.matches("thread 'test-unruly', panicked: it couldn't wait").count(), 3, "{log}");
    assert_eq!(log.matches("test-unruly: started again").count(), 2, "{log}");
    assert!(machine.table("lsmod").iter().all(|row| row[0] != "test-unruly"));
    assert_eq!(machine.command("insmod test-unruly"), "");
}

#[test]
fn a_long_chain_of_dependencies() {
    let library = test_module("test-library");
    let text = String::from_utf8_lossy(&library).into_owned();
    let (_, after) = text.split_once("interface=").expect("it is a library");
    let hash = &after[..64];
    let link = |archive: Initramfs, number: u32| {
        let object = with_information(&library, &format!("depends=link-{} {hash}\0", number + 1));
        archive.with_module(&format!("link-{number}"), object)
    };
    let archive = (0..40).fold(Initramfs::shipped(), link);
    let mut machine = plain().initramfs(&archive).boot();
    let answer = machine.command("insmod link-0");
    machine.expect(&answer, "it is the end of a chain of more than 12 dependencies");
    assert!(machine.table("lsmod").iter().all(|row| !row[0].starts_with("link-")));
}

#[test]
fn a_service_that_is_listed_twice() {
    let archive = Initramfs::shipped().with_claims("service shell\n");
    let mut machine = plain().initramfs(&archive).start();
    let shown = machine.wait_for(READY);
    machine.expect(&shown, "service shell is listed twice");
    machine.wait_for(PROMPT);
    assert_eq!(machine.row("lsmod", "shell").len(), 4);
}
