//! The whole module on the host: what a person types, and what the screen shows then.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use abi::clock::{Clock, UnixTime};
use abi::console::Console;
use abi::event::Signal;
use abi::internet::{InterfaceAddress, InterfaceStatus, Internet, Origin};
use abi::log::Level;
use abi::network::{MacAddress, Statistics};
use abi::power::Power;
use abi::system::{
    DeviceState, DeviceStatus, HeapClass, LoadReport, LoadStep, LogRecord, MemoryHolder, MemoryStatus, ModuleStatus,
};
use abi::{Class, Error, Interface};
use fake_kernel::{Session, expect_sleep, machine, publish, wait_until, withdraw};
use shell as _;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const CONSOLE: u32 = 1;
const OTHER_CONSOLE: u32 = 2;
const INTERNET: u32 = 3;
const CLOCK: u32 = 4;
const POWER: u32 = 5;

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
        "help", "lsmod", "lsdev", "modinfo", "insmod", "rmmod", "dmesg", "ip", "ping", "free", "date", "slabtop",
        "uptime", "reboot", "poweroff",
    ] {
        assert!(shown.lines().any(|line| line.starts_with(&format!("{command} "))), "{command}: {shown}");
    }
}

#[test]
fn wrong_arguments_show_the_usage() {
    let (_session, screen) = shell(|| ());
    screen.command("lsmod -v", "usage: lsmod\n");
    screen.command("ip route", "usage: ip [addr]\n");
    screen.command("insmod", "usage: insmod MODULE [NAME=VALUE...]\n");
    screen.command("rmmod", "usage: rmmod [--force] MODULE\n");
    screen.command("rmmod a b", "usage: rmmod [--force] MODULE\n");
    screen.command("modinfo", "usage: modinfo [-v] [MODULE]\n");
    screen.command("modinfo -w", "usage: modinfo [-v] [MODULE]\n");
    for line in ["ping", "ping -c 2", "ping 10.0.2.2 -c", "ping 10.0.2.2 -c 0", "ping 10.0.2.2 -c x", "ping -c 1 2 3"] {
        screen.command(line, "usage: ping ADDRESS [-c COUNT]\n");
    }
}

fn device(path: &str, compatible: &[&str], module: Option<&str>, state: DeviceState) -> DeviceStatus {
    DeviceStatus {
        path: path.into(),
        compatible: compatible.iter().map(|&text| text.into()).collect(),
        module: module.map(Into::into),
        state,
    }
}

fn report() -> LoadReport {
    let step = |name: &str, time| LoadStep { name: name.into(), time: Duration::from_micros(time) };
    LoadReport {
        file: 400,
        text: 200,
        constants: 100,
        data: 50,
        sections: 4,
        imports: 20,
        relocations: 30,
        veneers: 2,
        erratum_fixes: 3,
        offset_table_entries: 1,
        steps: vec![step("parse", 10), step("link", 100)],
    }
}

