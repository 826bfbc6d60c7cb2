//! Raspberry Pis, as QEMU has them, with trees as firmware hands them over.

use tests::{DeviceTree, Initramfs, Machine, PROMPT, READY, Setup, test_module};

/// The trees of the Raspberry Pi 4 and 3.
pub const PI_4: &str = "bcm2711-rpi-4-b.dtb";
const PI_3: &str = "bcm2837-rpi-3-b.dtb";

pub fn pi_4() -> Setup {
    Setup::raspberry_pi("raspi4b").device_tree(&DeviceTree::of_firmware(PI_4))
}

pub fn pi_3() -> Setup {
    Setup::raspberry_pi("raspi3b").device_tree(&DeviceTree::of_firmware(PI_3))
}

/// Checks which module drives a node.
fn is_driven(machine: &mut Machine, node: &str, module: &str) {
    assert_eq!(machine.row("lsdev", node)[2..], [module, "bound"], "{node}");
}

#[test]
fn pi_4_comes_up_on_the_uart_of_its_header() {
    let mut machine = pi_4().boot();
    for (node, module) in [
        ("/soc/interrupt-controller@40041000", "arm-gic"),
        ("/soc/serial@7e215040", "bcm2835-aux-uart"),
        ("/soc/serial@7e201000", "arm-pl011"),
        ("/soc/mailbox@7e00b880", "bcm2835-mbox"),
        ("/soc/firmware", "raspberrypi-firmware"),
        ("/soc/gpio@7e200000", "bcm2711-gpio"),
        ("/soc/timer@7e003000", "bcm2835-system-timer"),
        ("/soc/watchdog@7e100000", "bcm2835-pm"),
        ("/leds", "gpio-leds"),
    ] {
        is_driven(&mut machine, node, module);
    }
    // The GIC is the only controller that is used.
    let row = machine.row("lsdev", "/soc/local_intc@40000000");
    assert_eq!(row.last().map(String::as_str), Some("empty: its driver found nothing there"));
    types_by_interrupts(&mut machine);
}

/// Checks that what is typed arrives by interrupts of the UART.
fn types_by_interrupts(machine: &mut Machine) {
    let count = |output: &str| {
        let row = output.lines().find(|line| line.ends_with("/soc/serial@7e215040")).unwrap_or_default();
        row.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok()).sum::<u64>()
    };
    let before = count(&machine.command("irqs"));
    // What comes while the shell still looks is taken without.
    machine.command_until("irqs", |output| count(output) > before);
    // Output that is longer than every FIFO on the way.
    let help = machine.command("help");
    machine.expect(&help, "show the time since reset");
}

#[test]
fn pis_run_four_processors_by_spin_table() {
    for setup in [pi_4(), pi_3()] {
        runs_four_processors(&mut setup.boot());
    }
}

fn runs_four_processors(machine: &mut Machine) {
    let log = machine.command("dmesg");
    machine.expect(&log, " 4 processors\n");
    for number in 0..4 {
        let row = machine.row("lsdev", &format!("/cpus/cpu@{number}"));
        assert_eq!(row.last().map(String::as_str), Some("used by the kernel"));
    }
}

#[test]
fn pi_4_tells_what_its_firmware_knows() {
    let mut machine = pi_4().boot();
    // QEMU, hw/arm/raspi.c and hw/misc/bcm2835_property.c.
    assert_eq!(machine.command("vcgencmd measure_temp"), "temp=25.0'C");
    assert_eq!(machine.command("vcgencmd measure_clock emmc"), "frequency(1)=50000000");
    assert_eq!(machine.command("vcgencmd measure_clock core"), "frequency(4)=350000000");
    let identity = machine.command("vcgencmd");
    machine.expect(&identity, "revision=b03115\n");
    machine.expect(&identity, "mac=52:54:00:12:34:5");
    let unknown = machine.command("vcgencmd measure_clock moon");
    assert_eq!(unknown, "vcgencmd: there is no clock `moon`; measure_clock alone lists them");
    // The firmware can be asked again by another instance of its driver, through another of the mailbox's.
    let refused = machine.command("rmmod raspberrypi-firmware");
    assert_eq!(refused, "rmmod: module raspberrypi-firmware is needed by /soc/firmware/screen (module text-screen)");
    assert_eq!(machine.command("rmmod text-screen"), "");
    assert_eq!(machine.command("rmmod raspberrypi-firmware"), "");
    assert_eq!(machine.command("vcgencmd"), "vcgencmd: the machine has no firmware that answers questions");
    assert_eq!(machine.command("rmmod bcm2835-mbox"), "");
    assert_eq!(machine.command("insmod bcm2835-mbox"), "");
    assert_eq!(machine.command("insmod raspberrypi-firmware"), "");
    assert_eq!(machine.command("vcgencmd measure_temp"), "temp=25.0'C");
}

#[test]
fn what_the_firmware_refuses_is_an_error_of_who_asked() {
    let initramfs = Initramfs::shipped().with_module("test-firmware", test_module("test-firmware"));
    let mut machine = pi_4().initramfs(&initramfs).boot();
    let refused = machine.command("insmod test-firmware");
    machine.expect(&refused, "not supported: the firmware doesn't know property 0x00038030");
    assert_eq!(machine.command("vcgencmd measure_temp"), "temp=25.0'C");
}

