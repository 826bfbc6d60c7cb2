//! The unwinder on the tables of the kernel and of the modules that were built, against what binutils read in them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use object::{Object, ObjectSection};
use tempfile::TempDir;
use tests::built;
use unwinder::{Error, Landing, Place, Registers, Section, System, Tables, Walk, advance, search};

/// Where the stack is that no program runs on.
const STACK: u64 = 0xffff_9000_0001_0000;

/// What is read of a program.
const SECTIONS: [&str; 4] = [".text", ".eh_frame", ".eh_frame_hdr", ".gcc_except_table"];

/// A program's tables.
struct Program {
    path: PathBuf,
    /// Where it was linked, if it was.
    _folder: Option<TempDir>,
    sections: BTreeMap<String, (u64, Vec<u8>)>,
}

impl Program {
    fn read(path: PathBuf, folder: Option<TempDir>) -> Self {
        let file = std::fs::read(&path).expect("./x build has made it");
        let file = object::File::parse(&*file).expect("an ELF file");
        let own = |name: &str| {
            let section = file.section_by_name(name)?;
            Some((name.to_owned(), (section.address(), section.data().expect("its bytes").to_vec())))
        };
        Self { path, _folder: folder, sections: SECTIONS.iter().filter_map(|name| own(name)).collect() }
    }

    /// The kernel, which has an index of its tables.
    fn kernel() -> Self {
        Self::read(built("kernel.elf"), None)
    }

    /// A module, put at some address, which has none.
    fn module(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("module.elf");
        let status = Command::new("ld.lld-19")
            .args(["--unresolved-symbols=ignore-all", "-e", "0", "-o"])
            .arg(&path)
            .arg(built(&format!("modules/{name}.o")))
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("ld.lld-19 (package lld-19) should be there").success());
        Self::read(path, Some(folder))
    }

    fn section(&self, name: &str) -> Option<Section<'_>> {
        self.sections.get(name).map(|(address, bytes)| Section { address: *address, bytes })
    }

    /// What readelf says of each place where a rule changes.
    fn rows(&self) -> Vec<Row> {
        let output =
            Command::new("aarch64-linux-gnu-readelf").arg("--debug-dump=frames-interp").arg(&self.path).output();
        let output = output.expect("aarch64-linux-gnu-readelf (package binutils-aarch64-linux-gnu) should be there");
        let text = String::from_utf8_lossy(&output.stdout);
        let mut rows: Vec<Row> = Vec::new();
        let (mut end, mut columns, mut is_entry) = (0, Vec::new(), false);
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let Some((_, range)) = line.split_once(" pc=") {
                end = range.split_once("..").and_then(|(_, end)| number(end)).expect("a range");
                is_entry = true;
            } else if line.contains(" CIE ") {
                is_entry = false;
            } else if words.first() == Some(&"LOC") {
                columns = words.iter().skip(2).map(|name| register(name)).collect();
            } else if let (true, [start, frame, rules @ ..]) = (is_entry && line.contains('+'), &*words) {
                let start = number(start).expect("an address");
                if let Some(last) = rows.last_mut().filter(|last| last.end == end) {
                    last.end = start;
                }
                let saved = columns.iter().zip(rules).filter_map(|(column, rule)| {
                    let offset = rule.strip_prefix('c')?.parse().expect("an offset");
                    Some((*column, offset))
                });
                rows.push(Row { start, end, frame: (*frame).to_owned(), saved: saved.collect() });
            }
        }
        rows
    }
}

/// A register's number from readelf's name for it.
fn register(name: &str) -> usize {
    match name {
        "ra" => 30,
        name => name[1..].parse().expect("x and a number"),
    }
}

/// The rules from one address to another.
struct Row {
    start: u64,
    end: u64,
    /// Where the frame ends: `sp+16`.
    frame: String,
    /// Which registers are saved, at which offset from there.
    saved: Vec<(usize, i64)>,
}

/// A program that has been stopped somewhere, on a stack on which every word says where it is.
struct Stopped<'a> {
    program: &'a Program,
    /// The one word that doesn't, and what it is.
    return_slot: Cell<(u64, u64)>,
    /// What the words are if they don't say where they are: return addresses, each of them somewhere.
    returns: &'a [u64],
}

impl System for Stopped<'_> {
    fn tables(&self, address: u64) -> Option<Tables<'_>> {
        let text = self.program.section(".text")?;
        (address.checked_sub(text.address)? < text.bytes.len() as u64).then_some(())?;
        Some(Tables {
            frames: self.program.section(".eh_frame")?,
            index: self.program.section(".eh_frame_hdr"),
            actions: self.program.section(".gcc_except_table")?,
        })
    }

    fn word(&self, address: u64) -> Option<u64> {
        let (slot, value) = self.return_slot.get();
        let own = || self.returns.get((address as usize / 8).wrapping_mul(0x9e37) % self.returns.len().max(1)).copied();
        let word = || if address == slot { value } else { own().unwrap_or(!address) };
        (STACK - 0x10000..STACK + 0x10000).contains(&address).then(word)
    }

    fn is_expendable(&self, _address: u64) -> bool {
        true
    }

    fn has_room(&self, _stack_pointer: u64) -> bool {
        true
    }
}

