//! What a module says of itself, read without linking it.
//!
//! A module's section `.modinfo` holds strings `key=value`, each ended by a zero byte, as Linux's modules have it. The
//! keys are `name`, `summary`, `license`, `version`, and `compatible` and `class` as often as the module has any.
//! The section is not loaded into memory.

use core::fmt;

use crate::{Error, Object, object::MODINFO};

/// What a module says of itself.
#[derive(Clone, Copy)]
pub struct ModuleInformation<'a>(Object<'a>);

impl<'a> ModuleInformation<'a> {
    /// Reads and checks the sections `.modinfo` of an object; one that has none says nothing of itself.
    ///
    /// # Errors
    ///
    /// [`Error::Unacceptable`] for a string that is not UTF-8 text of the form `key=value`.
    pub fn of(object: &Object<'a>) -> Result<Self, Error> {
        match strings(*object).position(|string| parse(string).is_none()) {
            None => Ok(Self(*object)),
            Some(number) => Err(Error::Unacceptable {
                what: "section `.modinfo`".into(),
                expected: "strings `key=value` of UTF-8 text, but the one with this number is not",
                found: number as u64,
            }),
        }
    }

    /// All keys and values, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        strings(self.0).filter_map(parse)
    }

    /// The first value of a key.
    pub fn value(&self, key: &str) -> Option<&'a str> {
        self.values(key).next()
    }

    /// All values of a key, in the order of the file.
    pub fn values<'k>(&self, key: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        self.entries().filter(move |&(found, _)| found == key).map(|(_, value)| value)
    }
}

impl fmt::Debug for ModuleInformation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.entries()).finish()
    }
}

/// The strings in all sections `.modinfo`. Empty ones are what alignment put between them.
fn strings<'a>(object: Object<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    object
        .sections()
        .filter(|(_, section)| section.is_named(MODINFO))
        .flat_map(move |(_, section)| object.contents(&section).split(|&byte| byte == 0))
        .filter(|string| !string.is_empty())
}

/// A string's key and value.
fn parse(string: &[u8]) -> Option<(&str, &str)> {
    str::from_utf8(string).ok()?.split_once('=').filter(|(key, _)| !key.is_empty())
}
