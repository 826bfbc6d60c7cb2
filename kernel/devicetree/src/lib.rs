//! What a flattened device tree says about the machine.
//!
//! The bytes come from firmware and are not trusted: nothing here panics, recurses or allocates more than a small
//! multiple of their size. [`Tree::parse`] walks them once and keeps an index of nodes, properties and phandles;
//! everything else is looked up there. Lists on the way to the processor (`ranges`, `dma-ranges`, interrupt maps) may be
//! no longer than any machine needs, for they are read again for each device. Terms and rules are those of the
//! Devicetree Specification v0.4.
//!
//! A tree with a broken node is still a tree. Damage to the structure costs the node that it is in
//! ([`Node::damage`]), and a property that makes no sense costs the answer that needs it; both come with an [`Error`]
//! whose sentence can be shown as it is.
//!
//! The crate `fdt`, which the tests compare with, stays out of here for that reason. Of 333 tokens of QEMU's tree, damaged
//! one at a time, 161 cost it more than the node that they were in, as it loses count of the depth; it ends silently
//! below 16 levels; and a header in which an offset and a size add up to more than 32 bits makes it panic.
//!
//! ```no_run
//! # fn example(blob: &'static [u8]) -> Result<(), devicetree::Error> {
//! let tree = devicetree::Tree::parse(blob)?;
//! for node in tree.nodes().filter(|node| node.is_enabled()) {
//!     if node.compatible()?.any(|name| name == "arm,pl011") {
//!         let registers = node.registers()?;
//!         let interrupts = node.interrupts()?;
//!         println!("{}: {registers:x?} {interrupts:?}", node.path());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

extern crate alloc;

mod address;
mod cells;
mod error;
mod interrupt;
mod machine;
mod node;
mod structure;

pub use address::{DmaWindow, Range};
pub use cells::Cells;
pub use error::Error;
pub use interrupt::Interrupt;
pub use machine::{Processor, Reservation, StandardOutput};
pub use node::{Node, Reference};
pub use structure::chosen;

use alloc::vec::Vec;
use structure::{Header, Structure};

/// A device tree, walked once and indexed.
pub struct Tree<'a> {
    blob: &'a [u8],
    header: Header,
    structure: Structure<'a>,
    /// Sorted; of two nodes with the same phandle the first counts.
    phandles: Vec<(u32, usize)>,
}

impl<'a> Tree<'a> {
    /// Reads a tree from the beginning of `blob`, which may be longer. Only damage to the header is an error.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Error> {
        let header = Header::parse(blob)?;
        let structure = Structure::walk(header.structure(blob)?, header.strings(blob)?);
        let mut phandles = structure.phandles();
        phandles.sort_unstable();
        phandles.dedup_by_key(|(phandle, _)| *phandle);
        Ok(Self { blob, header, structure, phandles })
    }

    /// Size of the tree in bytes, as its header gives it.
    pub fn size(&self) -> usize {
        self.header.total_size
    }

    /// All nodes in the order of the tree, the root first, each before its children.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.structure.nodes.len()).map(|index| Node { tree: self, index })
    }

    /// The node with this [`Node::index`].
    pub fn node(&self, index: usize) -> Option<Node<'_>> {
        (index < self.structure.nodes.len()).then_some(Node { tree: self, index })
    }

    /// The root.
    pub fn root(&self) -> Node<'_> {
        Node { tree: self, index: 0 }
    }

    /// The node with this full path, or whose path begins with a name from `/aliases`. A part of the path without a
    /// unit address stands for the first child of that name.
    pub fn find(&self, path: &str) -> Option<Node<'_>> {
        let below = |node, rest: &str| rest.split('/').filter(|name| !name.is_empty()).try_fold(node, Node::child);
        if let Some(rest) = path.strip_prefix('/') {
            return below(self.root(), rest);
        }
        let (alias, rest) = path.split_once('/').unwrap_or((path, ""));
        let target = self.root().child("aliases")?.string(alias).ok()??;
        below(below(self.root(), target.strip_prefix('/')?)?, rest)
    }

    /// The node that a phandle points to.
    pub(crate) fn by_phandle(&self, phandle: u32) -> Option<Node<'_>> {
        let position = self.phandles.binary_search_by_key(&phandle, |(phandle, _)| *phandle).ok()?;
        self.node(self.phandles.get(position)?.1)
    }
}
