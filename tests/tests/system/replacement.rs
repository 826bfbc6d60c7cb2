//! Newer modules in place of running ones.

use std::thread;

use tests::{Initramfs, test_module};

use crate::network::tcp_echo;
use crate::plain;

/// How often the card's driver is replaced, and how many bytes go to and fro meanwhile.
const REPLACEMENTS: usize = 20;
const STREAM: usize = 8 << 20;

#[test]
fn state_is_handed_over_or_the_former_instance_goes_on() {
    let object = test_module("test-swap");
    let initramfs = Initramfs::shipped()
        .with_module("test-swap", &object)
        .with_module("test-swap-2", &object)
        .with_claims("gpio-keys test-swap\n");
    let mut machine = plain().initramfs(&initramfs).boot();
    // The first clock of the tree counts how often it is asked.
    let mut count = 0;
    let mut ask = |machine: &mut tests::Machine| {
        count += 1;
        assert_eq!(machine.command("date"), format!("1970-01-01T00:00:{count:02}Z"));
    };
    ask(&mut machine);
    assert_eq!(machine.command("insmod --replace test-swap"), "");
    ask(&mut machine);

    let refusal = "insmod: not supported: test-swap: not supported: a handover of test-swap in version 1, where test-swap in \
                   version 2 to 2 was expected; the former one goes on";
    assert_eq!(machine.command("insmod --replace test-swap reads=2"), refusal);
    ask(&mut machine);
    let answer = machine.command("insmod --replace test-swap panics=yes");
    machine.expect(&answer, "test-swap: the module panicked: it was told to");
    machine.expect(&answer, "; the former one goes on");
    ask(&mut machine);

    // A newer file may have another name.
    assert_eq!(machine.command("insmod --replace test-swap-2"), "");
    ask(&mut machine);
    assert_eq!(machine.row("lsmod", "test-swap-2")[3], "/gpio-keys");
    assert_eq!(machine.row("lsdev", "/gpio-keys")[2], "test-swap-2");

    for (command, answer) in [
        ("insmod --replace virtio-blk", "insmod: no module that calls itself virtio-blk is loaded"),
        ("insmod --replace shell", "insmod: the module that asks for it would have to be replaced itself"),
        ("insmod --replace", "usage: insmod [--replace] MODULE [NAME=VALUE...]"),
    ] {
        assert_eq!(machine.command(command), answer);
    }
    let answer = machine.command("insmod --replace arm-gic");
    machine.expect(&answer, "module arm-gic is needed by /pl011@9000000");
}

#[test]
fn a_stream_goes_on_while_its_card_gets_another_driver() {
    let mut machine = plain().reachable_network_card().boot();
    machine.command("ping 10.0.2.2 -c 1");
    let port = machine.ports()[0];
    thread::scope(|scope| {
        let stream = scope.spawn(move || tcp_echo(port, STREAM));
        for _ in 0..REPLACEMENTS {
            // What the kernel says of it comes on the console as well; the log has it all.
            machine.command("insmod --replace virtio-net");
            thread::sleep(std::time::Duration::from_millis(50));
        }
        stream.join().expect("every byte comes back");
    });
    let log = machine.command("dmesg");
    assert_eq!(log.matches("virtio-net: replaced, with ").count(), REPLACEMENTS);
    assert!(!log.contains("eth0: removed"), "{log}");
}
