//! Addresses from a node's bus to the processor and back: `reg`, `ranges`, `dma-ranges` (specification, 2.3.6 to 2.3.9).

use crate::{Error, Node, cells};
use alloc::{format, vec, vec::Vec};
use core::slice;

/// Addresses as the processor puts them on the bus, before its own MMU: physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub address: u64,
    /// How many, in bytes. `address + size` doesn't overflow.
    pub size: u64,
}

/// Memory that a device can reach, and where the device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaWindow {
    /// First address of the window as the device sees it.
    pub bus: u64,
    /// First address of the window as the processor sees it.
    pub address: u64,
    /// Size in bytes; `u64::MAX` means no limit.
    pub size: u64,
}

/// The most entries that `ranges` may have. Large systems have a hundred.
const RANGE_LIMIT: usize = 256;

/// The most windows that a node may have, and the most entries of `dma-ranges`; the Raspberry Pi 4 has one.
const WINDOW_LIMIT: usize = 16;

/// An address on some bus. On a bus with three address cells, which is PCI or built like it, the first cell says which
/// of several address spaces is meant (PCI bus binding to IEEE 1275, 2.2.1.1).
#[derive(Clone, Copy)]
struct BusAddress {
    space: Space,
    address: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    /// The only one, or the one for memory with 32-bit or 64-bit addresses.
    Memory,
    InputOutput,
    Configuration,
}

impl BusAddress {
    fn read(bytes: &[u8]) -> Self {
        let space = match bytes.first_chunk() {
            Some(flags) if bytes.len() == 12 => match u32::from_be_bytes(*flags) >> 24 & 3 {
                0 => Space::Configuration,
                1 => Space::InputOutput,
                _ => Space::Memory,
            },
            _ => Space::Memory,
        };
        // Of three cells the first shifts out.
        Self { space, address: cells::number(bytes) }
    }
}

/// An entry of `ranges` or `dma-ranges`: a part of the bus below and where the bus above has it.
struct Mapping {
    below: BusAddress,
    above: BusAddress,
    size: u64,
}

impl Mapping {
    /// Where `size` bytes at `address` of the bus below are on the bus above.
    fn translate(&self, address: BusAddress, size: u64) -> Option<BusAddress> {
        let offset = address.address.checked_sub(self.below.address)?;
        let is_inside = address.space == self.below.space && size <= self.size && offset <= self.size - size;
        is_inside.then_some(BusAddress { address: self.above.address.wrapping_add(offset), ..self.above })
    }

    /// The part of a window that leads through this mapping.
    fn narrow(&self, window: &DmaWindow) -> Option<DmaWindow> {
        let below = self.below.address;
        let start = below.max(window.address);
        let end = below.saturating_add(self.size).min(window.address.saturating_add(window.size));
        let size = end.checked_sub(start).filter(|size| *size > 0)?;
        Some(DmaWindow {
            bus: window.bus.wrapping_add(start - window.address),
            address: self.above.address.wrapping_add(start - below),
            size,
        })
    }
}

impl<'t> Node<'t> {
    /// `reg` as the processor sees it: translated through the `ranges` of every bus on the way. Empty when missing.
    ///
    /// `reg-names` and the order of the entries say which is which.
    pub fn registers(self) -> Result<Vec<Range>, Error> {
        let (Some(reg), Some(bus)) = (self.property("reg"), self.parent()) else { return Ok(Vec::new()) };
        let address_cells = bus.address_cells()?;
        let size_cells = bus.size_cells()?;
        let entries = self.entries("reg", reg, &[address_cells, size_cells])?;
        let buses = self.buses()?;
        entries
            .map(|mut entry| {
                let [address, size] = [address_cells, size_cells].map(|count| cells::take(&mut entry, count));
                let address = BusAddress::read(address.unwrap_or_default());
                self.translate(&buses, address, cells::number(size.unwrap_or_default()))
            })
            .collect()
    }

