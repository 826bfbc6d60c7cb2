//! Modules and devices.

use crate::shell;
use abi::system::{DeviceState, DeviceStatus, LoadReport, LoadStep, ModuleStatus};
use fake_kernel::machine;
use std::time::Duration;

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
