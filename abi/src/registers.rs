//! Memory-mapped registers behind safe types.
//!
//! A driver describes its device's registers with [`registers!`](crate::registers!), in the notation of the crate
//! `tock-registers`, and gets them mapped from [`Resources::registers`](crate::Resources::registers).

use crate::registry::ProviderId;
use crate::{Error, Result, kernel};
use alloc::format;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
pub use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};
use tock_registers::{RegisterLongName, UIntLike};

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be laid over a device's registers",
    note = "describe them with `abi::registers!`"
)]
/// A struct that may be laid over a device's registers.
///
/// # Safety
/// Any bytes must be a valid value, every field that is read or written must be a [`RegisterCell`], and the alignment
/// must be at most 16. [`registers!`](crate::registers!) checks all this and is the way to implement it.
pub unsafe trait RegisterBlock: 'static {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` is no register: `ReadOnly`, `WriteOnly`, `ReadWrite`, or an array of them"
)]
/// A field of a register block: one register, or an array of them.
///
/// # Safety
/// Any bytes must be a valid value, and every access must be volatile.
pub unsafe trait RegisterCell {}

// SAFETY: the cells of tock-registers hold an integer and access it with volatile reads and writes only.
unsafe impl<T: UIntLike, R: RegisterLongName> RegisterCell for ReadOnly<T, R> {}
// SAFETY: as above.
unsafe impl<T: UIntLike, R: RegisterLongName> RegisterCell for WriteOnly<T, R> {}
// SAFETY: as above.
unsafe impl<T: UIntLike, R: RegisterLongName> RegisterCell for ReadWrite<T, R> {}
// SAFETY: an array of cells is nothing but cells.
unsafe impl<C: RegisterCell, const N: usize> RegisterCell for [C; N] {}

/// Registers whose layout the driver leaves to somebody else, such as a crate that wants their address.
#[derive(Debug)]
pub struct Opaque(());

// SAFETY: nothing in it can be read or written.
unsafe impl RegisterBlock for Opaque {}

/// Device registers of layout `T`, mapped for as long as this lives.
///
/// Owned: no other driver has them. Dereferences to the layout.
pub struct Registers<T: RegisterBlock> {
    start: NonNull<u8>,
    size: usize,
    mapping: u64,
    layout: PhantomData<T>,
}

// SAFETY: the registers are reached through the same address on every thread, by volatile accesses.
unsafe impl<T: RegisterBlock> Send for Registers<T> {}
// SAFETY: each access through a `RegisterCell` is one volatile load or store, which the device itself orders; a driver
// that has to do several in a row unseen uses a lock, as it would for any hardware.
unsafe impl<T: RegisterBlock> Sync for Registers<T> {}

impl<T: RegisterBlock> Registers<T> {
    /// Maps a node's registers, at least so many bytes.
    pub(crate) fn map(provider: ProviderId, index: usize, least: usize) -> Result<Self> {
        let mapped = kernel::registers_map(provider, index, least)?;
        let registers =
            Self { start: mapped.start, size: mapped.size, mapping: mapped.identifier, layout: PhantomData };
        let (needed, alignment) = (size_of::<T>(), align_of::<T>());
        if mapped.size < needed || mapped.start.addr().get() % alignment != 0 {
            return Err(Error::Invalid(format!(
                "the driver needs {needed:#x} bytes of registers aligned to {alignment}, the node has {:#x} bytes",
                mapped.size
            )));
        }
        Ok(registers)
    }

    /// Where they are mapped, for crates that take an address. Valid as long as `self`.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The same layout again, `offset` bytes further on; none if it isn't mapped there as a whole, or is misaligned.
    pub fn at(&self, offset: usize) -> Option<&T> {
        let end = offset.checked_add(size_of::<T>())?;
        if end > self.size || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: all of it lies within the mapping, `map` checked the alignment of its start, any bytes are a valid
        // `T`, and the mapping lives as long as `self`.
        Some(unsafe { self.start.add(offset).cast().as_ref() })
    }

    /// How many bytes are mapped.
    pub fn size(&self) -> usize {
        self.size
    }
}

impl<T: RegisterBlock> Deref for Registers<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `map` checked size and alignment, any bytes are a valid `T`, and the mapping lives as long as `self`.
        unsafe { self.start.cast().as_ref() }
    }
}

impl<T: RegisterBlock> Drop for Registers<T> {
    fn drop(&mut self) {
        // SAFETY: all borrows of the registers end with `self`, and this is the mapping that `map` made.
        unsafe { kernel::registers_unmap(self.mapping) }
    }
}

/// Describes a device's registers, in the notation of `tock_registers::register_structs!`; checks that each is a
/// register cell.
///
/// ```
/// use abi::registers::{ReadOnly, WriteOnly};
///
/// abi::registers! {
///     Layout {
///         (0x000 => data: ReadOnly<u32>),
///         (0x004 => _reserved),
///         (0x008 => load: WriteOnly<u32>),
///         (0x00c => @END),
///     }
/// }
/// # fn main() {}
/// ```
///
/// Anything else than a register is refused:
///
/// ```compile_fail,E0277
/// abi::registers! {
///     Layout {
///         (0x000 => data: &'static str),
///         (0x010 => @END),
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
#[allow_internal_unsafe]
macro_rules! registers {
    ($(#[$attribute:meta])* $visibility:vis $name:ident { $($fields:tt)* }) => {
        $crate::tock_registers::register_structs! {
            $(#[$attribute])* $visibility $name { $($fields)* }
        }

        // SAFETY: `register_structs!` makes a `repr(C)` struct of the fields and of padding bytes; that each field is
        // a register cell is checked below, so any bytes are valid.
        unsafe impl $crate::registers::RegisterBlock for $name {}

        const _: () = {
            #[allow(dead_code, reason = "a check at compile time")]
            fn is_cell<C: $crate::registers::RegisterCell>() {}
            #[allow(dead_code, reason = "a check at compile time")]
            fn check() {
                $crate::registers!(@check $($fields)*);
            }
        };
    };
    (@check ($offset:expr => @END) $(,)?) => {};
    (@check ($offset:expr => $padding:ident), $($rest:tt)*) => {
        $crate::registers!(@check $($rest)*);
    };
    (@check ($offset:expr => $(#[$attribute:meta])* $visibility:vis $field:ident: $type:ty), $($rest:tt)*) => {
        is_cell::<$type>();
        $crate::registers!(@check $($rest)*);
    };
}
