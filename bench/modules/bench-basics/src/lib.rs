//! Does things often, between marks that the counter of instructions sees: see `bench/README.md`.
#![no_std]

extern crate alloc;

use abi::prelude::*;
use abi::{registry, thread};
use core::hint::black_box;

abi::service!(BenchBasics: Clock, summary = "Does things often, to be counted");

/// How often. The benchmark knows.
const TIMES: u32 = 1000;

/// `hint` with a number that means nothing to a processor.
macro_rules! mark {
    ($number:literal) => {
        // SAFETY: an unallocated hint does nothing (Arm Architecture Reference Manual, C6.2).
        #[cfg(target_os = "none")]
        unsafe {
            core::arch::asm!(concat!("hint #", $number))
        }
    };
}

struct BenchBasics;

impl Clock for BenchBasics {
    #[inline(never)]
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(0)
    }
}

impl Service for BenchBasics {
    fn start(_resources: &mut Resources) -> Result<Self> {
        thread::spawn("bench-basics", || {
            if let Err(error) = run() {
                error!("{error}");
            }
        })?;
        Ok(Self)
    }
}

fn run() -> Result<()> {
    // Until the service is there, and nothing is left to do for those who started it.
    abi::time::sleep(Duration::from_millis(200))?;
    let own = registry::all::<dyn Clock>().into_iter().find(|clock| clock.provider().name() == "bench-basics");
    calls(own.ok_or(Error::Absent)?)?;
    round_trips()?;
    allocations();
    Ok(())
}

/// From 0x60 to 0x61 bare calls, from there to 0x62 calls through a handle.
fn calls(handle: Handle<dyn Clock>) -> Result<()> {
    handle.call(|clock| {
        mark!("0x60");
        for _ in 0..TIMES {
            black_box(black_box(clock).now());
        }
        mark!("0x61");
    })?;
    for _ in 0..TIMES {
        black_box(black_box(handle).call(|clock| clock.now())?);
    }
    mark!("0x62");
    Ok(())
}

/// From 0x63 to 0x64, two threads wake each other in turn.
fn round_trips() -> Result<()> {
    let (ask, answer) = (Event::new()?, Event::new()?);
    let (asked, answered) = (ask.signal(), answer.signal());
    thread::spawn("answerer", move || {
        while ask.wait(None).is_ok() {
            answered.raise();
        }
    })?;
    let trip = || {
        asked.raise();
        answer.wait(None)
    };
    for _ in 0..TIMES {
        trip()?;
    }
    mark!("0x63");
    for _ in 0..TIMES {
        trip()?;
    }
    mark!("0x64");
    Ok(())
}

/// From 0x65 to 0x66, 64 bytes are allocated and freed.
fn allocations() {
    let allocation = || drop(black_box(Box::new(black_box([0_u64; 8]))));
    (0..TIMES).for_each(|_| allocation());
    mark!("0x65");
    (0..TIMES).for_each(|_| allocation());
    mark!("0x66");
}
