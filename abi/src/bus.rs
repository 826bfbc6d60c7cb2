//! The class of buses: devices that lead to other devices.

use alloc::string::String;
use alloc::vec::Vec;

/// A device found behind a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its name below the bus's node: `device1`.
    pub name: String,
    /// What modules may claim it, most specific first: `virtio,device1`.
    pub compatible: Vec<String>,
}

/// A device that leads to others, which the device tree doesn't list.
///
/// A child gets the registers, interrupts and properties of the bus's own node: the bus driver gives up those that the
/// child needs before `probe` returns.
pub trait Bus: Send + Sync {
    /// What is behind the bus.
    fn children(&self) -> Vec<Child>;
}
