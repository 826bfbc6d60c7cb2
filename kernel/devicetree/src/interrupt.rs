//! The interrupt tree (specification, 2.4), which is laid over the tree of buses.

use crate::{Cells, Error, Node, Reference, cells};
use alloc::{format, vec::Vec};
use core::iter;

/// An interrupt: the controller that takes it, and what that controller calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt<'t> {
    /// The controller.
    pub controller: Node<'t>,
    /// As many cells as the controller's `#interrupt-cells`; its binding says what they mean.
    pub specifier: Cells,
}

/// How many entries of maps are read on the way of one interrupt. Maps may lead to maps, in a circle even, and a
/// machine has a few dozen entries in all.
const ENTRY_LIMIT: usize = 128;

impl<'t> Node<'t> {
    /// The node's interrupts, followed through every `interrupt-map` to the controllers that take them. Empty when it
    /// has none. `interrupts-extended` counts before `interrupts`; `interrupt-names` says which is which.
    pub fn interrupts(self) -> Result<Vec<Interrupt<'t>>, Error> {
        if self.property("interrupts-extended").is_some() {
            let references = self.references("interrupts-extended", "#interrupt-cells")?;
            let resolve = |Reference { node, arguments }| self.resolve(node, arguments);
            return references.into_iter().map(resolve).collect();
        }
        let Some(value) = self.property("interrupts") else { return Ok(Vec::new()) };
        let parent = self.find_interrupt_parent()?;
        let parent = parent.ok_or_else(|| Error::NoInterruptParent { path: self.path() })?;
        let size = 4 * parent.cell_count("#interrupt-cells")?;
        if size == 0 || !value.len().is_multiple_of(size) {
            let expected = format!("entries of {size} bytes, as {} wants them", parent.path());
            return Err(self.wrong_size("interrupts", &expected, value));
        }
        value.chunks_exact(size).map(|specifier| self.resolve(parent, Cells::read(specifier))).collect()
    }

    /// Where an interrupt of a device below this node leads that has no node of its own, like a PCI function:
    /// `unit_address` are its address cells on this bus, `specifier` the interrupt's cells.
    pub fn map_interrupt(self, unit_address: &[u32], specifier: &[u32]) -> Result<Interrupt<'t>, Error> {
        let mut unit_address = unit_address.iter().copied().collect();
        let mut interrupt = Reference { node: self, arguments: specifier.iter().copied().collect() };
        let mut entries_left = ENTRY_LIMIT;
        loop {
            let Reference { node, arguments } = interrupt;
            if node.is_interrupt_controller() {
                return Ok(Interrupt { controller: node, specifier: arguments });
            }
            (unit_address, interrupt) = node.hop(unit_address, arguments, &mut entries_left)?;
        }
    }

    /// Whether the node takes interrupts.
    pub fn is_interrupt_controller(self) -> bool {
        self.property("interrupt-controller").is_some()
    }

    /// The node to which this one's interrupts go. None at the root of the interrupt tree, where a controller may
    /// have itself as parent, and when there is none at all.
    pub fn interrupt_parent(self) -> Result<Option<Node<'t>>, Error> {
        Ok(self.find_interrupt_parent()?.filter(|parent| *parent != self))
    }

    /// The nearest `interrupt-parent` on the way to the root, unless a bus that takes interrupts itself is nearer.
    fn find_interrupt_parent(self) -> Result<Option<Node<'t>>, Error> {
        for node in self.line() {
            if node != self && node.property("#interrupt-cells").is_some() {
                return Ok(Some(node));
            }
            if let Some(parent) = node.reference("interrupt-parent")? {
                return Ok(Some(parent));
            }
        }
        Ok(None)
    }

    /// Where an interrupt of this node leads that is handed to `parent`.
    fn resolve(self, parent: Node<'t>, specifier: Cells) -> Result<Interrupt<'t>, Error> {
        if parent.is_interrupt_controller() {
            return Ok(Interrupt { controller: parent, specifier });
        }
        if parent.property("interrupt-map").is_none() {
            return Err(Error::NotAController { path: self.path(), parent: parent.path() });
        }
        let unit_address: Cells = self.cells("reg")?.take(parent.address_cells()?).collect();
        parent.map_interrupt(&unit_address, &specifier)
    }

    /// One step through this node's `interrupt-map`: the unit address and the interrupt on its other side.
    fn hop(
        self,
        unit_address: Cells,
        specifier: Cells,
        entries_left: &mut usize,
    ) -> Result<(Cells, Reference<'t>), Error> {
        let value = self.property("interrupt-map").unwrap_or_default();
        let (address_cells, specifier_cells) = (self.address_cells()?, self.cell_count("#interrupt-cells")?);
        let pad = |cells: Cells, count| (0..count).map(move |index| cells.get(index).copied().unwrap_or(0));
        let wanted = pad(unit_address, address_cells).chain(pad(specifier, specifier_cells));
        let mask = self.cells("interrupt-map-mask")?.chain(iter::repeat(u32::MAX));

        let mut rest = value;
        while !rest.is_empty() {
            *entries_left = entries_left.checked_sub(1).ok_or_else(|| Error::InterruptLoop { path: self.path() })?;
            let short = || self.wrong_size("interrupt-map", "whole entries", value);
            let key = cells::take(&mut rest, address_cells + specifier_cells).ok_or_else(short)?;
            let phandle = cells::take(&mut rest, 1).ok_or_else(short)?;
            let node = self.pointed_to("interrupt-map", cells::number(phandle) as u32)?;
            // A controller that is no bus may leave out its number of address cells: then it has none.
            let above = cells::take(&mut rest, node.address_cells_or(0)?).ok_or_else(short)?;
            let arguments = cells::take(&mut rest, node.cell_count("#interrupt-cells")?).ok_or_else(short)?;

            let mut differences = cells::cells(key).zip(wanted.clone()).zip(mask.clone());
            if differences.all(|((key, wanted), mask)| (key ^ wanted) & mask == 0) {
                return Ok((Cells::read(above), Reference { node, arguments: Cells::read(arguments) }));
            }
        }
        Err(Error::NotMapped { path: self.path(), unit_address, specifier })
    }
}
