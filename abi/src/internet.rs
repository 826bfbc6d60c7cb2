//! The class of IP stacks.

use crate::Result;
use crate::network::{MacAddress, Statistics};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

/// How an interface got its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It has none yet.
    None,
    /// By DHCP.
    Lease,
    /// From `bootargs` or from a person.
    Static,
}

/// An interface's address in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The length of the network's prefix, in bits.
    pub prefix: u8,
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// The state of one network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// `eth0`, `eth1`, ... in the order in which the cards appeared.
    pub name: String,
    /// The node of its card.
    pub device: String,
    /// The card's address.
    pub mac_address: MacAddress,
    /// The longest IP packet, in bytes.
    pub mtu: usize,
    /// Whether there is a link.
    pub link_is_up: bool,
    /// How it got its address.
    pub origin: Origin,
    /// Its address, if it has one.
    pub address: Option<InterfaceAddress>,
    /// Where packets for other networks go.
    pub gateway: Option<Ipv4Addr>,
    /// What the card has counted.
    pub statistics: Statistics,
}

/// An IP stack.
pub trait Internet: Send + Sync {
    /// All interfaces.
    fn interfaces(&self) -> Vec<InterfaceStatus>;

    /// Sends one ICMP echo request with `payload` bytes of data and waits for its reply, 20 s at most; returns the time that it
    /// took.
    ///
    /// # Errors
    /// [`Error::TimedOut`](crate::Error::TimedOut) without a reply in `timeout`, [`Error::Invalid`](crate::Error::Invalid)
    /// when no interface has a route to `target` or the payload is too long.
    fn ping(&self, target: Ipv4Addr, payload: usize, timeout: Duration) -> Result<Duration>;
}
