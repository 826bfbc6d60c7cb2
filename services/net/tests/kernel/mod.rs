//! A kernel for services on the host: threads, events, the registry and the log are real, on top of std's; the rest is
//! what a test says it is. One [`Session`] at a time has it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use abi::kernel::Kernel;
use abi::kernel::exports::*;
use abi::{Entry, Error, Module, Resources, Service};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

unsafe extern "Rust" {
    /// The module under test, as the loader finds it.
    safe static LOCKSTEP_MODULE: Module;
}

/// The service under test, running.
pub struct Session {
    // Dropped before the next session may begin.
    service: Box<dyn Service>,
    _turn: MutexGuard<'static, ()>,
}

impl Session {
    /// Starts the service on a machine that `arrange` has set up.
    pub fn start(arrange: impl FnOnce()) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        *state() = State::default();
        STOPPING.store(false, Ordering::SeqCst);
        arrange();
        let Entry::Service(start) = LOCKSTEP_MODULE.entry else { panic!("{} is no service", LOCKSTEP_MODULE.name) };
        let service = start(&mut Resources::new(ProviderId::from_raw(0))).unwrap();
        Self { service, _turn: turn }
    }

    /// What the service publishes under `class`.
    #[allow(dead_code, reason = "not every service publishes something")]
    pub fn interface(&self, class: Class) -> Interface<'_> {
        self.service.interface(class).unwrap()
    }
}

impl Drop for Session {
    /// Removes the service the way the kernel does: its threads have to end by themselves.
    fn drop(&mut self) {
        STOPPING.store(true, Ordering::SeqCst);
        let events: Vec<_> = state().events.values().cloned().collect();
        events.iter().for_each(|event| event.notify());
        loop {
            let threads = std::mem::take(&mut state().threads);
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

/// Publishes a device under `class`, as provider `number`.
pub fn publish(number: u32, class: Class, device: impl Fn() -> Interface<'static> + Send + 'static) {
    state().published.insert(number, Published { class, device: Box::new(device), users: 0 });
    notify(class);
}

/// Removes a device, once nobody borrows it.
#[allow(dead_code, reason = "not every test needs it")]
pub fn withdraw(number: u32) {
    loop {
        let mut state = state();
        if state.published[&number].users == 0 {
            let class = state.published.remove(&number).unwrap().class;
            drop(state);
            return notify(class);
        }
        drop(state);
        std::thread::yield_now();
    }
}

/// What the log holds.
#[allow(dead_code, reason = "not every test needs it")]
pub fn log() -> Vec<String> {
    state().log.clone()
}

/// Waits until the log holds a line.
#[allow(dead_code, reason = "not every test needs it")]
pub fn await_log(line: &str) {
    wait_until(&format!("`{line}` in the log"), || log().iter().any(|entry| entry == line));
}

/// Waits until something holds.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "there was no {what}; the log: {:#?}", state().log);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the service's threads sleep, and go on sleeping for that long.
pub fn expect_sleep(duration: Duration) {
    let waits = || state().waits;
    let sleeps = |_| {
        let before = waits();
        std::thread::sleep(duration);
        waits() == before
    };
    // More than one try, because this machine may be slow to get there.
    assert!((0..5).any(sleeps), "a thread wakes up again and again");
}

/// The machine, as a test arranges it.
#[derive(Default)]
pub struct State {
    /// Words of `bootargs`.
    pub boot_arguments: HashMap<String, String>,
    /// What [`abi::system`] tells.
    pub modules: Vec<ModuleStatus>,
    /// See above.
    pub devices: Vec<DeviceStatus>,
    /// See above.
    pub memory: Option<MemoryStatus>,
    /// See above.
    pub records: Vec<LogRecord>,
    waits: u64,
    published: BTreeMap<u32, Published>,
    watchers: Vec<(Class, Signal)>,
    events: HashMap<u64, Arc<EventState>>,
    threads: Vec<JoinHandle<()>>,
    log: Vec<String>,
}

struct Published {
    class: Class,
    device: Box<dyn Fn() -> Interface<'static> + Send>,
    users: usize,
}

#[derive(Default)]
struct EventState {
    is_raised: Mutex<bool>,
    condition: Condvar,
}

impl EventState {
    fn notify(&self) {
        drop(self.is_raised.lock().unwrap());
        self.condition.notify_all();
    }
}

static STOPPING: AtomicBool = AtomicBool::new(false);
static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);

thread_local! {
    /// Whether this thread belongs to the service.
    static IS_SERVICE: Cell<bool> = const { Cell::new(false) };
}

/// The machine.
pub fn state() -> MutexGuard<'static, State> {
    static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| {
        log::set_logger(&Log).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        Mutex::default()
    });
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn notify(class: Class) {
    let watchers = state().watchers.clone();
    watchers.iter().filter(|(watched, _)| *watched == class).for_each(|(_, signal)| signal.raise());
}

struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        state().log.push(record.args().to_string());
    }

    fn flush(&self) {}
}

struct HostKernel;

abi::export_kernel!(HostKernel);

