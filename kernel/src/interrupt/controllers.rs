//! The controllers in use: the root of the interrupt tree, which interrupts the processors, and others whose lines come
//! together in one or some of another's.
//!
//! Interrupts are taken where no lock may be: all that this needs is in words of its own.

use crate::thread::calls;
use abi::interrupt::{Acknowledged, Cause, InterruptController};
use abi::running::Publication;
use abi::{Error, Handle, Result};
use alloc::borrow::ToOwned;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// The place of the root.
pub const ROOT: usize = 0;

/// How many controllers may be in use: those of a chip, and of a board's extensions.
const PLACES: usize = 16;

/// In how many lines others may come together: a controller of pins uses three.
const CASCADES: usize = 32;

/// How many controllers an interrupt may come through.
const DEPTH: usize = 4;

/// Where the controllers are published.
static PUBLICATIONS: [AtomicPtr<Publication>; PLACES] = [const { AtomicPtr::new(ptr::null_mut()) }; PLACES];

/// Lines in the lower half, and the places of the controllers whose lines come together there in the upper; or [`FREE`].
static BEHIND: [AtomicU64; CASCADES] = [const { AtomicU64::new(FREE) }; CASCADES];

const FREE: u64 = u64::MAX;

/// How many of those to look at: most machines have none.
static BEHIND_USED: AtomicUsize = AtomicUsize::new(0);

/// A line: its controller's place in the upper half, its number there in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineId(u32);

impl LineId {
    /// None for numbers beyond 65534, which no controller has that a machine with a device tree begins with.
    pub fn new(place: usize, number: u32) -> Option<Self> {
        (number < 0xffff).then_some(Self((place as u32) << 16 | number))
    }

    /// For what carries it as a number.
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    pub const fn raw(self) -> u32 {
        self.0
    }

    pub const fn place(self) -> usize {
        (self.0 >> 16) as usize
    }

    pub const fn number(self) -> u32 {
        self.0 & 0xffff
    }
}

/// The controller at a place.
pub fn get(place: usize) -> Option<Handle<dyn InterruptController>> {
    // SAFETY: publications are never freed; these are of the class.
    unsafe { Some(Handle::from_publication(PUBLICATIONS.get(place)?.load(Ordering::Acquire).as_ref()?)) }
}

/// Puts the root into use.
pub fn set_root(publication: &'static Publication) {
    PUBLICATIONS[ROOT].store(ptr::from_ref(publication).cast_mut(), Ordering::Release);
}

/// Puts a controller into use whose lines come together in these; returns its place.
///
/// # Errors
/// [`Error::Unsupported`] when there is no place left. To be called by one thread at a time.
pub fn add(publication: &'static Publication, lines: impl Iterator<Item = LineId>) -> Result<usize> {
    let full = || Error::Unsupported("so many interrupt controllers".to_owned());
    let free = PUBLICATIONS.iter().skip(1).position(|place| place.load(Ordering::Relaxed).is_null());
    let place = 1 + free.ok_or_else(full)?;
    PUBLICATIONS[place].store(ptr::from_ref(publication).cast_mut(), Ordering::Release);
    for line in lines {
        let Some(free) = BEHIND.iter().position(|behind| behind.load(Ordering::Relaxed) == FREE) else {
            remove(place);
            return Err(full());
        };
        BEHIND[free].store((place as u64) << 32 | u64::from(line.raw()), Ordering::Release);
        BEHIND_USED.fetch_max(free + 1, Ordering::Release);
    }
    Ok(place)
}

/// Takes a controller out of use.
pub fn remove(place: usize) {
    for behind in &BEHIND {
        if behind.load(Ordering::Relaxed) >> 32 == place as u64 {
            behind.store(FREE, Ordering::Release);
        }
    }
    PUBLICATIONS[place].store(ptr::null_mut(), Ordering::Release);
}

/// The place of the controller whose lines come together in this one.
fn behind(line: LineId) -> Option<usize> {
    let used = BEHIND_USED.load(Ordering::Acquire);
    let words = BEHIND.iter().take(used).map(|behind| behind.load(Ordering::Acquire));
    words.filter(|word| *word as u32 == line.raw() && *word != FREE).map(|word| (word >> 32) as usize).next()
}

/// Where an interrupt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A line.
    Line(LineId),
    /// Another processor.
    Signal,
}

/// An interrupt that a processor has taken from the root, and from each controller on its way.
#[derive(Clone, Copy)]
pub struct Taken {
    pub source: Source,
    way: [Option<(usize, Acknowledged)>; DEPTH],
}

impl Taken {
    /// Takes the most urgent interrupt.
    pub fn take() -> Option<Self> {
        let mut way = [None; DEPTH];
        let source = follow(&mut way);
        if source.is_none() {
            end(&way);
        }
        Some(Self { source: source?, way })
    }

    /// Says that it has been served.
    pub fn end(self) {
        end(&self.way);
    }
}

/// Follows an interrupt from the root to where it comes from, and notes the way. None if there is none, or nobody to tell.
fn follow(way: &mut [Option<(usize, Acknowledged)>]) -> Option<Source> {
    let mut place = ROOT;
    for step in 0..way.len() {
        // A controller in use can't be removed, and one that isn't in use lets no interrupt through.
        let acknowledged = match get(place)?.call(|controller| controller.acknowledge()) {
            Ok(acknowledged) => acknowledged?,
            // It would come again at once, and for ever.
            Err(Error::Failed(how)) if place == ROOT => {
                panic!("nothing goes on without interrupts, and their controller's module {how}")
            }
            Err(_) => {
                calls::mend_calls();
                // It is started again, or its lines stay silent.
                silence_last(way);
                return None;
            }
        };
        way[step] = Some((place, acknowledged));
        let line = match acknowledged.cause {
            Cause::Signal => return Some(Source::Signal),
            Cause::Line(number) => LineId::new(place, number)?,
        };
        match behind(line) {
            Some(next) => place = next,
            None => return Some(Source::Line(line)),
        }
    }
    // A circle, or a machine like no other.
    silence_last(way);
    None
}

/// Ends what was taken on the way, the latest first.
fn end(way: &[Option<(usize, Acknowledged)>]) {
    for (place, acknowledged) in way.iter().rev().flatten() {
        let _ = get(*place).map(|controller| controller.call(|controller| controller.end(*acknowledged)));
    }
}

/// Silences the last line on the way.
fn silence_last(way: &[Option<(usize, Acknowledged)>]) {
    let last = way.iter().rev().flatten().next();
    if let Some((place, Acknowledged { cause: Cause::Line(number), .. })) = last {
        let _ = get(*place).map(|controller| controller.call(|controller| controller.disable(*number)));
    }
}
