//! A virtio device and its queues.

use crate::memory::{self, Memory};
use abi::prelude::*;
use abi::registers::Opaque;
use bitflags::Flags;
use core::fmt::Debug;
use core::mem::take;
use core::ops::BitAnd;
use core::sync::atomic::{Ordering, fence};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::{MmioError, MmioTransport, MmioVersion};
use virtio_drivers::transport::{DeviceStatus, DeviceType, DeviceTypeError, InterruptStatus, Transport};

/// A virtio device behind memory-mapped registers (section 4.2), legacy or modern, with split queues of `SIZE` buffers.
///
/// It owns the buffers that it is lent. Dropping it resets the device before any of them is freed.
pub struct Device<const SIZE: usize> {
    // Fields are dropped in this order, and dropping the transport resets the device.
    transport: MmioTransport<'static>,
    queues: Vec<Queue<SIZE>>,
    _registers: Registers<Opaque>,
    dma: Dma,
}

struct Queue<const SIZE: usize> {
    ring: VirtQueue<Memory, SIZE>,
    /// The buffers that the device has been lent, by the token that the ring gave for them.
    lent: [Option<(DmaBuffer, Access)>; SIZE],
}

/// What a device may do with a buffer while it has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read this many bytes at its start; at least one.
    Read(usize),
    /// Write all of it.
    Write,
    /// Read two parts and write two, this many bytes each, in this order from its start on. Parts may be empty; each that
    /// isn't takes as much [room](Device::room) as another buffer.
    Parts {
        /// Bytes to read.
        read: [usize; 2],
        /// Bytes to write.
        write: [usize; 2],
    },
}

/// What a device reads of a buffer, and what it writes: first the parts that aren't empty, then the others.
struct Parts<'a> {
    read: [&'a [u8]; 2],
    write: [&'a mut [u8]; 2],
}

impl Access {
    #[inline]
    fn divide(self, buffer: &mut [u8]) -> Result<Parts<'_>> {
        let length = buffer.len();
        let (read, write) = match self {
            Self::Read(read) => ([read, 0], [0, 0]),
            Self::Write => ([0, 0], [length, 0]),
            Self::Parts { read, write } => (read, write),
        };
        let mut rest = buffer;
        let mut part = |length| {
            let (part, behind) = take(&mut rest).split_at_mut_checked(length)?;
            rest = behind;
            Some(part)
        };
        match [part(read[0]), part(read[1]), part(write[0]), part(write[1])] {
            [Some(first), Some(second), Some(third), Some(fourth)] if read != [0, 0] || write != [0, 0] => Ok(Parts {
                read: if first.is_empty() { [second, first] } else { [first, second] },
                write: if third.is_empty() { [fourth, third] } else { [third, fourth] },
            }),
            _ => {
                Err(Error::Invalid(format!("a buffer of {length} bytes to read {read:?} from and write {write:?} to")))
            }
        }
    }
}

/// The parts that aren't empty, which come first: the ring takes no others.
#[inline]
fn filled<T: AsRef<[u8]>>(parts: &mut [T; 2]) -> &mut [T] {
    let count = parts.iter().filter(|part| !part.as_ref().is_empty()).count();
    &mut parts[..count]
}

