//! The command `dd`.

use super::{Disk, Failure, PIECE, Reader, number};
use crate::terminal::Terminal;
use abi::prelude::*;

/// What is copied when nothing is said, in bytes.
const BLOCK: u64 = 512;

/// The name of an input that has as many zeros as are wanted.
const ZERO: &str = "zero";

/// Where to copy from, to, and how much, in bytes.
struct Copy {
    /// None for zeros.
    source: Option<Disk>,
    target: Disk,
    /// What is counted in.
    block: u64,
    from: u64,
    to: u64,
    length: u64,
}

pub fn dd(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let copy = Copy::parse(arguments)?;
    let start = Instant::now();
    let mut copied = 0;
    let result = copy.run(terminal, &mut copied);
    let time = Instant::now() - start;
    if matches!(result, Err(Failure::Interrupted)) {
        writeln!(terminal, "^C");
    }
    let (whole, part) = (copied / copy.block, u64::from(!copied.is_multiple_of(copy.block)));
    writeln!(terminal, "{whole}+{part} records in\n{whole}+{part} records out");
    let rate = u128::from(copied) * 1_000_000 / time.as_nanos().max(1);
    let (seconds, milliseconds) = (time.as_secs(), time.subsec_millis());
    writeln!(
        terminal,
        "{copied} bytes copied, {seconds}.{milliseconds:03} s, {}.{} MB/s",
        rate / 1000,
        rate / 100 % 10
    );
    if matches!(result, Err(Failure::Interrupted)) { Ok(()) } else { result }
}

impl Copy {
    fn parse(arguments: &[&str]) -> Result<Self, Failure> {
        let (mut source, mut target, mut block) = (None, None, BLOCK);
        let (mut count, mut skip, mut seek) = (u64::MAX, 0, 0);
        for argument in arguments {
            match argument.split_once('=').ok_or(Failure::Usage)? {
                ("if", name) => source = Some(name),
                ("of", name) => target = Some(name),
                ("bs", text) => block = number(text)?,
                ("count", text) => count = number(text)?,
                ("skip", text) => skip = number(text)?,
                ("seek", text) => seek = number(text)?,
                (name, _) => return Err(Error::Invalid(format!("there is no operand `{name}` here")).into()),
            }
        }
        let (source, target) = (source.ok_or(Failure::Usage)?, target.ok_or(Failure::Usage)?);
        let source = if source == ZERO { None } else { Some(Disk::find(source)?) };
        let target = Disk::find(target)?;
        let copy = Self {
            length: count.saturating_mul(block),
            from: skip.saturating_mul(block),
            to: seek.saturating_mul(block),
            source,
            target,
            block,
        };
        copy.limited()
    }

    /// Limits what is copied to what the source has, and refuses what the target can't take.
    fn limited(mut self) -> Result<Self, Failure> {
        if let Some(source) = &self.source {
            let size = source.geometry.size();
            let Some(left) = size.checked_sub(self.from) else {
                return Err(Error::Invalid(format!("{} ends at byte {size}", source.name)).into());
            };
            self.length = self.length.min(left);
        }
        let (name, size, block) = (&self.target.name, self.target.geometry.size(), self.target.geometry.block_size);
        if self.block == 0 || !self.block.is_multiple_of(block as u64) {
            let sentence = format!("bs must be a multiple of {block} bytes, of which {name} has its blocks");
            return Err(Error::Invalid(sentence).into());
        }
        if self.to > size {
            return Err(Error::Invalid(format!("{name} ends at byte {size}")).into());
        }
        if self.target.geometry.read_only {
            return Err(Error::Invalid(format!("{name} is read-only")).into());
        }
        Ok(self)
    }

    /// Copies as much as there is room for, and counts it in `copied`.
    fn run(&self, terminal: &mut Terminal, copied: &mut u64) -> Result<(), Failure> {
        let geometry = &self.target.geometry;
        let room = geometry.size() - self.to;
        let mut reader = self.source.as_ref().map(Reader::new);
        let zeros = vec![0; if self.source.is_none() { PIECE } else { 0 }];
        while *copied < self.length.min(room) {
            let length = (self.length.min(room) - *copied).min(PIECE as u64) as usize;
            let bytes = match &mut reader {
                Some(reader) => reader.read(self.from + *copied, length)?,
                None => &zeros[..length],
            };
            let first = (self.to + *copied) / geometry.block_size as u64;
            self.target.handle.retry(|device| device.write(first, bytes))?;
            *copied += length as u64;
            if terminal.is_interrupted_before(Instant::now())? {
                return Err(Failure::Interrupted);
            }
        }
        // Linux's has its blocks still in memory here. This one is done when it is done.
        self.target.handle.retry(|device| device.flush())?;
        match self.length > room {
            true => Err(Error::Invalid(format!("{} is full", self.target.name)).into()),
            false => Ok(()),
        }
    }
}
