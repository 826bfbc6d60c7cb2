//! The disk: what it says of itself, and the requests that calls are made of.

use crate::call::{Answered, Call};
use crate::requests::{QUEUE_SIZE, Requests};
use abi::block::Geometry;
use abi::prelude::*;
use bitflags::bitflags;
use core::ops::Range;
use virtio::{Access, Device};

bitflags! {
    /// Features of the device that are used where it has them (sections 5.2.3 and 6). A request has one segment of data
    /// only, which every device allows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// The configuration says how long a segment may be.
        const SIZE_MAX = 1 << 1;
        /// Nothing can be written.
        const RO = 1 << 5;
        /// The configuration says how long a block is.
        const BLK_SIZE = 1 << 6;
        /// What has been written can be made to last.
        const FLUSH = 1 << 9;
        /// The device follows version 1 of the specification or a later one.
        const VERSION_1 = 1 << 32;
    }
}

/// Offsets in the configuration (section 5.2.4).
mod configuration {
    pub const CAPACITY: usize = 0;
    pub const SIZE_MAX: usize = 8;
    pub const BLK_SIZE: usize = 20;
}

/// What positions and the capacity are counted in, whatever the size of a block.
const SECTOR: usize = 512;

/// The most data that one request has, in bytes: longer calls are several requests, under way at the same time.
const LONGEST: usize = 64 << 10;

/// A request's header: type, a reserved word, and the first sector (section 5.2.6). Data follows, and a byte of status:
/// each a part of its own, since legacy devices may insist on it (section 5.2.6.1).
const HEADER: usize = 16;
const STATUS: usize = 1;

/// A status that no device gives: it says that the device hasn't written any.
const NO_STATUS: u8 = 0xff;

