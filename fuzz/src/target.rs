//! What a fuzz target is.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The longest that a target may take for one input: a thousand times what the largest real ones take.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Something that reads bytes from outside, and what must hold for it.
pub struct Target {
    /// Its name, which is also that of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// What the bytes are and who reads them, in a few words.
    pub summary: &'static str,
    /// Reads the bytes and returns whether they were accepted as a whole. Panics when something doesn't hold.
    pub(crate) check: fn(&[u8]) -> bool,
    /// See [`Target::real_inputs`].
    pub(crate) real_inputs: fn() -> io::Result<Vec<Vec<u8>>>,
    /// The parts of an input in which a change changes how the rest is read. None: all are alike.
    pub(crate) structure: fn(&[u8]) -> Vec<Range<usize>>,
}

impl Target {
    /// Reads an input, and returns whether it was accepted as a whole.
    ///
    /// # Panics
    ///
    /// When something doesn't hold that must hold for any input, or the target took longer than [`TIME_LIMIT`].
    pub fn run(&self, input: &[u8]) -> bool {
        let start = Instant::now();
        let accepted = (self.check)(input);
        let took = start.elapsed();
        assert!(took < TIME_LIMIT, "{} took {took:?} for an input of {} bytes", self.name, input.len());
        accepted
    }

    /// Inputs as the build and the machine have them.
    ///
    /// # Errors
    ///
    /// When what they are made from or with is not there: the build's output, QEMU, `dtc`.
    pub fn real_inputs(&self) -> io::Result<Vec<Vec<u8>>> {
        (self.real_inputs)()
    }

    /// The inputs in `fuzz/corpus`, with their paths.
    ///
    /// # Errors
    ///
    /// When the folder can't be read.
    pub fn corpus(&self) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name);
        let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        paths.into_iter().map(|path| Ok((path.clone(), fs::read(path)?))).collect()
    }

    /// Where an input is saved on which the target fails.
    pub fn failure(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz").join(format!("{}.failure", self.name))
    }
}
