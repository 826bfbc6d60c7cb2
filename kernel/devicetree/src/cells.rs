use core::{fmt, ops::Deref};

/// A few cells, 32 bits each: an interrupt specifier, the arguments of a reference. Dereferences to `[u32]`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cells {
    cells: [u32; Self::LIMIT],
    length: usize,
}

impl Cells {
    /// No binding in use has more.
    pub const LIMIT: usize = 8;

    /// The cells in `bytes`; what is beyond [`Self::LIMIT`] is left out.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        cells(bytes).collect()
    }
}

impl FromIterator<u32> for Cells {
    /// Of more than [`Cells::LIMIT`] cells the first count.
    fn from_iter<T: IntoIterator<Item = u32>>(values: T) -> Self {
        let mut this = Self { cells: [0; Self::LIMIT], length: 0 };
        for (cell, value) in this.cells.iter_mut().zip(values) {
            *cell = value;
            this.length += 1;
        }
        this
    }
}

impl Deref for Cells {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        self.cells.get(..self.length).unwrap_or_default()
    }
}

/// As in the source of a device tree: `<0x0 0x79 0x4>`.
impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<")?;
        for (position, cell) in self.iter().enumerate() {
            write!(f, "{}{cell:#x}", if position == 0 { "" } else { " " })?;
        }
        f.write_str(">")
    }
}

/// The big-endian cells in `bytes`.
pub(crate) fn cells(bytes: &[u8]) -> impl Iterator<Item = u32> + Clone + use<'_> {
    let (cells, _) = bytes.as_chunks();
    cells.iter().map(|cell| u32::from_be_bytes(*cell))
}

/// The number made of all cells in `bytes`; of more than two, the last two.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    cells(bytes).fold(0, |number, cell| number << 32 | u64::from(cell))
}

/// Takes cells off the beginning of `bytes`.
pub(crate) fn take<'t>(bytes: &mut &'t [u8], count: usize) -> Option<&'t [u8]> {
    let (taken, rest) = bytes.split_at_checked(count.checked_mul(4)?)?;
    *bytes = rest;
    Some(taken)
}
