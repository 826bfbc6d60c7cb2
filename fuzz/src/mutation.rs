//! Mutants: inputs with a few changes, which are the same whenever they are made.

use std::ops::Range;

use fastrand::Rng;

use crate::Target;

/// Something to make mutants of.
pub struct Input {
    bytes: Vec<u8>,
    /// Where most changes are made.
    structure: Vec<Range<usize>>,
}

impl Input {
    /// An input of this target.
    pub fn new(target: &Target, bytes: Vec<u8>) -> Self {
        let mut structure = (target.structure)(&bytes);
        structure.retain(|range| range.start < range.end && range.end <= bytes.len());
        Self { bytes, structure }
    }
}

/// The mutant with this number: one of the inputs with one to eight changes. It depends on nothing but the arguments.
pub fn mutant(inputs: &[Input], number: u64) -> Vec<u8> {
    let random = &mut Rng::with_seed(number);
    let Some(input) = random.choice(inputs) else { return Vec::new() };
    let mut bytes = input.bytes.clone();
    // Mostly one, for a change too many hides what the others would have led to.
    for _ in 0..1 << (random.u32(..).leading_zeros().min(3)) {
        let place = place(random, &input.structure, bytes.len());
        let end = place + random.usize(..=(bytes.len() - place).min(64));
        match random.u32(..32) {
            0 => bytes.truncate(place),
            1 => drop(bytes.drain(place..end)),
            2 => insert(&mut bytes, place, &vec![random.choice([0, 0xff, b'0', b' ']).unwrap_or(0); end - place]),
            3 => {
                let copy = bytes[place..end].to_vec();
                let to = random.usize(..=bytes.len());
                insert(&mut bytes, to, &copy);
            }
            4 => splice(random, &mut bytes, place, inputs),
            5..12 => overwrite(&mut bytes, place, &[1 << random.u32(..8)], |old, new| old ^ new),
            12..16 => overwrite(&mut bytes, place, &[random.u8(..)], |_, new| new),
            _ => set_number(random, &mut bytes, place),
        }
    }
    bytes
}

/// A place in `size` bytes, most often in the structure.
fn place(random: &mut Rng, structure: &[Range<usize>], size: usize) -> usize {
    let range = random.choice(structure).cloned().filter(|_| random.u32(..8) != 0).unwrap_or(0..size);
    let place = if range.is_empty() { 0 } else { random.usize(range) };
    place.min(size)
}

fn insert(bytes: &mut Vec<u8>, place: usize, new: &[u8]) {
    bytes.splice(place..place, new.iter().copied());
}

/// Goes on from `place` with what another input has from some place on.
fn splice(random: &mut Rng, bytes: &mut Vec<u8>, place: usize, inputs: &[Input]) {
    let Some(other) = random.choice(inputs) else { return };
    let from = self::place(random, &other.structure, other.bytes.len());
    // Of two inputs that are built alike, the same place has the same meaning.
    let from = if random.bool() { from } else { place.min(other.bytes.len()) };
    bytes.truncate(place);
    bytes.extend_from_slice(&other.bytes[from..]);
}

/// Writes a number over what is there: one at the edge of some range, or one near to what was there.
fn set_number(random: &mut Rng, bytes: &mut [u8], place: usize) {
    let width = [1, 2, 4, 4, 8, 8][random.usize(..6)];
    // Numbers mostly stand at multiples of their size.
    let place = if random.u32(..4) == 0 { place } else { place & !(width - 1) };
    let Some(field) = bytes.get(place..place + width) else { return };
    let is_big_endian = random.bool();
    let from = |bytes: &mut dyn Iterator<Item = &u8>| bytes.fold(0, |number, &byte| number << 8 | u64::from(byte));
    let old = if is_big_endian { from(&mut field.iter()) } else { from(&mut field.iter().rev()) };
    let near = random.u64(..20);
    let new = match random.u32(..8) {
        0 => near,
        1 => (bytes.len() as u64).wrapping_add(near).wrapping_sub(10),
        2 => u64::MAX - near,
        3 => (u64::MAX >> random.u32(..64)).wrapping_add(random.u64(..3)),
        4 => 1 << random.u32(..64),
        5 => old.wrapping_add(near).wrapping_sub(10),
        6 => old << random.u32(..8),
        _ => random.u64(..),
    };
    let number = if is_big_endian { (new << (64 - 8 * width)).to_be_bytes() } else { new.to_le_bytes() };
    overwrite(bytes, place, &number[..width], |_, new| new);
}

fn overwrite(bytes: &mut [u8], place: usize, new: &[u8], combine: impl Fn(u8, u8) -> u8) {
    for (old, &new) in bytes.iter_mut().skip(place).zip(new) {
        *old = combine(*old, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_is_the_same_whenever_it_is_made_and_most_are_different() {
        let inputs = || ["one input", "another input, and a longer one"].map(|text| plain(text.as_bytes()));
        let mutants = || (0..1000).map(|number| mutant(&inputs(), number)).collect::<Vec<_>>();
        assert_eq!(mutants(), mutants());
        let mut different = mutants();
        different.sort();
        different.dedup();
        assert!(different.len() > 800, "{}", different.len());
    }

    #[test]
    fn most_changes_are_made_in_the_structure() {
        let input = Input { bytes: vec![b'-'; 1000], structure: std::iter::once(100..116).collect() };
        let mutants = (0..1000).map(|number| mutant(std::slice::from_ref(&input), number));
        let changes = mutants.filter_map(|mutant| mutant.iter().position(|byte| *byte != b'-'));
        let (inside, outside): (Vec<_>, Vec<_>) = changes.partition(|place| (100..116).contains(place));
        assert!(inside.len() > 3 * outside.len(), "{} inside, {} outside", inside.len(), outside.len());
    }

    fn plain(bytes: &[u8]) -> Input {
        Input { bytes: bytes.to_vec(), structure: Vec::new() }
    }
}
