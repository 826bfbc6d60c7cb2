//! From bytes to nodes: the header and the structure block (specification, chapter 5), with recovery from damage.

use crate::{Error, cells};
use alloc::vec::Vec;
use core::{ffi::CStr, iter, ops, str};

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const HEADER_SIZE: usize = 40;

/// Nodes deeper than this are damaged: no machine needs them, and walks towards the root stay short.
const DEPTH_LIMIT: usize = 64;

/// Stands in for a name that can't be read.
const UNREADABLE: &str = "(unreadable)";

/// Where the blocks are, in bytes from the beginning of the tree.
pub(crate) struct Header {
    pub total_size: usize,
    pub reservations: usize,
    structure: ops::Range<usize>,
    strings: ops::Range<usize>,
}

impl Header {
    pub fn parse(blob: &[u8]) -> Result<Self, Error> {
        let header = blob.first_chunk::<HEADER_SIZE>();
        let header = header.ok_or(Error::Truncated { expected: HEADER_SIZE, found: blob.len() })?;
        let mut fields = cells::cells(header);
        let mut field = || fields.next().unwrap_or_default();
        let (magic, total_size) = (field(), field() as usize);
        let (structure, strings, reservations) = (field() as usize, field() as usize, field() as usize);
        let (version, compatible_version, _boot_processor) = (field(), field(), field());
        let (strings_size, structure_size) = (field() as usize, field() as usize);

        if magic != MAGIC {
            return Err(Error::Magic { found: magic });
        }
        if version < VERSION || compatible_version > VERSION {
            return Err(Error::Version { found: version.min(VERSION).max(compatible_version) });
        }
        if total_size > blob.len() {
            return Err(Error::Truncated { expected: total_size, found: blob.len() });
        }
        Ok(Self {
            total_size,
            reservations,
            structure: structure..structure.saturating_add(structure_size),
            strings: strings..strings.saturating_add(strings_size),
        })
    }

    pub fn structure<'a>(&self, blob: &'a [u8]) -> Result<&'a [u8], Error> {
        self.block(blob, "structure block", &self.structure)
    }

    pub fn strings<'a>(&self, blob: &'a [u8]) -> Result<&'a [u8], Error> {
        self.block(blob, "strings block", &self.strings)
    }

    fn block<'a>(&self, blob: &'a [u8], block: &'static str, range: &ops::Range<usize>) -> Result<&'a [u8], Error> {
        let total = self.total_size;
        let tree = blob.get(..total).unwrap_or_default();
        tree.get(range.clone()).ok_or(Error::Block { block, end: range.end, total })
    }
}

/// The properties of `/chosen` as they stand in the tree, for who has no heap for a [`Tree`](crate::Tree) yet: names and
/// values, up to where the tree is damaged.
pub fn chosen(blob: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let tokens = Header::parse(blob).ok().and_then(|header| {
        let (block, strings) = (header.structure(blob).ok()?, header.strings(blob).ok()?);
        Some(Tokens { block, strings })
    });
    let (mut tokens, mut offset, mut depth, mut is_chosen) = (tokens, 0, 0_usize, false);
    iter::from_fn(move || {
        loop {
            let (token, next) = tokens.and_then(|tokens| tokens.at(offset).ok())?;
            offset = next;
            match token {
                Token::Begin(name) => {
                    depth += 1;
                    is_chosen = depth == 2 && name == "chosen";
                }
                Token::Property(name, value) if is_chosen => return Some((name, value)),
                Token::End if !is_chosen && depth > 0 => depth -= 1,
                Token::End | Token::Finish => tokens = None,
                Token::Property(..) | Token::Nothing => {}
            }
        }
    })
}

/// A node as the index keeps it.
pub(crate) struct Record<'a> {
    pub name: &'a str,
    /// Index of the parent; the root's is its own.
    pub parent: usize,
    /// Index of the first node behind this one that is not below it.
    pub end: usize,
    /// Where its properties are in the list of all.
    pub properties: ops::Range<usize>,
    /// The first place in it where the structure block can't be what it should be: the offset, and what is there.
    pub damage: Option<(usize, &'static str)>,
}