#[test]
fn modules_and_devices() {
    let (_session, screen) = shell(|| {
        let mut machine = machine();
        let module = |name: &str, size, text| ModuleStatus { name: name.into(), size, text, ..Default::default() };
        machine.modules = vec![
            ModuleStatus { drives: vec!["/pl011@9000000".into()], ..module("arm-pl011", 8192, 0xffff_0000) },
            ModuleStatus { report: report(), ..module("net", 131_072, 0xffff_8000) },
            ModuleStatus { needed_by: vec!["one".into(), "two".into()], ..module("virtio", 4096, 0xffff_f000) },
        ];
        machine.devices = vec![
            device("/pl011@9000000", &["arm,pl011", "arm,primecell"], Some("arm-pl011"), DeviceState::Bound),
            device("/timer", &["arm,armv8-timer"], None, DeviceState::Kernel),
            device("/virtio@a0", &["virtio,mmio"], Some("virtio-mmio"), DeviceState::Empty),
            device("/gpio", &["arm,pl061"], None, DeviceState::Unclaimed),
            device("/spi", &["arm,pl022"], None, DeviceState::Disabled("reserved".into())),
            device(
                "/uart",
                &["arm,pl011"],
                Some("arm-pl011"),
                DeviceState::Deferred("interrupt controller /gic".into()),
            ),
            device("/rtc", &["arm,pl031"], Some("arm-pl031"), DeviceState::Failed("the device misbehaved: no".into())),
        ];
    });
    screen.command(
        "lsmod",
        "\
Module       Size  Text at     Used by
arm-pl011    8192  0xffff0000  /pl011@9000000
net        131072  0xffff8000
virtio       4096  0xfffff000  one two
",
    );
    screen.command(
        "lsdev",
        "\
Node            Compatible               Module       State
/pl011@9000000  arm,pl011 arm,primecell  arm-pl011    bound
/timer          arm,armv8-timer          -            used by the kernel
/virtio@a0      virtio,mmio              virtio-mmio  empty: its driver found nothing there
/gpio           arm,pl061                -            unclaimed: no module claims it
/spi            arm,pl022                -            disabled: its status is \"reserved\"
/uart           arm,pl011                arm-pl011    deferred: waiting for interrupt controller /gic
/rtc            arm,pl031                arm-pl031    failed: the device misbehaved: no
",
    );
    screen.command("modinfo net", "name:    net\nlicense: MIT\n");
    screen.command("modinfo none", "modinfo: there is no module `none`\n");
    screen.command("insmod none", "insmod: there is no module `none`\n");
    screen.command(
        "modinfo -v",
        "\
Module     File  Text  Constants  Data  Sections  Relocations  Imports   us  us of each step
arm-pl011     0     0          0     0         0            0        0    0
net         400   200        100    50         4           30       20  110  parse 10, link 100
virtio        0     0          0     0         0            0        0    0
",
    );
    screen.command(
        "modinfo -v net",
        "\
name:    net
license: MIT
Loaded
bytes of the file    400
bytes of text        200
bytes of constants   100
bytes of data         50
sections               4
imports               20
relocations           30
veneers                2
erratum fixes          3
global offset table    1
us to parse           10
us to link           100
us in all            110
",
    );
    screen.command("insmod net mtu=1400 loud", "insmod: module net mtu=1400 loud= is loaded already\n");
    screen.command("rmmod virtio", "rmmod: module virtio is needed by module one\n");
    screen.command("rmmod --force virtio", "");
    screen.command("rmmod net", "");
    screen.command("rmmod net", "rmmod: there is no module `net`\n");
    screen.command("rmmod shell", "rmmod: the shell can't remove itself\n");
}

#[test]
fn log_and_memory() {
    let (_session, screen) = shell(|| {
        let mut machine = machine();
        let records = [(12_345_678, "kernel"), (75_000_000_000_000, "net"), (75_000_000_001_000, "")];
        for (sequence, (nanoseconds, source)) in (0..).zip(records) {
            let (time, text) = (Duration::from_nanos(nanoseconds), "a line".into());
            machine.records.push(LogRecord { sequence, time, level: Level::Info, source: source.into(), text });
        }
        machine.memory = Some(MemoryStatus {
            total: 512 << 20,
            reserved: 1 << 20,
            kernel: 900 << 10,
            heap: 1 << 20,
            heap_used: 300 << 10,
            modules: 212 << 10,
            dma: 256 << 10,
            free: 508 << 20,
        });
    });
    screen.command("dmesg", "[    0.012345] kernel: a line\n[75000.000000] net: a line\n[75000.000001] a line\n");
    screen.command(
        "free",
        "            total  used    free
Mem:       524288  4096  520192
Reserved:    1024  1024       0
Kernel:       900   900       0
Heap:        1024   300     724
Modules:      212   212       0
DMA:          256   256       0
",
    );
    screen.command("free -k", "usage: free [-m]\n");
}

#[test]
fn who_has_the_memory() {
    let (_session, screen) = shell(|| {
        let mut machine = machine();
        let holder = |name: &str, objects, heap, device_memory, taken, image| MemoryHolder {
            name: name.into(),
            objects,
            heap,
            device_memory,
            taken,
            image,
        };
        machine.memory_holders =
            vec![holder("kernel", 1234, 100 << 10, 0, 1 << 20, 0), holder("net", 7, 1, 208 << 10, 4096, 98304)];
        let class =
            |size, slabs, capacity, used, kept| HeapClass { size, slabs, bytes: slabs << 14, capacity, used, kept };
        machine.heap_classes = vec![class(16, 2, 1786, 893, 16), class(2048, 0, 0, 0, 0)];
    });
    screen.command(
        "free -m",
        "\
Module  Objects  Heap  DMA  Pages  Image
kernel     1234   100    0   1024      0
net           7     1  208      4     96
",
    );
    screen.command(
        "slabtop",
        "\
Size  Used  Kept  Objects  Use  Slabs  KiB
  16   893    16     1786  50%      2   32
2048     0     0        0    -      0    0
",
    );
}

struct FakeInternet;

