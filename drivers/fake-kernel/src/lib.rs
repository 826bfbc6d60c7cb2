//! What the kernel does for a driver, on the host: for drivers' unit tests.
//!
//! A test makes a [`FakeNode`], whose registers are plain memory that it presets and inspects, and probes the driver
//! with its [`resources`](FakeNode::resources). What no driver calls is not implemented.
#![cfg(not(target_os = "none"))]

use abi::kernel::Kernel;
use abi::kernel::exports::*;
use abi::{Error, Resources};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};

/// What to add to the address of a DMA buffer to get the one that the device sees.
const DMA_OFFSET: u64 = 0x10_0000_0000;

/// A node with registers, as many interrupts as are asked for, and a device that reaches all memory.
pub struct FakeNode {
    provider: ProviderId,
    registers: Vec<&'static [AtomicU32]>,
}

impl FakeNode {
    /// A node with one block of registers for each of `sizes`, in bytes; all zeros.
    pub fn new(sizes: &[usize]) -> Self {
        let registers: Vec<_> = sizes.iter().map(|size| aligned_words(size / 4)).collect();
        let mut state = state();
        state.nodes.push(registers.clone());
        Self { provider: ProviderId::from_raw(state.nodes.len() as u32 - 1), registers }
    }

    /// What the kernel would give to `probe`.
    pub fn resources(&self) -> Resources {
        Resources::new(self.provider)
    }

    /// Writes a register as the device does.
    pub fn set(&self, block: usize, offset: usize, value: u32) {
        self.registers[block][offset / 4].store(value, Ordering::SeqCst);
    }

    /// Reads a register as the device does.
    pub fn get(&self, block: usize, offset: usize) -> u32 {
        self.registers[block][offset / 4].load(Ordering::SeqCst)
    }
}

/// A signal, and how often it has been raised.
pub fn signal() -> Signal {
    let mut state = state();
    let signal = state.raised.len() as u64;
    state.raised.insert(signal, 0);
    Signal::from_raw(signal)
}

/// How often a signal has been raised.
pub fn raised(signal: Signal) -> usize {
    state().raised[&signal.raw()]
}

/// How many bytes of DMA memory are allocated to a node's device.
pub fn dma_in_use(node: &FakeNode) -> usize {
    state().buffers.values().filter(|buffer| buffer.provider == node.provider).map(|buffer| buffer.layout.size()).sum()
}

/// Reads memory as a device does, at an address that a driver has given it.
///
/// # Panics
/// When the value isn't within one DMA buffer.
pub fn device_read<T: Copy>(address: u64) -> T {
    // SAFETY: `in_buffer` finds initialised bytes; a test reads no types of which some bytes are invalid.
    unsafe { in_buffer::<T>(address).read_unaligned() }
}

/// Writes memory as a device does, at an address that a driver has given it.
///
/// # Panics
/// When the value isn't within one DMA buffer.
pub fn device_write<T: Copy>(address: u64, value: T) {
    // SAFETY: `in_buffer` finds memory that is allocated; like any device's, the write is the driver's to foresee.
    unsafe { in_buffer::<T>(address).write_unaligned(value) }
}

fn in_buffer<T>(address: u64) -> *mut T {
    let state = state();
    let start = (address - DMA_OFFSET) as usize;
    let (base, buffer) = state.buffers.range(..=start).next_back().expect("the device uses memory that it has not got");
    assert!(start + size_of::<T>() <= base + buffer.layout.size(), "the device uses memory that it has not got");
    buffer.start.as_ptr().wrapping_add(start - base).cast()
}

#[derive(Default)]
struct State {
    nodes: Vec<Vec<&'static [AtomicU32]>>,
    /// By address.
    buffers: BTreeMap<usize, Buffer>,
    raised: HashMap<u64, usize>,
}

struct Buffer {
    provider: ProviderId,
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the pointer is only followed by whoever has been given the buffer, and by tests that play the device.
unsafe impl Send for Buffer {}

fn state() -> MutexGuard<'static, State> {
    static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);
    STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Zeros, aligned as a page is.
fn aligned_words(count: usize) -> &'static [AtomicU32] {
    #[repr(align(4096))]
    struct Page(#[allow(dead_code, reason = "only its address matters")] [AtomicU32; 1024]);
    let pages: &'static [Page] =
        Vec::leak((0..count.div_ceil(1024)).map(|_| Page([const { AtomicU32::new(0) }; 1024])).collect());
    // SAFETY: the pages are `count` words and more, without gaps, and live for good.
    unsafe { std::slice::from_raw_parts(pages.as_ptr().cast(), count) }
}

