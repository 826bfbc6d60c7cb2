//! The lockstep stamp: what a module and a kernel must have in common before their Rust types may meet.
//!
//! Rust has no stable layout, and a mangled name does not change when a struct does. So whoever builds a kernel or a
//! module writes down what it was built from, and the loader compares the two texts before it links anything. A stamp
//! is plain text of `key=value` lines, in the module's section [`SECTION`] (`readelf -p .lockstep.stamp module.o`):
//!
//! ```text
//! format=1
//! compiler=rustc 1.96.0 ac68faa20c58cbccd01ee7208bf3b6e93a7d7f96
//! target=aarch64-kernel 6c1f0d3a9e5b7742
//! panic-strategy=unwind
//! crate core=bdf9e06bc97b373a298acff2a7e6215a
//! crate abi=994b1fc56d7341be40fc670f9d3fa8b7
//! ```
//!
//! The value of a `crate` line is the hash that rustc itself keeps of that crate (its *strict version hash*), as
//! recorded in the metadata of what was compiled against it.
#![no_std]

extern crate alloc;

pub mod description;

use alloc::string::String;
use core::fmt;

/// The name of the section, not loaded into memory, that holds a module's stamp.
pub const SECTION: &str = ".lockstep.stamp";

/// The version of this format; the value of a stamp's first line, `format=`.
pub const FORMAT: &str = "1";

/// More than any build writes, in bytes: a stamp beyond it is refused before it is read.
pub const LARGEST: usize = 8192;

/// A stamp that has been checked for its form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp<'a> {
    text: &'a str,
}

impl<'a> Stamp<'a> {
    /// Reads a stamp from the bytes of a module's section or of the kernel's own copy.
    ///
    /// # Errors
    ///
    /// When the bytes are no stamp: too long, no UTF-8, a first line other than `format=`, a line that is no
    /// `key=value`, or a key that occurs twice.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() > LARGEST {
            return Err(Error::TooLong(bytes.len()));
        }
        let text = core::str::from_utf8(bytes).map_err(|error| Error::NoText(error.valid_up_to()))?;
        let stamp = Self { text };
        for (index, line) in lines(text).enumerate() {
            let Some((key, value)) = line.split_once('=') else {
                return Err(Error::NoEntry { line: index + 1 });
            };
            if index == 0 && (key != "format" || value != FORMAT) {
                return Err(Error::Format);
            }
            if stamp.entries().take(index).any(|(other, _)| other == key) {
                return Err(Error::Twice { line: index + 1 });
            }
        }
        if text.is_empty() { Err(Error::Format) } else { Ok(stamp) }
    }

    /// The whole text, as it stands in the section.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The entries in their order, the first being `format`.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        lines(self.text).filter_map(|line| line.split_once('='))
    }

    /// The value of `key`, if the stamp has it.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.entries().find(|(other, _)| *other == key).map(|(_, value)| value)
    }

    /// What keeps a module with this stamp from being linked into a kernel with the stamp `kernel`; nothing when the
    /// two are in lockstep.
    pub fn differences<'b>(&'b self, kernel: &'b Stamp<'a>) -> impl Iterator<Item = Difference<'a>> + use<'a, 'b> {
        let changed = self.entries().filter_map(|(key, module)| {
            let kernel = kernel.get(key);
            (kernel != Some(module)).then_some(Difference { key, module: Some(module), kernel })
        });
        let missing = kernel.entries().filter(|(key, _)| self.get(key).is_none()).map(|(key, kernel)| Difference {
            key,
            module: None,
            kernel: Some(kernel),
        });
        // Two equal texts, the usual case, are compared as bytes and not line by line.
        let equal = self.text == kernel.text;
        changed.chain(missing).take_while(move |_| !equal)
    }
}

/// The lines of a text. A carriage return has no meaning of its own, unlike with [`str::lines`].
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_terminator('\n')
}

/// Writes the text of a stamp from its entries (without `format`, which is put first).
///
/// # Errors
///
/// When the entries do not make a stamp that [`Stamp::parse`] accepts, for instance for a value with a line break.
pub fn write<'e>(entries: impl IntoIterator<Item = (&'e str, &'e str)>) -> Result<String, Error> {
    let mut text = String::new();
    let mut count = 0;
    for (key, value) in core::iter::once(("format", FORMAT)).chain(entries) {
        text.extend([key, "=", value, "\n"]);
        count += 1;
    }
    let stamp = Stamp::parse(text.as_bytes())?;
    if stamp.entries().count() != count {
        return Err(Error::NoEntry { line: count + 1 });
    }
    Ok(text)
}

