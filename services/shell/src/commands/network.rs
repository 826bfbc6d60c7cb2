//! Commands about the network.

use super::Failure;
use crate::terminal::Terminal;
use abi::internet::{InterfaceStatus, Origin};
use abi::prelude::*;
use abi::registry;
use core::net::Ipv4Addr;

/// How many bytes of data an echo request carries: with ICMP's header, the 64 that everybody knows.
const PAYLOAD: usize = 56;
const ICMP_HEADER: usize = 8;

/// How many requests are sent when nothing is said.
const COUNT: u32 = 4;

/// How long to wait for a reply, and from one request to the next.
const TIMEOUT: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(1);

fn internet() -> Result<Handle<dyn Internet>, Failure> {
    registry::first().ok_or(Failure::Missing("there is no IP stack; the module net provides one"))
}

pub fn ip(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    // Not printed before the stack is released: to write may take long.
    let interfaces = internet()?.get()?.interfaces();
    for (index, interface) in interfaces.iter().enumerate() {
        show(terminal, index + 1, interface);
    }
    Ok(())
}

/// Shows an interface the way `ip addr` of Linux's iproute2 does, and what else there is to know below.
fn show(terminal: &mut Terminal, index: usize, interface: &InterfaceStatus) {
    let InterfaceStatus { name, device, mac_address, mtu, statistics, .. } = interface;
    let (flags, state) =
        if interface.link_is_up { ("BROADCAST,UP,LOWER_UP", "UP") } else { ("NO-CARRIER,BROADCAST,UP", "DOWN") };
    writeln!(terminal, "{index}: {name}: <{flags}> mtu {mtu} state {state}");
    writeln!(terminal, "    link/ether {mac_address} brd ff:ff:ff:ff:ff:ff");
    match interface.address {
        Some((address, prefix_length)) => {
            let origin = if interface.origin == Origin::Lease { "dynamic " } else { "" };
            writeln!(terminal, "    inet {address}/{prefix_length} scope global {origin}{name}");
        }
        None => writeln!(terminal, "    no address yet"),
    }
    if let Some(gateway) = interface.gateway {
        writeln!(terminal, "    default via {gateway} dev {name}");
    }
    writeln!(
        terminal,
        "    received {} transmitted {} dropped {} packets",
        statistics.received, statistics.transmitted, statistics.dropped
    );
    writeln!(terminal, "    device {device}");
}

pub fn ping(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let (host, count) = match arguments {
        [host] => (host, COUNT),
        [host, "-c", count] | ["-c", count, host] => (host, count.parse().map_err(|_| Failure::Usage)?),
        _ => return Err(Failure::Usage),
    };
    let target: Ipv4Addr = host.parse().map_err(|_| {
        Error::Invalid(format!("`{host}` is no IPv4 address like 10.0.2.2, and there is no way to look up names yet"))
    })?;
    let internet = internet()?;
    let mut statistics = Statistics::default();
    writeln!(terminal, "PING {target}: {PAYLOAD} data bytes");
    for sequence in 1..=count {
        let next = Instant::now() + INTERVAL;
        let reply = internet.get()?.ping(target, PAYLOAD, TIMEOUT);
        match reply {
            Ok(time) => {
                let (bytes, time) = (PAYLOAD + ICMP_HEADER, Milliseconds(time));
                writeln!(terminal, "{bytes} bytes from {target}: seq={sequence} time={time} ms");
            }
            Err(Error::TimedOut) => writeln!(terminal, "no reply from {target}: seq={sequence}"),
            Err(error) => return Err(error.into()),
        }
        statistics.count(reply.ok());
        let pause = if sequence < count { next } else { Instant::now() };
        if terminal.is_interrupted(pause)? {
            writeln!(terminal, "^C");
            break;
        }
    }
    writeln!(terminal, "--- {target} ping statistics ---\n{statistics}");
    Ok(())
}
