//! What modules call in the kernel. Modules use the safe types of this crate instead.
//!
//! The list below is the whole interface. Each function becomes a symbol `lockstep_NAME` that the kernel exports; that
//! the kernel implements every one, with these very types, is checked by [`Kernel`](trait@Kernel) and
//! [`export_kernel!`](crate::export_kernel).

use crate::dma::DmaBuffer;
use crate::event::{Signal, Wake};
use crate::registry::ProviderId;
use crate::running::{Block, Publication};
use crate::system::{
    Assignment, Dependents, DeviceStatus, HeapClass, InterruptStatus, LogRecord, MemoryHolder, MemoryStatus,
    ModuleStatus, ThreadStatus, TraceKind, TraceRecords, TraceStatus,
};
use crate::thread::Priority;
use crate::time::Instant;
use crate::{Class, Error, Node, Reference, Result};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use log::LevelFilter;

/// Registers, or a frame buffer, that the kernel has mapped.
#[derive(Debug)]
pub struct MappedRegisters {
    /// Where.
    pub start: NonNull<u8>,
    /// How many bytes.
    pub size: usize,
    /// What to give to [`registers_unmap`].
    pub identifier: u64,
}

macro_rules! kernel_functions {
    ($dollar:tt $($(#[$documentation:meta])* [$($safety:tt)+] fn $name:ident = $symbol:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)+) => {
        unsafe extern "Rust" {
            $(
                $(#[$documentation])*
                #[link_name = stringify!($symbol)]
                pub $($safety)+ fn $name($($argument: $type),*) $(-> $result)?;
            )+
        }

        /// The kernel, as modules see it: one function for each that modules may call.
        ///
        /// # Safety
        /// Every function must do what its declaration in this module says.
        pub unsafe trait Kernel {
            /// Called before each of the others.
            #[inline(always)]
            fn enter() {}

            $(
                $(#[$documentation])*
                ///
                /// # Safety
                /// As the declaration says.
                unsafe fn $name($($argument: $type),*) $(-> $result)?;
            )+
        }

        /// Exports the implementation of [`Kernel`](trait@$crate::kernel::Kernel) by a type, under the names that modules link against.
        #[macro_export]
        macro_rules! export_kernel {
            ($dollar implementation:ty) => {
                const _: () = {
                    use $crate::kernel::exports::*;
                    $(
                        #[unsafe(no_mangle)]
                        fn $symbol($($argument: $type),*) $(-> $result)? {
                            <$dollar implementation as $crate::kernel::Kernel>::enter();
                            // SAFETY: the caller keeps to the declaration that both sides were compiled against.
                            unsafe { <$dollar implementation as $crate::kernel::Kernel>::$name($($argument),*) }
                        }
                    )+
                };
            };
        }
    };
}

/// The names that `export_kernel!` needs in scope.
pub mod exports {
    pub use super::MappedRegisters;
    pub use crate::dma::DmaBuffer;
    pub use crate::event::{Signal, Wake};
    pub use crate::registry::ProviderId;
    pub use crate::running::{Block, Publication};
    pub use crate::system::{
        Assignment, Dependents, DeviceStatus, HeapClass, InterruptStatus, LogRecord, MemoryHolder, MemoryStatus,
        ModuleStatus, ThreadStatus, TraceKind, TraceRecords, TraceStatus,
    };
    pub use crate::thread::Priority;
    pub use crate::time::Instant;
    pub use crate::{Class, Error, Node, Reference, Result};
    pub use alloc::boxed::Box;
    pub use alloc::string::String;
    pub use alloc::vec::Vec;
    pub use core::ops::Range;
    pub use core::ptr::NonNull;
    pub use core::sync::atomic::AtomicU32;
    pub use log::LevelFilter;
}

kernel_functions! { $
    /// Where all that publish under `class` do so. The caller must not change what is there.
    [unsafe] fn publications = lockstep_publications(class: Class) -> Vec<&'static Publication>;
    /// The object that a call of `publication` leads to, where its place doesn't say: none, or one whose calls are traced.
    [safe] fn call_begins = lockstep_call_begins(publication: &'static Publication) -> Result<usize>;
    /// Ends what [`call_begins`] began.
    [safe] fn call_ends = lockstep_call_ends(publication: &'static Publication);
    /// Waits until something is published there again.
    [safe] fn await_provider = lockstep_await_provider(publication: &'static Publication) -> Result<()>;
    /// What a call of `publication` ended with that unwound with `exception`. Goes on unwinding when that is no failure of the
    /// provider's. The call must have ended with that very pointer, and be the running thread's innermost.
    [unsafe] fn caught = lockstep_caught(exception: *mut u8, publication: &'static Publication) -> Error;
    /// The running thread's innermost call has returned, and doesn't hold the locks that it held before: the caller must have
    /// found that. If it has kept some that it took, they are poisoned, and this returns what [`caught`] takes. Where the caller
    /// had taken them, it goes on as a failure of the caller's.
    [unsafe] fn kept_locks = lockstep_kept_locks() -> Option<NonNull<u8>>;
    /// How many calls may be nested where the running thread is now.
    [safe] fn most_calls = lockstep_most_calls() -> usize;
    /// Does what waited for the last lock to be let go of.
    [safe] fn unmasked = lockstep_unmasked();
    /// The running thread's block, where no register holds it. The caller must change nothing in it but what the thread does.
    [unsafe] fn block = lockstep_block() -> &'static Block;
    /// The node's path or the service's name.
    [safe] fn provider_name = lockstep_provider_name(provider: ProviderId) -> String;
    /// Raises `signal` when what is published under `class` changes.
    [safe] fn watch = lockstep_watch(class: Class, signal: Signal);

    /// Maps registers number `index` of a node: what the tree lists, or `least` bytes if those are more.
    [safe] fn registers_map = lockstep_registers_map(provider: ProviderId, index: usize, least: usize) -> Result<MappedRegisters>;
    /// Maps a frame buffer: at these physical addresses, or else what the tree lists as a node's first registers.
    [safe] fn pixels_map = lockstep_pixels_map(provider: ProviderId, place: Option<Range<u64>>) -> Result<MappedRegisters>;
    /// Unmaps registers, or a frame buffer; nothing may refer to them any more.
    [unsafe] fn registers_unmap = lockstep_registers_unmap(identifier: u64);
    /// Takes interrupt number `index` of a node.
    [safe] fn interrupt_claim = lockstep_interrupt_claim(provider: ProviderId, index: usize) -> Result<u64>;
    /// Gives an interrupt back.
    [safe] fn interrupt_release = lockstep_interrupt_release(identifier: u64);
    /// Allocates zeroed memory that a node's device can reach.
    [safe] fn dma_allocate = lockstep_dma_allocate(provider: ProviderId, size: usize, alignment: usize) -> Result<DmaBuffer>;
    /// Frees memory that [`dma_allocate`] returned; nothing may refer to it any more.
    [unsafe] fn dma_free = lockstep_dma_free(start: NonNull<u8>, size: usize);
    /// Where the processor sees what a node's device sees there.
    [safe] fn dma_processor_address = lockstep_dma_processor_address(provider: ProviderId, device_address: u64, size: u64) -> Result<u64>;
    /// Writes what the processor has in its caches of memory that [`dma_allocate`] returned, and drops it there.
    [safe] fn dma_synchronise = lockstep_dma_synchronise(buffer: &DmaBuffer);
    /// The children of a node that are no devices of their own.
    [safe] fn node_children = lockstep_node_children(provider: ProviderId) -> Vec<Node>;
    /// What a property of the node of this path points to.
    [safe] fn node_references = lockstep_node_references(path: &str, property: &str, cells: &str) -> Result<Vec<Reference>>;
    /// The value of a word of `bootargs`.
    [safe] fn boot_argument = lockstep_boot_argument(name: &str) -> Option<String>;

    /// Makes an event.
    [safe] fn event_create = lockstep_event_create() -> Result<Signal>;
    /// Ends an event.
    [safe] fn event_destroy = lockstep_event_destroy(signal: Signal);
    /// Raises an event.
    [safe] fn event_raise = lockstep_event_raise(signal: Signal);
    /// Waits for an event.
    [safe] fn event_wait = lockstep_event_wait(signal: Signal, deadline: Option<Instant>) -> Result<Wake>;
    /// The time since reset.
    [safe] fn time_now = lockstep_time_now() -> Instant;
    /// Waits for a moment.
    [safe] fn sleep_until = lockstep_sleep_until(deadline: Instant) -> Result<()>;
    /// Starts a thread of the calling module.
    [safe] fn thread_spawn = lockstep_thread_spawn(name: &str, priority: Priority, body: Box<dyn FnOnce() + Send>) -> Result<()>;
    /// Waits for a [`Mutex`](crate::sync::Mutex) unless its word has changed since it was `seen`.
    [safe] fn mutex_wait = lockstep_mutex_wait(word: &AtomicU32, seen: u32) -> Result<()>;
    /// Wakes the most urgent of those who wait for a [`Mutex`](crate::sync::Mutex) that has been let go of.
    [safe] fn mutex_wake = lockstep_mutex_wake(word: &AtomicU32);
    /// Lets other threads run.
    [safe] fn thread_yield = lockstep_thread_yield();

    /// See [`system::modules`](crate::system::modules).
    [safe] fn system_modules = lockstep_system_modules() -> Vec<ModuleStatus>;
    /// See [`system::devices`](crate::system::devices).
    [safe] fn system_devices = lockstep_system_devices() -> Vec<DeviceStatus>;
    /// See [`system::available_modules`](crate::system::available_modules).
    [safe] fn system_available_modules = lockstep_system_available_modules() -> Vec<String>;
    /// See [`system::module_information`](crate::system::module_information).
    [safe] fn system_module_information = lockstep_system_module_information(name: &str) -> Result<Vec<Assignment>>;
    /// See [`system::load_module`](crate::system::load_module).
    [safe] fn system_load_module = lockstep_system_load_module(name: &str, parameters: &[Assignment]) -> Result<()>;
    /// See [`system::replace_module`](crate::system::replace_module).
    [safe] fn system_replace_module = lockstep_system_replace_module(name: &str, parameters: &[Assignment]) -> Result<()>;
    /// See [`system::unload_module`](crate::system::unload_module).
    [safe] fn system_unload_module = lockstep_system_unload_module(name: &str, dependents: Dependents) -> Result<()>;
    /// See [`system::log_records`](crate::system::log_records).
    [safe] fn system_log_records = lockstep_system_log_records(first: u64) -> Vec<LogRecord>;
    /// See [`system::threads`](crate::system::threads).
    [safe] fn system_threads = lockstep_system_threads() -> Vec<ThreadStatus>;
    /// See [`system::interrupts`](crate::system::interrupts).
    [safe] fn system_interrupts = lockstep_system_interrupts() -> Vec<InterruptStatus>;
    /// See [`system::memory`](crate::system::memory).
    [safe] fn system_memory = lockstep_system_memory() -> MemoryStatus;
    /// See [`system::show_log`](crate::system::show_log).
    [safe] fn system_show_log = lockstep_system_show_log(level: LevelFilter);
    /// See [`system::trace_switch`](crate::system::trace_switch).
    [safe] fn system_trace_switch = lockstep_system_trace_switch(kinds: &[TraceKind]) -> Result<()>;
    /// See [`system::trace_status`](crate::system::trace_status).
    [safe] fn system_trace_status = lockstep_system_trace_status() -> TraceStatus;
    /// See [`system::trace_records`](crate::system::trace_records).
    [safe] fn system_trace_records = lockstep_system_trace_records(positions: &[u64], most: usize) -> TraceRecords;
    /// See [`system::memory_holders`](crate::system::memory_holders).
    [safe] fn system_memory_holders = lockstep_system_memory_holders() -> Vec<MemoryHolder>;
    /// See [`system::heap_classes`](crate::system::heap_classes).
    [safe] fn system_heap_classes = lockstep_system_heap_classes() -> Vec<HeapClass>;
}