    /// The memory that this node can reach by DMA: what the `dma-ranges` of every bus on the way to the root let
    /// through. A bus without them, or with empty ones, lets everything through as it is. No window at all means that
    /// the buses on the way have nothing in common.
    pub fn dma_windows(self) -> Result<Vec<DmaWindow>, Error> {
        let mut windows = vec![DmaWindow { bus: 0, address: 0, size: u64::MAX }];
        for bus in self.line().skip(1) {
            let mappings = bus.mappings("dma-ranges", WINDOW_LIMIT)?;
            if mappings.is_empty() {
                continue;
            }
            let narrow = |window| mappings.iter().filter_map(move |mapping: &Mapping| mapping.narrow(window));
            let narrowed: Vec<_> = windows.iter().flat_map(narrow).take(WINDOW_LIMIT + 1).collect();
            if narrowed.len() > WINDOW_LIMIT {
                return Err(bus.wrong("dma-ranges", "at most 16 windows", "more".into()));
            }
            windows = narrowed;
        }
        Ok(windows)
    }

    /// The number of cells of an address of this node's children.
    pub(crate) fn address_cells(self) -> Result<usize, Error> {
        self.address_cells_or(2)
    }

    /// The same with another number where there is none given.
    pub(crate) fn address_cells_or(self, missing: usize) -> Result<usize, Error> {
        self.small_number("#address-cells", missing, 3, "0 to 3")
    }

    /// The number of cells of a size of this node's children.
    fn size_cells(self) -> Result<usize, Error> {
        self.small_number("#size-cells", 1, 2, "0 to 2")
    }

    fn small_number(self, name: &str, missing: usize, limit: usize, expected: &str) -> Result<usize, Error> {
        match self.u32(name)? {
            None => Ok(missing),
            Some(count) if count as usize <= limit => Ok(count as usize),
            Some(count) => Err(self.wrong(name, expected, format!("{count}"))),
        }
    }

    /// The buses above this node that translate addresses, from the lowest up, with the entries of their `ranges`.
    fn buses(self) -> Result<Vec<(Node<'t>, Vec<Mapping>)>, Error> {
        let buses = self.line().skip(1).filter(|bus| bus.parent().is_some());
        let with_mappings = buses.map(|bus| match bus.property("ranges") {
            Some(_) => Ok((bus, bus.mappings("ranges", RANGE_LIMIT)?)),
            None => Err(Error::NoRanges { path: self.path(), bus: bus.path() }),
        });
        with_mappings.filter(|bus| !matches!(bus, Ok((_, mappings)) if mappings.is_empty())).collect()
    }

    /// Takes an address up to the root through these buses.
    fn translate(self, buses: &[(Node<'t>, Vec<Mapping>)], mut address: BusAddress, size: u64) -> Result<Range, Error> {
        for (bus, mappings) in buses {
            let translated = mappings.iter().find_map(|mapping| mapping.translate(address, size));
            address = translated.ok_or_else(|| Error::OutsideRanges {
                path: self.path(),
                bus: bus.path(),
                address: address.address,
                size,
            })?;
        }
        let address = address.address;
        match address.checked_add(size) {
            Some(_) => Ok(Range { address, size }),
            None => Err(Error::Overflow { path: self.path(), address, size }),
        }
    }

    /// The entries of this bus's `ranges` or `dma-ranges`, at most `limit`. None when it is missing or empty.
    fn mappings(self, name: &str, limit: usize) -> Result<Vec<Mapping>, Error> {
        let (Some(value), Some(above)) = (self.property(name).filter(|value| !value.is_empty()), self.parent()) else {
            return Ok(Vec::new());
        };
        let counts = [self.address_cells()?, above.address_cells()?, self.size_cells()?];
        let entries = self.entries(name, value, &counts)?;
        if entries.len() > limit {
            return Err(self.wrong(name, &format!("at most {limit} entries"), format!("{}", entries.len())));
        }
        Ok(entries
            .map(|mut entry| {
                let [below, above, size] = counts.map(|count| cells::take(&mut entry, count).unwrap_or_default());
                Mapping { below: BusAddress::read(below), above: BusAddress::read(above), size: cells::number(size) }
            })
            .collect())
    }

    /// The entries of a property, which all consist of fields of these numbers of cells.
    fn entries(self, name: &str, value: &'t [u8], counts: &[usize]) -> Result<slice::ChunksExact<'t, u8>, Error> {
        let size = 4 * counts.iter().sum::<usize>();
        if size == 0 || value.is_empty() || !value.len().is_multiple_of(size) {
            return Err(self.wrong_size(name, &format!("entries of {size} bytes (cells: {counts:?})"), value));
        }
        Ok(value.chunks_exact(size))
    }
}
