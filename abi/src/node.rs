//! A node of the device tree, as its driver sees it.

use alloc::string::String;
use alloc::vec::Vec;

/// What the device tree says of one device. Registers, interrupts and the like come resolved through
/// [`Resources`](crate::Resources); this is for the properties that only the driver understands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    path: String,
    compatible: String,
    properties: Vec<Property>,
}

/// A property of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its raw value; empty for one that is only there or not.
    pub value: Vec<u8>,
}

impl Node {
    /// A node with these properties, matched by `compatible`.
    pub fn new(path: String, compatible: String, properties: Vec<Property>) -> Self {
        Self { path, compatible, properties }
    }

    /// The full path: `/soc/serial@7e201000`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Which of the node's `compatible` strings the module was matched by.
    pub fn compatible(&self) -> &str {
        &self.compatible
    }

    /// The raw value of a property; empty for one that is only there or not.
    pub fn property(&self, name: &str) -> Option<&[u8]> {
        self.properties.iter().find(|property| property.name == name).map(|property| property.value.as_slice())
    }

    /// A property of one cell: a big-endian `u32` (Devicetree Specification 0.4, section 2.2.4).
    pub fn u32(&self, name: &str) -> Option<u32> {
        Some(u32::from_be_bytes(self.property(name)?.try_into().ok()?))
    }

    /// A property of one string.
    pub fn string(&self, name: &str) -> Option<&str> {
        core::str::from_utf8(self.property(name)?.strip_suffix(&[0])?).ok()
    }
}
