//! The log, the trace, and how the memory is used.

use crate::shell;
use abi::log::{Level, LevelFilter};
use abi::system::{HeapClass, LogRecord, MemoryHolder, MemoryStatus, TraceKind, TracePhase, TraceRecord};
use fake_kernel::machine;
use std::time::Duration;

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
