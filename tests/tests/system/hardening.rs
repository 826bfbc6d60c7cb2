//! What keeps attacks and mistakes from going on: places that nobody can count on, and what processors have against code
//! that goes astray.

use tests::{Initramfs, Machine, Setup, test_module};

/// Where modules begin when places are fixed (docs/memory-and-threads.md).
const MODULES: u64 = 0xffff_ffff_8400_0000;
/// Where the kernel does, and how far it reaches at most.
const KERNEL: std::ops::Range<u64> = 0xffff_ffff_8000_0000..0xffff_ffff_8080_0000;
/// PSTATE.PAN in a saved state (Arm ARM C5.2.19).
const PAN: u64 = 1 << 22;

fn boot(setup: Setup) -> Machine {
    let initramfs = ["test-branch", "test-fatal", "test-unwind"]
        .into_iter()
        .fold(Initramfs::shipped(), |archive, name| archive.with_module(name, test_module(name)));
    setup.initramfs(&initramfs).boot()
}

/// A machine whose processors have it all.
fn newest() -> Setup {
    Setup::virt("virt", "max", "512M").argument("-smp", "2")
}

fn number(digits: &str) -> u64 {
    let digits = digits.trim().trim_start_matches("0x");
    u64::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{digits}: {error}"))
}

/// The addresses of the first module, and of a function of the kernel's in a backtrace.
fn places(machine: &mut Machine) -> (u64, u64) {
    let modules = machine.table("lsmod").iter().map(|row| number(&row[2])).min().expect("there are modules");
    machine.command("insmod test-unwind mode=panic");
    let log = machine.command_until("dmesg", |log| log.contains("where it panicked"));
    let line = log.lines().find(|line| line.contains(" core::panicking::panic_fmt+"));
    let line = line.unwrap_or_else(|| machine.fail(&format!("no backtrace of the kernel's in {log}")));
    let address = line.split_whitespace().find(|word| word.starts_with("0xffff")).expect("an address");
    (modules, number(address))
}

#[test]
fn code_that_goes_astray_is_stopped_where_it_does() {
    let mut machine = boot(newest().boot_arguments("restart.limit=0"));
    let log = machine.command("dmesg");
    machine.expect(&log, "kernel: KASLR on, PAN on, BTI on, PAC on\n");

    let answer = machine.command("insmod test-branch");
    machine.expect(&answer, "the module caused an exception: branch to a place that is no branch target (ESR_EL1 0x36");
    machine.command("insmod test-branch mode=overflow");
    let log = machine.command_until("dmesg", |log| log.contains("stack overflow"));
    machine.expect(&log, "test-branch: on processor 1\n");
    assert!(!log.contains("calls returned"), "{log}");

    // It is loaded until the overflow has been dealt with.
    let answer =
        machine.command_until("insmod test-branch mode=return", |answer| !answer.contains("is loaded already"));
    machine.expect(&answer, "the module caused an exception: pointer authentication failure (ESR_EL1 0x72");
    assert!(!machine.command("dmesg").contains("went elsewhere"));

    machine.type_in("insmod test-fatal\r");
    let shown = machine.wait_for("lockstep: halted\n");
    let state = shown.split_once("state ").and_then(|(_, rest)| rest.split_whitespace().next());
    assert_ne!(number(state.expect("registers")) & PAN, 0, "{shown}");
}

#[test]
fn each_boot_has_its_own_addresses() {
    let places: Vec<_> = (0..2).map(|_| places(&mut boot(newest()))).collect();
    let [(modules, kernel), (other_modules, other_kernel)] = places[..] else { unreachable!() };
    assert_ne!(kernel, other_kernel);
    assert_ne!(modules, other_modules);
    for (modules, kernel) in places {
        assert!(modules != MODULES && !KERNEL.contains(&kernel), "{modules:#x}, {kernel:#x}");
        // A branch reaches.
        assert!(kernel < modules && modules - kernel < 120 << 20, "{modules:#x}, {kernel:#x}");
    }
}

#[test]
fn addresses_are_fixed_where_asked_for_and_without_a_seed() {
    for (setup, reason) in [
        (crate::plain().boot_arguments("nokaslr"), "KASLR off (nokaslr in bootargs), PAN off, BTI off, PAC off"),
        (
            Setup::virt("virt,dtb-randomness=off", "max", "512M"),
            "KASLR off (no kaslr-seed or rng-seed in the device tree), PAN on, BTI on, PAC on",
        ),
    ] {
        let mut machine = boot(setup);
        let log = machine.command("dmesg");
        machine.expect(&log, &format!("kernel: {reason}\n"));
        let (modules, kernel) = places(&mut machine);
        assert_eq!(modules, MODULES);
        assert!(KERNEL.contains(&kernel), "{kernel:#x}");
    }
}
