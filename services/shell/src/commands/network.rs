//! Commands about the network.

use super::Failure;
use crate::terminal::Terminal;
use abi::internet::{InterfaceStatus, Origin};
use abi::prelude::*;
use abi::registry;
use core::fmt;
use core::net::Ipv4Addr;
use core::num::NonZeroU32;

/// How many bytes of data an echo request carries: with ICMP's header, the 64 that everybody knows.
const PAYLOAD: usize = 56;
const ICMP_HEADER: usize = 8;

/// How many requests are sent when nothing is said.
const COUNT: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// How long to wait for a reply, and from one request to the next.
const TIMEOUT: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(1);

fn internet() -> Result<Handle<dyn Internet>, Failure> {
    registry::first().ok_or(Failure::Missing("there is no IP stack; the module net provides one"))
}

pub fn ip(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let ([] | ["addr" | "address" | "a"]) = arguments else { return Err(Failure::Usage) };
    let interfaces = internet()?.call(|internet| internet.interfaces())?;
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
        Some(address) => {
            let origin = if interface.origin == Origin::Lease { "dynamic " } else { "" };
            writeln!(terminal, "    inet {address} scope global {origin}{name}");
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
    let mut statistics = RoundTrips::default();
    writeln!(terminal, "PING {target}: {PAYLOAD} data bytes");
    for sequence in 1..=count.get() {
        let next = Instant::now() + INTERVAL;
        let reply = internet.call(|internet| internet.ping(target, PAYLOAD, TIMEOUT))?;
        match reply {
            Ok(time) => {
                let (bytes, time) = (PAYLOAD + ICMP_HEADER, Milliseconds(time));
                writeln!(terminal, "{bytes} bytes from {target}: seq={sequence} time={time} ms");
            }
            Err(Error::TimedOut) => writeln!(terminal, "no reply from {target}: seq={sequence}"),
            Err(error) => return Err(error.into()),
        }
        statistics.count(reply.ok());
        let pause = if sequence < count.get() { next } else { Instant::now() };
        if terminal.is_interrupted_before(pause)? {
            writeln!(terminal, "^C");
            break;
        }
    }
    writeln!(terminal, "--- {target} ping statistics ---\n{statistics}");
    Ok(())
}

/// What came of the requests.
#[derive(Default)]
struct RoundTrips {
    requests: u32,
    replies: u32,
    shortest: Duration,
    longest: Duration,
    total: Duration,
}

impl RoundTrips {
    fn count(&mut self, time: Option<Duration>) {
        self.requests += 1;
        if let Some(time) = time {
            self.shortest = if self.replies == 0 { time } else { self.shortest.min(time) };
            self.longest = self.longest.max(time);
            self.total += time;
            self.replies += 1;
        }
    }
}

impl fmt::Display for RoundTrips {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, replies) = (u64::from(self.requests), u64::from(self.replies));
        let loss = ((requests - replies) * 100).checked_div(requests).unwrap_or(0);
        write!(formatter, "{requests} packets transmitted, {replies} received, {loss}% packet loss")?;
        if let Some(average) = self.total.checked_div(self.replies) {
            let times = [self.shortest, average, self.longest].map(Milliseconds);
            let [shortest, average, longest] = times;
            write!(formatter, "\nround-trip min/avg/max = {shortest}/{average}/{longest} ms")?;
        }
        Ok(())
    }
}

/// A time in milliseconds with two decimals.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.0.as_micros() / 10;
        write!(formatter, "{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_summed_up_the_way_ping_does() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.to_string(), "0 packets transmitted, 0 received, 0% packet loss");
        trips.count(None);
        assert_eq!(trips.to_string(), "1 packets transmitted, 0 received, 100% packet loss");
        trips.count(Some(Duration::from_micros(312)));
        trips.count(Some(Duration::from_micros(1500)));
        assert_eq!(
            trips.to_string(),
            "3 packets transmitted, 2 received, 33% packet loss\nround-trip min/avg/max = 0.31/0.90/1.50 ms"
        );
    }
}
