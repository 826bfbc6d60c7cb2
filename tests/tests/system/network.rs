//! The network as the system's user and as another host see it: DHCP and static addresses, ping, and the echo ports
//! over UDP and TCP, compared byte by byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::plain;

/// How long to wait for a datagram before it counts as lost, and how often to send it.
const ANSWER: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 12;

/// How long a connection may stand still.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Bytes in which no lost, repeated or displaced piece can hide.
fn pattern(size: usize) -> Vec<u8> {
    let mut state = size as u32;
    let next = || {
        // Numerical Recipes' generator.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// Sends a datagram, again if need be, until the same comes back.
fn udp_echo(port: u16, size: usize) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect((Ipv4Addr::LOCALHOST, port)).expect("a local address");
    socket.set_read_timeout(Some(ANSWER)).expect("a timeout");
    let data = pattern(size);
    let mut answer = vec![0; 65536];
    for _ in 0..ATTEMPTS {
        socket.send(&data).expect("a datagram can be sent");
        if let Ok(length) = socket.recv(&mut answer) {
            assert!(answer[..length] == data, "a datagram of {size} bytes came back as another of {length}");
            return;
        }
    }
    panic!("no datagram of {size} bytes came back");
}

/// Sends data over a connection of its own, and reads back the same and then the end.
pub fn tcp_echo(port: u16, size: usize) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = TcpStream::connect_timeout(&address, STANDSTILL).expect("a connection");
    connection.set_read_timeout(Some(STANDSTILL)).expect("a timeout");
    connection.set_write_timeout(Some(STANDSTILL)).expect("a timeout");
    let data = pattern(size);
    let mut answer = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            (&connection).write_all(&data).expect("data can be sent");
            connection.shutdown(Shutdown::Write).expect("the connection can be closed");
        });
        (&connection).read_to_end(&mut answer).expect("data comes back");
    });
    connection.flush().expect("nothing is left to send");
    assert_eq!(answer.len(), size, "bytes that came back");
    assert!(answer == data, "{size} bytes came back as others");
}

#[test]
fn leased_address_and_ping() {
    let mut machine = plain().network_cards(1).boot();
    let interface = machine.wait_for_network();
    for line in [
        "1: eth0: <BROADCAST,UP,LOWER_UP> mtu 1500 state UP",
        "link/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff",
        "inet 10.0.2.15/24 scope global dynamic eth0",
        "default via 10.0.2.2 dev eth0",
    ] {
        machine.expect(&interface, line);
    }
    let log = machine.command("dmesg");
    machine.expect(&log, "net: eth0: 10.0.2.15/24 via 10.0.2.2 (DHCP lease of 86400 s)");

    let output = machine.command("ping 10.0.2.2");
    for sequence in 1..=4 {
        machine.expect(&output, &format!("64 bytes from 10.0.2.2: seq={sequence} time="));
    }
    machine.expect(&output, "4 packets transmitted, 4 received, 0% packet loss");
    machine.expect(&output, "round-trip min/avg/max = ");
    // Its own address, the name server's in the same network, and an address that nobody has.
    for address in ["10.0.2.15", "127.0.0.1", "10.0.2.3"] {
        let output = machine.command(&format!("ping {address} -c 1"));
        machine.expect(&output, &format!("64 bytes from {address}: seq=1 time="));
    }
    let output = machine.command("ping -c 1 10.0.2.77");
    machine.expect(&output, "no reply from 10.0.2.77: seq=1");
    machine.expect(&output, "1 packets transmitted, 0 received, 100% packet loss");
    for address in ["255.255.255.255", "224.0.0.1"] {
        let output = machine.command(&format!("ping {address} -c 1"));
        machine.expect(&output, &format!("{address} is no single host's address"));
    }

    machine.type_in("ping 10.0.2.2 -c 1000000\r");
    machine.wait_for("seq=2 ");
    let output = machine.command("\x03");
    machine.expect(&output, "^C");
    machine.expect(&output, " 0% packet loss");
}

#[test]
fn udp_echo_from_the_host() {
    let mut machine = plain().reachable_network_card().boot();
    machine.wait_for_network();
    for size in [1, 2, 3, 31, 64, 511, 1024, 1400, 1471, 1472] {
        udp_echo(machine.ports()[0], size);
    }
    for _ in 0..100 {
        udp_echo(machine.ports()[0], 100);
    }
}

#[test]
fn tcp_echo_from_the_host() {
    let mut machine = plain().reachable_network_card().boot();
    machine.wait_for_network();
    for size in [0, 1, 2, 1400, 1460, 1461, 4096, 65_536, 1 << 20] {
        tcp_echo(machine.ports()[0], size);
    }
    // Several at once, while the shell and UDP go on.
    let port = machine.ports()[0];
    thread::scope(|scope| {
        for size in [100, 70_000, 300_000] {
            scope.spawn(move || tcp_echo(port, size));
        }
        scope.spawn(move || udp_echo(port, 1400));
        let output = machine.command("ping 10.0.2.2 -c 1");
        machine.expect(&output, "1 received");
    });
    // One after the other, more than there are sockets for.
    for _ in 0..30 {
        tcp_echo(machine.ports()[0], 1000);
    }
}

#[test]
fn modern_virtio_on_gic_version_3_echoes_as_well() {
    let setup = tests::Setup::virt("virt,gic-version=3", "max", "512M").reachable_network_card();
    let mut machine = setup.argument("-global", "virtio-mmio.force-legacy=false").boot();
    machine.wait_for_network();
    udp_echo(machine.ports()[0], 1400);
    tcp_echo(machine.ports()[0], 1 << 20);
}

#[test]
fn three_cards_echo_each_for_itself() {
    let setup = plain().reachable_network_card().reachable_network_card().reachable_network_card();
    let mut machine = setup.boot();
    machine.command_until("ip", |output| output.matches("inet ").count() == 3);
    for port in machine.ports() {
        udp_echo(*port, 1400);
        tcp_echo(*port, 100_000);
    }
}

#[test]
fn static_address() {
    let setup = plain().reachable_network_card();
    let mut machine = setup.boot_arguments("ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off").boot();
    let interface = machine.wait_for_network();
    machine.expect(&interface, "inet 10.0.2.15/24 scope global eth0");
    machine.expect(&interface, "default via 10.0.2.2 dev eth0");
    let output = machine.command("ping 10.0.2.2 -c 1");
    machine.expect(&output, "1 packets transmitted, 1 received, 0% packet loss");
    udp_echo(machine.ports()[0], 1400);
    tcp_echo(machine.ports()[0], 10_000);
}

#[test]
fn a_static_address_that_makes_no_sense() {
    let mut machine = plain().network_cards(1).boot_arguments("ip=10.0.2::10.0.2.2:255.255.255.0::eth0:off").boot();
    let log = machine.command("dmesg");
    machine
        .expect(&log, "net: the boot argument `ip` has `10.0.2` where the client's IPv4 address should be; using DHCP");
    let interface = machine.wait_for_network();
    machine.expect(&interface, "inet 10.0.2.15/24 scope global dynamic eth0");
}
