//! Breaks the rules that hold for who calls others, or uses more of the machine than its part.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::thread::{self, Priority};
use abi::{registry, time};
use core::hint::black_box;

abi::service!(
    TestHeedless,
    summary = "Breaks the rules that hold for callers",
    parameters = {
        /// What it does: `keep` a lock that it takes in a call, call with one `locked`, or with `little` stack left, or `deep` in
        /// calls; `log` ever deeper; have others wait for an `urgent` thread, for some that take `naps`, or for threads that start another (`fork`); log for ever (`chatter`)
        mode: String = "none",
        /// How much of the stack is left, in KiB
        room: u32 = 4,
    },
);

static LOCK: Lock<u32> = Lock::new(0);

struct TestHeedless;

impl Service for TestHeedless {
    fn start(_resources: &mut Resources) -> Result<Self> {
        let device = registry::first::<dyn BlockDevice>().ok_or(Error::Absent)?;
        match parameters::mode().as_str() {
            "keep" => on_thread(move || drop(device.call(|_| core::mem::forget(LOCK.lock()))))?,
            "locked" => on_thread(move || {
                let _guard = LOCK.lock();
                tell(&order(device, "sleep"));
            })?,
            "little" => on_thread(move || with_little_stack(device))?,
            "deep" => on_thread(move || nest(device, 0))?,
            "urgent" => (0..2).try_for_each(|_| {
                thread::spawn_with_priority("heedless", Priority::Urgent, || {
                    loop {
                        black_box(());
                    }
                })
            })?,
            "log" => on_thread(|| {
                log_deeper(0);
            })?,
            "naps" => (0..16).try_for_each(|_| thread::spawn_with_priority("heedless", Priority::Urgent, nap))?,
            "fork" => fork(),
            "chatter" => (0..50_000).for_each(|_| info!("")),
            _ => {}
        }
        Ok(Self)
    }
}

fn on_thread(action: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::spawn("heedless", action)
}

/// Has the device do what it can.
fn order(device: Handle<dyn BlockDevice>, fault: &str) -> Result<()> {
    let mut block = [0; 512];
    block[..fault.len()].copy_from_slice(fault.as_bytes());
    device.call(|device| device.write(0, &block))?
}

fn tell(result: &Result<()>) {
    match result {
        Ok(()) => warn!("it went well"),
        Err(error) => warn!("{error}"),
    }
}

/// Has the device fail when no more than [`parameters::room`] of the stack is left.
#[inline(never)]
fn with_little_stack(device: Handle<dyn BlockDevice>) {
    let place = black_box([0u8; 64]);
    // A stack is aligned to its size, which is a multiple of this.
    if (place.as_ptr().addr() % (64 << 10)) >> 10 > parameters::room() as usize {
        with_little_stack(device);
        black_box(place);
        return;
    }
    tell(&order(device, "null"));
}

/// Calls from within calls until there is no more, and stays there until the timer has come some times.
fn nest(device: Handle<dyn BlockDevice>, depth: usize) {
    match device.call(|_| nest(device, depth + 1)) {
        Ok(()) => {}
        Err(error) => {
            let start = Instant::now();
            while Instant::now() - start < Duration::from_millis(50) {
                black_box(());
            }
            warn!("{depth} deep: {error}");
        }
    }
}

/// Uses up the stack, with a record at each level.
#[allow(unconditional_recursion, reason = "that is the point")]
fn log_deeper(depth: u64) -> u64 {
    info!("{depth}");
    black_box(log_deeper(depth + 1)) + depth
}

/// Works, and rests for a moment now and then.
fn nap() {
    while time::sleep(Duration::from_micros(1)).is_ok() {
        let start = Instant::now();
        while Instant::now() - start < Duration::from_millis(150) {
            black_box(());
        }
    }
}

/// Starts another of its kind, and ends.
fn fork() {
    while thread::spawn("heedless", fork).is_err_and(|error| error != Error::Stopping) {
        let _ = time::sleep(Duration::from_millis(1));
    }
}
