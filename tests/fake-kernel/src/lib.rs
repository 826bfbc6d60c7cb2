//! What the kernel does for modules, on the host: for the tests of drivers and services.
//!
//! - A driver's test makes a [`FakeNode`], whose registers are plain memory that it presets and inspects, probes the
//!   driver with its [`resources`](FakeNode::resources), and plays the device: [`device_read`], [`device_write`], for a
//!   virtio device [`FakeQueue`], for a host controller [`FakeCard`].
//! - A service's test runs the whole module as a [`Session`] on a [`Machine`] that it arranges, with devices that it
//!   [`publish`]es. Threads, events, the registry and the log are real, on top of std's.
//!
//! What no module calls is not implemented.
#![cfg(not(target_os = "none"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dma;
mod event;
mod machine;
mod model;
mod node;
mod registry;
mod sd_card;
mod session;
mod virtqueue;

pub use dma::{device_read, device_write, dma_in_use};
pub use event::{expect_sleep, raised};
pub use machine::{Machine, machine};
pub use model::Model;
pub use node::{FakeNode, refer};
pub use registry::{publish, withdraw};
pub use sd_card::{CardKind, FakeCard, FakeSlot};
pub use session::{Session, await_log, keep_log, log, wait_until};
pub use virtqueue::{FakeQueue, LentBuffer};

use abi::Error;
use abi::kernel::Kernel;
use abi::kernel::exports::*;
use abi::system::TraceCount;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Takes a lock, even if a test that failed held it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct FakeKernel;

abi::export_kernel!(FakeKernel);

