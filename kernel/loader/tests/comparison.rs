//! Each relocation at interesting and at random distances: the loader's bytes are those that GNU ld and lld write for
//! the same object at the same addresses, or all three refuse it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    env,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use common::{
    ADDRESSES, Linker, Module,
    kinds::{
        Base::{Entry, Page, Place, Zero},
        KINDS, Kind,
        Linkers::{Both, Lld},
    },
    relocation_tables,
    writer::Writer,
};
use fastrand::Rng;
use loader::{Error, Segments};

/// A relocation of a symbol.
struct Case {
    kind: &'static Kind,
    /// What is there before.
    bytes: Vec<u8>,
    target: Target,
    addend: i64,
}

/// Where a symbol is.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Target {
    /// Where the relocation's value is this.
    Value(i64),
    /// Nowhere, and weak.
    Missing,
    /// Wherever all are that are met through the global offset table.
    Entry,
}

impl Case {
    fn new(kind: &'static Kind, random: &mut Rng, target: Target, addend: i64) -> Self {
        let instruction = kind.instruction | random.u32(..) & (kind.free | kind.field);
        let bytes = [instruction.to_le_bytes(), random.u32(..).to_le_bytes()].concat();
        Self { kind, bytes: bytes[..kind.size].into(), target, addend }
    }

    /// The bytes with nothing in the field that is replaced.
    fn clean(&self) -> Vec<u8> {
        let mask = (!self.kind.field).to_le_bytes();
        self.bytes.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte & mask).collect()
    }
}

/// Where a linker departs from AAELF64, so that its word does not count. `entry` is the distance from the page of the
/// place to the symbol's entry in the global offset table.
fn departs(linker: Linker, Case { kind, target, addend, .. }: &Case, entry: i64) -> bool {
    let value = match *target {
        Target::Value(value) => value,
        Target::Missing => *addend,
        Target::Entry => entry,
    };
    match (linker, kind.name, target) {
        // "A jump to the next instruction": GNU ld writes NOP, lld counts the addend.
        (Linker::Gnu, "JUMP26" | "CALL26", Target::Missing) => true,
        (Linker::Lld, "JUMP26" | "CALL26", Target::Missing) => *addend != 0,
        // A symbol that is nowhere is at the place. lld takes the next instruction for it.
        (Linker::Lld, "TSTBR14" | "CONDBR19", Target::Missing) => true,
        (Linker::Lld, name, Target::Missing) if name.starts_with("MOVW_PREL") => true,
        // GNU ld takes the start of the place's page for it.
        (Linker::Gnu, "ADR_PREL_PG_HI21" | "ADR_PREL_PG_HI21_NC", Target::Missing) => *addend != 0,
        // A narrow place may be read as signed or as unsigned: -2^15 <= X < 2^16. GNU ld takes one reading alone.
        (Linker::Gnu, "ABS32" | "ABS16", _) => true,
        // A branch to between two instructions: rounded down without a word.
        (_, "JUMP26" | "CALL26" | "TSTBR14", _) | (Linker::Gnu, "CONDBR19", _) => value % 4 != 0,
        // A distance is signed. lld also takes it for unsigned, as AAELF64 said before 2026.
        (Linker::Lld, "PREL32", _) => value >= 1 << 31,
        (Linker::Lld, "PREL16", _) => value >= 1 << 15,
        // "X < 0: Set the instruction to MOVN". lld writes MOVZ.
        (Linker::Lld, "MOVW_PREL_G3", _) => value < 0,
        // lld makes a veneer for what is at no multiple of four, and takes the addend for a part of the function's
        // address.
        (Linker::Lld, "PLT32", _) => i32::try_from(value).is_err() || value > i64::from(i32::MAX) - 3,
        // GNU ld does not check.
        (Linker::Gnu, "ADR_GOT_PAGE", Target::Entry) => !(-(1 << 32)..1 << 32).contains(&value),
        _ => false,
    }
}

