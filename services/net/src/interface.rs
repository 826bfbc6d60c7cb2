//! One network interface: what all threads know of it, and the thread that runs it.

use crate::ping::Request;
use crate::settings::{Configuration, Network};
use crate::stack::Stack;
use abi::internet::{InterfaceAddress, InterfaceStatus, Origin};
use abi::network::{MacAddress, Statistics};
use abi::prelude::*;
use abi::thread;
use alloc::sync::Arc;
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};

/// A DHCP client has to accept messages of this length (RFC 2131, section 2).
const LEAST_MTU: usize = 576;

/// A network interface, as all threads see it.
pub struct Interface {
    /// `eth0`, `eth1`, ...
    pub name: String,
    /// Its card.
    pub card: Handle<dyn NetworkDevice>,
    /// The card's address.
    pub mac_address: MacAddress,
    /// The longest IP packet, in bytes.
    pub mtu: usize,
    /// What wakes the thread that runs it.
    pub signal: Signal,
    state: Lock<State>,
    orders: Lock<Vec<Order>>,
    has_orders: AtomicBool,
}

struct State {
    network: Option<Network>,
    origin: Origin,
    has_failed: bool,
}

/// What other threads want of the thread that runs an interface.
pub enum Order {
    /// Send an echo request.
    Ping(Request),
    /// The card may have been replaced.
    MeetCard,
    /// The card is gone for good.
    End,
}

impl Interface {
    /// An interface for `card`, to be run by the thread that `signal` wakes.
    ///
    /// # Errors
    /// [`Error::Gone`], or [`Error::Unsupported`] for a card that IP can't use; those of
    /// [`checked_mtu`](NetworkDevice#method.checked_mtu).
    pub fn new(name: String, card: Handle<dyn NetworkDevice>, signal: Signal) -> Result<Self> {
        let (mac_address, mtu) = card.call(identity)??;
        let MacAddress([first, ..]) = mac_address;
        if first & 1 != 0 {
            return Err(Error::Unsupported(format!("the card's address {mac_address} is that of a group")));
        }
        if mtu < LEAST_MTU {
            return Err(Error::Unsupported(format!("the card's MTU is {mtu} bytes, IP with DHCP needs {LEAST_MTU}")));
        }
        Ok(Self {
            name,
            card,
            mac_address,
            mtu,
            signal,
            state: Lock::new(State { network: None, origin: Origin::None, has_failed: false }),
            orders: Lock::new(Vec::new()),
            has_orders: AtomicBool::new(false),
        })
    }

    /// Whether the card that is there now can go on as this interface's.
    pub fn fits_card(&self) -> bool {
        match self.card.call(identity) {
            Ok(identity) => identity == Ok((self.mac_address, self.mtu)),
            // It will be back, and then this is asked again.
            Err(Error::Failed(_) | Error::Restarting) => true,
            Err(_) => false,
        }
    }

    /// Gives the interface's thread something to do.
    pub fn order(&self, order: Order) {
        self.orders.lock().push(order);
        self.has_orders.store(true, Ordering::Release);
        self.signal.raise();
    }

    /// What others have ordered since the last time. Costs next to nothing when that's nothing.
    fn take_orders(&self) -> Vec<Order> {
        if self.has_orders.load(Ordering::Relaxed) && self.has_orders.swap(false, Ordering::Acquire) {
            mem::take(&mut *self.orders.lock())
        } else {
            Vec::new()
        }
    }

    /// Its place in its network, if it has one.
    pub fn network(&self) -> Option<Network> {
        self.state.lock().network
    }

    /// Makes its place in its network known.
    pub fn set_network(&self, network: Option<Network>, origin: Origin) {
        let mut state = self.state.lock();
        state.network = network;
        state.origin = origin;
    }

    /// Makes known whether the card broke its protocol.
    pub fn set_failed(&self, has_failed: bool) {
        self.state.lock().has_failed = has_failed;
    }

    /// All that there is to know about it.
    pub fn status(&self) -> InterfaceStatus {
        let State { network, origin, has_failed } = *self.state.lock();
        let state = self.card.call(|card| (card.link_is_up() && !has_failed, card.statistics()));
        let (link_is_up, statistics) = state.unwrap_or((false, Statistics::default()));
        InterfaceStatus {
            name: self.name.clone(),
            device: self.card.provider().name(),
            mac_address: self.mac_address,
            mtu: self.mtu,
            link_is_up,
            origin,
            address: network.map(|Network { address, .. }| InterfaceAddress {
                address: address.address(),
                prefix: address.prefix_len(),
            }),
            gateway: network.and_then(|network| network.gateway),
            statistics,
        }
    }
}

/// Runs `interface`, whose signal is that of `event`, until it is told to end or the module is removed.
pub fn run(interface: &Arc<Interface>, event: &Event, configuration: Configuration) {
    let mut lease = vec![0; interface.mtu];
    let mut stack = Stack::new(interface.clone(), configuration, &mut lease);
    'run: loop {
        for order in interface.take_orders() {
            match order {
                Order::Ping(request) => stack.ping(request),
                Order::MeetCard => stack.forget_card(),
                Order::End => break 'run,
            }
        }
        let now = Instant::now();
        let deadline = stack.round(now);
        if deadline == Some(now) {
            // Packets arrive faster than they are dealt with: that must not keep other threads from running.
            thread::yield_now();
        }
        if event.wait(deadline).is_err() {
            break;
        }
    }
    stack.end();
}

fn identity(card: &(dyn NetworkDevice + 'static)) -> Result<(MacAddress, usize)> {
    Ok((card.mac_address(), card.checked_mtu()?))
}