/// One entry in which a module's stamp and the kernel's disagree. Its `Display` is a clause for a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference<'a> {
    /// The key of the entry, such as `compiler` or `crate abi`.
    pub key: &'a str,
    /// The module's value; `None` when its stamp has no such entry.
    pub module: Option<&'a str>,
    /// The kernel's value; `None` when its stamp has no such entry.
    pub kernel: Option<&'a str>,
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key;
        match (key.strip_prefix("crate "), self.module, self.kernel) {
            (Some(name), Some(module), Some(kernel)) => {
                write!(f, "the module was built against {name} {module}, this kernel against {name} {kernel}")
            }
            (Some(name), Some(_), _) => {
                write!(f, "the module was built against a crate {name} that this kernel does not share with modules")
            }
            (Some(name), None, _) => write!(f, "the module does not say which {name} it was built against"),
            (None, Some(module), Some(kernel)) => {
                write!(f, "the module was built with {key} \"{module}\", this kernel with {key} \"{kernel}\"")
            }
            (None, Some(module), None) => {
                write!(f, "the module was built with {key} \"{module}\", of which this kernel's stamp says nothing")
            }
            (None, None, _) => write!(f, "the module does not say with which {key} it was built"),
        }
    }
}

/// Why some bytes are no stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// There are more than [`LARGEST`] bytes: this many.
    TooLong(usize),
    /// The bytes are no UTF-8 from this offset on.
    NoText(usize),
    /// The first line is not `format=1`.
    Format,
    /// A line is not of the form `key=value`.
    NoEntry {
        /// The line's number, counted from 1.
        line: usize,
    },
    /// A line repeats a key.
    Twice {
        /// The line's number, counted from 1.
        line: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(size) => write!(f, "the stamp has {size} bytes, and no build writes more than {LARGEST}"),
            Self::NoText(offset) => write!(f, "the stamp is not text: its byte {offset} is no UTF-8"),
            Self::Format => write!(f, "the stamp does not begin with the line \"format={FORMAT}\""),
            Self::NoEntry { line } => write!(f, "line {line} of the stamp is not of the form key=value"),
            Self::Twice { line } => write!(f, "line {line} of the stamp repeats a key"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec::Vec};

    const KERNEL: &str = "format=1\ncompiler=rustc 1.96.0\npanic-strategy=unwind\ncrate abi=5678\n";

    fn differences(module: &str) -> Vec<String> {
        let (module, kernel) = (Stamp::parse(module.as_bytes()).unwrap(), Stamp::parse(KERNEL.as_bytes()).unwrap());
        module.differences(&kernel).map(|difference| difference.to_string()).collect()
    }

    #[test]
    fn the_same_stamp_has_no_differences() {
        assert_eq!(differences(KERNEL), Vec::<String>::new());
        let reordered = "format=1\ncrate abi=5678\ncompiler=rustc 1.96.0\npanic-strategy=unwind\n";
        assert_eq!(differences(reordered), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_a_sentence_with_both_values() {
        assert_eq!(
            differences("format=1\ncompiler=rustc 1.95.0\npanic-strategy=unwind\ncrate abi=1234\n"),
            [
                "the module was built with compiler \"rustc 1.95.0\", this kernel with compiler \"rustc 1.96.0\"",
                "the module was built against abi 1234, this kernel against abi 5678",
            ]
        );
    }

    #[test]
    fn what_only_one_side_names_is_a_difference() {
        assert_eq!(
            differences("format=1\ncompiler=rustc 1.96.0\ncrate abi=5678\ncrate log=9\n"),
            [
                "the module was built against a crate log that this kernel does not share with modules",
                "the module does not say with which panic-strategy it was built",
            ]
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let text = write([("compiler", "rustc 1.96.0"), ("panic-strategy", "unwind"), ("crate abi", "5678")]).unwrap();
        assert_eq!(text, KERNEL);
        assert_eq!(Stamp::parse(text.as_bytes()).unwrap().get("crate abi"), Some("5678"));
        assert!(write([("compiler", "a\nb=c")]).is_err());
        assert!(write([("compiler", "a"), ("compiler", "b")]).is_err());
    }

    #[test]
    fn what_is_no_stamp_is_refused() {
        let refused: [(&[u8], Error); 6] = [
            (b"", Error::Format),
            (b"compiler=rustc\n", Error::Format),
            (b"format=2\n", Error::Format),
            (b"format=1\nnothing\n", Error::NoEntry { line: 2 }),
            (b"format=1\na=1\na=2\n", Error::Twice { line: 3 }),
            (b"format=1\n\xff\n", Error::NoText(9)),
        ];
        for (bytes, error) in refused {
            assert_eq!(Stamp::parse(bytes), Err(error));
        }
        assert_eq!(Stamp::parse(&[b'a'; LARGEST + 1]), Err(Error::TooLong(LARGEST + 1)));
    }
}
