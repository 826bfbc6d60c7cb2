//! The network's commands.

use crate::{INTERNET, shell};
use abi::internet::{InterfaceAddress, InterfaceStatus, Internet, Origin};
use abi::network::{MacAddress, Statistics};
use abi::{Class, Error, Interface};
use fake_kernel::{publish, wait_until};
use std::net::Ipv4Addr;
use std::time::Duration;

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
