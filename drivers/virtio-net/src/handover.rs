//! What one instance of the driver leaves to the next: whom to tell of frames, and what has been counted.

use crate::card::Card;
use abi::network::Statistics;
use abi::prelude::*;

/// The state's name, and its version: three counters of eight bytes, little-endian, and the subscriber's signal if there is
/// one.
const STATE: &str = "virtio-net";
const VERSION: u32 = 1;

/// The state of a card.
pub fn of(card: &Card) -> Handover {
    let Statistics { received, transmitted, dropped } = card.statistics;
    let bytes = [received, transmitted, dropped].iter().flat_map(|count| count.to_le_bytes()).collect();
    Handover::new(STATE, VERSION, bytes, card.subscriber.into_iter().collect())
}

/// Has a card go on from where another left off.
///
/// # Errors
/// [`Error::Unsupported`] for a state that this module doesn't understand.
pub fn accept(card: &mut Card, handover: &Handover) -> Result<()> {
    handover.version(STATE, VERSION..=VERSION)?;
    let mut counts = handover.bytes.chunks_exact(8).map(|bytes| bytes.try_into().map_or(0, u64::from_le_bytes));
    let mut next = || counts.next().unwrap_or(0);
    card.statistics = Statistics { received: next(), transmitted: next(), dropped: next() };
    card.subscriber = handover.signals.first().copied();
    Ok(())
}