// SAFETY: each function does what its declaration says, or panics.
unsafe impl Kernel for FakeKernel {
    unsafe fn publications(class: Class) -> Vec<&'static Publication> {
        registry::publications(class)
    }
    unsafe fn call_begins(_: &'static Publication) -> Result<usize> {
        Err(Error::Gone)
    }
    unsafe fn call_ends(_: &'static Publication) {}
    unsafe fn await_provider(_: &'static Publication) -> Result<()> {
        Err(Error::Gone)
    }
    unsafe fn caught(_: *mut u8, publication: &'static Publication) -> Error {
        // The payload is lost, and the message has been shown.
        Error::Failed(format!("provider {} panicked", publication.provider.raw()))
    }
    unsafe fn kept_locks() -> Option<NonNull<u8>> {
        None
    }
    unsafe fn most_calls() -> usize {
        0
    }
    unsafe fn unmasked() {}
    unsafe fn block() -> &'static Block {
        session::block()
    }
    unsafe fn provider_name(provider: ProviderId) -> String {
        format!("/device@{:x}", provider.raw())
    }
    unsafe fn watch(class: Class, signal: Signal) {
        registry::watch(class, signal);
    }

    unsafe fn registers_map(provider: ProviderId, index: usize, _: usize) -> Result<MappedRegisters> {
        node::registers(provider, index)
    }
    unsafe fn pixels_map(provider: ProviderId, _: Option<Range<u64>>) -> Result<MappedRegisters> {
        node::registers(provider, 0)
    }
    unsafe fn registers_unmap(_: u64) {}
    unsafe fn interrupt_claim(_: ProviderId, index: usize) -> Result<u64> {
        Ok(index as u64)
    }
    unsafe fn interrupt_release(_: u64) {}
    unsafe fn dma_allocate(provider: ProviderId, size: usize, alignment: usize) -> Result<DmaBuffer> {
        dma::allocate(provider, size, alignment)
    }
    unsafe fn dma_free(start: NonNull<u8>, size: usize) {
        // SAFETY: the caller has the memory from `dma_allocate`, and is done with it.
        unsafe { dma::free(start, size) }
    }
    unsafe fn dma_processor_address(_: ProviderId, device_address: u64, _: u64) -> Result<u64> {
        dma::processor_address(device_address)
    }
    unsafe fn dma_synchronise(buffer: &DmaBuffer) {
        dma::synchronise(buffer);
    }
    unsafe fn node_children(provider: ProviderId) -> Vec<Node> {
        node::children(provider)
    }
    unsafe fn node_references(path: &str, property: &str, _: &str) -> Result<Vec<Reference>> {
        Ok(node::references(path, property))
    }
    unsafe fn boot_argument(name: &str) -> Option<String> {
        machine().boot_arguments.get(name).cloned()
    }

    unsafe fn event_create() -> Result<Signal> {
        Ok(event::create())
    }
    unsafe fn event_destroy(signal: Signal) {
        event::destroy(signal);
    }
    unsafe fn event_raise(signal: Signal) {
        event::raise(signal);
    }
    unsafe fn event_wait(signal: Signal, deadline: Option<Instant>) -> Result<Wake> {
        event::wait(signal, deadline)
    }
    unsafe fn time_now() -> Instant {
        static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
        Instant::from_nanoseconds(START.elapsed().as_nanos() as u64)
    }
    unsafe fn sleep_until(deadline: Instant) -> Result<()> {
        // An event that nobody raises: to be stopped ends the wait.
        let event = event::create();
        let result = event::wait(event, Some(deadline));
        event::destroy(event);
        result.map(drop)
    }
    unsafe fn thread_spawn(name: &str, _: Priority, body: Box<dyn FnOnce() + Send>) -> Result<()> {
        abi::text::check_name("thread", name)?;
        session::spawn(name, body);
        Ok(())
    }
    unsafe fn thread_yield() {
        std::thread::yield_now();
    }
    unsafe fn mutex_wait(_: &AtomicU32, _: u32) -> Result<()> {
        std::thread::yield_now();
        Ok(())
    }
    unsafe fn mutex_wake(_: &AtomicU32) {}

    unsafe fn system_modules() -> Vec<ModuleStatus> {
        machine().modules.clone()
    }
    unsafe fn system_devices() -> Vec<DeviceStatus> {
        machine().devices.clone()
    }
    unsafe fn system_available_modules() -> Vec<String> {
        unimplemented!()
    }
    unsafe fn system_module_information(name: &str) -> Result<Vec<Assignment>> {
        machine().find(name)?;
        let fact = |name: &str, value: &str| Assignment { name: name.into(), value: value.into() };
        Ok(vec![fact("name", name), fact("license", "MIT")])
    }
    unsafe fn system_load_module(name: &str, parameters: &[Assignment]) -> Result<()> {
        machine().find(name)?;
        let parameters: String = parameters.iter().map(|given| format!(" {}={}", given.name, given.value)).collect();
        Err(Error::Busy(format!("module {name}{parameters} is loaded already")))
    }
    unsafe fn system_replace_module(name: &str, _: &[Assignment]) -> Result<()> {
        machine().find(name).map(|_| ())
    }
    unsafe fn system_unload_module(name: &str, dependents: Dependents) -> Result<()> {
        let mut machine = machine();
        let position = machine.find(name)?;
        if let (Dependents::Keep, [user, ..]) = (dependents, machine.modules[position].needed_by.as_slice()) {
            return Err(Error::Busy(format!("module {name} is needed by module {user}")));
        }
        machine.modules.remove(position);
        Ok(())
    }
    unsafe fn system_log_records(first: u64) -> Vec<LogRecord> {
        machine().records.iter().filter(|record| record.sequence >= first).cloned().collect()
    }
    unsafe fn system_threads() -> Vec<ThreadStatus> {
        machine().threads.clone()
    }
    unsafe fn system_interrupts() -> Vec<InterruptStatus> {
        machine().interrupts.clone()
    }
    unsafe fn system_memory() -> MemoryStatus {
        machine().memory.unwrap()
    }
    unsafe fn system_show_log(level: LevelFilter) {
        machine().shown = Some(level);
    }
    unsafe fn system_trace_switch(kinds: &[TraceKind]) -> Result<()> {
        machine().trace_kinds = kinds.to_vec();
        Ok(())
    }
    unsafe fn system_trace_status() -> TraceStatus {
        let machine = machine();
        let count = TraceCount { kept: machine.trace.len() as u64, lost: 0 };
        TraceStatus { kinds: machine.trace_kinds.clone(), processors: vec![count] }
    }
    unsafe fn system_trace_records(positions: &[u64], most: usize) -> TraceRecords {
        let machine = machine();
        assert!(machine.trace_kinds.is_empty(), "to read the trace would fill it");
        let position = positions.first().map_or(0, |position| *position as usize);
        let records: Vec<_> = machine.trace.iter().skip(position).take(most).cloned().collect();
        let positions = vec![(position + records.len()) as u64];
        TraceRecords { records, positions }
    }

    unsafe fn system_memory_holders() -> Vec<MemoryHolder> {
        machine().memory_holders.clone()
    }

    unsafe fn system_heap_classes() -> Vec<HeapClass> {
        machine().heap_classes.clone()
    }
}