// SAFETY: each function does what its declaration says, or panics.
unsafe impl Kernel for HostKernel {
    unsafe fn acquire(provider: ProviderId, class: Class) -> Result<Interface<'static>> {
        let mut state = state();
        let published = state.published.get_mut(&provider.raw()).filter(|published| published.class == class);
        let published = published.ok_or(Error::Gone)?;
        published.users += 1;
        Ok((published.device)())
    }
    unsafe fn release(provider: ProviderId) {
        state().published.get_mut(&provider.raw()).unwrap().users -= 1;
    }
    unsafe fn providers(class: Class) -> Vec<ProviderId> {
        let state = state();
        let published = state.published.iter().filter(|(_, published)| published.class == class);
        published.map(|(number, _)| ProviderId::from_raw(*number)).collect()
    }
    unsafe fn provider_name(provider: ProviderId) -> String {
        format!("/device@{}", provider.raw())
    }
    unsafe fn watch(class: Class, signal: Signal) {
        state().watchers.push((class, signal));
    }

    unsafe fn dma_allocate(_: ProviderId, size: usize, _: usize) -> Result<DmaBuffer> {
        Ok(dma_buffer(size))
    }
    unsafe fn dma_free(start: NonNull<u8>, size: usize) {
        // SAFETY: `dma_buffer` allocated it with this layout.
        unsafe { dealloc(start.as_ptr(), Layout::from_size_align(size, 64).unwrap()) }
    }
    unsafe fn boot_argument(name: &str) -> Option<String> {
        state().boot_arguments.get(name).cloned()
    }

    unsafe fn event_create() -> Result<Signal> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        state().events.insert(number, Arc::default());
        Ok(Signal::from_raw(number))
    }
    unsafe fn event_destroy(signal: Signal) {
        state().events.remove(&signal.raw());
    }
    unsafe fn event_raise(signal: Signal) {
        let event = state().events.get(&signal.raw()).cloned();
        if let Some(event) = event {
            *event.is_raised.lock().unwrap() = true;
            event.condition.notify_all();
        }
    }
    unsafe fn event_wait(signal: Signal, deadline: Option<Instant>) -> Result<Wake> {
        let event = {
            let mut state = state();
            state.waits += 1;
            state.events.get(&signal.raw()).cloned().ok_or(Error::Gone)?
        };
        let mut is_raised = event.is_raised.lock().unwrap();
        loop {
            if STOPPING.load(Ordering::SeqCst) && IS_SERVICE.get() {
                return Err(Error::Stopping);
            }
            if std::mem::take(&mut *is_raised) {
                return Ok(Wake::Raised);
            }
            let left = deadline.map_or(Duration::from_secs(60), |deadline| deadline - Instant::now());
            if left.is_zero() {
                return Ok(Wake::TimedOut);
            }
            is_raised = event.condition.wait_timeout(is_raised, left).unwrap().0;
        }
    }
    unsafe fn time_now() -> Instant {
        Instant::from_nanoseconds(START.elapsed().as_nanos() as u64)
    }
    unsafe fn sleep_until(deadline: Instant) -> Result<()> {
        std::thread::sleep(deadline - Instant::now());
        Ok(())
    }
    unsafe fn thread_spawn(name: &str, body: Box<dyn FnOnce() + Send>) -> Result<()> {
        let run = || {
            IS_SERVICE.set(true);
            body();
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run).unwrap();
        state().threads.push(thread);
        Ok(())
    }
    unsafe fn thread_yield() {
        std::thread::yield_now();
    }

    unsafe fn system_modules() -> Vec<ModuleStatus> {
        state().modules.clone()
    }
    unsafe fn system_devices() -> Vec<DeviceStatus> {
        state().devices.clone()
    }
    unsafe fn system_available_modules() -> Vec<String> {
        unimplemented!()
    }
    unsafe fn system_module_information(name: &str) -> Result<Vec<(String, String)>> {
        let known = state().modules.iter().any(|module| module.name == name);
        known.then(|| vec![("name".into(), name.into()), ("license".into(), "MIT".into())]).ok_or_else(|| no_such(name))
    }
    unsafe fn system_load_module(name: &str) -> Result<()> {
        Err(no_such(name))
    }
    unsafe fn system_unload_module(name: &str) -> Result<()> {
        let mut state = state();
        let position = state.modules.iter().position(|module| module.name == name).ok_or_else(|| no_such(name))?;
        state.modules.remove(position);
        Ok(())
    }
    unsafe fn system_log_records(first: u64) -> Vec<LogRecord> {
        state().records.iter().filter(|record| record.sequence >= first).cloned().collect()
    }
    unsafe fn system_memory() -> MemoryStatus {
        state().memory.unwrap()
    }

    unsafe fn registers_map(_: ProviderId, _: usize) -> Result<MappedRegisters> {
        unimplemented!()
    }
    unsafe fn registers_unmap(_: u64) {
        unimplemented!()
    }
    unsafe fn interrupt_claim(_: ProviderId, _: usize) -> Result<u64> {
        unimplemented!()
    }
    unsafe fn interrupt_release(_: u64) {
        unimplemented!()
    }
}

fn no_such(name: &str) -> Error {
    Error::Invalid(format!("there is no module `{name}`"))
}

/// Memory that a device could reach.
pub fn dma_buffer(size: usize) -> DmaBuffer {
    // SAFETY: the tests ask for more than 0 bytes.
    let start = NonNull::new(unsafe { alloc_zeroed(Layout::from_size_align(size, 64).unwrap()) }).unwrap();
    // SAFETY: freshly allocated and zeroed; `dma_free` frees it.
    unsafe { DmaBuffer::from_raw(start, size, start.addr().get() as u64) }
}
