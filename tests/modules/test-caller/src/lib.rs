//! Has `test-faults` misbehave in every way, many times, and says what came of it and what it has cost.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::system::{self, DeviceState};
use abi::thread::{self, Priority};
use abi::{registry, time};
use core::sync::atomic::{AtomicBool, Ordering};

abi::service!(
    TestCaller,
    summary = "Has a driver misbehave in every way",
    parameters = {
        /// How often in each
        rounds: u32 = 100,
        /// In which: all that begin with this
        fault: String = "",
        /// And not in this one
        except: String = "",
        /// How many failures come before, so that what grows with use has grown, the log above all, and behind, so that what only
        /// seemed to be in use can be freed
        warm_up: u32 = 200,
        /// Whether another call of the driver goes on until this module is removed
        clings: bool = false,
    },
);

/// The faults, and what the error says that the call ends with: nothing where something else fails than the call, which then
/// ends because the driver is started again.
const FAULTS: &[(&str, &str)] = &[
    ("panic", "panicked: it was told to"),
    ("reluctant", "panicked: it will be reluctant"),
    ("again", "while that was unwound, it panicked: it doesn't want to be dropped"),
    ("drop", "panicked: it will be dropped"),
    ("divide", "panicked: attempt to divide by zero"),
    ("null", "read from 0x0000000000000000 (a null pointer)"),
    ("wild", "read from 0x0000555555555000"),
    ("misaligned", "it is misaligned for that kind of memory"),
    ("text", "the mapping doesn't permit it"),
    ("jump", "instruction fetch from 0x0000000000001000"),
    ("undefined", "undefined instruction"),
    ("overflow", "stack overflow"),
    ("loop", "was stopped: it took more than"),
    ("locked", "was stopped: it took more than"),
    ("relock", "panicked: a lock is taken by the thread that holds it already"),
    ("remutex", "panicked: a mutex is taken by the thread that holds it already"),
    ("locks", "panicked: a thread holds 16 locks and takes another"),
    ("kept", "returned and kept a lock"),
    ("forgotten", "returned and kept a lock"),
    ("wait", "panicked: a wait in an interrupt handler or with a lock held"),
    ("leak", "panicked: it leaves everything behind"),
    ("memory", "panicked: out of memory: "),
    ("hoard", "panicked: out of memory: "),
    ("lingering", "panicked: it leaves a thread behind"),
    ("deaf", "was stopped: it "),
    ("interrupt-panic", ""),
    ("interrupt-null", ""),
    ("interrupt-overflow", ""),
    ("interrupt-loop", ""),
    ("interrupt-locked", ""),
    ("interrupt-kept", ""),
    ("interrupt-wait", ""),
    ("interrupt-memory", ""),
    ("storm", ""),
    ("handler-panic", ""),
    ("handler-null", ""),
    ("handler-overflow", ""),
    ("handler-loop", ""),
    ("handler-locked", ""),
    ("thread-kept", ""),
    ("thread-panic", ""),
    ("thread-null", ""),
    ("thread-overflow", ""),
    ("thread-undefined", ""),
];

struct TestCaller;

impl Service for TestCaller {
    fn start(_resources: &mut Resources) -> Result<Self> {
        let devices = registry::all::<dyn BlockDevice>();
        // It has few blocks.
        let is_it = |device: &Handle<dyn BlockDevice>| {
            device.call(|device| device.geometry()).is_ok_and(|geometry| geometry.blocks < 100)
        };
        let device = devices.into_iter().find(is_it).ok_or(Error::Absent)?;
        if parameters::clings() {
            cling(device)?;
        }
        // Ahead of what else goes on meanwhile.
        thread::spawn_with_priority("test-caller", Priority::High, move || {
            if let Err(error) = run(device) {
                error!("ended early: {error}");
            }
        })?;
        Ok(Self)
    }
}

/// Has a thread call the device, and not come back until another is told to end.
fn cling(device: Handle<dyn BlockDevice>) -> Result<()> {
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    let wait = || {
        while !IS_OVER.load(Ordering::Relaxed) {
            core::hint::spin_loop();
        }
    };
    thread::spawn("clinging", move || device.call(|_| wait()).unwrap_or_default())?;
    thread::spawn("until the end", || {
        while time::sleep(Duration::from_secs(1)).is_ok() {}
        IS_OVER.store(true, Ordering::Relaxed);
    })
}

fn run(device: Handle<dyn BlockDevice>) -> Result<()> {
    let (chosen, except, rounds) = (parameters::fault(), parameters::except(), parameters::rounds());
    let is_meant = |fault: &str| fault.starts_with(&chosen) && fault != except;
    let panic_again = || (0..parameters::warm_up()).try_for_each(|_| provoke(device, "panic", "panicked"));
    panic_again()?;
    let (first, devices, mut results) = (Held::now(), bound(), Vec::new());
    for (fault, expected) in FAULTS.iter().filter(|(fault, _)| is_meant(fault)) {
        let (start, before) = (Instant::now(), Held::now());
        (0..rounds).try_for_each(|_| provoke(device, fault, expected))?;
        let time = (Instant::now() - start).as_millis();
        if bound() < devices {
            return Err(Error::Invalid(format!("{fault} has cost others a device")));
        }
        results.push(format!("{fault}: {rounds} contained in {time} ms, {}", Held::now().since(&before)));
    }
    panic_again()?;
    // Not before: the log has only room for some dozen failures.
    results.iter().for_each(|result| warn!("{result}"));
    warn!("all {} faults: {}", results.len(), Held::now().since(&first));
    Ok(())
}

/// Has the driver misbehave once, and waits until it is back.
fn provoke(device: Handle<dyn BlockDevice>, fault: &str, expected: &str) -> Result<()> {
    let mut block = [0; 512];
    block[..fault.len()].copy_from_slice(fault.as_bytes());
    match (device.call(|device| device.write(0, &block)), expected) {
        (Ok(Err(Error::Stopping)), "") => {}
        // On a machine that stands still now and then it may not get to leave by itself.
        (Err(Error::Failed(how)), "") if how.starts_with("was stopped: it was told to end") => {}
        // What came again and again came upon the call, and took its time.
        (Err(Error::Failed(how)), "") if fault == "storm" && how.starts_with("was stopped: it took more than") => {}
        (Err(Error::Failed(how)), expected) if !expected.is_empty() && how.contains(expected) => {}
        (other, _) => return Err(Error::Invalid(format!("{fault} led to {other:?} with {:?}", system::memory()))),
    }
    device.retry(|device| device.read(0, &mut block))
}

/// How many devices are driven.
fn bound() -> usize {
    system::devices().iter().filter(|device| device.state == DeviceState::Bound).count()
}

/// What can be seen of what all modules hold.
struct Held([(&'static str, u64); 7]);

impl Held {
    fn now() -> Self {
        let memory = system::memory();
        Self([
            ("free", memory.free),
            ("heap", memory.heap_used),
            ("DMA", memory.dma),
            ("modules", system::modules().len() as u64),
            ("bound", bound() as u64),
            ("threads", system::threads().len() as u64),
            ("lines", system::interrupts().len() as u64),
        ])
    }

    /// What has become more or less.
    fn since(&self, before: &Self) -> String {
        let differences = self
            .0
            .iter()
            .zip(&before.0)
            .map(|((name, now), (_, before))| format!("{name} {:+}", now.cast_signed() - before.cast_signed()));
        differences.collect::<Vec<_>>().join(", ")
    }
}
