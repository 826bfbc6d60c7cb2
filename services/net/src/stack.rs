//! The IP stack behind one card: smoltcp with its sockets.

use crate::echo::Echo;
use crate::interface::Interface;
use crate::ping::{Pings, Request};
use crate::port::{Link, Port};
use crate::settings::{Configuration, Network, is_host};
use crate::time;
use abi::internet::Origin;
use abi::network::MacAddress;
use abi::prelude::*;
use abi::registry;
use alloc::sync::Arc;
use smoltcp::iface::{Config, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4;
use smoltcp::wire::{DhcpRepr, EthernetAddress, HardwareAddress, IpCidr};

/// How many packets may be received or sent in a row before the clock is read again.
const ROUND: usize = 64;

/// How long to leave smoltcp alone when it says that something is due and then does nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// An interface's addresses and sockets.
pub struct Stack<'a> {
    interface: Arc<Interface>,
    port: Port,
    /// The interface as smoltcp sees it.
    ip: smoltcp::iface::Interface,
    sockets: SocketSet<'a>,
    dhcp: Option<SocketHandle>,
    echo: Echo,
    pings: Pings,
    network: Option<Network>,
}

impl<'a> Stack<'a> {
    /// A stack for `interface`. `lease` is room for the packet that grants a DHCP lease.
    pub fn new(interface: Arc<Interface>, configuration: Configuration, lease: &'a mut [u8]) -> Self {
        let now = Instant::now();
        let mut port = Port::new(interface.clone());
        let address = EthernetAddress(interface.mac_address.0);
        let mut config = Config::new(HardwareAddress::Ethernet(address));
        config.random_seed = seed(interface.mac_address, now);
        let ip = smoltcp::iface::Interface::new(config, &mut port, time::to_stack(now));
        let mut sockets = SocketSet::new(Vec::new());
        let echo = Echo::new(&mut sockets, interface.mtu);
        let dhcp = (configuration == Configuration::Lease).then(|| {
            let mut socket = dhcpv4::Socket::new();
            socket.set_receive_packet_buffer(lease);
            sockets.add(socket)
        });
        let mut stack = Self { interface, port, ip, sockets, dhcp, echo, pings: Pings::default(), network: None };
        if let Configuration::Static(network) = configuration {
            stack.set_network(Some(network), Origin::Static);
            info!("{}: {network}", stack.interface.name);
        }
        stack
    }

    /// Sends an echo request in the next round.
    pub fn ping(&mut self, request: Request) {
        self.pings.send(request, &mut self.sockets);
    }

    /// The card may have been replaced.
    pub fn forget_card(&mut self) {
        self.port.forget_card();
    }

    /// Receives what has arrived and sends what is due. Returns when to do so again even if nothing arrives before.
    pub fn round(&mut self, now: Instant) -> Option<Instant> {
        let link = self.port.open();
        if link == Link::CameUp
            && let Some(handle) = self.dhcp
        {
            // It may be another network.
            self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).reset();
        }
        let deadline = if link == Link::Down { None } else { self.exchange(now) };
        self.port.close();
        deadline
    }

    fn exchange(&mut self, now: Instant) -> Option<Instant> {
        let time = time::to_stack(now);
        let mut sent = true;
        for _ in 0..ROUND {
            if self.ip.poll_ingress_single(time, &mut self.port, &mut self.sockets) != PollIngressSingleResult::None {
                if self.serve(time) {
                    self.ip.poll_egress(time, &mut self.port, &mut self.sockets);
                }
                continue;
            }
            let due = self.ip.poll_at(time, &self.sockets)?;
            if due > time {
                return Some(time::from_stack(due));
            }
            if self.port.is_full {
                return None;
            }
            let sent_before = sent;
            sent = self.ip.poll_egress(time, &mut self.port, &mut self.sockets) != PollResult::None;
            self.serve(time);
            // Sending nothing once is no bad sign: it may have been an ARP request, or a timer that just ended.
            if !sent && !sent_before {
                return Some(now + PAUSE);
            }
        }
        Some(now)
    }

    /// Gives up on everything that somebody waits for.
    pub fn end(self) {
        self.pings.end();
    }

    /// Does what the sockets' state asks for after packets came or went; returns whether there is something to transmit
    /// now.
    fn serve(&mut self, time: smoltcp::time::Instant) -> bool {
        self.follow_lease();
        self.pings.serve(&mut self.sockets);
        self.echo.serve(&mut self.sockets, &self.ip, time)
    }

    fn follow_lease(&mut self) {
        let Some(handle) = self.dhcp else { return };
        let lease = match self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            None => return,
            Some(dhcpv4::Event::Deconfigured) => None,
            Some(dhcpv4::Event::Configured(lease)) => {
                let network =
                    Network { address: lease.address, gateway: lease.router.filter(|router| is_host(*router)) };
                let seconds = lease.packet.and_then(|packet| DhcpRepr::parse(&packet).ok()?.lease_duration);
                Some((network, seconds))
            }
        };
        let name = &self.interface.name;
        match (self.network, lease) {
            (Some(old), Some((new, _))) if old == new => return,
            (_, Some((new, Some(seconds)))) => info!("{name}: {new} (DHCP lease of {seconds} s)"),
            (_, Some((new, None))) => info!("{name}: {new} (DHCP lease)"),
            (Some(old), None) => info!("{name}: lost {} (DHCP lease)", old.address),
            (None, None) => return,
        }
        match lease {
            Some((network, _)) => self.set_network(Some(network), Origin::Lease),
            None => self.set_network(None, Origin::None),
        }
    }

    fn set_network(&mut self, network: Option<Network>, origin: Origin) {
        self.network = network;
        self.ip.update_ip_addrs(|addresses| {
            addresses.clear();
            // The list has room for more than one.
            addresses.extend(network.map(|network| IpCidr::Ipv4(network.address)));
        });
        let routes = self.ip.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(gateway) = network.and_then(|network| network.gateway) {
            let added = routes.add_default_ipv4_route(gateway);
            debug_assert!(added.is_ok(), "the default route is the only one");
        }
        self.interface.set_network(network, origin);
    }
}

/// What TCP's first sequence numbers follow from: what nobody can predict, where there is hardware for that.
fn seed(address: MacAddress, now: Instant) -> u64 {
    let mut random = [0; 8];
    let fill = |source: Handle<dyn Random>| source.call(|source| source.fill(&mut random));
    match registry::first::<dyn Random>().map(fill) {
        Some(Ok(Ok(()))) => u64::from_le_bytes(random),
        _ => address.0.iter().fold(now.as_nanoseconds(), |seed, &byte| seed << 8 ^ seed ^ u64::from(byte)),
    }
}
