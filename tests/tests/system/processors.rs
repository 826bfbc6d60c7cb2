//! Bringing up the processors: each one that runs has arrived, has answered a signal with one of its own, and was let go
//! for that only.

use tests::{DeviceTree, Machine, PROMPT, READY, Setup};

/// Boots `virt` with this many processors.
fn virt(board: &str, count: usize) -> Setup {
    Setup::virt(board, "cortex-a72", "512M").argument("-smp", &count.to_string())
}

/// The states of the processors, in the order of their numbers.
fn states(machine: &mut Machine) -> Vec<String> {
    let mut rows: Vec<_> = machine.table("lsdev").into_iter().filter(|row| row[0].starts_with("/cpus/cpu@")).collect();
    rows.sort_by_key(|row| row[0].split_once('@').and_then(|(_, number)| u32::from_str_radix(number, 16).ok()));
    rows.into_iter().map(|mut row| row.pop().expect("a state")).collect()
}

/// Checks that so many processors run, all that there are.
fn all_run(setup: Setup, count: usize) -> Machine {
    let mut machine = setup.boot();
    assert_eq!(states(&mut machine), vec!["used by the kernel"; count]);
    let log = machine.command("dmesg");
    if count > 1 {
        machine.expect(&log, &format!(" {count} processors\n"));
    } else {
        assert!(!log.contains("processor"), "{log}");
    }
    machine
}

/// Loading waits for every processor to take an interrupt.
fn reloads_a_module(machine: &mut Machine) {
    for _ in 0..3 {
        assert_eq!(machine.command("rmmod arm-pl031"), "");
        assert_eq!(machine.command("insmod arm-pl031"), "");
    }
    let date = machine.command("date");
    machine.expect(&date, "Z");
}

#[test]
fn one_processor() {
    all_run(virt("virt,gic-version=2", 1), 1);
    all_run(virt("virt,gic-version=3,virtualization=on", 1), 1);
}

#[test]
fn four_processors() {
    for board in ["virt,gic-version=2,virtualization=on", "virt,gic-version=3"] {
        reloads_a_module(&mut all_run(virt(board, 4), 4));
    }
}

#[test]
fn eight_processors() {
    for board in ["virt,gic-version=2", "virt,gic-version=3,virtualization=on"] {
        reloads_a_module(&mut all_run(virt(board, 8), 8));
    }
}

#[test]
fn processors_of_several_clusters() {
    // 16 to a cluster: MPIDR_EL1 has 0x100 for the seventeenth.
    all_run(virt("virt,gic-version=3", 18), 18);
}

#[test]
fn more_processors_than_the_kernel_runs() {
    let mut machine = virt("virt,gic-version=3", 66).boot();
    let states = states(&mut machine);
    assert_eq!(states[..64], ["used by the kernel"; 64]);
    assert_eq!(states[64..], ["not started: not supported: this kernel runs 64 processors at most"; 2]);
}

#[test]
fn fewer_than_there_are() {
    let mut machine = virt("virt", 4).boot_arguments("cpu=2").boot();
    let not_started = "not started: bootargs has cpu=2";
    assert_eq!(states(&mut machine), ["used by the kernel", "used by the kernel", not_started, not_started]);
    let log = machine.command("dmesg");
    machine.expect(&log, " 2 processors\n");

    let mut machine = virt("virt", 2).boot_arguments("cpu=1").boot();
    assert_eq!(states(&mut machine), ["used by the kernel", "not started: bootargs has cpu=1"]);
}

#[test]
fn a_number_that_makes_no_sense() {
    for argument in ["cpu=0", "cpu=-1", "cpu=two", "cpu"] {
        let mut machine = virt("virt", 2).boot_arguments(argument).boot();
        let value = argument.split_once('=').map_or("", |(_, value)| value);
        let log = machine.command("dmesg");
        machine.expect(&log, &format!("bootargs: cpu={value}: expected how many processors to use, 1 or more"));
        assert_eq!(states(&mut machine), ["used by the kernel"; 2]);
    }
}

