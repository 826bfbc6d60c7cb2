//! The index of an initramfs: which module claims which device.
//!
//! A text of lines with two words, like Linux's `modules.alias`: what is claimed, and the module that claims it.
//!
//! ```text
//! # made by the build
//! arm,pl011 arm-pl011
//! virtio,mmio virtio-net
//! service shell
//! service:BlockDevice fat
//! ```
//!
//! The word `service` stands in place of a `compatible` string for modules that start without a device; behind a colon comes
//! the class that a service waits for.

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, str};

/// Where the index is in the archive.
pub const INDEX_PATH: &str = "modules/index";

/// What a module claims that starts without a device.
pub const SERVICE: &str = "service";

/// What a module claims that starts when there is the first of a class.
pub fn service_on(class: &str) -> String {
    [SERVICE, ":", class].concat()
}

/// Which module claims what.
pub struct Index<'a> {
    /// Sorted by what is claimed; claims of the same keep their order in the text.
    claims: Vec<(&'a str, &'a str)>,
    bad_lines: Vec<BadLine>,
}

/// A line of the index that says nothing understandable and was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: usize,
    /// The line, with U+FFFD in place of what isn't UTF-8.
    pub text: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, text } = self;
        write!(f, "line {number} of {INDEX_PATH} should be '<compatible> <module>', found '{text}': it's ignored")
    }
}

/// Several modules that claim the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict<'i> {
    /// The `compatible` string that they claim.
    pub compatible: &'i str,
    claims: &'i [(&'i str, &'i str)],
}

impl<'i> Conflict<'i> {
    /// The modules in the order of the index, two at least.
    pub fn modules(&self) -> impl Iterator<Item = &'i str> + use<'i> {
        self.claims.iter().map(|(_, module)| *module)
    }
}

impl fmt::Display for Conflict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is claimed by several modules: ", self.compatible)?;
        for (position, module) in self.modules().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{module}")?;
        }
        Ok(())
    }
}

impl<'a> Index<'a> {
    /// Reads an index. Lines that can't be understood are left out and listed by [`Index::bad_lines`].
    pub fn parse(text: &'a [u8]) -> Self {
        let mut claims = Vec::new();
        let mut bad_lines = Vec::new();
        for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
            match words(line) {
                Some([claim, module]) => claims.push((claim, module)),
                None if is_blank(line) => {}
                None => bad_lines.push(BadLine { number, text: String::from_utf8_lossy(line).trim().to_string() }),
            }
        }
        claims.sort_by_key(|(claim, _)| *claim);
        Self { claims, bad_lines }
    }

    /// The modules that claim `compatible`, in the order of the index.
    pub fn modules_for(&self, compatible: &str) -> impl Iterator<Item = &'a str> + use<'_, 'a> {
        let start = self.claims.partition_point(|(claim, _)| *claim < compatible);
        let end = self.claims.partition_point(|(claim, _)| *claim <= compatible);
        let claims = self.claims.get(start..end).unwrap_or_default();
        claims.iter().map(|(_, module)| *module)
    }

    /// The modules that start without a device, in the order of the index.
    pub fn services(&self) -> impl Iterator<Item = &'a str> + use<'_, 'a> {
        self.modules_for(SERVICE)
    }

    /// Those that start when there is the first of a class.
    pub fn services_on(&self, class: &str) -> impl Iterator<Item = &'a str> + use<'_, 'a> {
        self.modules_for(&service_on(class))
    }

    /// The lines that were left out.
    pub fn bad_lines(&self) -> &[BadLine] {
        &self.bad_lines
    }

    /// What more than one module claims. The first of them is the one to use.
    pub fn conflicts(&self) -> impl Iterator<Item = Conflict<'_>> {
        self.claims.chunk_by(|(one, _), (other, _)| one == other).filter_map(|claims| match claims {
            [(compatible, _), _, ..] if compatible.split(':').next() != Some(SERVICE) => {
                Some(Conflict { compatible, claims })
            }
            _ => None,
        })
    }
}

/// Exactly two words, the first not the beginning of a comment.
fn words(line: &[u8]) -> Option<[&str; 2]> {
    let mut words = str::from_utf8(line).ok()?.split_whitespace();
    let claim = words.next().filter(|word| !word.starts_with('#'))?;
    let module = words.next()?;
    words.next().is_none().then_some([claim, module])
}

/// Nothing but spaces, or a comment.
fn is_blank(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    line.is_empty() || line.starts_with(b"#")
}

/// The text of an index with these claims (what is claimed, the module), each once, in a fixed order.
pub fn write_index<'a>(claims: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let claims: BTreeSet<_> = claims.into_iter().collect();
    claims.into_iter().flat_map(|(claim, module)| [claim, " ", module, "\n"]).collect()
}