impl Internet for FakeInternet {
    fn interfaces(&self) -> Vec<InterfaceStatus> {
        let up = InterfaceStatus {
            name: "eth0".into(),
            device: "/virtio@a0/device1".into(),
            mac_address: MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            mtu: 1500,
            link_is_up: true,
            origin: Origin::Lease,
            address: Some(InterfaceAddress { address: Ipv4Addr::new(10, 0, 2, 15), prefix: 24 }),
            gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            statistics: Statistics { received: 12, transmitted: 10, dropped: 1 },
        };
        let down = InterfaceStatus {
            name: "eth1".into(),
            link_is_up: false,
            origin: Origin::None,
            address: None,
            gateway: None,
            statistics: Statistics::default(),
            ..up.clone()
        };
        vec![up, down]
    }

    fn ping(&self, target: Ipv4Addr, payload: usize, timeout: Duration) -> abi::Result<Duration> {
        assert_eq!((payload, timeout), (56, Duration::from_secs(1)));
        match target.octets() {
            [10, 0, 2, 2] => Ok(Duration::from_micros(312)),
            [10, 0, 2, _] => Err(Error::TimedOut),
            _ => Err(Error::Invalid(format!("no interface has a route to {target}"))),
        }
    }
}

#[test]
fn interfaces_are_shown_like_those_of_ip_addr() {
    let (_session, screen) = shell(|| ());
    screen.command("ip", "ip: there is no IP stack; the module net provides one\n");
    publish(INTERNET, Class::Internet, || Interface::Internet(&FakeInternet));
    screen.command(
        "ip addr",
        "\
1: eth0: <BROADCAST,UP,LOWER_UP> mtu 1500 state UP
    link/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff
    inet 10.0.2.15/24 scope global dynamic eth0
    default via 10.0.2.2 dev eth0
    received 12 transmitted 10 dropped 1 packets
    device /virtio@a0/device1
2: eth1: <NO-CARRIER,BROADCAST,UP> mtu 1500 state DOWN
    link/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff
    no address yet
    received 0 transmitted 0 dropped 0 packets
    device /virtio@a0/device1
",
    );
}

#[test]
fn ping_reports_each_reply_and_the_sum() {
    let (_session, screen) = shell(|| publish(INTERNET, Class::Internet, || Interface::Internet(&FakeInternet)));
    screen.command(
        "ping 10.0.2.2 -c 2",
        "\
PING 10.0.2.2: 56 data bytes
64 bytes from 10.0.2.2: seq=1 time=0.31 ms
64 bytes from 10.0.2.2: seq=2 time=0.31 ms
--- 10.0.2.2 ping statistics ---
2 packets transmitted, 2 received, 0% packet loss
round-trip min/avg/max = 0.31/0.31/0.31 ms
",
    );
    screen.command(
        "ping -c 1 10.0.2.9",
        "\
PING 10.0.2.9: 56 data bytes
no reply from 10.0.2.9: seq=1
--- 10.0.2.9 ping statistics ---
1 packets transmitted, 0 received, 100% packet loss
",
    );
    screen.command("ping 9.9.9.9", "PING 9.9.9.9: 56 data bytes\nping: no interface has a route to 9.9.9.9\n");
    screen.command(
        "ping gateway",
        "ping: `gateway` is no IPv4 address like 10.0.2.2, and there is no way to look up names yet\n",
    );
}

#[test]
fn control_c_ends_a_ping_and_what_was_typed_before_it() {
    let (_session, screen) = shell(|| publish(INTERNET, Class::Internet, || Interface::Internet(&FakeInternet)));
    screen.enter("ping 10.0.2.2 -c 1000\r");
    wait_until("first reply", || screen.shown().contains("seq=1 "));
    screen.enter("never\rseen\x03uptime");
    screen.expect(
        "\
ping 10.0.2.2 -c 1000
PING 10.0.2.2: 56 data bytes
64 bytes from 10.0.2.2: seq=1 time=0.31 ms
^C
--- 10.0.2.2 ping statistics ---
1 packets transmitted, 1 received, 0% packet loss
round-trip min/avg/max = 0.31/0.31/0.31 ms
lockstep> uptime",
    );
}

#[test]
fn what_is_typed_while_a_command_runs_is_not_lost() {
    let (_session, screen) = shell(|| publish(INTERNET, Class::Internet, || Interface::Internet(&FakeInternet)));
    screen.enter("ping 10.0.2.2 -c 2\nnext\n");
    wait_until("next prompt", || {
        screen.shown().ends_with("lockstep> next\r\nnext: command not found (try help)\r\nlockstep> ")
    });
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
