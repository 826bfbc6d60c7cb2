//! Addresses of code in words.

use crate::{memory, modules};
use core::fmt;
use symbols::{Place, Symbols};

/// An address in words: `kernel::binding::bind+0x40`.
pub struct Named(pub usize);

impl fmt::Display for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(address) = self;
        write!(formatter, "{address:#018x} ")?;
        if !memory::image_text().contains(address) {
            return modules::describe(*address, formatter);
        }
        match in_kernel(*address) {
            Some(place) => write!(formatter, "{}+{:#x}", place.function, place.offset),
            None => write!(formatter, "kernel+{:#x}", address - memory::image_text().start),
        }
    }
}

/// The function of the kernel's that has this address.
fn in_kernel(address: usize) -> Option<Place<'static>> {
    let offset = address.checked_sub(memory::image_text().start)?;
    Symbols::parse(memory::image_appendix())?.find(u32::try_from(offset).ok()?)
}

/// Whether an address is in one of the functions that end in the panic handler.
pub fn is_panicking(address: usize) -> bool {
    memory::image_text().contains(&address)
        && in_kernel(address).is_some_and(|place| place.function.starts_with("core::panicking::"))
}
