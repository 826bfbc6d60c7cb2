//! The whole module on the host: what a person types, and what the screen shows then.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use abi::block::{BlockDevice, Geometry};
use abi::clock::{Clock, UnixTime};
use abi::console::Console;
use abi::event::Signal;
use abi::internet::{InterfaceAddress, InterfaceStatus, Internet, Origin};
use abi::log::{Level, LevelFilter};
use abi::network::{MacAddress, Statistics};
use abi::power::Power;
use abi::system::{
    DeviceState, DeviceStatus, HeapClass, LoadReport, LoadStep, LogRecord, MemoryHolder, MemoryStatus, ModuleStatus,
    TraceKind, TracePhase, TraceRecord,
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
        "dd",
        "dmesg",
        "date",
        "free",
        "help",
        "hexdump",
        "insmod",
        "ip",
        "lsblk",
        "lsdev",
        "lsmod",
        "modinfo",
        "modprobe",
        "ping",
        "poweroff",
        "reboot",
        "rmmod",
        "sha256sum",
        "slabtop",
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

#[test]
fn dmesg_by_level_and_module() {
    let (_session, screen) = shell(|| {
        let record = |sequence, level, source: &str, text: &str| LogRecord {
            sequence,
            time: Duration::from_millis(1500 * sequence),
            level,
            source: source.into(),
            text: text.into(),
        };
        machine().records = vec![
            record(0, Level::Info, "kernel", "one"),
            record(1, Level::Error, "net", "two"),
            record(2, Level::Warn, "net", "three"),
        ];
    });
    let usage = "usage: dmesg [-x] [-l LEVEL[,LEVEL...]] [--module NAME] | -n LEVEL\n";
    screen.command("dmesg -l err,warn", "[    1.500000] net: two\n[    3.000000] net: three\n");
    screen.command("dmesg --level info", "[    0.000000] kernel: one\n");
    screen.command("dmesg --module net -x -l warn", "warn  : [    3.000000] net: three\n");
    screen.command("dmesg --module shell", "");
    screen.command(
        "dmesg -l warn,loud",
        "dmesg: there is no level `loud`: there are error, warn, info, debug and trace\n",
    );
    for line in ["dmesg -l", "dmesg net", "dmesg -n", "dmesg -x -n warn"] {
        screen.command(line, usage);
    }
    assert_eq!(machine().shown, None);
    screen.command("dmesg -n debug", "");
    assert_eq!(machine().shown, Some(LevelFilter::Debug));
    screen.command("dmesg --console-level off", "");
    assert_eq!(machine().shown, Some(LevelFilter::Off));
}

fn traced(microseconds: u64, kind: TraceKind, phase: TracePhase, subject: &str, detail: &str) -> TraceRecord {
    let (thread, thread_name) = (3, "shell".into());
    let (subject, detail, time) = (subject.into(), detail.into(), Duration::from_nanos(microseconds * 1000 + 7));
    TraceRecord { time, processor: 0, thread, thread_name, kind, phase, subject, detail }
}

#[test]
fn a_trace_is_switched_shown_and_exported() {
    use TraceKind::{Binding, Calls, Failures, Interrupts, Loading, Switches};
    use TracePhase::{Begin, End, Moment};
    let (_session, screen) = shell(|| {
        machine().trace = vec![
            traced(1, Calls, End, "/early", "gone"),
            traced(2, Loading, Begin, "net", ""),
            traced(3, Loading, Moment, "net", "link"),
            traced(4, Loading, End, "net", ""),
            traced(5, Interrupts, Begin, "33", ""),
            traced(6, Binding, End, "/a \"b\"", "bound"),
            traced(7, Switches, Moment, "5", ""),
            TraceRecord {
                thread: 5,
                thread_name: String::new(),
                ..traced(1_000_008, Failures, Moment, "/c", "driver")
            },
        ];
    });
    screen.command("trace on calls loading", "");
    let status = "\
on: calls loading
off: interrupts switches binding failures
Processor  Recorded  Lost
        0         8     0
";
    screen.command("trace", status);
    screen.command(
        "trace show",
        "\
[    0.000001007] 0 shell        calls      end   /early (gone)
[    0.000002007] 0 shell        loading    begin load net
[    0.000003007] 0 shell        loading          net: link
[    0.000004007] 0 shell        loading    end   load net
[    0.000005007] 0 shell        interrupts begin interrupt 33
[    0.000006007] 0 shell        binding    end   bind /a \"b\" (bound)
[    0.000007007] 0 shell        switches         to thread 5
[    1.000008007] 0 thread 5     failures         failure of /c (driver)
",
    );
    screen.command("trace show -n 1", "[    1.000008007] 0 thread 5     failures         failure of /c (driver)\n");
    // It has paused meanwhile, and goes on.
    screen.command("trace", status);
    screen.command(
        "trace export",
        r#"-----BEGIN TRACE-----
{"displayTimeUnit":"ns","traceEvents":[
{"ph":"M","pid":1,"tid":0,"name":"process_name","args":{"name":"threads"}},
{"ph":"M","pid":2,"tid":0,"name":"process_name","args":{"name":"processors"}},
{"ph":"M","pid":1,"tid":3,"name":"thread_name","args":{"name":"shell"}},
{"ph":"B","pid":1,"tid":3,"ts":2.007,"cat":"loading","name":"load net","args":{"processor":0,"detail":""}},
{"ph":"i","pid":1,"tid":3,"ts":3.007,"cat":"loading","name":"net: link","args":{"processor":0,"detail":"link"}},
{"ph":"E","pid":1,"tid":3,"ts":4.007,"cat":"loading","name":"load net","args":{"processor":0,"detail":""}},
{"ph":"B","pid":1,"tid":3,"ts":5.007,"cat":"interrupts","name":"interrupt 33","args":{"processor":0,"detail":""}},
{"ph":"E","pid":1,"tid":3,"ts":6.007,"cat":"binding","name":"bind /a \"b\"","args":{"processor":0,"detail":"bound"}},
{"ph":"M","pid":2,"tid":0,"name":"thread_name","args":{"name":"processor 0"}},
{"ph":"B","pid":2,"tid":0,"ts":7.007,"cat":"switches","name":"thread 5","args":{"processor":0,"detail":""}},
{"ph":"M","pid":1,"tid":5,"name":"thread_name","args":{"name":"thread 5"}},
{"ph":"i","pid":1,"tid":5,"ts":1000008.007,"cat":"failures","name":"failure of /c","args":{"processor":0,"detail":"driver"}}
]}
-----END TRACE-----
"#,
    );
    screen.command("trace off", "");
    assert_eq!(machine().trace_kinds, []);
    screen.command("trace on", "");
    assert_eq!(machine().trace_kinds, TraceKind::ALL);
    for line in ["trace on everything", "trace show -n", "trace show -n x", "trace stop"] {
        screen.command(line, "usage: trace [on [KIND...] | off | show [-n COUNT] | export]\n");
    }
}
struct FakeDisk {
    geometry: Geometry,
    bytes: Mutex<Vec<u8>>,
    /// A block that can't be read.
    bad: Option<u64>,
    /// How often each call came.
    calls: Mutex<[usize; 3]>,
}

impl FakeDisk {
    /// A disk in which each byte depends on its place.
    fn publish(number: u32, block_size: usize, blocks: u64, read_only: bool, bad: Option<u64>) -> &'static Self {
        let geometry = Geometry { block_size, blocks, read_only };
        let bytes = (0..geometry.size()).map(|offset| (offset ^ offset >> 8) as u8).collect();
        let disk: &'static Self =
            Box::leak(Box::new(Self { geometry, bytes: Mutex::new(bytes), bad, calls: Mutex::default() }));
        publish(number, Class::BlockDevice, || Interface::BlockDevice(disk));
        disk
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }
}

