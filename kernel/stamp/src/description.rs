//! What a crate consists of that kernel and modules share, item by item, so that a module which was built against
//! another version of it can be told which item differs.
//!
//! A description is text, made by the build from the crate's source and compressed (zlib, RFC 1950) into the module's
//! section [`SECTION`]. It says all that code compiled against the crate can depend on, and nothing else: comments,
//! documentation and white space leave it as it is. So a hash of it is the crate's line in the stamp.
//!
//! ```text
//! lockstep-description=1
//! abi::Node|struct
//! |declared||pub
//! |field|path|String
//! |field|irq|u64
//! |layout||32|8|path 0, irq 24
//! ```
//!
//! Here `|` stands for a tabulator. A line that doesn't begin with one names an item: its path and its kind, which is
//! what people call it. The lines behind it are facts about it: a [`Role`], a name (empty when the fact is about the
//! item itself), and the columns that the role has, empty ones at the end left out. Facts stand in the order of the
//! source, items in that of their paths.
//!
//! What would be long, such as code, is described by a fingerprint: the first 64 bits of a SHA-256 hash.

mod difference;
#[cfg(test)]
mod tests;

pub use difference::{Change, Difference, Side};

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};

/// The name of the section, not loaded into memory, that holds the packed description of `abi`.
pub const SECTION: &str = ".lockstep.abi";

/// The name of the section, not loaded into memory, that holds the packed description of a module which others are
/// linked against: in that module what it is, in the others what they were linked against.
pub fn section_of_library(module: &str) -> String {
    alloc::format!(".lockstep.library.{module}")
}

/// The first line of a description.
const HEAD: &str = "lockstep-description=1";

/// More than any build writes, in bytes of unpacked text. Unpacking allocates at most twice as much at a time.
pub const LARGEST: usize = 128 << 10;

/// More facts than any item has. The time that comparing two items takes grows with the square of this.
pub const MOST_FACTS: usize = 256;

/// What a fact is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// How the item is declared: its attributes, as far as they matter, visibility and qualifiers. One column.
    Declared,
    /// The item's generic parameters and its `where` clause. One column.
    Generics,
    /// The head of the `impl` block that an inherent item stands in, if that is generic. One column.
    Within,
    /// What a trait is built upon. One column.
    Supertraits,
    /// A field of a struct or union. Columns: type, declaration.
    Field,
    /// A variant of an enum. Columns: contents, discriminant, declaration.
    Variant,
    /// The item itself, a function. Columns: declaration, generic parameters, fingerprint of its code (none for a
    /// function that is only declared), type of the result, types of the arguments.
    Function,
    /// A function in a trait or an implementation of one. Columns as of [`Function`](Self::Function).
    Method,
    /// An alias, or a type in a trait or an implementation of one. Columns: type, bounds, declaration.
    Type,
    /// A constant or static. Columns: type, value, declaration.
    Constant,
    /// What an import stands for. Columns: path, declaration.
    Import,
    /// What a type derives. Columns: names of traits, fingerprint of the code.
    Derived,
    /// How values lie in memory, of a type without generic parameters. Columns: size in bytes, alignment in bytes,
    /// offsets of the fields.
    Layout,
    /// The fingerprint of what has no finer description, such as the rules of a macro. One column.
    Code,
    /// The fingerprint of the order of a crate's implementations, which compiled names contain. One column.
    Order,
}

impl Role {
    const ALL: [Self; 15] = [
        Self::Declared,
        Self::Generics,
        Self::Within,
        Self::Supertraits,
        Self::Field,
        Self::Variant,
        Self::Function,
        Self::Method,
        Self::Type,
        Self::Constant,
        Self::Import,
        Self::Derived,
        Self::Layout,
        Self::Code,
        Self::Order,
    ];

    /// The role's word, in a description and in sentences.
    pub fn word(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Generics => "generics",
            Self::Within => "within",
            Self::Supertraits => "supertraits",
            Self::Field => "field",
            Self::Variant => "variant",
            Self::Function => "function",
            Self::Method => "method",
            Self::Type => "type",
            Self::Constant => "constant",
            Self::Import => "import",
            Self::Derived => "derived",
            Self::Layout => "layout",
            Self::Code => "code",
            Self::Order => "order",
        }
    }

    fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// One item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Item<'d> {
    path: &'d str,
    kind: &'d str,
    facts: &'d str,
}

impl<'d> Item<'d> {
    /// Takes the first item off a text without its head.
    fn take(text: &mut &'d str) -> Option<Self> {
        let (line, after) = text.split_once('\n')?;
        let facts = after.split_inclusive('\n').take_while(|line| line.starts_with('\t')).map(str::len).sum();
        let (facts, rest) = after.split_at(facts);
        *text = rest;
        let (path, kind) = line.split_once('\t').unwrap_or((line, ""));
        Some(Self { path, kind, facts })
    }

    /// What decides the place of an item. As in Rust, a type and a function may have the same path.
    fn key(&self) -> (&'d str, u8) {
        let namespace = match self.kind {
            "function" | "constant" | "static" => 1,
            "macro" => 2,
            "implementation" => 3,
            "import" => 4,
            _ => 0,
        };
        (self.path, namespace)
    }

    fn facts(&self) -> impl Iterator<Item = Fact<'d>> + Clone + use<'d> {
        self.facts.lines().filter_map(Fact::parse)
    }
}

