//! The table of what the kernel exports to modules: made by the build, looked up in constant time.
//!
//! The build lists the names that modules may use, lets [`arrange`] put them in the table's order, and writes that out
//! as Rust source which is compiled into the kernel:
//!
//! ```
//! use loader::exports::{Export, ExportTable};
//!
//! # #[unsafe(no_mangle)] static lockstep_signal: u8 = 0;
//! # #[unsafe(no_mangle)] static _RNvCs1_4core5panic: u8 = 0;
//! # mod generated {
//! # use loader::exports::{Export, ExportTable};
//! unsafe extern "C" {
//!     #[link_name = "lockstep_signal"]
//!     static EXPORT_0: u8;
//!     #[link_name = "_RNvCs1_4core5panic"]
//!     static EXPORT_1: u8;
//! }
//!
//! #[used]
//! pub static EXPORTS: ExportTable = ExportTable {
//!     starts: &[0, 1, 2],
//!     exports: &[
//!         Export { name: "lockstep_signal", address: &raw const EXPORT_0 },
//!         Export { name: "_RNvCs1_4core5panic", address: &raw const EXPORT_1 },
//!     ],
//! };
//! # }
//! # let table = loader::exports::arrange(["lockstep_signal", "_RNvCs1_4core5panic"]).unwrap();
//! # assert_eq!(generated::EXPORTS.starts, table.starts);
//! # assert!(generated::EXPORTS.exports.iter().map(|export| export.name).eq(table.names));
//! # assert!(generated::EXPORTS.find("lockstep_signal").is_some());
//! ```
//!
//! Each symbol is declared as a byte, whatever it is, since only its address is wanted. The attribute `used` and the
//! addresses in the table are what keeps the symbols through link-time optimization.
//!
//! Names are spread over buckets by a hash, and a bucket's exports stand side by side. A look-up hashes the name and
//! compares it in full with the few names of one bucket: a hash alone never decides.

use alloc::{vec, vec::Vec};

/// One symbol that modules may use.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// The name, as the compiler mangled it.
    pub name: &'static str,
    /// Where it is.
    pub address: *const u8,
}

// SAFETY: an `Export` never reads through its pointer; it hands out the number of the address alone.
unsafe impl Sync for Export {}

/// All symbols that modules may use.
#[derive(Clone, Copy, Debug)]
pub struct ExportTable {
    /// The number of each bucket's first export, and behind the last bucket the number of exports. There is a power
    /// of two of buckets.
    pub starts: &'static [u32],
    /// The exports, bucket by bucket.
    pub exports: &'static [Export],
}

impl ExportTable {
    /// The address of the export with this name.
    pub fn find(&self, name: &str) -> Option<u64> {
        let bucket = bucket(name, self.starts.len().checked_sub(1)?);
        let &[start, end] = self.starts.get(bucket..)?.first_chunk()?;
        let candidates = self.exports.get(start as usize..end as usize)?;
        candidates.iter().find(|export| export.name == name).map(|export| export.address.addr() as u64)
    }
}

/// Names in the order of an [`ExportTable`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrangement<'a> {
    /// For [`ExportTable::starts`].
    pub starts: Vec<u32>,
    /// The names for [`ExportTable::exports`].
    pub names: Vec<&'a str>,
}

/// Puts names into the order of an [`ExportTable`]. The result depends on the set of names alone, not on their order.
///
/// # Errors
///
/// A name that is there twice.
pub fn arrange<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Arrangement<'a>, &'a str> {
    let mut names: Vec<_> = names.into_iter().collect();
    let buckets = names.len().next_power_of_two();
    names.sort_by_cached_key(|name| (bucket(name, buckets), *name));
    if let Some(&[twice, _]) = names.array_windows().find(|[name, next]| name == next) {
        return Err(twice);
    }
    let mut starts = vec![0; buckets + 1];
    for name in &names {
        if let Some(next) = starts.get_mut(bucket(name, buckets) + 1) {
            *next += 1;
        }
    }
    let mut total = 0;
    for start in &mut starts {
        total += *start;
        *start = total;
    }
    Ok(Arrangement { starts, names })
}

/// The bucket of a name among `buckets`, a power of two. The hash is FxHash of the name's eight-byte words; what is high
/// in it is mixed best.
fn bucket(name: &str, buckets: usize) -> usize {
    let (words, rest) = name.as_bytes().as_chunks();
    let rest = rest.iter().rfold(0, |word, &byte| word << 8 | u64::from(byte));
    let words = words.iter().map(|&word| u64::from_le_bytes(word)).chain([rest]);
    let hash = words.fold(0_u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95));
    (hash >> 32) as usize & buckets.wrapping_sub(1)
}
