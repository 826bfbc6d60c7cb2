//! What a flattened device tree says about the machine.
//!
//! API skeleton: signatures are final, bodies are being filled in.
#![no_std]
extern crate alloc;
use alloc::{string::String, vec::Vec};
use core::fmt;
use core::ops::Deref;

/// SKELETON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// SKELETON.
    Todo,
}
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("todo")
    }
}

/// A device tree, walked once and indexed.
pub struct Tree<'a> {
    _blob: &'a [u8],
}
/// One node of a [`Tree`]; copied freely, equal when it is the same node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Node<'t> {
    _name: &'t str,
}
/// A range of addresses as the processor sees them, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub address: u64,
    /// Size in bytes; never so large that the end overflows.
    pub size: u64,
}
/// An interrupt: the controller that receives it, and what that controller calls it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Interrupt<'t> {
    /// The interrupt controller.
    pub controller: Node<'t>,
    /// `#interrupt-cells` cells.
    pub specifier: Cells,
}
/// Up to 8 cells (derefs to `[u32]`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cells {
    length: usize,
    cells: [u32; 8],
}
impl Deref for Cells {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        &self.cells[..self.length]
    }
}
/// A phandle with its arguments, as in `clocks = <&osc 1>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reference<'t> {
    /// The node pointed to.
    pub node: Node<'t>,
    /// The arguments.
    pub arguments: Cells,
}
/// Memory that a device can reach, and where it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaWindow {
    /// Where the device sees the window.
    pub bus: u64,
    /// Where the processor sees the window (physical address).
    pub address: u64,
    /// Size in bytes (u64::MAX: no limit).
    pub size: u64,
}
/// A child of `/reserved-memory`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reservation<'t> {
    /// The child.
    pub node: Node<'t>,
    /// Where it is; None: the operating system may choose where (`size` instead of `reg`).
    pub range: Option<Range>,
    /// It must not even be mapped.
    pub no_map: bool,
}
/// A processor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Processor<'t> {
    /// Its node.
    pub node: Node<'t>,
    /// MPIDR affinity bits.
    pub identifier: u64,
    /// `psci` or `spin-table`.
    pub enable_method: Option<&'t str>,
    /// Physical address that a spin-table processor polls.
    pub release_address: Option<u64>,
}
/// The console that firmware asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StandardOutput<'t> {
    /// The device.
    pub node: Node<'t>,
    /// What follows the ':' (`115200n8`), or empty.
    pub options: &'t str,
}