#[test]
fn pi_4_sets_and_reads_pins() {
    let mut machine = pi_4().boot();
    let pin = |machine: &mut Machine, words: &str| {
        let output = machine.command(&format!("gpio {words}"));
        let row = output.lines().last().unwrap_or_default().split_whitespace();
        row.skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(pin(&mut machine, "17 out high"), ["GPIO17", "out", "down", "high"]);
    assert_eq!(pin(&mut machine, "17 low"), ["GPIO17", "out", "down", "low"]);
    assert_eq!(pin(&mut machine, "17 in up")[..3], ["GPIO17", "in", "up"]);
    // The header's UART: `pinctrl-0` of the driver that this is typed through.
    assert_eq!(pin(&mut machine, "14")[..2], ["TXD1", "alt5"]);
    assert_eq!(pin(&mut machine, "15")[..2], ["RXD1", "alt5"]);
    assert_eq!(machine.command("gpio 58"), "gpio: there is no pin 58: there are 0 to 57");
    // The green LED beats.
    machine.command_until("gpio 42", |output| output.contains("out") && output.contains("high"));
    machine.command_until("gpio 42", |output| output.contains("out") && output.contains("low"));
}

#[test]
fn pi_3_tells_what_its_firmware_knows_and_sets_pins() {
    let mut machine = pi_3().boot();
    assert_eq!(machine.command("vcgencmd measure_clock core"), "frequency(4)=350000000");
    let identity = machine.command("vcgencmd");
    machine.expect(&identity, "revision=a02082\n");
    // Its pulls can't be read.
    for level in ["high", "low"] {
        let output = machine.command(&format!("gpio 17 out {level}"));
        let row = output.lines().last().unwrap_or_default().split_whitespace();
        assert_eq!(row.collect::<Vec<_>>(), ["17", "GPIO17", "out", "-", level]);
    }
}

#[test]
fn pis_reboot_and_switch_themselves_off() {
    for setup in [pi_4(), pi_3()] {
        let mut machine = setup.boot();
        machine.type_in("reboot\r");
        machine.wait_for(READY);
        machine.wait_for(PROMPT);
        machine.type_in("poweroff\r");
        assert!(machine.wait_for_exit().0.success());
    }
}

#[test]
fn pi_3_takes_interrupts_through_two_controllers() {
    let mut machine = pi_3().boot();
    is_driven(&mut machine, "/soc/local_intc@40000000", "bcm2836-l1-intc");
    is_driven(&mut machine, "/soc/interrupt-controller@7e00b200", "bcm2835-armctrl-ic");
    is_driven(&mut machine, "/soc/serial@7e215040", "bcm2835-aux-uart");
    types_by_interrupts(&mut machine);
    // Neither can go: the one wakes processors, and the console needs the other.
    let refused = machine.command("rmmod --force bcm2836-l1-intc");
    machine.expect(&refused, "rmmod: ");
    let refused = machine.command("rmmod bcm2835-armctrl-ic");
    machine.expect(&refused, "rmmod: ");
    // A driver behind both gives its line back and takes it again.
    assert_eq!(machine.command("rmmod bcm2835-mbox"), "");
    assert_eq!(machine.command("insmod bcm2835-mbox"), "");
    assert_eq!(machine.command("vcgencmd measure_temp"), "temp=25.0'C");
}

/// What the firmware of a Raspberry Pi 4 with 2 GiB does to a tree: memory in two banks, the first without what the
/// VideoCore has; arguments of its own, seeds, a frame buffer; the board's revision and serial number.
pub const EDITED: &str = r#"
/ {
    serial-number = "10000000deadbeef";
    memory@0 { reg = <0 0 0x3b400000>, <0 0x40000000 0x40000000>; };
    chosen {
        #address-cells = <2>;
        #size-cells = <1>;
        ranges;
        bootargs = "coherent_pool=1M snd_bcm2835.enable_headphones=0 console=tty1 root=/dev/mmcblk0p2";
        kaslr-seed = <0x3c5a71e9 0x15fd3a0b>;
        rng-seed = [0102030405060708090a0b0c0d0e0f10];
        framebuffer@3e513000 {
            compatible = "simple-framebuffer";
            reg = <0 0x3e513000 0x7e9000>;
            width = <1920>;
            height = <1080>;
            stride = <7680>;
            format = "a8r8g8b8";
            status = "okay";
        };
    };
    system { linux,revision = <0xb03115>; linux,serial = <0x10000000 0xdeadbeef>; };
    scb {
        pcie@7d500000 { status = "disabled"; };
        ethernet@7d580000 { status = "disabled"; };
    };
    soc {
        rng@7e104000 { status = "disabled"; };
        avs-monitor@7d5d2000 { status = "disabled"; };
    };
};
"#;

#[test]
fn pi_4_comes_up_with_a_tree_that_firmware_has_edited() {
    const MIB: u64 = 1 << 20;
    let tree = DeviceTree::of_firmware(PI_4).with(EDITED);
    // Where the firmware puts them; QEMU knows nothing of that tree.
    let mut machine = Setup::raspberry_pi("raspi4b").placed(2 * MIB, (736 * MIB, &tree), 512 * MIB).boot();
    assert_eq!(machine.row("free", "Mem:")[1], (1972 * 1024).to_string());
    let log = machine.command("dmesg");
    machine.expect(&log, "KASLR on");
    machine.expect(&log, " 4 processors\n");
    // Memory for messages to the firmware is in the first GiB, which is all that it reaches.
    assert_eq!(machine.command("vcgencmd measure_temp"), "temp=25.0'C");
}

#[test]
fn pi_4_talks_on_the_uart_that_the_tree_names() {
    let tree = DeviceTree::of_firmware(PI_4).with("/ { chosen { stdout-path = \"serial0:115200n8\"; }; };");
    // The first of QEMU's serial ports this time.
    let mut machine = Setup::board("raspi4b").device_tree(&tree).boot();
    is_driven(&mut machine, "/soc/serial@7e201000", "arm-pl011");
}
