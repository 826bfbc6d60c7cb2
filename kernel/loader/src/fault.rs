//! Why a relocation was not applied, before its place is put in words.

use alloc::{format, string::ToString};

use object::{LittleEndian as LE, elf::Rela64};

use crate::{
    Error, Object, Site,
    relocation::{Misfit, Relocation, Unsupported},
};

/// Why a relocation was not applied.
pub(crate) enum Fault {
    /// The type is not applied.
    Unsupported(Unsupported),
    /// The symbol is not to be had.
    Symbol(Error),
    /// A field of the relocation has a value with which it cannot be applied.
    Unacceptable(&'static str, u64),
    /// The value does not fit.
    Misfit(Misfit, &'static Relocation, i64),
}

impl Fault {
    /// The error of a fault in the section with this number, where the relocation says.
    pub(crate) fn at(self, object: &Object<'_>, section: usize, rela: &Rela64<LE>) -> Error {
        let kind = rela.r_type(LE, false);
        let name = match (Relocation::find(kind), &self) {
            (_, Self::Unsupported(Unsupported { name: Some(name), .. })) => name.to_string(),
            (Ok(Some(relocation)), _) => relocation.name.into(),
            _ => format!("number {kind}"),
        };
        let site = Site {
            relocation: name,
            section: object.section_name(section),
            offset: rela.r_offset.get(LE),
            symbol: object.symbol_label(rela.r_sym(LE, false) as usize),
        };
        let unacceptable = |expected, found| Error::Unacceptable { what: site.to_string(), expected, found };
        match self {
            Self::Symbol(error) => error,
            Self::Unacceptable(expected, found) => unacceptable(expected, found),
            Self::Unsupported(Unsupported { reason, .. }) => Error::UnsupportedRelocation { site, reason },
            Self::Misfit(Misfit::OutOfBounds, ..) => unacceptable("an offset inside its section", site.offset),
            Self::Misfit(Misfit::Misaligned(alignment), _, value) => Error::Misaligned { site, value, alignment },
            Self::Misfit(Misfit::Overflow, relocation, value) => {
                Error::Overflow { site, value, minimum: relocation.minimum, maximum: relocation.maximum }
            }
        }
    }
}
