//! What a function wants done when one of its calls is unwound.

use crate::tables::{Bytes, Description};
use crate::{Error, Tables};
use gimli::{LittleEndian, Pointer, Reader};

/// What is done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: on to its caller.
    None,
    /// Its code at this address runs, and goes on to unwind the caller.
    Cleanup(u64),
    /// It must not be unwound.
    Refuse,
}

/// `DW_EH_PE_omit` and `DW_EH_PE_uleb128` (Linux Standard Base 5.0, "DWARF Extensions").
const OMITTED: u8 = 0xff;
const ULEB128: u8 = 0x01;

/// What the function of `entry` wants done when the call with the byte at `address` is unwound.
pub fn find(tables: &Tables<'_>, entry: &Description<'_>, address: u64) -> Result<Action, Error> {
    let damaged = |reason| Error::BadTables { address, reason };
    let bytes = match entry.lsda() {
        None => return Ok(Action::None),
        Some(Pointer::Direct(place)) => tables.actions.from(place),
        Some(Pointer::Indirect(_)) => None,
    };
    let bytes = bytes.ok_or(damaged(gimli::Error::OffsetOutOfBounds(0)))?;
    read(Bytes::new(bytes, LittleEndian), entry.initial_address(), address).map_err(damaged)
}

/// Reads a function's table (Itanium C++ ABI, "Exception Handling Tables", "The LSDA Format").
fn read(mut table: Bytes<'_>, function: u64, address: u64) -> gimli::Result<Action> {
    let encoding = |encoding: u8| gimli::Error::UnknownPointerEncoding(gimli::DwEhPe(encoding));
    // Landing pads are relative to the function unless this says otherwise.
    match table.read_u8()? {
        OMITTED => {}
        other => return Err(encoding(other)),
    }
    // Where the table of types ends: there is one kind of exception, so nothing depends on it.
    if table.read_u8()? != OMITTED {
        table.read_uleb128()?;
    }
    match table.read_u8()? {
        ULEB128 => {}
        other => return Err(encoding(other)),
    }
    let length = table.read_uleb128()?;
    let mut sites = table.split(usize::try_from(length).unwrap_or(usize::MAX))?;
    while !sites.is_empty() {
        let start = function.wrapping_add(sites.read_uleb128()?);
        let size = sites.read_uleb128()?;
        let landing_pad = sites.read_uleb128()?;
        let action = sites.read_uleb128()?;
        if address.wrapping_sub(start) < size {
            let place = function.wrapping_add(landing_pad);
            return match (landing_pad, action.checked_sub(1)) {
                (0, _) => Ok(Action::None),
                (_, None) => Ok(Action::Cleanup(place)),
                (_, Some(record)) => {
                    table.skip(usize::try_from(record).unwrap_or(usize::MAX))?;
                    // The record's first number: which type is caught, or, if negative, which may pass: none.
                    Ok(if table.read_sleb128()? == 0 { Action::Cleanup(place) } else { Action::Refuse })
                }
            };
        }
    }
    // A call that the compiler takes for one that doesn't unwind.
    Ok(Action::Refuse)
}