impl BlockDevice for FakeDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, first: u64, buffer: &mut [u8]) -> abi::Result<()> {
        self.geometry.check(first, buffer.len())?;
        self.calls.lock().unwrap()[0] += 1;
        let size = self.geometry.block_size;
        if self.bad.is_some_and(|bad| (first..first + (buffer.len() / size) as u64).contains(&bad)) {
            return Err(Error::Io("the disk is scratched".into()));
        }
        buffer.copy_from_slice(&self.bytes.lock().unwrap()[first as usize * size..][..buffer.len()]);
        Ok(())
    }

    fn write(&self, first: u64, buffer: &[u8]) -> abi::Result<()> {
        self.geometry.check_write(first, buffer.len())?;
        self.calls.lock().unwrap()[1] += 1;
        self.bytes.lock().unwrap()[first as usize * self.geometry.block_size..][..buffer.len()].copy_from_slice(buffer);
        Ok(())
    }

    fn flush(&self) -> abi::Result<()> {
        self.calls.lock().unwrap()[2] += 1;
        Ok(())
    }
}

#[test]
fn block_devices_are_listed() {
    let (_session, screen) = shell(|| ());
    screen.command("lsblk", "NAME  SIZE  RO  BLOCK  DEVICE\n");
    FakeDisk::publish(DISK, 512, 3, false, None);
    FakeDisk::publish(OTHER_DISK, 4096, 640, true, None);
    screen.command(
        "lsblk",
        "\
NAME  SIZE  RO  BLOCK  DEVICE
vda   1.5K   0    512  /device@6
vdb   2.5M   1   4096  /device@7
",
    );
}

