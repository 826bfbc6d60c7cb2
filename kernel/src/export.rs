//! The kernel as modules see it: the functions that `abi::kernel` declares.

use crate::thread::event;
use crate::{
    binding, failure, interrupt, log, machine, memory, modules, processor, registry, resources, supervision, thread,
    time, trace,
};
use abi::kernel::Kernel;
use abi::kernel::exports::*;
use alloc::borrow::ToOwned;
use alloc::string::ToString;

struct Exports;

abi::export_kernel!(Exports);

// SAFETY: each function does what its declaration in `abi::kernel` says.
unsafe impl Kernel for Exports {
    #[inline(always)]
    fn enter() {
        processor::claim_stack();
    }

    unsafe fn publications(class: Class) -> Vec<&'static Publication> {
        registry::publications(class)
    }

    unsafe fn call_begins(publication: &'static Publication) -> Result<usize> {
        registry::call_begins(publication)
    }

    unsafe fn call_ends(publication: &'static Publication) {
        trace::end_call(publication.provider);
    }

    unsafe fn await_provider(publication: &'static Publication) -> Result<()> {
        registry::await_provider(publication)
    }

    unsafe fn caught(exception: *mut u8, publication: &'static Publication) -> Error {
        supervision::caught(exception, publication)
    }

    unsafe fn kept_locks() -> Option<NonNull<u8>> {
        failure::kept_locks()
    }

    unsafe fn most_calls() -> usize {
        thread::calls::most_calls()
    }

    unsafe fn unmasked() {
        thread::unmasked();
    }

    unsafe fn block() -> &'static Block {
        abi::running::block()
    }

    unsafe fn provider_name(provider: ProviderId) -> String {
        registry::name(provider)
    }

    unsafe fn watch(class: Class, signal: Signal) {
        registry::watch(class, signal);
    }

    unsafe fn registers_map(provider: ProviderId, index: usize, least: usize) -> Result<MappedRegisters> {
        resources::map_registers(provider, index, least)
    }

    unsafe fn pixels_map(provider: ProviderId, place: Option<Range<u64>>) -> Result<MappedRegisters> {
        resources::map_pixels(provider, place)
    }

    unsafe fn registers_unmap(identifier: u64) {
        // SAFETY: the caller has no reference left.
        unsafe { resources::unmap_registers(identifier) }
    }

    unsafe fn interrupt_claim(provider: ProviderId, index: usize) -> Result<u64> {
        resources::claim_interrupt(provider, index)
    }

    unsafe fn interrupt_release(identifier: u64) {
        interrupt::release(identifier as u32);
    }

    unsafe fn dma_allocate(provider: ProviderId, size: usize, alignment: usize) -> Result<DmaBuffer> {
        resources::allocate_dma(provider, size, alignment)
    }

    unsafe fn dma_free(start: NonNull<u8>, size: usize) {
        // SAFETY: the caller has no reference left, and got it from `dma_allocate`.
        unsafe { resources::free_dma(start, size) }
    }

    unsafe fn dma_processor_address(provider: ProviderId, device_address: u64, size: u64) -> Result<u64> {
        resources::processor_address(provider, device_address, size)
    }

    unsafe fn dma_synchronise(buffer: &DmaBuffer) {
        processor::cache::clean_and_invalidate(buffer.start().as_ptr() as usize, buffer.len());
    }

    unsafe fn node_children(provider: ProviderId) -> Vec<Node> {
        resources::children(provider)
    }

    unsafe fn node_references(path: &str, property: &str, cells: &str) -> Result<Vec<Reference>> {
        resources::references(path, property, cells)
    }

    unsafe fn boot_argument(name: &str) -> Option<String> {
        machine::get()?.argument(name).map(ToOwned::to_owned)
    }

    unsafe fn event_create() -> Result<Signal> {
        event::create()
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
        time::now()
    }

    unsafe fn sleep_until(deadline: Instant) -> Result<()> {
        thread::sleep_until(deadline)
    }

    unsafe fn thread_spawn(name: &str, priority: Priority, body: Box<dyn FnOnce() + Send>) -> Result<()> {
        abi::text::check_name("thread", name)?;
        thread::spawn(name, thread::owner(), priority, body)
    }

    unsafe fn mutex_wait(word: &AtomicU32, seen: u32) -> Result<()> {
        thread::mutex::wait(word, seen)
    }

    unsafe fn mutex_wake(word: &AtomicU32) {
        thread::mutex::wake(word);
    }

    unsafe fn thread_yield() {
        thread::yield_now();
    }

    unsafe fn system_modules() -> Vec<ModuleStatus> {
        modules::status()
    }

    unsafe fn system_devices() -> Vec<DeviceStatus> {
        registry::devices()
    }

    unsafe fn system_available_modules() -> Vec<String> {
        machine::get().map_or_else(Vec::new, machine::Machine::modules)
    }

    unsafe fn system_module_information(name: &str) -> Result<Vec<Assignment>> {
        let machine = machine::get().ok_or(Error::Gone)?;
        modules::information(machine, &machine.module_name(name)).map_err(|refused| Error::Invalid(refused.to_string()))
    }

    unsafe fn system_load_module(name: &str, parameters: &[Assignment]) -> Result<()> {
        let machine = machine::get().ok_or(Error::Gone)?;
        binding::load(&machine.module_name(name), parameters)
    }

    unsafe fn system_replace_module(name: &str, parameters: &[Assignment]) -> Result<()> {
        let machine = machine::get().ok_or(Error::Gone)?;
        binding::replace(&machine.module_name(name), parameters)
    }

    unsafe fn system_unload_module(name: &str, dependents: Dependents) -> Result<()> {
        let machine = machine::get().ok_or(Error::Gone)?;
        binding::unload(&machine.module_name(name), dependents)
    }

    unsafe fn system_log_records(first: u64) -> Vec<LogRecord> {
        log::records(first)
    }

    unsafe fn system_threads() -> Vec<ThreadStatus> {
        thread::status()
    }

    unsafe fn system_interrupts() -> Vec<InterruptStatus> {
        interrupt::status()
    }

    unsafe fn system_memory() -> MemoryStatus {
        memory::status(modules::total_size())
    }

    unsafe fn system_show_log(level: LevelFilter) {
        log::set_shown(level);
    }

    unsafe fn system_trace_switch(kinds: &[TraceKind]) -> Result<()> {
        trace::switch(kinds)
    }

    unsafe fn system_trace_status() -> TraceStatus {
        trace::status()
    }

    unsafe fn system_trace_records(positions: &[u64], most: usize) -> TraceRecords {
        trace::records(positions, most)
    }

    unsafe fn system_memory_holders() -> Vec<MemoryHolder> {
        memory::holders()
    }

    unsafe fn system_heap_classes() -> Vec<HeapClass> {
        memory::heap_classes()
    }
}
