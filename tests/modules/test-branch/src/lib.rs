//! Goes where code must not go when it is started, or uses up a stack of another processor than the first.
#![no_std]

use abi::prelude::*;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

abi::service!(
    TestBranch,
    summary = "Goes where it must not",
    parameters = {
        /// `call` of the middle of a function, `return` to where nobody has called from, or `overflow` of a stack on
        /// another processor
        mode: String = "call",
    },
);

struct TestBranch;

impl Service for TestBranch {
    fn start(_resources: &mut Resources) -> Result<Self> {
        match parameters::mode().as_str() {
            "call" => {
                // Behind the instruction that each function begins with whose address is taken.
                let within = black_box(elsewhere as *const ()).wrapping_byte_add(4);
                // SAFETY: there is no argument for it: that this goes wrong is what the module is for.
                let within = unsafe { core::mem::transmute::<*const (), extern "C-unwind" fn() -> u64>(within) };
                within();
            }
            "return" => {
                astray();
            }
            // One of two runs on another processor than the first.
            _ => (0..2).try_for_each(|_| abi::thread::spawn("overflow", overflow_elsewhere))?,
        }
        Ok(Self)
    }
}

extern "C-unwind" fn elsewhere() -> u64 {
    info!("it went elsewhere");
    black_box(1)
}

/// Returns elsewhere.
#[inline(never)]
fn astray() -> u64 {
    #[cfg(target_os = "none")]
    // SAFETY: none. A frame begins with the caller's x29 and x30, and x29 points to it.
    unsafe {
        core::arch::asm!("str {}, [x29, #8]", in(reg) elsewhere as *const ())
    };
    // So that there is a frame.
    black_box(elsewhere as extern "C-unwind" fn() -> u64);
    info!("on its way");
    1
}

/// Uses up its stack as soon as it is not on the first processor, unless another thread does.
fn overflow_elsewhere() {
    static FOUND: AtomicBool = AtomicBool::new(false);
    while processor() == 0 {
        if FOUND.load(Ordering::Relaxed) {
            return;
        }
        abi::thread::yield_now();
    }
    if !FOUND.swap(true, Ordering::Relaxed) {
        info!("on processor {}", processor());
        info!("{} calls returned", calls(0));
    }
}

/// The number of the processor that this runs on, in its cluster.
fn processor() -> u64 {
    let identifier: u64;
    #[cfg(target_os = "none")]
    // SAFETY: reading MPIDR_EL1 has no effect.
    unsafe {
        core::arch::asm!("mrs {}, mpidr_el1", out(reg) identifier)
    };
    #[cfg(not(target_os = "none"))]
    {
        identifier = 0;
    }
    identifier & 0xff
}

/// Counts for ever.
#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the point")]
fn calls(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    calls(depth + 1) + frame.iter().sum::<u64>()
}
