//! The requests that the device has at the same time, whoever made them.

use abi::prelude::*;
use core::mem::replace;
use virtio::{Access, Device};

/// How many requests the device can have at the same time.
pub const REQUESTS: usize = 8;

/// Enough descriptors for them: a request has three parts, and the size has to be a power of two.
pub const QUEUE_SIZE: usize = (3 * REQUESTS).next_power_of_two();

/// The only queue.
const QUEUE: usize = 0;

/// All requests, and what they need of the device. Everything here is done in no time, with the lock held.
///
/// Their buffers are allocated once: there is no request for which memory could run out.
pub struct Requests {
    device: Device<QUEUE_SIZE>,
    slots: Vec<Slot>,
    /// Calls that have no request yet, for want of a free slot.
    waiting: Vec<Signal>,
    /// What the device did that ended its use.
    failure: Option<Error>,
}

struct Slot {
    /// Where the device sees the slot's buffer.
    address: u64,
    state: State,
}

/// Where a slot's buffer is.
enum State {
    /// Here, and of no use to anybody.
    Free(DmaBuffer),
    /// With a call.
    Taken,
    /// With the device. Whoever waits for it is told by this signal; nobody, if its call has ended early.
    UnderWay(Option<Signal>),
    /// Here, with what the device has left in it.
    Done(Answer),
}

/// What the device has returned.
pub struct Answer {
    /// The request's buffer.
    pub buffer: DmaBuffer,
    /// How many bytes of it the device has written.
    pub written: usize,
}

impl Requests {
    /// No requests yet, and buffers of `size` bytes for them.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(device: Device<QUEUE_SIZE>, dma: Dma, size: usize) -> Result<Self> {
        let slot = |_| {
            let buffer = dma.allocate(size, 64)?;
            Ok(Slot { address: buffer.device_address(), state: State::Free(buffer) })
        };
        let slots = (0..REQUESTS).map(slot).collect::<Result<_>>()?;
        Ok(Self { device, slots, waiting: Vec::new(), failure: None })
    }

    /// Lets the device begin.
    pub fn start(&mut self) {
        self.device.start();
    }

    /// Takes a free slot for a call that has `others` already. Without one, the call is told by `signal` when to ask
    /// again; but only if it has no others, since it waits for those anyway. For the same reason it has to leave the free
    /// slot to a call that has none.
    ///
    /// # Errors
    /// [`Error::Device`] when the device has broken its protocol before.
    pub fn take(&mut self, signal: Signal, others: bool) -> Result<Option<(usize, DmaBuffer)>> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if others && !self.waiting.is_empty() {
            return Ok(None);
        }
        for (index, slot) in self.slots.iter_mut().enumerate() {
            match replace(&mut slot.state, State::Taken) {
                State::Free(buffer) => {
                    self.forget(signal);
                    return Ok(Some((index, buffer)));
                }
                other => slot.state = other,
            }
        }
        if !others && !self.waiting.contains(&signal) {
            self.waiting.push(signal);
        }
        Ok(None)
    }

    /// A call doesn't wait for a free slot any more.
    pub fn forget(&mut self, signal: Signal) {
        self.waiting.retain(|other| *other != signal);
    }

    /// Gives a taken slot's buffer to the device; `signal` tells when it is done.
    ///
    /// # Errors
    /// [`Error::Device`] when the queue, which has room for all buffers, doesn't take this one. The slot is lost then.
    pub fn send(&mut self, slot: usize, buffer: DmaBuffer, access: Access, signal: Signal) -> Result<()> {
        let lent = self.device.lend(QUEUE, buffer, access);
        lent.map_err(|error| Error::Device(format!("its queue can't be used: {error}")))?;
        self.slots[slot].state = State::UnderWay(Some(signal));
        self.device.notify(QUEUE);
        Ok(())
    }

    /// Takes what the device has answered, if it has; the slot is a taken one then.
    ///
    /// # Errors
    /// [`Error::Device`] when there will be no answer, since the device has broken its protocol.
    pub fn answer(&mut self, slot: usize) -> Result<Option<Answer>> {
        let state = &mut self.slots[slot].state;
        match replace(state, State::Taken) {
            State::Done(answer) => Ok(Some(answer)),
            other => {
                *state = other;
                self.failure.clone().map_or(Ok(None), Err)
            }
        }
    }

    /// Gives back a taken slot and its buffer.
    pub fn give_back(&mut self, slot: usize, buffer: DmaBuffer) {
        self.slots[slot].state = State::Free(buffer);
        self.waiting.iter().for_each(|signal| signal.raise());
    }

    /// Nobody waits any more for what the device has: its buffer becomes free when the device is done.
    pub fn abandon(&mut self, slot: usize) {
        match self.answer(slot) {
            Ok(Some(Answer { buffer, .. })) => self.give_back(slot, buffer),
            Ok(None) | Err(_) => self.slots[slot].state = State::UnderWay(None),
        }
    }

    /// Serves the device's interrupt: puts what it has answered where those who wait find it, and tells them.
    pub fn interrupt(&mut self) {
        self.device.acknowledge_interrupt();
        while self.failure.is_none() {
            match self.device.take_back(QUEUE) {
                Ok(Some((buffer, written))) => self.deliver(Answer { buffer, written }),
                Ok(None) => return,
                Err(error) => self.fail(error),
            }
        }
    }

    fn deliver(&mut self, answer: Answer) {
        let address = answer.buffer.device_address();
        let Some(index) = self.slots.iter().position(|slot| slot.address == address) else {
            unreachable!("the buffers that are lent are those of the slots");
        };
        match replace(&mut self.slots[index].state, State::Taken) {
            State::UnderWay(Some(signal)) => {
                self.slots[index].state = State::Done(answer);
                signal.raise();
            }
            _ => self.give_back(index, answer.buffer),
        }
    }

    /// The device can't be trusted any more: all who wait hear of it. What it has stays with it, until it is reset.
    fn fail(&mut self, error: Error) {
        self.failure = Some(error);
        self.waiting.iter().for_each(|signal| signal.raise());
        for slot in &self.slots {
            if let State::UnderWay(Some(signal)) = slot.state {
                signal.raise();
            }
        }
    }
}