/// What the loader makes of a case.
#[derive(PartialEq, Debug)]
enum Ours {
    Bytes(Vec<u8>),
    Refused,
    /// A veneer that goes on to this address.
    Veneer(u64),
}

/// Links the cases in one object with each linker, and each alone with the loader, and gives the number of comparisons.
/// `label` is for messages.
fn compare(label: &str, addresses: Segments<u64>, cases: &[Case]) -> usize {
    let link = |linker: Linker| {
        // lld leaves in a field what was there, though an addend stands in the relocation. GNU ld stops at a relocation
        // that it does not know, and keeps the first entry of the global offset table to itself.
        let (bytes, table): (fn(&Case) -> Vec<u8>, _) = match linker {
            Linker::Lld => (Case::clean, addresses.read),
            Linker::Gnu => (|case| case.bytes.clone(), addresses.read.wrapping_sub(8)),
        };
        let (writer, _) = write(cases, addresses, bytes, |kind| linker == Linker::Lld || kind.linkers == Both);
        let sections = [(".text".to_string(), addresses.execute), (".got".to_string(), table)];
        (linker, linker.link(&writer.write(), &sections, &writer.symbols))
    };
    let linked = [link(Linker::Gnu), link(Linker::Lld)];

    let (writer, offsets) = write(cases, addresses, |case| case.bytes.clone(), |_| true);
    let mut object = writer.write();
    // Each relocation is one that does nothing but while its turn is.
    let (_, table) = relocation_tables(&object).remove(0);
    let entries: Vec<_> = table.step_by(24).map(|entry| entry + 8..entry + 12).collect();
    for entry in &entries {
        object[entry.clone()].fill(0);
    }
    let mut compared = 0;
    for ((case, entry), offset) in cases.iter().zip(entries).zip(offsets) {
        let Case { kind, target, addend, bytes } = case;
        let what = || format!("{label}: {} of {target:x?} {addend:+#x} in {bytes:x?} at {offset:#x}", kind.name);
        object[entry.clone()].copy_from_slice(&kind.number.to_le_bytes());
        let ours = load(&object, addresses, &writer, case, offset);
        object[entry].fill(0);
        if let Ours::Veneer(address) = ours {
            let Target::Value(value) = target else { panic!("{}: a veneer to {address:#x}", what()) };
            let target = (addresses.execute + offset).wrapping_add_signed(*value);
            // What PLT32 adds is no part of the function's address.
            let function =
                if kind.name == "PLT32" { target.wrapping_add_signed(addend.wrapping_neg()) } else { target };
            assert_eq!(address, function, "{}", what());
            compared += 1;
            continue;
        }
        let entry = addresses.read.wrapping_sub((addresses.execute + offset) & !0xfff).cast_signed();
        for (linker, linked) in &linked {
            if departs(*linker, case, entry) || *linker == Linker::Gnu && kind.linkers == Lld {
                continue;
            }
            let refused = linked.refused.contains(&(".text".to_string(), offset));
            let theirs = match refused {
                true => Ours::Refused,
                false => Ours::Bytes(linked.sections[".text"][offset as usize..][..kind.size].into()),
            };
            assert_eq!(ours, theirs, "{}: the loader's and {linker:?}'s", what());
            compared += 1;
        }
    }
    compared
}

/// An object with those cases whose relocations are chosen, and the offset of each case.
fn write(
    cases: &[Case],
    addresses: Segments<u64>,
    bytes: impl Fn(&Case) -> Vec<u8>,
    choose: impl Fn(&Kind) -> bool,
) -> (Writer, Vec<u64>) {
    let mut writer = Writer::new();
    let through_table = writer.external(0x1234_5678_9abc_def0);
    let missing = writer.missing();
    let offsets = cases.iter().map(|case| {
        let Case { kind, target, addend, .. } = case;
        let offset = writer.append(&bytes(case));
        let place = addresses.execute + offset;
        let symbol = match target {
            Target::Missing => missing,
            Target::Entry => through_table,
            Target::Value(value) => {
                let base = match kind.base {
                    Zero | Entry => 0,
                    Place => place,
                    Page => place & !0xfff,
                };
                writer.external(base.wrapping_add_signed(*value).wrapping_sub(addend.cast_unsigned()))
            }
        };
        if choose(kind) {
            writer.relocate(offset, kind.number, symbol, *addend);
        }
        offset
    });
    let offsets = offsets.collect();
    (writer, offsets)
}