/// All nodes in order, with the properties of all.
pub(crate) struct Structure<'a> {
    pub nodes: Vec<Record<'a>>,
    /// Names, which are printable ASCII, and values.
    pub properties: Vec<(&'a [u8], &'a [u8])>,
    /// The positions of each node's properties in that list, sorted by name, and those of one name by position.
    by_name: Vec<u32>,
}

enum Token<'a> {
    Begin(&'a str),
    Property(&'a [u8], &'a [u8]),
    End,
    Nothing,
    Finish,
}

const BEGIN: u32 = 1;
const END: u32 = 2;
const PROPERTY: u32 = 3;
const NOTHING: u32 = 4;
const FINISH: u32 = 9;

/// Long enough for every name in use, and short enough that a name, or a path of 64, costs little to read.
const NAME_LIMIT: usize = 127;

impl<'a> Structure<'a> {
    /// Always gives a root, however damaged the block is.
    pub fn walk(block: &'a [u8], strings: &'a [u8]) -> Self {
        let mut walk = Walk {
            tokens: Tokens { block, strings },
            // Typical sizes: a node takes 150 bytes of the block, a property 30.
            found: Self {
                nodes: Vec::with_capacity(block.len() / 128 + 1),
                properties: Vec::with_capacity(block.len() / 32 + 1),
                by_name: Vec::new(),
            },
            open: Vec::new(),
        };
        let mut offset = 0;
        while offset < block.len() {
            offset = match walk.step(offset) {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(problem) => walk.recover(offset, problem),
            };
        }
        walk.finish()
    }

    /// The value of a node's first property of this name.
    pub fn property(&self, node: &Record<'a>, name: &[u8]) -> Option<&'a [u8]> {
        let by_name = self.by_name.get(node.properties.clone())?;
        let property = |position: &u32| self.properties.get(*position as usize);
        let before = |position: &u32| property(position).is_some_and(|(other, _)| *other < name);
        let first = by_name.get(by_name.partition_point(before))?;
        property(first).filter(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// Sorts what [`Self::property`] searches.
    fn sort(&mut self) {
        let Self { nodes, properties, by_name } = self;
        by_name.extend((0..).take(properties.len()));
        for node in nodes {
            let by_name = by_name.get_mut(node.properties.clone()).unwrap_or_default();
            by_name
                .sort_unstable_by_key(|position| (properties.get(*position as usize).map(|(name, _)| name), *position));
        }
    }

    /// Pairs of phandle and node, in the order of the nodes.
    pub fn phandles(&self) -> Vec<(u32, usize)> {
        let mut phandles = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for (name, value) in self.properties.get(node.properties.clone()).unwrap_or_default() {
                if matches!(*name, b"phandle" | b"linux,phandle") && value.len() == 4 {
                    phandles.push((cells::number(value) as u32, index));
                }
            }
        }
        phandles
    }
}

/// A walk along the structure block.
struct Walk<'a> {
    tokens: Tokens<'a>,
    found: Structure<'a>,
    /// The nodes that have begun and not ended, from the root on.
    open: Vec<usize>,
}

impl<'a> Walk<'a> {
    /// Takes the token at `offset` and gives the offset of the next one; None at the end of the tree.
    fn step(&mut self, offset: usize) -> Result<Option<usize>, &'static str> {
        let (token, next) = self.tokens.at(offset)?;
        let newest = self.found.nodes.len().wrapping_sub(1);
        match token {
            Token::Begin(name) => match (self.found.nodes.is_empty(), self.open.is_empty(), name.is_empty()) {
                // The root's name is empty, and every other's isn't.
                (true, _, true) | (false, false, false) => self.begin(name, offset),
                (_, _, true) => return Err("a node without a name"),
                _ => return Err("a node that is not inside the root"),
            },
            Token::Property(name, value) => match self.open.last() {
                Some(&node) if node == newest => self.property(name, value),
                _ => return Err("a property that is not at the beginning of a node"),
            },
            Token::End => match self.open.as_slice() {
                [] | [_] if !self.tokens.finish_at(next) => return Err("the end of no node"),
                _ => self.end(),
            },
            Token::Nothing => {}
            Token::Finish if self.open.is_empty() && !self.found.nodes.is_empty() => return Ok(None),
            Token::Finish => return Err("the end of the tree inside a node"),
        }
        Ok(Some(next))
    }

