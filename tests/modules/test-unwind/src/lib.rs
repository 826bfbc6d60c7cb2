//! Fails in the way that it is told to, five calls deep, and notes what is dropped on the way out.
#![no_std]

use abi::prelude::*;
use core::hint::black_box;

abi::service!(
    TestUnwind,
    summary = "Fails in many ways",
    parameters = {
        /// `panic`, `read` through a null pointer, `call` one, `jump` into an instruction, `undefined` instruction, `copy` to
        /// where nothing is, `memory` for more than there is, `drop` with a panic, `extern` function with a panic, or
        /// `overflow` the stack
        mode: String = "none",
    },
);

struct TestUnwind;

impl Service for TestUnwind {
    fn start(_resources: &mut Resources) -> Result<Self> {
        let mode = parameters::mode();
        let _first = Noted("first");
        Err(Error::Device(format!("{} is what was left", second(mode.as_str()))))
    }
}

/// Says when it is dropped.
struct Noted(&'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        info!("{} was dropped", self.0);
    }
}

/// Panics when it is dropped.
struct Stubborn;

impl Drop for Stubborn {
    fn drop(&mut self) {
        let _within = Noted("what the stubborn one had");
        panic!("it doesn't want to be dropped");
    }
}

#[inline(never)]
fn second(mode: &str) -> u64 {
    let _second = Noted("second");
    third(mode) + 1
}

#[inline(never)]
fn third(mode: &str) -> u64 {
    let _after = Noted("third");
    if mode == "drop" {
        let _stubborn = Stubborn;
        fourth(mode) + 1
    } else if mode == "extern" {
        foreign() + 1
    } else {
        fourth(mode) + 1
    }
}

/// Must not unwind.
#[inline(never)]
extern "C" fn foreign() -> u64 {
    let _foreign = Noted("foreign");
    fourth("panic") + 1
}

#[inline(never)]
fn fourth(mode: &str) -> u64 {
    let _fourth = Noted("fourth");
    fail(mode) + 1
}

#[inline(never)]
fn fail(mode: &str) -> u64 {
    match mode {
        "read" => read(black_box(core::ptr::null())),
        "call" => {
            // SAFETY: there is no argument for this one and the following: that it goes wrong is what the module is for.
            let nothing = unsafe { core::mem::transmute::<usize, extern "C-unwind" fn() -> u64>(black_box(0)) };
            nothing() + 1
        }
        "jump" => {
            let within = black_box(second as *const ()).wrapping_byte_add(2);
            // SAFETY: none.
            let within = unsafe { core::mem::transmute::<*const (), extern "C-unwind" fn() -> u64>(within) };
            within() + 1
        }
        "undefined" => undefined(),
        "copy" => {
            let from = black_box([1u8; 100]);
            let to = core::ptr::without_provenance_mut(black_box(0x1000));
            // SAFETY: none.
            unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, black_box(100)) };
            1
        }
        "memory" => black_box(Vec::<u8>::with_capacity(black_box(1 << 40))).capacity() as u64,
        "overflow" => endless(0),
        _ => panic!("it was told to"),
    }
}

/// A function that calls none, and has no frame.
#[inline(never)]
fn read(place: *const u64) -> u64 {
    // SAFETY: none.
    unsafe { place.read_volatile() }
}

#[inline(never)]
fn undefined() -> u64 {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: none.
    unsafe {
        core::arch::asm!("udf #0")
    };
    1
}

/// Leaves something to drop in each call.
#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the point")]
fn endless(depth: u64) -> u64 {
    let dropped = black_box(vec![depth]);
    if depth == 5 {
        let _early = Noted("an early call's");
        return endless(depth + 1) + 1;
    }
    endless(depth + 1) + dropped.iter().sum::<u64>()
}