/// Loads an object with one relocation, that of `case`.
fn load(object: &[u8], addresses: Segments<u64>, writer: &Writer, case: &Case, offset: u64) -> Ours {
    let module = match Module::load_at(object, addresses, |name| writer.resolve(name)) {
        Ok(module) => module,
        Err(Error::Overflow { site, .. } | Error::Misaligned { site, .. }) => {
            assert_eq!((&*site.relocation, &*site.section, site.offset), (case.kind.name, ".text", offset));
            return Ours::Refused;
        }
        Err(error) => panic!("{}: {error}", case.kind.name),
    };
    let text = &module.memory.execute;
    let bytes = &text[offset as usize..][..case.kind.size];
    if module.figures.veneers == 0 {
        return Ours::Bytes(bytes.into());
    }
    let word = |offset: u64| u32::from_le_bytes(text[offset as usize..][..4].try_into().unwrap());
    let distance = match case.kind.name {
        "PLT32" => i64::from(word(offset).cast_signed()).wrapping_sub(case.addend),
        // The field counts words and has 26 bits with the sign.
        _ => i64::from((word(offset) << 6).cast_signed() >> 4),
    };
    let veneer = offset.wrapping_add_signed(distance);
    // BTI c, one MOVZ and three MOVK of x16, and BR x16.
    assert_eq!((word(veneer), word(veneer + 20)), (0xd503_245f, 0xd61f_0200));
    Ours::Veneer([0_u64, 1, 2, 3].iter().fold(0, |address, group| {
        let instruction = word(veneer + 4 + 4 * group);
        let opcode = if *group == 0 { 0xd280_0010 } else { 0xf280_0010 | (*group as u32) << 21 };
        assert_eq!(instruction & !(0xffff << 5), opcode);
        address | u64::from(instruction >> 5 & 0xffff) << (16 * group)
    }))
}

/// The values at which fields and checks begin and end: around each power of two, positive and negative.
fn boundaries() -> Vec<i64> {
    let powers = [0, 11, 12, 15, 16, 17, 20, 21, 27, 28, 31, 32, 33, 47, 48, 49, 63];
    let around = [-4096, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 4096];
    let mut values: Vec<i64> = powers
        .iter()
        .flat_map(|power| [1_i64 << power, (1_i64 << power).wrapping_neg()])
        .flat_map(|value| around.map(|offset| value.wrapping_add(offset)))
        .collect();
    values.sort();
    values.dedup();
    values
}