fn registers(program_counter: u64) -> Registers {
    let mut general = std::array::from_fn(|number| 0x1111 * number as u64);
    general[29] = STACK + 0x800;
    Registers { general, stack_pointer: STACK, program_counter }
}

/// Checks the caller's registers at each place where a rule changes, and right before the next.
fn agrees_with_readelf(program: &Program) {
    let rows = program.rows();
    assert!(rows.len() > 20, "readelf tells of {} places", rows.len());
    // A function that all others are called by.
    let caller =
        rows.iter().find(|row| row.frame == "sp+32" && !row.saved.is_empty()).expect("a common frame").start + 4;
    for row in &rows {
        for place in [row.start, row.end - 4] {
            let (base, offset) = row.frame.split_once('+').expect("a register and an offset");
            let mut before = registers(place);
            before.general[30] = caller;
            let base = if base == "sp" { before.stack_pointer } else { before.general[register(base)] };
            let end = base + offset.parse::<u64>().expect("an offset");
            let mut expected = before.clone();
            (expected.stack_pointer, expected.program_counter) = (end, caller);
            let stopped = Stopped { program, return_slot: Cell::new((0, 0)), returns: &[] };
            for (register, offset) in &row.saved {
                let slot = end.wrapping_add_signed(*offset);
                if *register == 30 {
                    stopped.return_slot.set((slot, caller));
                }
                expected.general[*register] = stopped.word(slot).expect("on the stack");
            }
            let mut walk = Walk::new(&stopped, before.clone(), Place::Instruction);
            let frame = walk.next_frame().expect("what readelf can read").expect("a first frame");
            assert_eq!((frame.end, frame.registers), (end, before), "at {place:#x}");
            // Nobody has called the first function of a thread.
            if let Some(next) = walk.next_frame().expect("the common caller") {
                assert_eq!(next.registers, expected, "of the caller of {place:#x}");
            }
        }
    }
}

#[test]
fn the_kernels_tables_say_what_readelf_says() {
    agrees_with_readelf(&Program::kernel());
}

#[test]
fn modules_tables_say_what_readelf_says() {
    for name in ["net", "shell", "virtio-net", "arm-pl011"] {
        agrees_with_readelf(&Program::module(name));
    }
}

#[test]
fn a_branch_into_nowhere_came_from_the_link_register() {
    let program = Program::kernel();
    let stopped = Stopped { program: &program, return_slot: Cell::new((0, 0)), returns: &[] };
    let caller = program.rows().iter().find(|row| row.frame == "sp+32").expect("a common frame").start + 4;
    for nowhere in [0, 0x1000, u64::MAX, caller + 2] {
        let mut registers = registers(nowhere);
        // As pointer authentication may sign it.
        registers.general[30] = caller & !(0x7f << 48) | 0x2a << 48;
        let mut walk = Walk::new(&stopped, registers, Place::Instruction);
        assert_eq!(walk.next_frame().expect("nowhere").expect("a frame").end, STACK);
        let next = walk.next_frame().expect("the caller").expect("a frame");
        assert_eq!((next.registers.program_counter, next.place), (caller, Place::Call));
    }
    assert_eq!(Walk::new(&stopped, registers(0x1000), Place::Call).next_frame().err(), Some(Error::NoCode(0x1000)));
}

#[test]
fn damaged_tables_and_stacks_end_every_walk() {
    for mut program in [Program::kernel(), Program::module("net")] {
        let rows = program.rows();
        let whole = program.sections.clone();
        let mut random = fastrand::Rng::with_seed(4);
        let returns: Vec<u64> = rows.iter().map(|row| row.start + 4).collect();
        let (mut most, mut reached) = (0, 0);
        for _ in 0..1000 {
            program.sections.clone_from(&whole);
            let most_damages = [1, 200][random.usize(..2)];
            for name in &SECTIONS[1..] {
                let Some((_, bytes)) = program.sections.get_mut(*name) else { continue };
                for _ in 0..random.usize(..most_damages) {
                    let place = random.usize(..bytes.len());
                    bytes[place] = random.u8(..);
                }
            }
            let start = &rows[random.usize(..rows.len())];
            let stopped = Stopped { program: &program, return_slot: Cell::new((0, 0)), returns: &returns };
            let mut registers = registers(start.start + 4);
            registers.general[30] = rows[random.usize(..rows.len())].start + 4;
            let place = if random.bool() { Place::Call } else { Place::Instruction };
            let landing = Landing { stack_pointer: STACK + random.u64(1..64) * 16, program_counter: 4 };
            let mut frames = 0;
            let way = search(&stopped, &registers, place, &landing, |_| frames += 1);
            assert!(frames <= 0x2000, "{frames} frames");
            most = most.max(frames);
            if way.is_ok() {
                reached += 1;
                let next = advance(&stopped, &registers, place, &landing, 7).expect("the search has found a way");
                assert!(next.general[0] == 7 && next.stack_pointer <= landing.stack_pointer);
            }
        }
        assert!(reached > 10, "{reached} ways were free");
        assert!(most > 10, "none got further than {most} frames");
    }
}
