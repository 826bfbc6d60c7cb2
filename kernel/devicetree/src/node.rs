use crate::{Cells, Error, Tree, cells, structure::Record};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, iter, str};

/// One node of a [`Tree`]. Copies are the same node, and equal.
#[derive(Clone, Copy)]
pub struct Node<'t> {
    pub(crate) tree: &'t Tree<'t>,
    pub(crate) index: usize,
}

/// A pointer to a node with arguments, as in `clocks = <&oscillator 1>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'t> {
    /// The node.
    pub node: Node<'t>,
    /// The arguments; that node says how many there are and what they mean.
    pub arguments: Cells,
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.tree.blob, other.tree.blob) && self.index == other.index
    }
}

impl Eq for Node<'_> {}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

impl<'t> Node<'t> {
    /// Position in [`Tree::nodes`].
    pub fn index(self) -> usize {
        self.index
    }

    /// Name with unit address, as in `serial@7e201000`. The root's is empty.
    pub fn name(self) -> &'t str {
        self.record().map_or("", |record| record.name)
    }

    /// Full path, as in `/soc/serial@7e201000`.
    pub fn path(self) -> String {
        let mut names: Vec<_> = self.line().map(Self::name).collect();
        names.reverse();
        if names.len() == 1 { "/".to_string() } else { names.join("/") }
    }

    /// The damage to the structure of this node, if there is any. What could be read of it is there nevertheless.
    pub fn damage(self) -> Option<Error> {
        let (offset, problem) = self.record()?.damage?;
        Some(Error::Damaged { path: self.path(), offset, problem })
    }

    /// The parent; the root has none.
    pub fn parent(self) -> Option<Node<'t>> {
        let index = self.record()?.parent;
        (index != self.index).then_some(Self { index, ..self })
    }

    /// The children in order.
    pub fn children(self) -> impl Iterator<Item = Node<'t>> {
        let end = self.record().map_or(0, |record| record.end);
        iter::successors(Some(self.index + 1), move |index| self.tree.structure.nodes.get(*index).map(|node| node.end))
            .take_while(move |index| *index < end)
            .map(move |index| Self { index, ..self })
    }

    /// The child of this name; without a unit address, the first child of this name with any.
    pub fn child(self, name: &str) -> Option<Node<'t>> {
        let is_wanted = |child: &Self| {
            child.name().strip_prefix(name).is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'@', ..]))
        };
        self.children().find(is_wanted)
    }

    /// The properties in order, names and values.
    pub fn properties(self) -> impl Iterator<Item = (&'t str, &'t [u8])> {
        self.raw_properties().iter().map(|(name, value)| (str::from_utf8(name).unwrap_or_default(), *value))
    }

    /// The value of a property.
    pub fn property(self, name: &str) -> Option<&'t [u8]> {
        self.tree.structure.property(self.record()?, name.as_bytes())
    }

    /// Whether this node and all above it are enabled: `status` is `okay` or `ok`, or missing.
    pub fn is_enabled(self) -> bool {
        self.line().all(|node| matches!(node.property("status"), None | Some(b"okay\0" | b"ok\0")))
    }

    /// `compatible`, the most specific first. Empty when missing.
    pub fn compatible(self) -> Result<impl Iterator<Item = &'t str> + Clone + use<'t>, Error> {
        self.strings("compatible")
    }

    /// A property that is one cell.
    pub fn u32(self, name: &str) -> Result<Option<u32>, Error> {
        match self.property(name) {
            Some(value) if value.len() == 4 => Ok(Some(cells::number(value) as u32)),
            Some(value) => Err(self.wrong_size(name, "4 bytes", value)),
            None => Ok(None),
        }
    }

    /// A property that is a number of one or two cells.
    pub fn u64(self, name: &str) -> Result<Option<u64>, Error> {
        match self.property(name) {
            Some(value) if matches!(value.len(), 4 | 8) => Ok(Some(cells::number(value))),
            Some(value) => Err(self.wrong_size(name, "4 or 8 bytes", value)),
            None => Ok(None),
        }
    }

    /// A property that is one string.
    pub fn string(self, name: &str) -> Result<Option<&'t str>, Error> {
        match self.text(name)? {
            Some(text) if text.contains('\0') => Err(self.wrong(name, "one string", format!("{text:?}"))),
            text => Ok(text),
        }
    }

    /// A property that is a list of strings, like `reg-names`, `interrupt-names` and `clock-names`. Empty when missing.
    pub fn strings(self, name: &str) -> Result<impl Iterator<Item = &'t str> + Clone + use<'t>, Error> {
        Ok(self.text(name)?.into_iter().flat_map(|text| text.split('\0')))
    }

    /// A property that is a list of cells. Empty when missing.
    pub fn cells(self, name: &str) -> Result<impl Iterator<Item = u32> + Clone + use<'t>, Error> {
        let value = self.property(name).unwrap_or_default();
        if !value.len().is_multiple_of(4) {
            return Err(self.wrong_size(name, "a multiple of 4 bytes", value));
        }
        Ok(cells::cells(value))
    }

    /// A property that is a list of references, each to a node that gives the number of arguments in its property
    /// `count`: `references("clocks", "#clock-cells")`. Empty when missing.
    pub fn references(self, name: &str, count: &str) -> Result<Vec<Reference<'t>>, Error> {
        let value = self.property(name).unwrap_or_default();
        let mut references = Vec::new();
        let mut rest = value;
        while !rest.is_empty() {
            let short = || self.wrong_size(name, "pointers to nodes with all of their arguments", value);
            let phandle = cells::take(&mut rest, 1).ok_or_else(short)?;
            let node = self.pointed_to(name, cells::number(phandle) as u32)?;
            let arguments = cells::take(&mut rest, node.cell_count(count)?).ok_or_else(short)?;
            references.push(Reference { node, arguments: Cells::read(arguments) });
        }
        Ok(references)
    }

    /// A property that is a list of pointers to nodes, like `pinctrl-0`. Empty when missing.
    pub fn pointers(self, name: &str) -> Result<Vec<Node<'t>>, Error> {
        self.cells(name)?.map(|phandle| self.pointed_to(name, phandle)).collect()
    }

    /// The node to which the one cell of a property points.
    pub fn reference(self, name: &str) -> Result<Option<Node<'t>>, Error> {
        self.u32(name)?.map(|phandle| self.pointed_to(name, phandle)).transpose()
    }

    /// This node, its parent, and so on up to the root.
    pub(crate) fn line(self) -> impl Iterator<Item = Node<'t>> {
        iter::successors(Some(self), |node| node.parent())
    }

    /// The name without the unit address.
    pub(crate) fn base_name(self) -> &'t str {
        let name = self.name();
        name.split_once('@').map_or(name, |(base, _)| base)
    }

    /// A `#...-cells` property that must be there and stay within [`Cells::LIMIT`].
    pub(crate) fn cell_count(self, name: &str) -> Result<usize, Error> {
        match self.u32(name)? {
            Some(count) if count as usize <= Cells::LIMIT => Ok(count as usize),
            Some(count) => Err(self.wrong(name, "at most 8", count.to_string())),
            None => Err(self.wrong(name, "there", "nothing".to_string())),
        }
    }

    pub(crate) fn pointed_to(self, property: &str, phandle: u32) -> Result<Node<'t>, Error> {
        let reference = |()| Error::Reference { path: self.path(), property: property.to_string(), phandle };
        self.tree.by_phandle(phandle).ok_or(()).map_err(reference)
    }

    /// The error of a property whose size is wrong.
    pub(crate) fn wrong_size(self, property: &str, expected: &str, value: &[u8]) -> Error {
        self.wrong(property, expected, format!("{} bytes", value.len()))
    }

    /// The error of a property with the wrong content.
    pub(crate) fn wrong(self, property: &str, expected: &str, found: String) -> Error {
        Error::Property { path: self.path(), property: property.to_string(), expected: expected.to_string(), found }
    }

    /// A property that is text, without its final zero.
    fn text(self, name: &str) -> Result<Option<&'t str>, Error> {
        let Some(value) = self.property(name) else { return Ok(None) };
        let text = value.strip_suffix(b"\0").and_then(|text| str::from_utf8(text).ok());
        let wrong = || {
            let start = value.get(..32).unwrap_or(value);
            self.wrong(name, "text in UTF-8 that ends with a zero byte", format!("'{}'", start.escape_ascii()))
        };
        text.ok_or_else(wrong).map(Some)
    }

    fn raw_properties(self) -> &'t [(&'t [u8], &'t [u8])] {
        let properties = self.record().and_then(|record| self.tree.structure.properties.get(record.properties.clone()));
        properties.unwrap_or_default()
    }

    fn record(self) -> Option<&'t Record<'t>> {
        self.tree.structure.nodes.get(self.index)
    }
}
