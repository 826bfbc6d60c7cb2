//! A service at work: its threads, and what it logs.

use crate::{Machine, event, lock, machine, registry};
use abi::registry::ProviderId;
use abi::running::{Block, Publication};
use abi::{Class, Entry, Interface, Module, Resources, Service};
use std::cell::Cell;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

unsafe extern "Rust" {
    /// The module under test, as the loader finds it.
    safe static LOCKSTEP_MODULE: Module;
}

static STOPPING: AtomicBool = AtomicBool::new(false);
static THREADS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether this thread belongs to the service.
    static IS_SERVICE: Cell<bool> = const { Cell::new(false) };
}

/// The service under test, running. There is one session at a time: another one waits for its turn.
pub struct Session {
    // Dropped before the next session may begin.
    service: Box<dyn Service>,
    _turn: MutexGuard<'static, ()>,
}

impl Session {
    /// Starts the service on a machine that `arrange` has set up.
    // Generic, so that only the tests of services refer to a module: those of libraries have none.
    pub fn start(arrange: impl FnOnce()) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = lock(&TURN);
        reset();
        arrange();
        let Entry::Service(start) = LOCKSTEP_MODULE.entry else { panic!("{} is no service", LOCKSTEP_MODULE.name) };
        let service = start(&mut Resources::new(ProviderId::from_raw(0), None)).unwrap();
        Self { service, _turn: turn }
    }

    /// What the service publishes under `class`.
    pub fn interface(&self, class: Class) -> Interface<'_> {
        self.service.interface(class).unwrap()
    }
}

impl Drop for Session {
    /// Removes the service the way the kernel does: its threads have to end by themselves.
    fn drop(&mut self) {
        STOPPING.store(true, Ordering::SeqCst);
        event::wake_all();
        loop {
            let threads = mem::take(&mut *lock(&THREADS));
            if threads.is_empty() {
                break;
            }
            for thread in threads {
                if thread.join().is_err() && !std::thread::panicking() {
                    panic!("a thread of the service panicked");
                }
            }
        }
    }
}

/// What has been logged in this session, or since [`keep_log`].
pub fn log() -> Vec<String> {
    lock(&LOG).clone()
}

/// Waits until the log holds a line.
///
/// # Panics
/// As [`wait_until`].
pub fn await_log(line: &str) {
    wait_until(&format!("`{line}` in the log"), || log().iter().any(|entry| entry == line));
}

/// Waits until something holds; `what` says what, for people.
///
/// # Panics
/// When it doesn't hold within 10 seconds.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "there was no {what}; the log: {:#?}", log());
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn spawn(name: &str, body: Box<dyn FnOnce() + Send>) {
    let run = || {
        IS_SERVICE.set(true);
        body();
    };
    let thread = std::thread::Builder::new().name(name.into()).spawn(run).unwrap();
    lock(&THREADS).push(thread);
}

/// Whether the calling thread is to end.
pub fn is_stopping() -> bool {
    STOPPING.load(Ordering::SeqCst) && IS_SERVICE.get()
}

/// Makes everything as it was before the first session.
fn reset() {
    STOPPING.store(false, Ordering::SeqCst);
    *machine() = Machine::default();
    registry::clear();
    lock(&LOG).clear();
    keep_log();
}

/// Has what is logged kept, as it is in a session: for tests of drivers.
pub fn keep_log() {
    // Fails from the second time on: it is set.
    let _ = log::set_logger(&Log);
    log::set_max_level(log::LevelFilter::Trace);
}

struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        lock(&LOG).push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// The blocks of all threads that have ever called anything.
static BLOCKS: Mutex<Vec<&'static Block>> = Mutex::new(Vec::new());

/// The block of this thread.
pub fn block() -> &'static Block {
    thread_local! {
        static BLOCK: &'static Block = {
            let block: &'static Block = Box::leak(Box::new(Block::new(1)));
            lock(&BLOCKS).push(block);
            block
        };
    }
    BLOCK.with(|block| *block)
}

/// Whether any thread is calling what is published there.
pub fn is_called(publication: &Publication) -> bool {
    lock(&BLOCKS).iter().any(|block| {
        let depth = block.depth.load(Ordering::Acquire) as usize;
        let mut calls = block.calls.iter().take(depth).filter_map(|call| call.publication());
        calls.any(|call| std::ptr::eq(call, publication))
    })
}