struct FakeKernel;

abi::export_kernel!(FakeKernel);

// SAFETY: what is implemented does what its declaration says; the rest doesn't return.
unsafe impl Kernel for FakeKernel {
    unsafe fn registers_map(provider: ProviderId, index: usize) -> Result<MappedRegisters> {
        let missing = || Error::Missing { resource: "registers".into(), index };
        let registers = *state().nodes[provider.raw() as usize].get(index).ok_or_else(missing)?;
        Ok(MappedRegisters { start: NonNull::from(registers).cast(), size: size_of_val(registers), identifier: 0 })
    }
    unsafe fn registers_unmap(_: u64) {}
    unsafe fn interrupt_claim(_: ProviderId, index: usize) -> Result<u64> {
        Ok(index as u64)
    }
    unsafe fn interrupt_release(_: u64) {}
    unsafe fn dma_allocate(provider: ProviderId, size: usize, alignment: usize) -> Result<DmaBuffer> {
        let layout =
            Layout::from_size_align(size, alignment.max(64)).map_err(|error| Error::Invalid(error.to_string()))?;
        if size == 0 {
            return Err(Error::Invalid("a buffer of 0 bytes".into()));
        }
        // SAFETY: the size isn't 0.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::OutOfMemory(size))?;
        state().buffers.insert(start.addr().get(), Buffer { provider, start, layout });
        // SAFETY: freshly allocated and zeroed; `dma_free` frees it.
        Ok(unsafe { DmaBuffer::from_raw(start, size, start.addr().get() as u64 + DMA_OFFSET) })
    }
    unsafe fn dma_free(start: NonNull<u8>, size: usize) {
        let buffer = state().buffers.remove(&start.addr().get());
        let layout = buffer.map(|buffer| buffer.layout).filter(|layout| layout.size() == size);
        // SAFETY: allocated with this layout, and freed once since it was in the map.
        unsafe { dealloc(start.as_ptr(), layout.expect("memory is freed that was not allocated")) }
    }
    unsafe fn event_create() -> Result<Signal> {
        Ok(signal())
    }
    unsafe fn event_destroy(_: Signal) {}
    unsafe fn event_raise(signal: Signal) {
        *state().raised.entry(signal.raw()).or_default() += 1;
    }
    unsafe fn time_now() -> Instant {
        static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
        Instant::from_nanoseconds(START.elapsed().as_nanos() as u64)
    }
    unsafe fn sleep_until(deadline: Instant) -> Result<()> {
        // SAFETY: nothing is required.
        std::thread::sleep(deadline - unsafe { Self::time_now() });
        Ok(())
    }
    unsafe fn thread_yield() {
        std::thread::yield_now();
    }
    unsafe fn boot_argument(_: &str) -> Option<String> {
        None
    }
    unsafe fn provider_name(provider: ProviderId) -> String {
        format!("/fake@{:x}", provider.raw())
    }

    unsafe fn acquire(_: ProviderId, _: Class) -> Result<Interface<'static>> {
        unimplemented!()
    }
    unsafe fn release(_: ProviderId) {
        unimplemented!()
    }
    unsafe fn providers(_: Class) -> Vec<ProviderId> {
        unimplemented!()
    }
    unsafe fn watch(_: Class, _: Signal) {
        unimplemented!()
    }
    unsafe fn event_wait(_: Signal, _: Option<Instant>) -> Result<Wake> {
        unimplemented!()
    }
    unsafe fn thread_spawn(_: &str, _: Box<dyn FnOnce() + Send>) -> Result<()> {
        unimplemented!()
    }
    unsafe fn system_modules() -> Vec<ModuleStatus> {
        unimplemented!()
    }
    unsafe fn system_devices() -> Vec<DeviceStatus> {
        unimplemented!()
    }
    unsafe fn system_available_modules() -> Vec<String> {
        unimplemented!()
    }
    unsafe fn system_module_information(_: &str) -> Result<Vec<(String, String)>> {
        unimplemented!()
    }
    unsafe fn system_load_module(_: &str) -> Result<()> {
        unimplemented!()
    }
    unsafe fn system_unload_module(_: &str) -> Result<()> {
        unimplemented!()
    }
    unsafe fn system_log_records(_: u64) -> Vec<LogRecord> {
        unimplemented!()
    }
    unsafe fn system_memory() -> MemoryStatus {
        unimplemented!()
    }
}
