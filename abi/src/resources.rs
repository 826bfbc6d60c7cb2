//! What a module gets from the kernel when it starts.

use crate::dma::Dma;
use crate::handover::Handover;
use crate::interrupt::Interrupt;
use crate::pixels::Pixels;
use crate::registers::{RegisterBlock, Registers};
use crate::registry::ProviderId;
use crate::{Node, Reference, Result, kernel};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

/// What the kernel has resolved for one node or service. Each resource is handed out once, as a handle that gives it
/// back when dropped; the kernel keeps them all in the module's ledger and takes back whatever is left at its removal.
#[derive(Debug)]
pub struct Resources {
    provider: ProviderId,
    handover: Option<Handover>,
}

impl Resources {
    /// For the kernel: the resources of `provider`, and what its predecessor has left.
    #[doc(hidden)]
    pub fn new(provider: ProviderId, handover: Option<Handover>) -> Self {
        Self { provider, handover }
    }

    /// The node's registers number `index` (its `reg`, translated through every `ranges`), mapped as device memory.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing) when the node has no such entry, [`Error::Busy`](crate::Error::Busy)
    /// when it is taken, [`Error::Invalid`](crate::Error::Invalid) when it is smaller than `T`.
    pub fn registers<T: RegisterBlock>(&mut self, index: usize) -> Result<Registers<T>> {
        Registers::map(self.provider, index, 0)
    }

    /// As [`registers`](Self::registers), for devices of which trees are known to list fewer bytes than there are: as many are
    /// mapped as `T` has.
    ///
    /// # Errors
    /// As [`registers`](Self::registers).
    pub fn registers_beyond_tree<T: RegisterBlock>(&mut self, index: usize) -> Result<Registers<T>> {
        Registers::map(self.provider, index, size_of::<T>())
    }

    /// Memory whose content is on a screen, mapped to be written: at these physical addresses, which firmware has named, or, if
    /// none, at those of the node's `reg`.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing) when the node has no `reg`, [`Error::Busy`](crate::Error::Busy) when any of it
    /// is taken, [`Error::Invalid`](crate::Error::Invalid) when it isn't aligned to a pixel, or when the device tree says that
    /// any of it is something else: memory, or another device's registers.
    pub fn pixels(&mut self, place: Option<Range<u64>>) -> Result<Pixels> {
        Pixels::map(self.provider, place)
    }

    /// The node's interrupt number `index`. From a successful `probe` on, it calls
    /// [`Driver::interrupt`](crate::Driver::interrupt) with that index, until the handle is dropped.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing) when the node has no such interrupt,
    /// [`Error::Deferred`](crate::Error::Deferred) when its controller isn't bound yet,
    /// [`Error::Busy`](crate::Error::Busy) when it is taken.
    pub fn interrupt(&mut self, index: usize) -> Result<Interrupt> {
        kernel::interrupt_claim(self.provider, index).map(Interrupt::from_raw)
    }

    /// The right to allocate memory that the node's device can reach.
    pub fn dma(&mut self) -> Dma {
        Dma::new(self.provider)
    }

    /// The children of the node that belong to its driver: those without `compatible`, which are no devices of their own.
    pub fn children(&self) -> Vec<Node> {
        kernel::node_children(self.provider)
    }

    /// What a property of the node, or of one of its [`children`](Self::children), points to: a list of phandles, each
    /// followed by as many cells as the property `cells` of the node that it points to says (`gpios` and `#gpio-cells`,
    /// `mboxes` and `#mbox-cells`). Empty when the property is missing.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when it isn't such a list.
    pub fn references(&self, node: &Node, property: &str, cells: &str) -> Result<Vec<Reference>> {
        kernel::node_references(node.path(), property, cells)
    }

    /// What the predecessor has handed over, if this instance takes the place of another while the system runs. To refuse
    /// it, return an error: then the predecessor's module goes on.
    pub fn handover(&mut self) -> Option<Handover> {
        self.handover.take()
    }

    /// The value of `name=value` in `bootargs` (`/chosen`); empty for a bare `name`.
    pub fn boot_argument(&self, name: &str) -> Option<String> {
        kernel::boot_argument(name)
    }
}