    fn begin(&mut self, name: &'a str, offset: usize) {
        let index = self.found.nodes.len();
        let parent = self.open.get(..DEPTH_LIMIT).unwrap_or(&self.open).last().copied().unwrap_or(index);
        let properties = self.found.properties.len();
        self.found.nodes.push(Record {
            name,
            parent,
            end: index + 1,
            properties: properties..properties,
            damage: None,
        });
        self.open.push(index);
        if self.open.len() > DEPTH_LIMIT {
            self.damage(offset, "a node more than 64 levels deep");
        }
    }

    fn property(&mut self, name: &'a [u8], value: &'a [u8]) {
        if let Some(node) = self.found.nodes.last_mut() {
            self.found.properties.push((name, value));
            node.properties.end += 1;
        }
    }

    fn end(&mut self) {
        let end = self.found.nodes.len();
        if let Some(node) = self.open.pop().and_then(|node| self.found.nodes.get_mut(node)) {
            node.end = end;
        }
    }

    /// Notes damage in the innermost open node.
    fn damage(&mut self, offset: usize, problem: &'static str) {
        let node = self.open.last().copied().unwrap_or_default();
        if let Some(node) = self.found.nodes.get_mut(node) {
            node.damage.get_or_insert((offset, problem));
        }
    }

    /// Notes damage at `offset`, where something other than the next token is, and finds a place to go on from.
    ///
    /// It is most likely that one field is wrong and its neighbours aren't. So the place is read as each thing that
    /// it may have been meant to be, and what makes the tokens behind it fit is believed. If nothing does, the search
    /// goes on word by word.
    fn recover(&mut self, offset: usize, problem: &'static str) -> usize {
        if self.found.nodes.is_empty() {
            self.begin("", offset);
            self.damage(offset, problem);
            return self.tokens.resume(offset + 4);
        }
        let tokens = self.tokens;
        let kind = tokens.word(offset);

        let next = tokens.at(offset + 4);
        let ends_before = matches!(next, Ok((Token::Begin(_) | Token::End | Token::Finish, _)));
        if ends_before && kind != Some(END) && self.open.len() > 1 && tokens.fit(offset + 4) {
            self.damage(offset, problem);
            self.end();
            return offset + 4;
        }
        let (size, name) = (tokens.word(offset + 4), tokens.word(offset + 8));
        if let Some(size) = size.filter(|_| kind == Some(PROPERTY) || name.is_some_and(|name| tokens.is_name(name))) {
            let next = (offset + 12).saturating_add(size as usize).next_multiple_of(4);
            if tokens.fit(next) {
                self.damage(offset, problem);
                return next;
            }
        }
        if let Some((name, next)) = tokens.node_name(offset + 4).filter(|_| !self.open.is_empty()) {
            let begins = kind == Some(BEGIN);
            let is_node = match name {
                None => begins,
                Some("") => begins && tokens.fit(next),
                Some(_) => begins || !tokens.is_text(offset) && tokens.fit(next),
            };
            if is_node {
                self.begin(name.filter(|name| !name.is_empty()).unwrap_or(UNREADABLE), offset);
                self.damage(offset, problem);
                return next;
            }
        }
        self.damage(offset, problem);
        tokens.resume(offset + 4)
    }

    fn finish(mut self) -> Structure<'a> {
        let end = self.tokens.block.len();
        if self.found.nodes.is_empty() {
            self.begin("", end);
        }
        if !self.open.is_empty() {
            self.damage(end, "the structure block ends inside the node");
        }
        while !self.open.is_empty() {
            self.end();
        }
        self.found.sort();
        self.found
    }
}

