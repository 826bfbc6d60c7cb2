//! What is different at each boot, so that nobody can count on it: where the kernel, its modules, stacks and devices are,
//! and the key that return addresses are signed with.
//!
//! It comes from the device tree's seeds, `kaslr-seed` and `rng-seed`. Without one all places are those of
//! [`memory::layout`](crate::memory::layout).

use crate::memory::layout;
use crate::{early_tree, processor};
use aarch64_cpu::registers::{CNTPCT_EL0, Readable};
use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// What is chosen. `start.s` reads it.
#[repr(C)]
struct Choice {
    /// How far the image is moved from where it was linked to be, in bytes.
    displacement: AtomicUsize,
    /// APIAKey_EL1, on all processors.
    key: [AtomicU64; 2],
    /// What further choices are made from.
    state: AtomicU64,
    /// A [`Places`].
    places: AtomicU8,
}

const _: () = assert!(offset_of!(Choice, displacement) == 0 && offset_of!(Choice, key) == 8);

#[unsafe(no_mangle)]
static CHOICE: Choice = Choice {
    displacement: AtomicUsize::new(0),
    key: [const { AtomicU64::new(0) }; 2],
    state: AtomicU64::new(0),
    places: AtomicU8::new(Places::NoSeed as u8),
};

/// How the places of things are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Places {
    NoSeed,
    /// `nokaslr` in `bootargs`.
    Switched,
    Random,
}

fn places() -> Places {
    match CHOICE.places.load(Ordering::Relaxed) {
        place if place == Places::Random as u8 => Places::Random,
        place if place == Places::Switched as u8 => Places::Switched,
        _ => Places::NoSeed,
    }
}

/// Spreads what is known of a number over all its bits: the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast Splittable
/// Pseudorandom Number Generators", 2014).
fn spread(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The next number; all are equally likely. Who knows one whole could tell the others: no more of any than is needed is
/// to be found out from an address.
fn draw() -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    spread(CHOICE.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP))
}

/// A number below `end`.
fn below(end: usize) -> usize {
    ((u128::from(draw()) * end as u128) >> 64) as usize
}

/// Makes the first choices. `start.s` calls this before it moves the image, with the tree that is mapped at `tree`: there
/// is no heap yet, and what is written must hold no addresses.
#[unsafe(no_mangle)]
extern "C" fn chance_choose(tree: usize) {
    // SAFETY: `start.s` has mapped it there.
    let tree = unsafe { early_tree(tree) };
    let (mut seed, mut places) = (None, None);
    for (name, value) in devicetree::chosen(tree) {
        match name {
            b"kaslr-seed" | b"rng-seed" => {
                // Who has used a seed up may leave zeros.
                for word in value.chunks(8).filter(|word| word.iter().any(|byte| *byte != 0)) {
                    let word = word.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
                    seed = Some(spread(seed.unwrap_or(0) ^ word));
                }
            }
            b"bootargs" if value.split(|byte| b" \0".contains(byte)).any(|word| word == b"nokaslr") => {
                places = Some(Places::Switched);
            }
            _ => {}
        }
    }
    let places = places.unwrap_or(if seed.is_some() { Places::Random } else { Places::NoSeed });
    CHOICE.places.store(places as u8, Ordering::Relaxed);
    CHOICE.state.store(seed.unwrap_or_else(|| CNTPCT_EL0.get()), Ordering::Relaxed);
    CHOICE.key.iter().for_each(|half| half.store(draw(), Ordering::Relaxed));
    if places == Places::Random {
        // So that the image and the modules behind it don't cross a boundary of `start.s`'s tables, of 1 GiB.
        let (large, small) = (below(layout::IMAGE_GIBIBYTES), below(layout::IMAGE_BLOCKS));
        let displacement = small * layout::BLOCK_SIZE - (large + 1) * (1 << 30);
        CHOICE.displacement.store(displacement, Ordering::Relaxed);
    }
}

/// By how much to move what would be at the beginning of `room` bytes: a multiple of `granule` below that, or 0 if
/// places are fixed.
pub fn displacement(room: usize, granule: usize) -> usize {
    if places() == Places::Random { below(room / granule) * granule } else { 0 }
}

/// What keeps the kernel from being misused, in a line for the log.
pub struct Hardening;

impl fmt::Display for Hardening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match places() {
            Places::Random => "KASLR on",
            Places::Switched => "KASLR off (nokaslr in bootargs)",
            Places::NoSeed => "KASLR off (no kaslr-seed or rng-seed in the device tree)",
        })?;
        let features = processor::Protection::of_this();
        for (name, is_on) in [("PAN", features.access), ("BTI", features.targets), ("PAC", features.returns)] {
            write!(formatter, ", {name} {}", if is_on { "on" } else { "off" })?;
        }
        Ok(())
    }
}
