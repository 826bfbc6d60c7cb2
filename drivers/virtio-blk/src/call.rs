//! One call of a user's, and the requests that it takes.

use crate::requests::{Answer, Requests};
use abi::prelude::*;
use alloc::collections::VecDeque;
use core::ops::{Deref, DerefMut, Range};
use virtio::Access;

/// How long the device may take for a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// A call, and its requests that are under way. It has to be [ended](Self::end).
///
/// That is not done by dropping it: what unwinds out of a driver has it started anew, and in between its locks may be of no
/// use. What the device has stays with it even then, until it is reset.
pub struct Call<'a> {
    all: &'a Lock<Requests>,
    event: Event,
    /// In the order in which they were begun.
    requests: VecDeque<Request>,
}

struct Request {
    slot: usize,
    /// What of the caller's buffer it is for.
    piece: Range<usize>,
}

/// A request that the device has answered.
pub struct Answered<'a> {
    /// What of the caller's buffer it was for.
    pub piece: Range<usize>,
    /// What the device has left in the request's buffer.
    pub buffer: Held<'a>,
    /// How many bytes of it the device has written.
    pub written: usize,
}

/// A request's buffer while a call works on it, without the lock since that may take long. Dereferences to its bytes.
pub struct Held<'a> {
    all: &'a Lock<Requests>,
    slot: usize,
    buffer: Option<DmaBuffer>,
}

impl<'a> Call<'a> {
    /// A call without requests.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(all: &'a Lock<Requests>) -> Result<Self> {
        Ok(Self { all, event: Event::new()?, requests: VecDeque::new() })
    }

    /// A buffer for another request, if there is one at this moment.
    ///
    /// # Errors
    /// [`Error::Device`] when the device has broken its protocol.
    pub fn buffer(&self) -> Result<Option<Held<'a>>> {
        let taken = self.all.lock().take(self.event.signal(), !self.requests.is_empty())?;
        Ok(taken.map(|(slot, buffer)| Held { all: self.all, slot, buffer: Some(buffer) }))
    }

    /// Sends a request for a piece of the caller's buffer.
    ///
    /// # Errors
    /// As [`Requests::send`].
    pub fn send(&mut self, mut held: Held<'a>, access: Access, piece: Range<usize>) -> Result<()> {
        if let Some(buffer) = held.buffer.take() {
            self.all.lock().send(held.slot, buffer, access, self.event.signal())?;
            self.requests.push_back(Request { slot: held.slot, piece });
        }
        Ok(())
    }

    /// The oldest request, if the device has answered it.
    ///
    /// # Errors
    /// [`Error::Device`] when it won't, since it has broken its protocol.
    pub fn answered(&mut self) -> Result<Option<Answered<'a>>> {
        let Some(request) = self.requests.front() else { return Ok(None) };
        let Some(Answer { buffer, written }) = self.all.lock().answer(request.slot)? else { return Ok(None) };
        let buffer = Held { all: self.all, slot: request.slot, buffer: Some(buffer) };
        Ok(self.requests.pop_front().map(|Request { piece, .. }| Answered { piece, buffer, written }))
    }

    /// Whether no request is under way.
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// Gives up what is still under way: its buffers become free when the device is done with them.
    pub fn end(self) {
        let mut all = self.all.lock();
        all.forget(self.event.signal());
        self.requests.iter().for_each(|request| all.abandon(request.slot));
    }

    /// Waits until there may be a buffer or an answer.
    ///
    /// # Errors
    /// [`Error::Stopping`]; [`Error::Device`] when there has been neither for [`PATIENCE`].
    pub fn wait(&self) -> Result<()> {
        match self.event.wait(Some(Instant::now() + PATIENCE))? {
            Wake::Raised => Ok(()),
            Wake::TimedOut => Err(Error::Device(format!("it has answered nothing for {} s", PATIENCE.as_secs()))),
        }
    }
}

impl Deref for Held<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buffer.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.all.lock().give_back(self.slot, buffer);
        }
    }
}