/// The tokens of a structure block, which can be read at any offset that is a multiple of 4.
#[derive(Clone, Copy)]
struct Tokens<'a> {
    block: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// The token at `offset`, and the offset behind it.
    fn at(self, offset: usize) -> Result<(Token<'a>, usize), &'static str> {
        match self.word(offset) {
            Some(BEGIN) => match self.node_name(offset + 4) {
                Some((Some(name), next)) => Ok((Token::Begin(name), next)),
                _ => Err("the name of a node can't be read"),
            },
            Some(PROPERTY) => {
                let size = self.word(offset + 4).ok_or("a property without a size")? as usize;
                let name = self.word(offset + 8).and_then(|name| self.string(name));
                let name = name.ok_or("the name of a property can't be read")?;
                let value = self.block.get(offset + 12..).and_then(|rest| rest.get(..size));
                let value = value.ok_or("a property is larger than what is left of the tree")?;
                Ok((Token::Property(name, value), (offset + 12 + size).next_multiple_of(4)))
            }
            Some(END) => Ok((Token::End, offset + 4)),
            Some(NOTHING) => Ok((Token::Nothing, offset + 4)),
            Some(FINISH) => Ok((Token::Finish, offset + 4)),
            Some(_) => Err("what is there begins no node and no property, and ends none"),
            None => Err("the structure block ends inside the node"),
        }
    }

    /// Whether three tokens from `offset` on, or all up to the end of the block, can follow each other.
    fn fit(self, mut offset: usize) -> bool {
        let mut after_end = false;
        for _ in 0..3 {
            match self.at(offset) {
                Ok((Token::Finish, next)) => return next == self.block.len(),
                Ok((Token::Begin(""), _)) | Err(_) => return false,
                Ok((Token::Property(..), _)) if after_end => return false,
                Ok((token, next)) => {
                    after_end = matches!(token, Token::End);
                    offset = next;
                }
            }
        }
        true
    }

    /// Whether nothing but the end of the tree comes at `offset`.
    fn finish_at(self, mut offset: usize) -> bool {
        while self.word(offset) == Some(NOTHING) {
            offset += 4;
        }
        self.word(offset) == Some(FINISH)
    }

    /// The first offset from `offset` on where tokens fit, or the end of the block.
    fn resume(self, offset: usize) -> usize {
        (offset..self.block.len()).step_by(4).find(|offset| self.fit(*offset)).unwrap_or(self.block.len())
    }

    fn word(self, offset: usize) -> Option<u32> {
        self.block.get(offset..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
    }

    /// Whether the word at `offset` looks like a part of a value that is text.
    fn is_text(self, offset: usize) -> bool {
        let word = self.block.get(offset..).and_then(<[u8]>::first_chunk::<4>);
        word.is_some_and(|word| word[0] != 0 && word.iter().all(|byte| byte.is_ascii_graphic() || *byte == 0))
    }

    /// The name of a node, None when it isn't readable or is too long, and the offset behind it.
    fn node_name(self, offset: usize) -> Option<(Option<&'a str>, usize)> {
        let name = CStr::from_bytes_until_nul(self.block.get(offset..)?).ok()?;
        let next = (offset + name.count_bytes() + 1).next_multiple_of(4);
        let is_readable = |byte: &u8| byte.is_ascii_graphic() && *byte != b'/';
        let is_name = |name: &&str| name.len() <= NAME_LIMIT && name.as_bytes().iter().all(is_readable);
        Some((str::from_utf8(name.to_bytes()).ok().filter(is_name), next))
    }

    /// The name of a property, at an offset in the strings block.
    fn string(self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        let rest = rest.get(..=NAME_LIMIT).unwrap_or(rest);
        let length = rest.iter().position(|byte| !byte.is_ascii_graphic())?;
        let (name, end) = rest.split_at(length);
        (!name.is_empty() && end.first() == Some(&0)).then_some(name)
    }

    /// Whether the name of a property begins at this offset of the strings block. (It may also begin inside another
    /// name that it is the end of, but then a number that means something else looks like one too often.)
    fn is_name(self, offset: u32) -> bool {
        let before = (offset as usize).checked_sub(1).and_then(|before| self.strings.get(before));
        matches!(before, None | Some(0)) && self.string(offset).is_some()
    }
}