impl<'a> Tree<'a> {
    /// Walks the tree once. Only damage to the header is an error; a damaged node is kept, see [`Node::damage`].
    pub fn parse(_blob: &'a [u8]) -> Result<Self, Error> {
        todo!()
    }
    /// All nodes in the order of the tree, the root first.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        core::iter::empty()
    }
    /// The node at an index given by [`Node::index`].
    pub fn node(&self, _index: usize) -> Option<Node<'_>> {
        todo!()
    }
    /// The root.
    pub fn root(&self) -> Node<'_> {
        todo!()
    }
    /// A node by its path or alias.
    pub fn find(&self, _path: &str) -> Option<Node<'_>> {
        todo!()
    }
    /// Total size of the blob in bytes according to its header.
    pub fn size(&self) -> usize {
        todo!()
    }
    /// All memory (several nodes, several entries; empty ones are left out).
    pub fn memory(&self) -> Vec<Result<Range, Error>> {
        todo!()
    }
    /// The memory reservation block of the header.
    pub fn memory_reservations(&self) -> Vec<Result<Range, Error>> {
        todo!()
    }
    /// Children of `/reserved-memory`.
    pub fn reserved_memory(&self) -> Vec<Result<Reservation<'_>, Error>> {
        todo!()
    }
    /// Processors that are not disabled.
    pub fn processors(&self) -> Vec<Result<Processor<'_>, Error>> {
        todo!()
    }
    /// `/chosen` `bootargs`.
    pub fn boot_arguments(&self) -> Result<Option<&str>, Error> {
        todo!()
    }
    /// `/chosen` `linux,initrd-start` and `-end`, physical.
    pub fn initial_ramdisk(&self) -> Result<Option<Range>, Error> {
        todo!()
    }
    /// `/chosen` `stdout-path`.
    pub fn standard_output(&self) -> Result<Option<StandardOutput<'_>>, Error> {
        todo!()
    }
    /// `/chosen` `rng-seed`.
    pub fn random_seed(&self) -> Option<&[u8]> {
        todo!()
    }
    /// `/chosen` `kaslr-seed`.
    pub fn kaslr_seed(&self) -> Result<Option<u64>, Error> {
        todo!()
    }
}
impl<'t> Node<'t> {
    /// Position in [`Tree::nodes`].
    pub fn index(self) -> usize {
        todo!()
    }
    /// Name with unit address, as `serial@7e201000`; the root's is empty.
    pub fn name(self) -> &'t str {
        todo!()
    }
    /// Full path, as `/soc/serial@7e201000`.
    pub fn path(self) -> String {
        todo!()
    }
    /// What is wrong with the node's structure, if anything.
    pub fn damage(self) -> Option<&'t Error> {
        todo!()
    }
    /// Parent.
    pub fn parent(self) -> Option<Node<'t>> {
        todo!()
    }
    /// Children in order.
    pub fn children(self) -> impl Iterator<Item = Node<'t>> {
        core::iter::empty()
    }
    /// `compatible`, most specific first; empty when missing.
    pub fn compatible(self) -> Result<impl Iterator<Item = &'t str> + Clone, Error> {
        Ok(core::iter::empty())
    }
    /// Whether this node and all above it are enabled (`status` missing, `okay` or `ok`).
    pub fn is_enabled(self) -> bool {
        todo!()
    }
    /// Properties in order: name, value.
    pub fn properties(self) -> impl Iterator<Item = (&'t str, &'t [u8])> {
        core::iter::empty()
    }
    /// A property's bytes.
    pub fn property(self, _name: &str) -> Option<&'t [u8]> {
        todo!()
    }
    /// A property of one cell.
    pub fn u32(self, _name: &'static str) -> Result<Option<u32>, Error> {
        todo!()
    }
    /// A property of one or two cells.
    pub fn u64(self, _name: &'static str) -> Result<Option<u64>, Error> {
        todo!()
    }
    /// A property of one string.
    pub fn string(self, _name: &'static str) -> Result<Option<&'t str>, Error> {
        todo!()
    }
    /// A list of strings (`reg-names`, `interrupt-names`, `clock-names`); empty when missing.
    pub fn strings(self, _name: &'static str) -> Result<impl Iterator<Item = &'t str> + Clone, Error> {
        Ok(core::iter::empty())
    }
    /// A list of cells; empty when missing.
    pub fn cells(self, _name: &'static str) -> Result<impl Iterator<Item = u32> + Clone, Error> {
        Ok(core::iter::empty())
    }
    /// A list of phandles with arguments: `references("clocks", "#clock-cells")`; empty when missing.
    pub fn references(self, _name: &'static str, _cells: &'static str) -> Result<Vec<Reference<'t>>, Error> {
        todo!()
    }
    /// `reg` as the processor sees it, through every `ranges`; empty when missing.
    pub fn registers(self) -> Result<Vec<Range>, Error> {
        todo!()
    }
    /// Interrupts down to their controllers; empty when the node has none.
    pub fn interrupts(self) -> Result<Vec<Interrupt<'t>>, Error> {
        todo!()
    }
    /// Whether it has the `interrupt-controller` property.
    pub fn is_interrupt_controller(self) -> bool {
        todo!()
    }
    /// The interrupt parent; None for the root of the interrupt tree (or when there is none).
    pub fn interrupt_parent(self) -> Result<Option<Node<'t>>, Error> {
        todo!()
    }
    /// Where the node's DMA can reach; one unlimited identity window when no `dma-ranges` limits it.
    pub fn dma_windows(self) -> Result<Vec<DmaWindow>, Error> {
        todo!()
    }
}
