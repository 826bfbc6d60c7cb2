//! The kernel of the experiments. It finds modules in an archive, loads each with the same crates as the real kernel
//! (`initramfs`, `loader`, `stamp`), lets both sides examine each other, and writes down what came of it: a line for
//! each outcome, words first, that `./x experiments` reads.
#![no_std]
#![feature(lang_items, offset_of_enum)]
#![allow(internal_features, reason = "a program of its own has to say who unwinds: nobody")]

extern crate alloc;

mod heap;
mod machine;
mod modules;
#[path = "../../module/src/side/mod.rs"]
mod side;

use contract::{Report, Side};
use initramfs::Archive;
use loader::exports::ExportTable;
use machine::{ARCHIVE, println};

/// Modules in this folder of the archive are loaded whatever their stamp says.
const UNCHECKED: &str = "unchecked/";

#[unsafe(no_mangle)]
fn lockstep_scale(value: u64) -> u64 {
    value * side::FACTOR
}

/// Tries all modules in the archive. `exports` is what they may use, `stamp` what they must have been built with.
pub fn run(exports: &ExportTable, stamp: &str) -> ! {
    for fact in side::Own.facts() {
        println!("fact {} {}", fact.value, fact.what);
    }
    // SAFETY: QEMU was told to put the archive there, and nothing else uses that memory.
    let archive = Archive::new(unsafe { core::slice::from_raw_parts(ARCHIVE.start as *const u8, ARCHIVE.len()) });
    for entry in archive.entries() {
        match entry {
            Ok(entry) if entry.is_file() => try_module(entry.name, entry.data, exports, stamp),
            Ok(_) => {}
            Err(error) => panic!("the archive is damaged: {error}"),
        }
    }
    println!("end");
    machine::power_off()
}

/// Loads a module, and exchanges everything with it.
fn try_module(name: &str, object: &[u8], exports: &ExportTable, stamp: &str) {
    let stamp = (!name.starts_with(UNCHECKED)).then_some(stamp);
    let module = match modules::load(object, exports, stamp) {
        Ok(module) => module,
        Err(reason) => return println!("refused {name} {reason}"),
    };
    for (own, theirs) in side::Own.facts().into_iter().zip(module.side.facts()) {
        if own != theirs {
            println!("differs {name} {}: {} in the kernel, {} in the module", own.what, own.value, theirs.value);
        }
    }
    examine(name, "kernel-calls-module", |report| side::examine(module.side, report));
    examine(name, "module-calls-kernel", |report| (module.examine)(&side::Own, report));
}

/// Runs one examination. What it allocated must be free again when it ends.
fn examine(name: &str, direction: &str, examination: impl FnOnce(&mut Report)) {
    let allocated = heap::live();
    let mut report = Report::default();
    examination(&mut report);
    let Report { topics, wrong } = report;
    for topic in topics {
        println!("compared {name} {direction} {} {}", topic.values, topic.name);
    }
    for wrong in wrong {
        println!("wrong {name} {direction} {}: expected {}, found {}", wrong.what, wrong.expected, wrong.found);
    }
    match heap::live() - allocated {
        0 => {}
        left => println!("wrong {name} {direction} {left} allocations are left"),
    }
    println!("ends {name} {direction}");
}
