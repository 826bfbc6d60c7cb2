//! The shell: all commands, what they say to mistakes, the keys of the line editor, and input from a pipe.

use std::time::{SystemTime, UNIX_EPOCH};

use tests::{Machine, PROMPT, Setup};

use crate::plain;

/// Recalls the line before.
const UP: &str = "\x1b[A";

#[test]
fn commands() {
    let mut machine = plain().network_cards(1).boot();
    let help = machine.command("help");
    for command in [
        "cat PATH...",
        "cp [-r] SOURCE... TARGET",
        "date",
        "dd if=NAME|zero of=NAME",
        "dmesg [-x] [-l LEVEL[,LEVEL...]] [--module NAME] | -n LEVEL",
        "echo [WORD...]",
        "free [-m]",
        "help",
        "hexdump -C",
        "insmod [--replace] MODULE [NAME=VALUE...]",
        "ip",
        "irqs",
        "ls [-l] [PATH...]",
        "lsblk",
        "lsdev",
        "lsmod",
        "mkdir PATH...",
        "modinfo [-v] [MODULE]",
        "modprobe MODULE [NAME=VALUE...] | -r MODULE",
        "mount",
        "mv SOURCE... TARGET",
        "ping ADDRESS",
        "poweroff",
        "ps",
        "reboot",
        "rm [-r] PATH...",
        "rmmod [--force] MODULE",
        "sha256sum",
        "slabtop",
        "sync",
        "top [-d SECONDS] [-n COUNT]",
        "trace [on [KIND...] | off | show [-n COUNT] | export]",
        "uptime",
    ] {
        machine.expect(&help, &format!("\n{command} "));
    }

    assert_eq!(machine.row("lsmod", "arm-gic")[3], "/intc@8000000");
    assert_eq!(machine.row("lsmod", "shell")[3], "shell");

    let row = |path, compatible, module, state| [path, compatible, module, state].map(str::to_owned);
    let devices = machine.table("lsdev");
    for expected in [
        row("/intc@8000000", "arm,cortex-a15-gic", "arm-gic", "bound"),
        row("/pl011@9000000", "arm,pl011 arm,primecell", "arm-pl011", "bound"),
        row("/timer", "arm,armv8-timer arm,armv7-timer", "-", "used by the kernel"),
        row("/virtio_mmio@a000000", "virtio,mmio", "virtio-mmio", "empty: its driver found nothing there"),
        // Nobody claims it.
        row("/gpio-keys", "gpio-keys", "-", "unclaimed: no module claims it"),
    ] {
        assert!(devices.contains(&expected.to_vec()), "{expected:?} in {devices:#?}");
    }

    for (key, value) in [
        ("name:", "arm-pl031"),
        ("license:", "MIT OR Apache-2.0"),
        ("class:", "Clock"),
        ("compatible:", "arm,pl031"),
        ("file:", "modules/arm-pl031.o ("),
        ("stamp.compiler:", "rustc 1."),
        ("stamp.crate abi:", ""),
    ] {
        let information = machine.command("modinfo arm-pl031");
        let line = information.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        machine.expect(line.unwrap_or("no such line"), value);
    }

    let memory = machine.row("free", "Mem:");
    let number = |index: usize| memory[index].parse::<u64>().expect("a number of KiB");
    assert_eq!((number(1), number(2) + number(3)), (512 * 1024, 512 * 1024));

    let log = machine.command("dmesg");
    machine.expect(&log, "kernel: linux,dummy-virt, 512 MiB of memory");
    machine.expect(&log, "lockstep: ready");

    let date = machine.command("date");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    assert!((now - 60..=now + 60).contains(&seconds_of(&date)), "{date} should be {now} s after 1970");

    let uptime = machine.command("uptime");
    machine.expect(&uptime, "up 0:0");
}

