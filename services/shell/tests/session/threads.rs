//! Threads, processors and interrupts.

use crate::{DISK, shell};
use abi::registry::ProviderId;
use abi::system::{InterruptStatus, ModuleStatus, ThreadState, ThreadStatus};
use abi::thread::Priority;
use fake_kernel::{machine, wait_until};
use std::time::Duration;

fn arrange() {
    let thread = |number, name: &str, owner: Option<u32>, priority, state, milliseconds| ThreadStatus {
        number,
        name: name.into(),
        owner: owner.map(ProviderId::from_raw),
        priority,
        state,
        processor: number as usize % 2,
        time: Duration::from_millis(milliseconds),
        switches: 7,
    };
    let mut machine = machine();
    machine.threads = vec![
        thread(12, "irq/48", Some(DISK), Priority::Urgent, ThreadState::Blocked, 0),
        thread(1, "idle/0", None, Priority::Low, ThreadState::Running, 3_723_450),
        thread(5, "shell", Some(9), Priority::Normal, ThreadState::Ready, 61_009),
    ];
    machine.modules =
        vec![ModuleStatus { name: "disk".into(), drives: vec![format!("/device@{DISK}")], ..Default::default() }];
    machine.interrupts = vec![
        InterruptStatus { line: 27, counts: vec![1234, 5], device: None },
        InterruptStatus { line: 48, counts: vec![0, 1_000_000], device: Some(ProviderId::from_raw(DISK)) },
    ];
}

#[test]
fn threads_are_listed_the_way_ps_does() {
    let (_session, screen) = shell(arrange);
    screen.command(
        "ps",
        "\
PID  CPU  PRI     STAT      TIME  NAME      MODULE
  1    1  low     R     62:03.45  [idle/0]
  5    1  normal  R      1:01.00  shell     /device@9
 12    0  urgent  S      0:00.00  irq/48    disk
",
    );
}

#[test]
fn interrupts_are_counted_by_processor() {
    let (_session, screen) = shell(arrange);
    screen.command(
        "irqs",
        "\
LINE      CPU0      CPU1  DEVICE
  27      1234         5  [timer]
  48         0   1000000  /device@6
",
    );
}

#[test]
fn top_shows_who_has_run_until_it_is_told_to_stop() {
    let (_session, screen) = shell(arrange);
    screen.enter("top -n 1\r");
    wait_until("prompt", || screen.shown().ends_with("\nlockstep> "));
    let shown = screen.take();
    assert!(!shown.contains('\x1b'), "what is shown once stays: {shown:?}");
    let names: Vec<&str> = shown.lines().filter_map(|line| line.split_whitespace().nth(6)).collect();
    assert_eq!(names[names.len() - 2..], ["shell", "irq/48"]);

    for key in ["q", "\x03"] {
        screen.enter("top -d 1\r");
        wait_until("second look", || screen.shown().matches("\x1b[H").count() == 2);
        let before = std::time::Instant::now();
        screen.enter(key);
        wait_until("prompt", || screen.shown().ends_with("\nlockstep> "));
        assert!(before.elapsed() < Duration::from_millis(900), "it doesn't wait for the next look");
        screen.take();
    }
    for line in ["top 1", "top -n", "top -n 0", "top -d x", "top -n 1 -d"] {
        screen.command(line, "usage: top [-d SECONDS] [-n COUNT]\n");
    }
}