#[test]
fn any_bytes_of_a_disk_are_shown_the_way_hexdump_does() {
    let (_session, screen) = shell(|| ());
    FakeDisk::publish(DISK, 4096, 2, false, None);
    screen.command(
        "hexdump -C -s 4090 -n 0x14 vda",
        "\
00000ffa  f5 f4 f3 f2 f1 f0 10 11  12 13 14 15 16 17 18 19  |................|
0000100a  1a 1b 1c 1d                                       |....|
0000100e
",
    );
    screen.command("hexdump vda -C -s 8K", "");
    screen.command(
        "hexdump -C -n 2 -s 8191 vda",
        "00001fff  e0                                                |.|\n00002000\n",
    );
    screen.command("hexdump -C -s 8193 vda", "hexdump: vda ends at byte 8192\n");
    screen.command("hexdump -C vdb", "hexdump: there is no block device `vdb`; lsblk lists them\n");
    screen.command("hexdump -C -n 1k vda", "hexdump: `1k` is no number like 4096, 0x1000 or 4K\n");
    for line in ["hexdump vda", "hexdump -C", "hexdump -C vda -s", "hexdump -C -x vda", "hexdump -C vda vdb"] {
        screen.command(line, "usage: hexdump -C [-s OFFSET] [-n LENGTH] NAME\n");
    }
}