/// One fact about an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fact<'d> {
    role: Role,
    name: &'d str,
    columns: &'d str,
}

impl<'d> Fact<'d> {
    fn parse(line: &'d str) -> Option<Self> {
        let (word, rest) = line.strip_prefix('\t')?.split_once('\t')?;
        let (name, columns) = rest.split_once('\t').unwrap_or((rest, ""));
        Some(Self { role: Role::named(word)?, name, columns })
    }

    /// The same fact without content, which is what an item's lack of a fact about itself means: no parameters, say.
    fn empty(self) -> Self {
        Self { columns: "", ..self }
    }

    fn column(&self, index: usize) -> &'d str {
        self.columns.split('\t').nth(index).unwrap_or_default()
    }
}

/// A description that has been checked for its form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    text: String,
}

impl Description {
    /// Makes a description of its items, each the text of its own line and of its facts' lines.
    ///
    /// # Errors
    ///
    /// When the items do not make a description that [`parse`](Self::parse) accepts.
    pub fn new(mut items: Vec<String>) -> Result<Self, Error> {
        fn place(text: &str) -> (Option<(&str, u8)>, &str) {
            (Item::take(&mut { text }).map(|item| item.key()), text)
        }
        items.sort_by(|one, other| place(one).cmp(&place(other)));
        let mut text = String::from(HEAD);
        text.push('\n');
        text.extend(items);
        Self::parse(text)
    }

    /// Reads a description.
    ///
    /// # Errors
    ///
    /// When the text is no description: too long, another first line, a line of another form, an item out of its
    /// order, or one with more than [`MOST_FACTS`] facts.
    pub fn parse(text: String) -> Result<Self, Error> {
        if text.len() > LARGEST {
            return Err(Error::TooLong);
        }
        if text.lines().next() != Some(HEAD) || !text.ends_with('\n') {
            return Err(Error::Format);
        }
        let description = Self { text };
        let mut line = 2;
        let mut last = None;
        for item in description.items() {
            if item.path.is_empty() || item.kind.is_empty() {
                return Err(Error::Line { line });
            }
            if last > Some(item.key()) {
                return Err(Error::Order { line });
            }
            last = Some(item.key());
            line += 1;
            let facts = item.facts.lines().count();
            if facts > MOST_FACTS {
                return Err(Error::ManyFacts { line });
            }
            if let Some(index) = item.facts.lines().position(|line| Fact::parse(line).is_none()) {
                return Err(Error::Line { line: line + index });
            }
            line += facts;
        }
        Ok(description)
    }

    /// Reads a packed description from the bytes of a module's section or of the kernel's own copy.
    ///
    /// # Errors
    ///
    /// When the bytes don't unpack to at most [`LARGEST`] bytes of text, and as [`parse`](Self::parse).
    pub fn unpack(bytes: &[u8]) -> Result<Self, Error> {
        let text = decompress_to_vec_zlib_with_limit(bytes, LARGEST).map_err(|error| match error.status {
            TINFLStatus::HasMoreOutput => Error::TooLong,
            _ => Error::Packing,
        })?;
        Self::parse(String::from_utf8(text).map_err(|error| Error::NoText(error.utf8_error().valid_up_to()))?)
    }

    /// Compresses the description for a module's section.
    pub fn pack(&self) -> Vec<u8> {
        compress_to_vec_zlib(self.text.as_bytes(), 10)
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// In what the crate that a module was built against differs from the one that the kernel was built with. What
    /// tells most comes first: a changed type, trait or signature before the code that follows from it.
    pub fn differences<'d>(&'d self, kernel: &'d Self) -> impl Iterator<Item = Difference<'d>> {
        difference::between(self, kernel)
    }

    fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let mut rest = self.text.split_once('\n').map_or("", |(_, items)| items);
        core::iter::from_fn(move || Item::take(&mut rest))
    }
}

/// Why some bytes are no description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// There are more than [`LARGEST`] bytes of text.
    TooLong,
    /// The bytes are not what zlib packs.
    Packing,
    /// The unpacked bytes are no UTF-8 from this offset on.
    NoText(usize),
    /// The first line is another, or the last line has no end.
    Format,
    /// A line is neither an item nor a fact.
    Line {
        /// The line's number, counted from 1.
        line: usize,
    },
    /// An item should stand before the one that precedes it.
    Order {
        /// The line's number, counted from 1.
        line: usize,
    },
    /// An item has more than [`MOST_FACTS`] facts.
    ManyFacts {
        /// The number of the first fact's line, counted from 1.
        line: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the description has more than {LARGEST} bytes, and no build writes that much"),
            Self::Packing => write!(f, "the description is not packed as zlib does it"),
            Self::NoText(offset) => write!(f, "the description is not text: its byte {offset} is no UTF-8"),
            Self::Format => write!(f, "the description does not begin with the line \"{HEAD}\", or ends within a line"),
            Self::Line { line } => write!(f, "line {line} of the description is neither an item nor a fact"),
            Self::Order { line } => write!(f, "line {line} of the description names an item out of its order"),
            Self::ManyFacts { line } => {
                write!(f, "line {line} of the description begins more than {MOST_FACTS} facts about one item")
            }
        }
    }
}

impl core::error::Error for Error {}
