//! What the tree says about the machine as a whole: memory, processors, and what firmware chose.

use crate::{Error, Node, Range, Tree, cells};
use alloc::{format, string::ToString, vec, vec::Vec};

/// A part of memory that a child of `/reserved-memory` sets aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation<'t> {
    /// The child.
    pub node: Node<'t>,
    /// Where it is. None: the child has a `size` only, and the operating system may choose where.
    pub range: Option<Range>,
    /// The memory must not even be mapped.
    pub no_map: bool,
}

/// A processor core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processor<'t> {
    /// Its node.
    pub node: Node<'t>,
    /// `reg`: the affinity fields of its MPIDR_EL1.
    pub identifier: u64,
    /// How it is started: `psci` or `spin-table`.
    pub enable_method: Option<&'t str>,
    /// The physical address at which a core with a spin table looks for its entry point.
    pub release_address: Option<u64>,
}

/// The console that firmware asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandardOutput<'t> {
    /// The device.
    pub node: Node<'t>,
    /// What follows the `:`, as in `115200n8`. Empty when nothing does.
    pub options: &'t str,
}

impl Tree<'_> {
    /// All memory, in the order of the tree. Empty ranges, with which firmware's files leave room, are left out.
    pub fn memory(&self) -> Vec<Result<Range, Error>> {
        let is_memory = |node: &Node| is_device(*node, "memory") && node.is_enabled();
        self.root()
            .children()
            .filter(is_memory)
            .flat_map(|node| each(node.registers()))
            .filter(|range| !matches!(range, Ok(Range { size: 0, .. })))
            .collect()
    }

    /// The memory reservation block (specification, 5.3): memory to leave alone, apart from `/reserved-memory`.
    pub fn memory_reservations(&self) -> Vec<Result<Range, Error>> {
        let end = self.size();
        let block = self.blob.get(..end).and_then(|tree| tree.get(self.header.reservations..)).unwrap_or_default();
        let mut reservations = Vec::new();
        for entry in block.chunks(16) {
            let (address, size) = entry.split_at_checked(8).unwrap_or_default();
            match (cells::number(address), cells::number(size)) {
                _ if entry.len() < 16 => break,
                (0, 0) => return reservations,
                (address, size) if address.checked_add(size).is_some() => {
                    reservations.push(Ok(Range { address, size }))
                }
                (address, size) => {
                    reservations.push(Err(Error::Overflow { path: "/memreserve/".to_string(), address, size }));
                }
            }
        }
        reservations.push(Err(Error::Block { block: "memory reservation block", end: end + 1, total: end }));
        reservations
    }

    /// What the children of `/reserved-memory` set aside.
    pub fn reserved_memory(&self) -> Vec<Result<Reservation<'_>, Error>> {
        let children = self.root().child("reserved-memory").into_iter().flat_map(Node::children);
        children.filter(|node| node.is_enabled()).flat_map(reservations).collect()
    }

    /// The processors in the order of the tree. One with the status `disabled` is listed as well: it is only not
    /// running yet (specification, 3.8.1). One that failed is not.
    pub fn processors(&self) -> Vec<Result<Processor<'_>, Error>> {
        let has_failed = |node: &Node| node.property("status").is_some_and(|status| status.starts_with(b"fail"));
        let children = self.root().child("cpus").into_iter().flat_map(Node::children);
        children.filter(|node| is_device(*node, "cpu") && !has_failed(node)).map(processor).collect()
    }

    /// `bootargs`: the kernel's command line.
    pub fn boot_arguments(&self) -> Result<Option<&str>, Error> {
        self.chosen().map_or(Ok(None), |chosen| chosen.string("bootargs"))
    }

    /// `linux,initrd-start` and `linux,initrd-end`: the physical memory that holds the initramfs.
    pub fn initial_ramdisk(&self) -> Result<Option<Range>, Error> {
        let Some(chosen) = self.chosen() else { return Ok(None) };
        let (start, end) = (chosen.u64("linux,initrd-start")?, chosen.u64("linux,initrd-end")?);
        match (start, end) {
            (None, None) => Ok(None),
            (Some(address), Some(end)) if address <= end => Ok(Some(Range { address, size: end - address })),
            (Some(start), Some(end)) => {
                Err(chosen.wrong("linux,initrd-end", &format!("at least {start:#x}"), format!("{end:#x}")))
            }
            (None, _) => Err(chosen.wrong("linux,initrd-start", "there", "'linux,initrd-end' alone".to_string())),
            (_, None) => Err(chosen.wrong("linux,initrd-end", "there", "'linux,initrd-start' alone".to_string())),
        }
    }

    /// `stdout-path`: the device for the console, by path or by alias.
    pub fn standard_output(&self) -> Result<Option<StandardOutput<'_>>, Error> {
        let Some(chosen) = self.chosen() else { return Ok(None) };
        let Some(value) = chosen.string("stdout-path")? else { return Ok(None) };
        let (path, options) = value.split_once(':').unwrap_or((value, ""));
        match self.find(path) {
            Some(node) => Ok(Some(StandardOutput { node, options })),
            None => Err(chosen.wrong("stdout-path", "the path or alias of a node", format!("'{path}'"))),
        }
    }

    /// `rng-seed`: random bytes.
    pub fn random_seed(&self) -> Option<&[u8]> {
        self.chosen()?.property("rng-seed")
    }

    fn chosen(&self) -> Option<Node<'_>> {
        self.root().child("chosen")
    }
}

/// What a child of `/reserved-memory` sets aside.
fn reservations(node: Node<'_>) -> Vec<Result<Reservation<'_>, Error>> {
    let no_map = node.property("no-map").is_some();
    let reservation = |range| Reservation { node, range, no_map };
    match (node.property("reg"), node.property("size")) {
        (Some(_), _) => each(node.registers()).map(|range| Ok(reservation(Some(range?)))).collect(),
        (None, Some(_)) => vec![Ok(reservation(None))],
        (None, None) => vec![Err(node.wrong("reg", "there, or 'size'", "neither".to_string()))],
    }
}

/// The processor that a child of `/cpus` describes.
fn processor(node: Node<'_>) -> Result<Processor<'_>, Error> {
    let size = node.parent().map_or(Ok(0), Node::address_cells)?;
    let reg = node.property("reg").unwrap_or_default();
    let identifier = cells::take(&mut &*reg, size).filter(|identifier| !identifier.is_empty());
    let identifier = identifier.ok_or_else(|| node.wrong_size("reg", &format!("{} bytes", 4 * size), reg))?;
    Ok(Processor {
        node,
        identifier: cells::number(identifier),
        enable_method: node.strings("enable-method")?.next(),
        release_address: node.u64("cpu-release-addr")?,
    })
}

/// Whether a node is of this kind by its `device_type`, or by its name when it has none.
fn is_device(node: Node<'_>, kind: &str) -> bool {
    match node.property("device_type") {
        Some(found) => found.strip_suffix(b"\0") == Some(kind.as_bytes()),
        None => node.base_name() == kind,
    }
}

/// Turns a result of many into many results.
fn each<T>(results: Result<Vec<T>, Error>) -> impl Iterator<Item = Result<T, Error>> {
    let (values, error) = match results {
        Ok(values) => (values, None),
        Err(error) => (Vec::new(), Some(Err(error))),
    };
    values.into_iter().map(Ok).chain(error)
}
