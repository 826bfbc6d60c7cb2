//! A slot's card as a block device.

use crate::card::{Card, Problem};
use crate::{BLOCK, Failure, Host, LONGEST};
use abi::block::Geometry;
use abi::prelude::*;

/// How often a piece of a call is tried.
const TRIES: usize = 2;

/// The card that was in the slot at first.
///
/// What fails is tried once more, after the card has been found again from the beginning: it may have lost its power for a
/// moment, or have been taken out and put back. Another card isn't used, since users would take it for the first.
pub struct Disk<H> {
    host: H,
    geometry: Geometry,
    identity: u128,
    /// None until it has been found again.
    card: Mutex<Option<Card>>,
}

impl<H: Host> Disk<H> {
    /// Finds the card in the slot, which is `name` for people.
    ///
    /// # Errors
    /// [`Error::Absent`] when there is none; [`Error::Io`] when it can't be used; and the host's.
    pub fn start(host: H, name: &str) -> Result<Self> {
        let card = match Card::identify(&host) {
            Ok(card) => card,
            Err(Problem::Absent) => {
                info!("{name}: {}", Problem::Absent);
                return Err(Error::Absent);
            }
            Err(problem) => return Err(error(problem, None)),
        };
        info!("{name}: {card}");
        let geometry = Geometry { block_size: BLOCK, blocks: card.blocks, read_only: card.is_read_only };
        Ok(Self { host, geometry, identity: card.identity, card: Mutex::new(Some(card)) })
    }

    /// The host controller.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// See [`BlockDevice::geometry`].
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// See [`BlockDevice::read`].
    ///
    /// # Errors
    /// See there.
    pub fn read(&self, first: u64, buffer: &mut [u8]) -> Result<()> {
        self.geometry.check(first, buffer.len())?;
        for (first, piece) in (first..).step_by(LONGEST / BLOCK).zip(buffer.chunks_mut(LONGEST)) {
            let blocks = (piece.len() / BLOCK) as u64;
            let result = self.perform(|card| card.read(&self.host, first, piece));
            result.map_err(|problem| error(problem, Some((first, blocks, "read"))))?;
        }
        Ok(())
    }

    /// See [`BlockDevice::write`]. What has been written outlives a loss of power: the card has stored it.
    ///
    /// # Errors
    /// See there.
    pub fn write(&self, first: u64, buffer: &[u8]) -> Result<()> {
        self.geometry.check_write(first, buffer.len())?;
        for (first, piece) in (first..).step_by(LONGEST / BLOCK).zip(buffer.chunks(LONGEST)) {
            let blocks = (piece.len() / BLOCK) as u64;
            let result = self.perform(|card| card.write(&self.host, first, piece));
            result.map_err(|problem| error(problem, Some((first, blocks, "written"))))?;
        }
        Ok(())
    }

    /// Has the card do something, alone.
    fn perform(&self, mut action: impl FnMut(&Card) -> Result<(), Problem>) -> Result<(), Problem> {
        let mut place = self.card.lock()?;
        let mut result = Ok(());
        for _ in 0..TRIES {
            result = self.find(&mut place).and_then(&mut action);
            if result.is_ok() {
                break;
            }
            // Whatever it was, what the card was doing has ended in the middle.
            *place = None;
            if matches!(result, Err(Problem::Absent | Problem::Exchanged | Problem::Failed(_, Failure::Host(_)))) {
                break;
            }
        }
        result
    }

    /// The card, found again if need be.
    fn find<'a>(&self, place: &'a mut Option<Card>) -> Result<&'a Card, Problem> {
        let card = match place.take() {
            Some(card) => card,
            None => Card::identify(&self.host)?,
        };
        match card.identity == self.identity && card.blocks == self.geometry.blocks {
            true => Ok(place.insert(card)),
            false => Err(Problem::Exchanged),
        }
    }
}

/// What users get to know: which blocks, if any, and why.
fn error(problem: Problem, blocks: Option<(u64, u64, &str)>) -> Error {
    match (problem, blocks) {
        (Problem::Failed(_, Failure::Host(error)), _) => error,
        (problem, None) => Error::Io(problem.to_string()),
        (problem, Some((first, count, verb))) => {
            let blocks = match count {
                1 => format!("block {first}"),
                _ => format!("blocks {first} to {}", first + count - 1),
            };
            Error::Io(format!("{blocks} can't be {verb}: {problem}"))
        }
    }
}