#[test]
fn threads_and_interrupts() {
    let setup = Setup::virt("virt", "cortex-a72", "512M").argument("-smp", "2");
    let mut machine = setup.network_cards(1).boot();
    machine.wait_for_network();
    let threads = machine.table("ps");
    let row = |name: &str| threads.iter().find(|row| row.contains(&name.to_owned())).expect(name).clone();
    assert_eq!(row("[idle/1]")[1..3], ["1", "low"]);
    assert_eq!(row("[supervisor]")[2..4], ["urgent", "S"]);
    assert_eq!(row("shell")[2..4], ["normal", "R"], "it is the one that lists them");

    let count = |machine: &mut Machine, device: &str| {
        let rows = machine.table("irqs");
        let row = rows.iter().find(|row| row.last().is_some_and(|last| last == device)).expect(device);
        row[1].parse::<u64>().expect("a count") + row[2].parse::<u64>().expect("a count")
    };
    let (console, timer) = (count(&mut machine, "/pl011@9000000"), count(&mut machine, "[timer]"));
    assert!(console > 0);
    let top = machine.command("top -n 2 -d 1");
    assert!(count(&mut machine, "/pl011@9000000") > console);
    assert!(count(&mut machine, "[timer]") > timer);

    // Nothing has happened in that second.
    let last = top.rsplit("\x1b[H").next().unwrap_or_default();
    for processor in ["CPU0", "CPU1"] {
        let line = last.lines().find(|line| line.starts_with(processor)).expect(processor);
        let busy = line.split_whitespace().nth(1).and_then(|share| share.parse::<f64>().ok()).expect("a share");
        assert!(busy < 20.0, "{line}");
    }
    machine.type_in("top -d 1000\r");
    machine.wait_for("[supervisor]");
    machine.type_in("q");
    machine.wait_for(PROMPT);
}

/// Seconds since 1970 of a date like `2026-01-31T12:00:00Z`.
fn seconds_of(date: &str) -> u64 {
    let mut numbers = date.split(['-', 'T', ':', 'Z']).filter_map(|word| word.parse::<u64>().ok());
    let mut next = || numbers.next().unwrap_or_else(|| panic!("{date} is no date"));
    let [year, month, day, hours, minutes, seconds] = [next(), next(), next(), next(), next(), next()];
    // Days from civil, in a calendar whose years begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    ((days * 24 + hours) * 60 + minutes) * 60 + seconds
}

#[test]
fn mistakes() {
    let mut machine = plain().boot();
    for (line, answer) in [
        ("frobnicate now", "frobnicate: command not found (try help)"),
        ("help me", "usage: help"),
        ("lsmod -a", "usage: lsmod"),
        ("lsdev 1", "usage: lsdev"),
        ("dmesg -c", "usage: dmesg [-x] [-l LEVEL[,LEVEL...]] [--module NAME] | -n LEVEL"),
        ("dmesg -n warn -x", "usage: dmesg [-x] [-l LEVEL[,LEVEL...]] [--module NAME] | -n LEVEL"),
        ("trace on everything", "usage: trace [on [KIND...] | off | show [-n COUNT] | export]"),
        ("free -k", "usage: free [-m]"),
        ("ip link up", "usage: ip [addr]"),
        ("reboot now", "usage: reboot"),
        ("poweroff now", "usage: poweroff"),
        ("insmod", "usage: insmod [--replace] MODULE [NAME=VALUE...]"),
        ("rmmod", "usage: rmmod [--force] MODULE"),
        ("rmmod net shell", "usage: rmmod [--force] MODULE"),
        ("modinfo", "usage: modinfo [-v] [MODULE]"),
        ("modprobe -r", "usage: modprobe MODULE [NAME=VALUE...] | -r MODULE"),
        ("modprobe shell", ""),
        ("ping", "usage: ping ADDRESS [-c COUNT]"),
        ("ping 10.0.2.2 -c many", "usage: ping ADDRESS [-c COUNT]"),
        ("ping 10.0.2.2 -c 0", "usage: ping ADDRESS [-c COUNT]"),
        ("", ""),
        ("   ", ""),
    ] {
        assert_eq!(machine.command(line), answer, "{line}");
    }
    for (line, reason) in [
        ("insmod warp-drive", "modules/warp-drive.o: there is no such file in the initramfs"),
        ("modinfo warp-drive", "modules/warp-drive.o: there is no such file in the initramfs"),
        ("rmmod warp-drive", "module warp-drive isn't loaded"),
        ("insmod arm-pl031", "module arm-pl031 is loaded already"),
        ("rmmod shell", "the shell can't remove itself"),
        ("ping localhost", "`localhost` is no IPv4 address like 10.0.2.2"),
    ] {
        let answer = machine.command(line);
        machine.expect(&answer, reason);
    }
}