#[test]
fn sums_are_those_of_sha256sum() {
    let (_session, screen) = shell(|| ());
    FakeDisk::publish(DISK, 512, 2048, false, None);
    // python3 -c 'import sys; sys.stdout.buffer.write(bytes((o ^ o >> 8) & 255 for o in range(1 << 20)))' | sha256sum
    screen.command("sha256sum vda", "87f8143519166a35fa92c895c8462a9ec2af6e595b66116914f48d935f599f4f  vda\n");
    // ... | tail -c +1001 | head -c 700000 | sha256sum
    screen.command(
        "sha256sum -s 1000 -n 700000 vda",
        "44b4251a19224eb59d5a8c4693a4e433ed7cb7b8ee6b767a11589d6117d7d0c1  vda\n",
    );
    screen.command("sha256sum -n 0 vda", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  vda\n");
    screen.command("sha256sum", "usage: sha256sum [-s OFFSET] [-n LENGTH] NAME\n");
}

#[test]
fn a_block_that_can_not_be_read_is_an_error() {
    let (_session, screen) = shell(|| ());
    FakeDisk::publish(DISK, 512, 2048, false, Some(1500));
    screen.command("sha256sum vda", "sha256sum: the disk is scratched\n");
    screen.command(
        "sha256sum -s 750K -n 0 vda",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  vda\n",
    );
}

/// Types a `dd` and returns what it shows, without the time that it took.
fn dd(screen: &Screen, operands: &str) -> String {
    screen.enter(&format!("dd {operands}\r"));
    wait_until("prompt", || screen.shown().ends_with("\nlockstep> "));
    let shown = screen.shown().replace("\r\n", "\n");
    screen.shown.lock().unwrap().clear();
    let output = shown.strip_prefix(&format!("dd {operands}\n")).unwrap().strip_suffix("lockstep> ").unwrap();
    let lines = output.lines().map(|line| line.split_once(" copied, ").map_or(line, |(bytes, _)| bytes));
    lines.collect::<Vec<_>>().join("; ")
}

#[test]
fn dd_copies_what_its_operands_say() {
    let (_session, screen) = shell(|| ());
    let source = FakeDisk::publish(DISK, 512, 2047, false, None).bytes();
    let target = FakeDisk::publish(OTHER_DISK, 512, 2047, false, None);
    let mut expected = source.clone();
    let output = dd(screen, "if=vda of=vdb bs=1K skip=3 seek=100 count=600");
    assert_eq!(output, "600+0 records in; 600+0 records out; 614400 bytes");
    expected[100 << 10..700 << 10].copy_from_slice(&source[3 << 10..603 << 10]);
    assert!(target.bytes() == expected);
    assert_eq!(target.calls.lock().unwrap()[2], 1, "and is not done before that lasts");

    // 512 bytes a record when nothing is said; an input that ends within a record.
    let output = dd(screen, "of=vdb if=vda skip=1 count=1");
    assert_eq!(output, "1+0 records in; 1+0 records out; 512 bytes");
    expected[..512].copy_from_slice(&source[512..1024]);
    let output = dd(screen, "if=vda of=vdb bs=4096 skip=255 seek=1");
    assert_eq!(output, "0+1 records in; 0+1 records out; 3584 bytes");
    expected[4096..4096 + 3584].copy_from_slice(&source[255 * 4096..]);
    assert!(target.bytes() == expected);

    // Zeros until there is no more room.
    let output = dd(screen, "if=zero of=vdb bs=1M seek=0");
    assert_eq!(output, "0+1 records in; 0+1 records out; 1048064 bytes; dd: vdb is full");
    assert!(target.bytes().iter().all(|byte| *byte == 0));
    assert_eq!(dd(screen, "if=zero of=vdb count=0"), "0+0 records in; 0+0 records out; 0 bytes");
}

#[test]
fn dd_refuses_what_it_can_not_do_before_it_writes() {
    let (_session, screen) = shell(|| ());
    let target = FakeDisk::publish(DISK, 4096, 4, false, None);
    FakeDisk::publish(OTHER_DISK, 512, 8, true, None);
    for (operands, answer) in [
        ("if=vdb of=vda", "dd: bs must be a multiple of 4096 bytes, of which vda has its blocks"),
        ("if=vdb of=vda bs=0", "dd: bs must be a multiple of 4096 bytes, of which vda has its blocks"),
        ("if=vda of=vdb", "dd: vdb is read-only"),
        ("if=vdb of=vda bs=4K skip=2", "dd: vdb ends at byte 4096"),
        ("if=vdb of=vda bs=4K seek=5", "dd: vda ends at byte 16384"),
        ("if=vdc of=vda", "dd: there is no block device `vdc`; lsblk lists them"),
        ("if=vdb of=zero", "dd: there is no block device `zero`; lsblk lists them"),
        ("if=vdb of=vda conv=sync", "dd: there is no operand `conv` here"),
        ("if=vdb of=vda bs=4k", "dd: `4k` is no number like 4096, 0x1000 or 4K"),
        ("if=vdb", "usage: dd if=NAME|zero of=NAME [bs=N] [count=N] [skip=N] [seek=N]"),
        ("vda vdb", "usage: dd if=NAME|zero of=NAME [bs=N] [count=N] [skip=N] [seek=N]"),
    ] {
        assert_eq!(dd(screen, operands), answer, "{operands}");
    }
    assert_eq!(target.calls.lock().unwrap()[1], 0);
}

#[test]
fn control_c_ends_what_takes_long() {
    let (_session, screen) = shell(|| ());
    let disk = FakeDisk::publish(DISK, 512, 1 << 15, false, None);
    for line in ["sha256sum vda", "hexdump -C vda", "dd if=zero of=vda"] {
        let before = *disk.calls.lock().unwrap();
        screen.enter(&format!("{line}\r"));
        wait_until("first piece", || *disk.calls.lock().unwrap() != before);
        screen.enter("\x03");
        wait_until("prompt", || screen.shown().ends_with("\r\nlockstep> "));
        assert!(screen.shown().contains("^C\r\n"), "{line}");
        screen.shown.lock().unwrap().clear();
    }
    assert_eq!(disk.calls.lock().unwrap()[2], 0, "nothing was written to the end");
}