/// What a call wants, with its buffer.
enum Work<'a> {
    Read(&'a mut [u8]),
    Write(&'a [u8]),
    Flush,
}

/// A disk that works.
pub struct Disk {
    /// How it is divided.
    pub geometry: Geometry,
    /// Whether it keeps what was written where a loss of power loses it.
    flushes: bool,
    /// The most data of one request: whole blocks.
    longest: usize,
    requests: Lock<Requests>,
}

impl Disk {
    /// Starts the device, which has its queue.
    ///
    /// # Errors
    /// [`Error::Unsupported`] or [`Error::Device`] when its features or its configuration make it of no use;
    /// [`Error::OutOfMemory`].
    pub fn start(device: Device<QUEUE_SIZE>, features: Features, dma: Dma) -> Result<Self> {
        let block_size = match features.contains(Features::BLK_SIZE) {
            true => device.configuration_u32(configuration::BLK_SIZE)? as usize,
            false => SECTOR,
        };
        if !block_size.is_power_of_two() || block_size < SECTOR {
            return Err(Error::Device(format!("it claims that a block has {block_size} bytes")));
        }
        let sectors = device.configuration_u64(configuration::CAPACITY)?;
        if sectors.checked_mul(SECTOR as u64).is_none() {
            return Err(Error::Device(format!("it claims to have {sectors} sectors")));
        }
        let segment = match features.contains(Features::SIZE_MAX) {
            true => device.configuration_u32(configuration::SIZE_MAX)? as usize,
            false => usize::MAX,
        };
        let longest = LONGEST.min(segment) & !(block_size - 1);
        if longest == 0 {
            let problem = format!("blocks of {block_size} bytes in segments of {segment}");
            return Err(Error::Unsupported(problem));
        }
        let mut requests = Requests::new(device, dma, HEADER + longest + STATUS)?;
        requests.start();
        Ok(Self {
            geometry: Geometry {
                block_size,
                blocks: sectors / (block_size / SECTOR) as u64,
                read_only: features.contains(Features::RO),
            },
            flushes: features.contains(Features::FLUSH),
            longest,
            requests: Lock::new(requests),
        })
    }

    /// Serves the device's interrupt.
    pub fn interrupt(&self) {
        self.requests.lock().interrupt();
    }

    /// See [`BlockDevice::read`].
    pub fn read(&self, first: u64, buffer: &mut [u8]) -> Result<()> {
        self.geometry.check(first, buffer.len())?;
        self.run(first, Work::Read(buffer))
    }

    /// See [`BlockDevice::write`].
    pub fn write(&self, first: u64, buffer: &[u8]) -> Result<()> {
        self.geometry.check_write(first, buffer.len())?;
        self.run(first, Work::Write(buffer))
    }

    /// See [`BlockDevice::flush`].
    pub fn flush(&self) -> Result<()> {
        // A device without the feature doesn't return a write before it lasts (section 5.2.6.2).
        if self.flushes { self.run(0, Work::Flush) } else { Ok(()) }
    }

    fn run(&self, first: u64, work: Work<'_>) -> Result<()> {
        let mut call = Call::new(&self.requests)?;
        let result = self.carry_out(&mut call, first, work);
        call.end();
        result
    }

    /// Makes requests of a call's work, as many at a time as there are buffers for, until all are answered.
    ///
    /// After an error no more are begun, and those under way are waited for: else the device might still write old data
    /// when the caller has written new.
    fn carry_out(&self, call: &mut Call<'_>, first: u64, mut work: Work<'_>) -> Result<()> {
        let mut result = Ok(());
        let length = work.length();
        // To flush is one request without data.
        let count = if matches!(work, Work::Flush) { 1 } else { length.div_ceil(self.longest) };
        let mut begun = 0;
        loop {
            while result.is_ok()
                && begun < count
                && let Some(mut buffer) = call.buffer()?
            {
                let start = begun * self.longest;
                let piece = start..length.min(start + self.longest);
                let sector = (first * self.geometry.block_size as u64 + start as u64) / SECTOR as u64;
                let access = work.prepare(&mut buffer, sector, piece.clone());
                call.send(buffer, access, piece)?;
                begun += 1;
            }
            match call.answered()? {
                Some(answered) => result = result.and(work.conclude(answered, first, self.geometry.block_size)),
                None if call.is_idle() && (result.is_err() || begun == count) => return result,
                None => call.wait()?,
            }
        }
    }
}

impl Work<'_> {
    /// How long the caller's buffer is.
    fn length(&self) -> usize {
        match self {
            Self::Read(data) => data.len(),
            Self::Write(data) => data.len(),
            Self::Flush => 0,
        }
    }

    /// Fills a request's buffer; returns what the device shall do with it.
    fn prepare(&self, buffer: &mut [u8], sector: u64, piece: Range<usize>) -> Access {
        let length = piece.len();
        // The types VIRTIO_BLK_T_IN, _OUT and _FLUSH.
        let (kind, access) = match self {
            Self::Read(_) => (0_u32, Access::Parts { read: [HEADER, 0], write: [length, STATUS] }),
            Self::Write(_) => (1, Access::Parts { read: [HEADER, length], write: [0, STATUS] }),
            Self::Flush => (4, Access::Parts { read: [HEADER, 0], write: [0, STATUS] }),
        };
        buffer[..4].copy_from_slice(&kind.to_le_bytes());
        buffer[4..8].fill(0);
        buffer[8..HEADER].copy_from_slice(&sector.to_le_bytes());
        if let Self::Write(data) = self {
            buffer[HEADER..HEADER + length].copy_from_slice(&data[piece]);
        }
        buffer[HEADER + length] = NO_STATUS;
        access
    }

    /// Looks what has come of a request, and takes what was read.
    fn conclude(&mut self, answered: Answered<'_>, first: u64, block_size: usize) -> Result<()> {
        let Answered { piece, buffer, written } = answered;
        let data = HEADER..HEADER + piece.len();
        // VIRTIO_BLK_S_OK, _IOERR and _UNSUPP.
        let problem = match buffer[data.end] {
            0 => None,
            1 => Some("an I/O error"),
            2 => Some("that it does not support the request"),
            NO_STATUS => return Err(Error::Device("it returned a request without having answered it".to_owned())),
            status => return Err(Error::Device(format!("it answered a request with the status {status}"))),
        };
        if let Some(problem) = problem {
            let blocks = || {
                let [start, end] = [piece.start, piece.end].map(|offset| first + (offset / block_size) as u64);
                format!("blocks {start} to {}", end - 1)
            };
            return Err(Error::Io(match self {
                Self::Read(_) => format!("{} can't be read: the device reports {problem}", blocks()),
                Self::Write(_) => format!("{} can't be written: the device reports {problem}", blocks()),
                Self::Flush => format!("what was written can't be made to last: the device reports {problem}"),
            }));
        }
        if let Self::Read(target) = self {
            // The status may be counted or not: devices differ.
            if written < piece.len() {
                return Err(Error::Device(format!("it claims to have read {written} bytes of {}", piece.len())));
            }
            target[piece].copy_from_slice(&buffer[data]);
        }
        Ok(())
    }
}