#[test]
fn processors_that_can_not_be_started() {
    let processor = |number: &str, properties: &str| {
        format!("cpu@{number} {{ device_type = \"cpu\"; compatible = \"arm,cortex-a72\"; {properties} }};")
    };
    let nodes = [
        ("1", "reg = <1>;", "should be \"psci\" or \"spin-table\", found none"),
        ("2", "reg = <2>; enable-method = \"magic\";", "should be \"psci\" or \"spin-table\", found \"magic\""),
        ("3", "reg = <3>; enable-method = \"spin-table\";", "it has no cpu-release-addr"),
        (
            "4",
            "reg = <4>; enable-method = \"spin-table\"; cpu-release-addr = <0 0x44000004>;",
            "its cpu-release-addr should be a multiple of 8, found 0x44000004",
        ),
        // Nobody looks there.
        (
            "5",
            "reg = <5>; enable-method = \"spin-table\"; cpu-release-addr = <0 0x44000008>;",
            "it hasn't arrived within 2 s",
        ),
        ("77", "reg = <0x77>; enable-method = \"psci\";", "the firmware refused to start it"),
    ];
    let mut source: String = nodes.iter().map(|(number, properties, _)| processor(number, properties)).collect();
    source += &processor("6", "reg = <6>; enable-method = \"psci\"; status = \"disabled\";");
    source += &processor("7", "reg = <7>; enable-method = \"psci\";");
    source += &processor("8", "enable-method = \"psci\";");
    let tree = DeviceTree::virt("cortex-a72", "512M").with(&format!(
        "/ {{ cpus {{ {source} }}; reserved-memory {{ #address-cells = <2>; #size-cells = <2>; ranges; \
         release@44000000 {{ reg = <0 0x44000000 0 0x1000>; no-map; }}; }}; }};"
    ));
    const MIB: u64 = 1 << 20;
    let start = 0x4000_0000;
    let setup = virt("virt", 8).placed(start + 16 * MIB, (start + 8 * MIB, &tree), start + 128 * MIB);
    let mut machine = setup.start();
    let shown = machine.wait_for(READY);
    machine.wait_for(PROMPT);
    for (number, _, reason) in nodes {
        let node = format!("/cpus/cpu@{number}");
        machine.expect(&shown, &format!("{node}: the processor is not started: "));
        let row = machine.row("lsdev", &node);
        machine.expect(&row[3], "not started: ");
        machine.expect(&row[3], reason);
    }
    machine.expect(&shown, "'reg' of /cpus/cpu@8");
    machine.expect(&shown, " 2 processors\n");
    assert_eq!(machine.row("lsdev", "/cpus/cpu@6")[3], "disabled: its status is \"disabled\"");
    assert_eq!(machine.row("lsdev", "/cpus/cpu@7")[3], "used by the kernel");
    reloads_a_module(&mut machine);
}

#[test]
fn firmware_without_a_method() {
    let tree = DeviceTree::virt("cortex-a72", "512M").with(
        "/ { psci { method = \"bell\"; }; cpus { cpu@1 { device_type = \"cpu\"; compatible = \"arm,cortex-a72\"; \
         reg = <1>; enable-method = \"psci\"; }; }; };",
    );
    const MIB: u64 = 1 << 20;
    let start = 0x4000_0000;
    let setup = virt("virt", 2).placed(start + 16 * MIB, (start + 8 * MIB, &tree), start + 64 * MIB);
    let mut machine = setup.start();
    machine.wait_for(READY);
    machine.wait_for(PROMPT);
    let state = "not started: not supported: the method of /psci should be \"hvc\" or \"smc\", found \"bell\"";
    assert_eq!(machine.row("lsdev", "/cpus/cpu@1")[3], state);
}
