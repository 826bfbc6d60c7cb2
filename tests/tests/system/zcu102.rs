//! AMD's ZCU102, as QEMU has it: a board that nothing in the kernel knows of.

use tests::{DeviceTree, PROMPT, READY, Setup};

fn zcu102() -> Setup {
    let tree = DeviceTree::of_firmware("zynqmp-zcu102-rev1.0.dtb");
    Setup::board("xlnx-zcu102").argument("-m", "1G").device_tree(&tree)
}

#[test]
fn zcu102_comes_up_by_its_modules_alone() {
    let mut machine = zcu102().boot();
    for (node, module) in [
        ("/axi/interrupt-controller@f9010000", "arm-gic"),
        ("/axi/serial@ff000000", "cdns-uart"),
        ("/axi/serial@ff010000", "cdns-uart"),
        ("/psci", "arm-psci"),
    ] {
        assert_eq!(machine.row("lsdev", node)[2..], [module, "bound"], "{node}");
    }
    let log = machine.command("dmesg");
    machine.expect(&log, "ZynqMP ZCU102 Rev1.0");
    machine.expect(&log, " 4 processors\n");
}

#[test]
fn zcu102_types_by_interrupts() {
    let mut machine = zcu102().boot();
    let count = |output: &str| {
        let row = output.lines().find(|line| line.ends_with("/axi/serial@ff000000")).unwrap_or_default();
        row.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok()).sum::<u64>()
    };
    let before = count(&machine.command("irqs"));
    // What comes while the shell still looks is taken without.
    machine.command_until("irqs", |output| count(output) > before);
    // More than every FIFO holds, in both directions.
    let words = "typing ".repeat(20);
    let refused = machine.command(&words);
    machine.expect(&refused, "typing: ");
    let help = machine.command("help");
    machine.expect(&help, "show the time since reset");
}

#[test]
fn zcu102_starts_again_and_switches_itself_off() {
    let mut machine = zcu102().boot();
    machine.type_in("reboot\r");
    machine.wait_for(READY);
    machine.wait_for(PROMPT);
    machine.type_in("poweroff\r");
    assert!(machine.wait_for_exit().0.success());
}