impl<const SIZE: usize> Device<SIZE> {
    /// Takes charge of the device behind the node's first registers, and agrees with it on those of the `supported`
    /// features that it has too (section 3.1.1, steps 1 to 6). Next come [`add_queue`](Self::add_queue) and
    /// [`start`](Self::start).
    ///
    /// # Errors
    /// [`Error::Absent`] when there is no device, [`Error::Unsupported`] when it is not of that `kind` or refuses the
    /// features; those of [`Resources::registers`].
    pub fn open<F>(resources: &mut Resources, kind: DeviceType, supported: F) -> Result<(Self, F)>
    where
        F: Flags<Bits = u64> + BitAnd<Output = F> + Debug,
    {
        let registers: Registers<Opaque> = resources.registers(0)?;
        // SAFETY: the registers are mapped page by page, so the header is aligned, and they belong to nobody else. They
        // stay mapped as long as the transport lives, for both are put into one struct that drops the transport first.
        // The crate checks that they are large enough for the header.
        let transport = unsafe { MmioTransport::new(registers.start().cast(), registers.size()) };
        let mut transport = transport.map_err(|error| match error {
            MmioError::InvalidDeviceID(DeviceTypeError::InvalidDeviceType(0)) => Error::Absent,
            error => Error::Unsupported(error.to_string()),
        })?;
        if transport.device_type() != kind {
            return Err(Error::Unsupported(format!("a {:?} device as {kind:?}", transport.device_type())));
        }
        let features = transport.begin_init(supported);
        let modern = transport.version() == MmioVersion::Modern;
        if modern && !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(Error::Unsupported(format!("the device can't do with these features alone: {features:?}")));
        }
        Ok((Self { transport, queues: Vec::new(), _registers: registers, dma: resources.dma() }, features))
    }

    /// Sets up the next queue: the first call makes number 0.
    ///
    /// # Errors
    /// [`Error::Device`] when the device hasn't got that queue or allows it fewer buffers, or when there is no memory.
    pub fn add_queue(&mut self) -> Result<()> {
        let index = self.queues.len() as u16;
        let transport = &mut self.transport;
        let ring = memory::allocating_from(self.dma, || VirtQueue::new(transport, index, false, false));
        let ring = ring.map_err(|error| Error::Device(format!("queue {index}: {error}")))?;
        self.queues.push(Queue { ring, lent: [const { None }; SIZE] });
        Ok(())
    }

    /// Lets the device begin: from here on it uses its queues, and may be [notified](Self::notify).
    pub fn start(&mut self) {
        self.transport.finish_init();
    }

    /// A field of 8 bits at `offset` in the device's configuration (section 2.5).
    ///
    /// # Errors
    /// [`Error::Device`] when the configuration is smaller.
    pub fn configuration_u8(&self, offset: usize) -> Result<u8> {
        self.transport.read_config_space(offset).map_err(|error| Error::Device(error.to_string()))
    }

    /// A field of 16 bits, like [`configuration_u8`](Self::configuration_u8). `offset` must be even.
    pub fn configuration_u16(&self, offset: usize) -> Result<u16> {
        let field = self.transport.read_config_space(offset).map_err(|error| Error::Device(error.to_string()))?;
        Ok(u16::from_le(field))
    }

    /// A field of 32 bits, like [`configuration_u8`](Self::configuration_u8). `offset` must be a multiple of 4.
    pub fn configuration_u32(&self, offset: usize) -> Result<u32> {
        let field = self.transport.read_config_space(offset).map_err(|error| Error::Device(error.to_string()))?;
        Ok(u32::from_le(field))
    }

    /// A field of 64 bits, like [`configuration_u32`](Self::configuration_u32), read as two halves that belong together.
    pub fn configuration_u64(&self, offset: usize) -> Result<u64> {
        let halves = || Ok([self.transport.read_config_space(offset)?, self.transport.read_config_space(offset + 4)?]);
        let halves = self.transport.read_consistent(halves).map_err(|error| Error::Device(error.to_string()))?;
        let [low, high] = halves.map(|half| u64::from(u32::from_le(half)));
        Ok(high << 32 | low)
    }

    /// Lends a buffer to the device; it sees it when [notified](Self::notify), or earlier.
    ///
    /// # Errors
    /// [`Error::Busy`] when the queue is full, [`Error::Invalid`] when there is no such queue, when the device can't
    /// reach the buffer, or when it is shorter than `access` says. The buffer is freed then.
    #[inline]
    pub fn lend(&mut self, queue: usize, mut buffer: DmaBuffer, access: Access) -> Result<()> {
        let queue = self.queues.get_mut(queue).ok_or_else(|| no_queue(queue))?;
        if !memory::is_reachable(&buffer) {
            return Err(Error::Invalid("a buffer that the device sees at another distance than others".to_owned()));
        }
        let mut parts = access.divide(&mut buffer)?;
        // SAFETY: the bytes belong to `buffer`, which is put away unused until the ring returns the token.
        let token = unsafe { queue.ring.add(filled(&mut parts.read), filled(&mut parts.write)) };
        let token = token.map_err(|error| Error::Busy(format!("the queue is full ({error})")))?;
        queue.lent[usize::from(token)] = Some((buffer, access));
        Ok(())
    }

    /// Takes back a buffer that the device is done with, and how many bytes it has written to where it may write.
    ///
    /// # Errors
    /// [`Error::Device`] when the device returns what it hasn't got, or claims to have written more than there is room
    /// for; [`Error::Invalid`] when there is no such queue.
    #[inline]
    pub fn take_back(&mut self, queue: usize) -> Result<Option<(DmaBuffer, usize)>> {
        let queue = self.queues.get_mut(queue).ok_or_else(|| no_queue(queue))?;
        let Some(token) = queue.ring.peek_used() else {
            return Ok(None);
        };
        let lent = queue.lent.get_mut(usize::from(token));
        let Some((mut buffer, access)) = lent.and_then(Option::take) else {
            return Err(Error::Device(format!("it returned buffer {token}, which it hasn't got")));
        };
        // It could be divided when it was lent.
        let mut parts = access.divide(&mut buffer)?;
        let room = parts.write.iter().map(|part| part.len()).sum();
        // SAFETY: these are the bytes that `lend` added and put away under this token.
        let popped = unsafe { queue.ring.pop_used(token, filled(&mut parts.read), filled(&mut parts.write)) };
        match popped {
            Ok(_) if room == 0 => Ok(Some((buffer, 0))),
            Ok(written) if written as usize <= room => Ok(Some((buffer, written as usize))),
            Ok(written) => Err(Error::Device(format!("it claims to have written {written} bytes where {room} fit"))),
            Err(error) => {
                // The ring still counts the buffer as lent.
                queue.lent[usize::from(token)] = Some((buffer, access));
                Err(Error::Device(error.to_string()))
            }
        }
    }

    /// Whether [`take_back`](Self::take_back) would find something.
    pub fn has_returned(&self, queue: usize) -> bool {
        self.queues.get(queue).is_some_and(|queue| queue.ring.can_pop())
    }

    /// How many buffers can be lent at this moment, of those that are used in one part.
    pub fn room(&self, queue: usize) -> usize {
        self.queues.get(queue).map_or(0, |queue| queue.ring.available_desc())
    }

    /// Tells the device that it has been lent buffers, unless it has asked not to be told (section 2.7.10).
    #[inline]
    pub fn notify(&mut self, queue: usize) {
        // Both the device's answer to `should_notify` and the notification come after what was lent.
        fence(Ordering::SeqCst);
        if self.queues.get(queue).is_some_and(|queue| queue.ring.should_notify()) {
            self.transport.notify(queue as u16);
        }
    }

    /// Says whether the device should interrupt when it returns buffers (section 2.7.7); it may do so all the same.
    pub fn set_interrupts(&mut self, queue: usize, wanted: bool) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.ring.set_dev_notify(wanted);
        }
    }

    /// Ends the device's interrupt, and returns what it was for.
    #[inline]
    pub fn acknowledge_interrupt(&mut self) -> InterruptStatus {
        self.transport.ack_interrupt()
    }
}

#[cold]
fn no_queue(index: usize) -> Error {
    Error::Invalid(format!("the device has no queue {index}"))
}