#[test]
fn keys_of_the_line_editor() {
    let mut machine = plain().boot();
    // What makes up the line "word", whatever stood there in between.
    for keys in [
        "word",
        "wxord\x1b[D\x1b[D\x1b[D\x7f",                      // left and backspace
        "ord\x01w",                                         // Ctrl-A
        "ord\x1b[Hw",                                       // home
        "wor\x01\x05d",                                     // Ctrl-E
        "wor\x1b[H\x1b[Fd",                                 // end
        "wrrd\x1b[D\x1b[D\x1b[D\x1b[3~o",                   // delete
        "wrd\x1b[D\x1b[D\x1b[D\x1b[Co",                     // right
        "something else\x15word",                           // Ctrl-U
        "words and more\x1b[H\x1b[C\x1b[C\x1b[C\x1b[C\x0b", // Ctrl-K
        "word other\x17",                                   // Ctrl-W
        "word\x0c",                                         // Ctrl-L
        "word\x1b[99~\x1bOZ",                               // keys that mean nothing
    ] {
        let output = machine.command(keys);
        machine.expect(&output, "word: command not found (try help)");
    }
    // Ctrl-C throws the line away.
    machine.type_in("other\x03word\r");
    assert_eq!(machine.wait_for(": command not found"), format!("other^C\n{PROMPT}word\nword"));
    machine.wait_for(PROMPT);
    // A command is completed from its beginning.
    let output = machine.command("upt\t");
    machine.expect(&output, "up 0:0");
}

#[test]
fn history() {
    let mut machine = plain().boot();
    let down = "\x1b[B";
    for (keys, word) in [
        ("one".to_owned(), "one"),
        ("two".to_owned(), "two"),
        (UP.to_owned(), "two"),
        ([UP, UP].concat(), "one"),
        (UP.repeat(20), "one"),
        (["dr", UP, UP, down, down, "aft"].concat(), "draft"),
        ([UP, "s"].concat(), "drafts"),
    ] {
        let output = machine.command(&keys);
        machine.expect(&output, &format!("{word}: command not found"));
    }
}

#[test]
fn ends_of_lines() {
    let mut machine = plain().boot();
    for (end, name) in [("\r", "cr"), ("\n", "lf"), ("\r\n", "crlf")] {
        machine.type_in(&format!("{name}{end}"));
        let output = machine.wait_for(&format!("\n{PROMPT}"));
        assert_eq!(output, format!("{name}\n{name}: command not found (try help)"));
    }
    // No end of line was taken for two: nothing but the next prompt comes between two lines.
    machine.type_in("last\r\n");
    assert_eq!(machine.wait_for("last: command"), "last\n");
}

/// `printf ... | qemu-system-aarch64 ... -nographic`: everything is typed before the machine has even begun.
#[test]
fn a_script_from_a_pipe() {
    let mut machine = plain().start();
    let words: Vec<String> = (0..200).map(|number| format!("word{number}")).collect();
    machine.type_in(&format!("uptime\n{}\nlsmod\npoweroff\n", words.join("\n")));
    machine.wait_for(&format!("{PROMPT}uptime\nup 0:00:0"));
    for word in &words {
        machine.wait_for(&format!("\n{PROMPT}{word}\n{word}: command not found (try help)"));
    }
    machine.wait_for(&format!("\n{PROMPT}lsmod\nModule "));
    let (status, _) = machine.wait_for_exit();
    assert!(status.success(), "{status}");
}

#[test]
fn power_off_and_reboot() {
    let mut machine = plain().boot();
    for _ in 0..2 {
        machine.type_in("reboot\r");
        machine.wait_for_shell();
    }
    machine.type_in("poweroff\r");
    let (status, _) = machine.wait_for_exit();
    assert!(status.success(), "{status}");
}
