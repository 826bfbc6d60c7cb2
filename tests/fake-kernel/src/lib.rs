//! What the kernel does for modules, on the host: for the tests of drivers and services.
//!
//! - A driver's test makes a [`FakeNode`], whose registers are plain memory that it presets and inspects, probes the
//!   driver with its [`resources`](FakeNode::resources), and plays the device: [`device_read`], [`device_write`], for a
//!   virtio device [`FakeQueue`].
//! - A service's test runs the whole module as a [`Session`] on a [`Machine`] that it arranges, with devices that it
//!   [`publish`]es. Threads, events, the registry and the log are real, on top of std's.
//!
//! What no module calls is not implemented.
#![cfg(not(target_os = "none"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dma;
mod event;
mod machine;
mod node;
mod registry;
mod session;
mod virtqueue;

pub use dma::{device_read, device_write, dma_in_use};
pub use event::{expect_sleep, raised};
pub use machine::{Machine, machine};
pub use node::FakeNode;
pub use registry::{publish, withdraw};
pub use session::{Session, await_log, log, wait_until};
pub use virtqueue::{FakeQueue, LentBuffer};

use abi::Error;
use abi::kernel::Kernel;
use abi::kernel::exports::*;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Takes a lock, even if a test that failed held it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct FakeKernel;

abi::export_kernel!(FakeKernel);

// SAFETY: each function does what its declaration says, or panics.
unsafe impl Kernel for FakeKernel {
    unsafe fn acquire(provider: ProviderId, class: Class) -> Result<Interface<'static>> {
        registry::acquire(provider, class)
    }
    unsafe fn release(provider: ProviderId) {
        registry::release(provider);
    }
    unsafe fn providers(class: Class) -> Vec<ProviderId> {
        registry::providers(class)
    }
    unsafe fn provider_name(provider: ProviderId) -> String {
        format!("/device@{:x}", provider.raw())
    }
    unsafe fn watch(class: Class, signal: Signal) {
        registry::watch(class, signal);
    }

    unsafe fn registers_map(provider: ProviderId, index: usize) -> Result<MappedRegisters> {
        node::registers(provider, index)
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
        std::thread::sleep(deadline - Instant::now());
        Ok(())
    }
    unsafe fn thread_spawn(name: &str, body: Box<dyn FnOnce() + Send>) -> Result<()> {
        session::spawn(name, body);
        Ok(())
    }
    unsafe fn thread_yield() {
        std::thread::yield_now();
    }

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
    unsafe fn system_memory() -> MemoryStatus {
        machine().memory.unwrap()
    }

    unsafe fn system_memory_holders() -> Vec<MemoryHolder> {
        machine().memory_holders.clone()
    }

    unsafe fn system_heap_classes() -> Vec<HeapClass> {
        machine().heap_classes.clone()
    }
}
