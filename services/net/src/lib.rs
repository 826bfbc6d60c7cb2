//! The IP stack: IPv4 with ARP, ICMP, DHCP, and the echo service over UDP and TCP on every network card.
//!
//! One thread watches cards come and go; each card gets an interface with a thread of its own, which sleeps until the
//! card, a timer of the stack or another thread has something for it. The protocols are the crate `smoltcp`'s.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod echo;
mod interface;
mod ping;
mod port;
mod settings;
mod stack;
mod time;

use abi::internet::InterfaceStatus;
use abi::prelude::*;
use abi::{Class, registry, thread};
use alloc::sync::Arc;
use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicU16, Ordering};
use interface::{Interface, Order};
use ping::{Outcome, Request};
use settings::{Settings, is_host};

abi::service!(Net: Internet, summary = "IPv4 stack with DHCP, ping and echo");

/// How long a call waits for an answer at most.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

type Interfaces = Arc<Lock<Vec<Arc<Interface>>>>;

struct Net {
    interfaces: Interfaces,
    pings: AtomicU16,
}

impl Service for Net {
    fn start(resources: &mut Resources) -> Result<Self> {
        let settings = match resources.boot_argument("ip").map(|value| Settings::parse(&value)) {
            Some(Ok(settings)) => settings,
            Some(Err(error)) => {
                warn!("{error}; using DHCP");
                Settings::default()
            }
            None => Settings::default(),
        };
        let interfaces = Interfaces::default();
        let event = Event::new()?;
        registry::watch(Class::NetworkDevice, event.signal());
        let watched = interfaces.clone();
        thread::spawn("net", move || {
            loop {
                match_cards(&watched, &settings);
                if event.wait(None).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { interfaces, pings: AtomicU16::new(0) })
    }
}

impl Net {
    fn interfaces(&self) -> Vec<Arc<Interface>> {
        self.interfaces.lock().clone()
    }
}

impl Internet for Net {
    fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.interfaces().iter().map(|interface| interface.status()).collect()
    }

    fn ping(&self, target: Ipv4Addr, payload: usize, timeout: Duration) -> Result<Duration> {
        let start = Instant::now();
        let interfaces = self.interfaces();
        let networks = || interfaces.iter().filter_map(|interface| Some((interface, interface.network()?)));
        if target.is_loopback() || networks().any(|(_, network)| network.address.address() == target) {
            return Ok(Instant::now() - start);
        }
        if !is_host(target) {
            return Err(Error::Invalid(format!("{target} is no single host's address")));
        }
        let (interface, _) = networks()
            .find(|(_, network)| network.address.contains_addr(&target))
            .or_else(|| networks().find(|(_, network)| network.gateway.is_some()))
            .ok_or_else(|| Error::Invalid(format!("no interface has a route to {target}")))?;
        let most = interface.mtu - ping::HEADERS;
        if payload > most {
            return Err(Error::Invalid(format!("{payload} bytes of data don't fit into a packet, the most is {most}")));
        }
        let event = Event::new()?;
        let outcome = Arc::new(Outcome::new(event.signal()));
        // Calls that wait for longer fail, whoever wanted that.
        let deadline = start + timeout.min(LONGEST_WAIT);
        interface.order(Order::Ping(Request {
            target,
            payload,
            identifier: self.pings.fetch_add(1, Ordering::Relaxed),
            deadline,
            outcome: outcome.clone(),
        }));
        outcome.wait(&event, deadline)
    }
}

/// Ends the interfaces whose cards are gone, tells the others that theirs may have been replaced, and gives each new card
/// an interface.
fn match_cards(interfaces: &Interfaces, settings: &Settings) {
    let known = interfaces.lock().clone();
    let (mut kept, gone): (Vec<_>, Vec<_>) = known.into_iter().partition(|interface| interface.fits_card());
    for interface in gone {
        info!("{}: removed", interface.name);
        interface.order(Order::End);
    }
    for interface in &kept {
        interface.order(Order::MeetCard);
    }
    for card in registry::all::<dyn NetworkDevice>() {
        if kept.iter().any(|interface| interface.card.provider() == card.provider()) {
            continue;
        }
        let is_free = |name: &String| kept.iter().all(|interface| interface.name != *name);
        let Some(name) = (0..).map(|number: u32| format!("eth{number}")).find(is_free) else { continue };
        match start_interface(name, card, settings) {
            Ok(interface) => kept.push(interface),
            Err(error) => error!("{} can't be used: {error}", card.provider().name()),
        }
    }
    *interfaces.lock() = kept;
}

fn start_interface(name: String, card: Handle<dyn NetworkDevice>, settings: &Settings) -> Result<Arc<Interface>> {
    let event = Event::new()?;
    let interface = Arc::new(Interface::new(name, card, event.signal())?);
    let configuration = settings.configuration(&interface.name);
    let run = interface.clone();
    thread::spawn(&interface.name, move || interface::run(&run, &event, configuration))?;
    Ok(interface)
}