/// Compares what `job` gives for 0, 1, 2 and so on until it gives `None`, on two processors.
fn on_two_processors(job: impl Fn(u64) -> Option<usize> + Sync) -> usize {
    let (next, compared) = (AtomicU64::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(count) = job(next.fetch_add(1, Ordering::Relaxed)) {
            compared.fetch_add(count, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    compared.into_inner()
}

#[test]
fn bytes_at_the_limits_are_those_of_gnu_ld_and_lld_or_all_refuse() {
    let compared = on_two_processors(|number| {
        let kind = KINDS.get(number as usize)?;
        let mut random = Rng::with_seed(number);
        if kind.base == Entry {
            return Some(0);
        }
        let mut cases = vec![Case::new(kind, &mut random, Target::Missing, 0)];
        // Half of the symbols are met through an addend.
        let values = boundaries().into_iter().zip([0, -24].into_iter().cycle());
        cases.extend(values.map(|(value, addend)| Case::new(kind, &mut random, Target::Value(value), addend)));
        Some(compare("limits", ADDRESSES, &cases))
    });
    println!("{compared} comparisons");
    assert!(compared > 20_000);
}

#[test]
fn entries_of_the_global_offset_table_are_met_as_by_gnu_ld_and_lld() {
    let limits = [0, 12, 15, 20, 31, 32].iter().flat_map(|power| [1_i64 << power, -(1_i64 << power)]);
    let distances: Vec<_> = limits.flat_map(|limit| [-4096, -8, 0, 8, 4096].map(|more| limit + more)).collect();
    let compared = on_two_processors(|number| {
        let distance = distances.get(number as usize)? & !7;
        let mut random = Rng::with_seed(number);
        let kinds = KINDS.iter().filter(|kind| kind.base == Entry);
        let cases: Vec<_> = kinds.map(|kind| Case::new(kind, &mut random, Target::Entry, 0)).collect();
        let addresses = Segments { read: ADDRESSES.execute.wrapping_add_signed(distance), ..ADDRESSES };
        Some(compare("global offset table", addresses, &cases))
    });
    println!("{compared} comparisons");
    assert!(compared > 400);
}

#[test]
fn bytes_at_random_distances_are_those_of_gnu_ld_and_lld_or_all_refuse() {
    let compared = on_two_processors(|seed| (seed < 20).then(|| compare_at_random(seed)));
    println!("{compared} comparisons");
    assert!(compared > 5_000);
}

/// The same for `LOCKSTEP_FUZZ_SECONDS` (60 by default), from the seed `LOCKSTEP_FUZZ_SEED` onwards (the time by
/// default): `cargo test -p loader --test comparison -- --ignored --nocapture`.
#[test]
#[ignore = "takes as long as it is told to"]
fn bytes_at_random_distances_are_those_of_gnu_ld_and_lld_for_as_long_as_asked() {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seconds = number("LOCKSTEP_FUZZ_SECONDS").unwrap_or(60);
    let time = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let first = number("LOCKSTEP_FUZZ_SEED").unwrap_or_else(time);
    println!("seeds from {first} onwards, for {seconds} s");
    let end = Instant::now() + Duration::from_secs(seconds);
    let compared =
        on_two_processors(|number| (Instant::now() < end).then(|| compare_at_random(first.wrapping_add(number))));
    println!("{compared} comparisons");
}

/// Compares three hundred random cases.
fn compare_at_random(seed: u64) -> usize {
    let random = &mut Rng::with_seed(seed);
    let execute = match random.u8(..3) {
        0 => ADDRESSES.execute + random.u64(..1 << 32),
        1 => random.u64(1 << 16..1 << 48),
        _ => random.u64(1 << 16..u64::MAX - (1 << 32)),
    };
    let execute = execute & !7;
    let distance = random_value(random) >> random.u8(..32);
    let read = execute.wrapping_add_signed(distance).clamp(1 << 16, u64::MAX - (1 << 16)) & !7;
    let cases: Vec<_> = (0..300)
        .map(|_| {
            let kind = random.choice(KINDS).unwrap();
            let target = match kind.base {
                Entry => Target::Entry,
                _ if random.u8(..20) == 0 => Target::Missing,
                _ => Target::Value(random_value(random)),
            };
            let addend = match random.u8(..4) {
                // None of these but a datum may have one.
                _ if target == Target::Entry && kind.name != "GOTPCREL32" => 0,
                0 => random_value(random),
                1 => random.i64(-64..64),
                _ => 0,
            };
            Case::new(kind, random, target, addend)
        })
        .collect();
    compare(&format!("seed {seed}"), Segments { execute, read, ..ADDRESSES }, &cases)
}

/// A value of any size, often near a power of two and often a multiple of one.
fn random_value(random: &mut Rng) -> i64 {
    let bits = random.u8(..64);
    let value = match random.u8(..3) {
        0 => (1_i64 << bits).wrapping_add(random.i64(-40..40)),
        1 => (1_i64 << bits).wrapping_add(random.i64(-10_000..10_000)),
        _ => random.i64(..) >> bits,
    };
    let value = if random.bool() { value } else { value.wrapping_neg() };
    if random.bool() { value } else { value & -(1 << random.u8(1..5)) }
}
