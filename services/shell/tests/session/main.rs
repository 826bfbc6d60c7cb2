//! The whole module on the host: what a person types, and what the screen shows then.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod block;
mod modules;
mod network;
mod records;
mod threads;

use abi::clock::{Clock, UnixTime};
use abi::console::Console;
use abi::event::Signal;
use abi::power::Power;
use abi::{Class, Error, Interface};
use fake_kernel::{Session, expect_sleep, publish, wait_until, withdraw};
use shell as _;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const CONSOLE: u32 = 1;
const OTHER_CONSOLE: u32 = 2;
const INTERNET: u32 = 3;
const CLOCK: u32 = 4;
const POWER: u32 = 5;
const DISK: u32 = 6;
const OTHER_DISK: u32 = 7;

#[derive(Default)]
struct Screen {
    typed: Mutex<VecDeque<u8>>,
    shown: Mutex<Vec<u8>>,
    signal: Mutex<Option<Signal>>,
}

impl Console for Screen {
    fn write(&self, bytes: &[u8]) {
        self.shown.lock().unwrap().extend(bytes);
    }
    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut typed = self.typed.lock().unwrap();
        let length = buffer.len().min(typed.len());
        typed.drain(..length).zip(buffer).for_each(|(byte, slot)| *slot = byte);
        length
    }
    fn subscribe(&self, signal: Signal) {
        *self.signal.lock().unwrap() = Some(signal);
    }
}

impl Screen {
    fn publish(number: u32) -> &'static Self {
        let screen: &'static Self = Box::leak(Box::default());
        publish(number, Class::Console, || Interface::Console(screen));
        screen
    }

    fn shown(&self) -> String {
        String::from_utf8(self.shown.lock().unwrap().clone()).unwrap()
    }

    /// What it has shown, which it forgets.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.shown.lock().unwrap())).unwrap()
    }

    fn enter(&self, bytes: &str) {
        wait_until("subscription", || self.signal.lock().unwrap().is_some());
        self.typed.lock().unwrap().extend(bytes.as_bytes());
        self.signal.lock().unwrap().unwrap().raise();
    }

    /// Waits until the screen has shown exactly this, and forgets it.
    fn expect(&self, text: &str) {
        let start = Instant::now();
        let expected = text.replace('\n', "\r\n");
        while self.shown() != expected {
            let end = start.elapsed() > Duration::from_secs(5);
            assert!(!end, "expected:\n{expected:?}\nshown:\n{:?}", self.shown());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.shown.lock().unwrap().clear();
    }

    /// Types a command and expects this to be its output.
    fn command(&self, line: &str, output: &str) {
        self.enter(&format!("{line}\r"));
        self.expect(&format!("{line}\n{output}lockstep> "));
    }
}

/// A shell at its first prompt, on a machine as arranged.
fn shell(arrange: impl FnOnce()) -> (Session, &'static Screen) {
    let session = Session::start(arrange);
    let screen = Screen::publish(CONSOLE);
    screen.expect("lockstep> ");
    (session, screen)
}

#[test]
fn commands_from_a_pipe_run_in_order_however_the_bytes_arrive() {
    let (_session, screen) = shell(|| ());
    screen.enter("one\ntwo\r\nthree\r");
    let not_found = |name: &str| format!("{name}\n{name}: command not found (try help)\nlockstep> ");
    screen.expect(&["one", "two", "three"].map(not_found).concat());
    for piece in ["fo", "ur\r", "\n", "fi", "ve\r\n"] {
        screen.enter(piece);
        std::thread::sleep(Duration::from_millis(5));
    }
    screen.expect(&["four", "five"].map(not_found).concat());
    screen.command("", "");
    screen.command("   ", "");
}

#[test]
fn help_lists_every_command() {
    let (_session, screen) = shell(|| ());
    screen.enter("help\r");
    wait_until("prompt", || screen.shown().ends_with("lockstep> "));
    let shown = screen.shown();
    for command in [
        "cat",
        "cp",
        "dd",
        "dmesg",
        "date",
        "echo",
        "free",
        "help",
        "hexdump",
        "insmod",
        "ip",
        "irqs",
        "ls",
        "lsblk",
        "lsdev",
        "lsmod",
        "mkdir",
        "modinfo",
        "modprobe",
        "mount",
        "mv",
        "ping",
        "poweroff",
        "ps",
        "reboot",
        "rm",
        "rmmod",
        "sha256sum",
        "slabtop",
        "sync",
        "top",
        "trace",
        "uptime",
    ] {
        assert!(shown.lines().any(|line| line.starts_with(&format!("{command} "))), "{command}: {shown}");
    }
}

#[test]
fn wrong_arguments_show_the_usage() {
    let (_session, screen) = shell(|| ());
    screen.command("lsmod -v", "usage: lsmod\n");
    screen.command("ip route", "usage: ip [addr]\n");
    screen.command("insmod", "usage: insmod [--replace] MODULE [NAME=VALUE...]\n");
    screen.command("rmmod", "usage: rmmod [--force] MODULE\n");
    screen.command("rmmod a b", "usage: rmmod [--force] MODULE\n");
    screen.command("modinfo", "usage: modinfo [-v] [MODULE]\n");
    screen.command("modinfo -w", "usage: modinfo [-v] [MODULE]\n");
    for line in ["ping", "ping -c 2", "ping 10.0.2.2 -c", "ping 10.0.2.2 -c 0", "ping 10.0.2.2 -c x", "ping -c 1 2 3"] {
        screen.command(line, "usage: ping ADDRESS [-c COUNT]\n");
    }
}

struct FakeClock;

impl Clock for FakeClock {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(1_795_409_640)
    }
}

struct FakePower;

impl Power for FakePower {
    fn reboot(&self) -> abi::Result<()> {
        Err(Error::Unsupported("the firmware knows no reset".into()))
    }
    fn power_off(&self) -> abi::Result<()> {
        Err(Error::Unsupported("the firmware knows no off".into()))
    }
}

#[test]
fn clock_and_power_are_used_where_there_are_any() {
    let (_session, screen) = shell(|| ());
    screen.command("date", "date: the machine has no clock that knows the date\n");
    for name in ["reboot", "poweroff"] {
        let complaint = "the machine has no power control: no module publishes any";
        screen.command(name, &format!("{name}: {complaint}\n"));
    }
    publish(CLOCK, Class::Clock, || Interface::Clock(&FakeClock));
    publish(POWER, Class::Power, || Interface::Power(&FakePower));
    screen.command("date", "2026-11-23T04:54:00Z\n");
    screen.command("reboot", "reboot: not supported: the firmware knows no reset\n");
    screen.command("poweroff", "poweroff: not supported: the firmware knows no off\n");
    screen.enter("uptime\r");
    wait_until("uptime", || screen.shown().contains("\r\nup 0:0"));
}

#[test]
fn another_console_is_used_when_the_first_goes() {
    let (_session, first) = shell(|| ());
    first.enter("up");
    first.expect("up");
    withdraw(CONSOLE);
    let second = Screen::publish(OTHER_CONSOLE);
    second.expect("lockstep> up");
    let third = Screen::publish(CONSOLE);
    second.enter("x\r");
    second.expect("x\nupx: command not found (try help)\nlockstep> ");
    assert_eq!(third.shown(), "");
}

#[test]
fn a_shell_at_its_prompt_sleeps() {
    let (_session, screen) = shell(|| ());
    screen.command("", "");
    expect_sleep(Duration::from_millis(500));
}
