//! The system as a whole: its modules, devices, memory and log. For the shell and the like.

use crate::registry::ProviderId;
use crate::thread::Priority;
use crate::{Result, kernel};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use log::LevelFilter;

/// A module that is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleStatus {
    /// Its name.
    pub name: String,
    /// Bytes of memory that it is mapped in.
    pub size: usize,
    /// Where its text starts.
    pub text: usize,
    /// The modules that are linked against it.
    pub needed_by: Vec<String>,
    /// The nodes that it drives, or the service that it runs.
    pub drives: Vec<String>,
    /// What loading it took.
    pub report: LoadReport,
}

/// What loading a module took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Bytes of its file.
    pub file: usize,
    /// Bytes of instructions, veneers included.
    pub text: usize,
    /// Bytes that are only read.
    pub constants: usize,
    /// Bytes that are written as well.
    pub data: usize,
    /// Sections that are in memory.
    pub sections: usize,
    /// Symbols that were looked up in the kernel and in other modules.
    pub imports: usize,
    /// Relocations that were applied.
    pub relocations: usize,
    /// Veneers that were made for branches that don't reach their target.
    pub veneers: usize,
    /// Instructions that were replaced because of a fault of the processor's (Cortex-A53, erratum 843419).
    pub erratum_fixes: usize,
    /// Entries of its global offset table.
    pub offset_table_entries: usize,
    /// The steps in their order.
    pub steps: Vec<LoadStep>,
}

/// A step of loading a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadStep {
    /// What was done.
    pub name: String,
    /// How long it took.
    pub time: Duration,
}

impl LoadReport {
    /// How long all steps took.
    pub fn time(&self) -> Duration {
        self.steps.iter().map(|step| step.time).sum()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} bytes of text, {} of constants, {} of data, {} sections, {} relocations, {} imports, {} veneers, {} erratum fixes, {} us:",
            self.text,
            self.constants,
            self.data,
            self.sections,
            self.relocations,
            self.imports,
            self.veneers,
            self.erratum_fixes,
            self.time().as_micros()
        )?;
        self.steps.iter().try_for_each(|step| write!(formatter, " {} {}", step.name, step.time.as_micros()))
    }
}

/// What became of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// A module drives it.
    Bound,
    /// The kernel itself uses it.
    Kernel,
    /// Its driver found nothing there.
    Empty,
    /// The tree says that it is not to be used: its `status`.
    Disabled(String),
    /// It is a processor that doesn't run, for this reason.
    NotStarted(String),
    /// No module claims it.
    Unclaimed,
    /// Its driver waits for something.
    Deferred(String),
    /// Its module was removed.
    Released,
    /// It can't be bound, for this reason.
    Failed(String),
}

/// A node of the device tree, or a device behind a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStatus {
    /// Its path.
    pub path: String,
    /// Its `compatible` strings, most specific first.
    pub compatible: Vec<String>,
    /// The module that drives it or last tried to.
    pub module: Option<String>,
    /// What became of it.
    pub state: DeviceState,
}

/// How the memory is used, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryStatus {
    /// What the device tree lists.
    pub total: u64,
    /// What firmware and the tree keep for themselves, the initramfs and the tree among it.
    pub reserved: u64,
    /// The kernel's image.
    pub kernel: u64,
    /// What the kernel's heap has taken.
    pub heap: u64,
    /// How much of the heap is allocated.
    pub heap_used: u64,
    /// What loaded modules are mapped in.
    pub modules: u64,
    /// What is set aside for devices to read and write.
    pub dma: u64,
    /// What is free.
    pub free: u64,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadStatus {
    /// Its number, which no other thread has had.
    pub number: u32,
    /// What it is called.
    pub name: String,
    /// On whose behalf it runs; none for the kernel's own.
    pub owner: Option<ProviderId>,
    /// How urgent it is now.
    pub priority: Priority,
    /// What it is about.
    pub state: ThreadState,
    /// The processor that it runs on, or ran on last.
    pub processor: usize,
    /// How long it has run.
    pub time: Duration,
    /// How often it was given a processor.
    pub switches: u64,
}

/// What a thread is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    /// It has a processor.
    Running,
    /// It waits for a processor.
    Ready,
    /// It waits for something else.
    Blocked,
}

/// How often a line has interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterruptStatus {
    /// The controller's number for it.
    pub line: u32,
    /// How often, by processor.
    pub counts: Vec<u64>,
    /// Whose it is; none for the kernel's timer.
    pub device: Option<ProviderId>,
}

/// What the kernel or a module holds of the memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryHolder {
    /// `kernel`, or the module's name; the provider's where no module drives it.
    pub name: String,
    /// Allocations on the heap.
    pub objects: u64,
    /// What these take.
    pub heap: u64,
    /// What it has set aside for devices.
    pub device_memory: u64,
    /// Whole pages that were taken on its behalf: for the heap, for stacks, for devices.
    pub taken: u64,
    /// What the module is mapped in.
    pub image: u64,
}

/// How the heap's pieces of one size are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapClass {
    /// Bytes in a piece.
    pub size: u64,
    /// Slabs: runs of pages that hold pieces of this size.
    pub slabs: u64,
    /// Bytes in these.
    pub bytes: u64,
    /// Pieces that they have room for.
    pub capacity: u64,
    /// Pieces that are allocated.
    pub used: u64,
    /// Pieces that processors keep at hand.
    pub kept: u64,
}

/// A line of the kernel's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// How many records came before it since reset.
    pub sequence: u64,
    /// When it was written, since reset.
    pub time: Duration,
    /// How urgent it is.
    pub level: log::Level,
    /// The module, or the part of the kernel, that wrote it.
    pub source: String,
    /// What it says.
    pub text: String,
}

/// All modules that are loaded.
pub fn modules() -> Vec<ModuleStatus> {
    kernel::system_modules()
}

/// All devices.
pub fn devices() -> Vec<DeviceStatus> {
    kernel::system_devices()
}

/// The names of all modules in the initramfs.
pub fn available_modules() -> Vec<String> {
    kernel::system_available_modules()
}

/// What a module of the initramfs says of itself: `key=value`, in the order of its `.modinfo` section.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) when there is no such module or it can't be read.
pub fn module_information(name: &str) -> Result<Vec<Assignment>> {
    kernel::system_module_information(name)
}

/// Loads a module of the initramfs with these parameters, and binds the nodes that it claims, or
/// starts the service that it is. Modules that it depends on are loaded first. Of modules that claim a device in the same
/// words, this one gets it, unless another has it already.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) with the reason why the module was refused, why its service doesn't start, or
/// why it refuses a device; then it is unloaded again, unless it drives another device.
/// [`Error::Busy`](crate::Error::Busy) when it is loaded already.
pub fn load_module(name: &str, parameters: &[Assignment]) -> Result<()> {
    kernel::system_load_module(name, parameters)
}

/// Puts a module of the initramfs in place of the running one that calls itself the same: `name` is that of its file,
/// which may be another. What the running one drives goes over to the new one device by device, with the state that it
/// [hands over](crate::handover); calls wait meanwhile. If the new one refuses, the old one is put back.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) when there is nothing to replace, or with the reason why the new module was
/// refused; [`Error::Busy`](crate::Error::Busy) when other modules depend on the running one; that of the new instance.
pub fn replace_module(name: &str, parameters: &[Assignment]) -> Result<()> {
    kernel::system_replace_module(name, parameters)
}

/// Unbinds everything that a module drives and unloads it. What can't do without it is stopped first, if
/// [`Dependents::Stop`] says so.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) when it isn't loaded, [`Error::Busy`](crate::Error::Busy) when something
/// that can't do without it is in use, and stays so.
pub fn unload_module(name: &str, dependents: Dependents) -> Result<()> {
    kernel::system_unload_module(name, dependents)
}

/// `name=value`: a parameter for a module, or something that a module says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The name.
    pub name: String,
    /// The value; empty for a bare name.
    pub value: String,
}

/// What happens to those that can't do without a module when it is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// They keep it from being removed.
    Keep,
    /// They are stopped first.
    Stop,
}

/// All threads. Those called `idle/N` run when processor number `N` has nothing else to do.
pub fn threads() -> Vec<ThreadStatus> {
    kernel::system_threads()
}

/// All interrupt lines that somebody has taken, in the order of their numbers.
pub fn interrupts() -> Vec<InterruptStatus> {
    kernel::system_interrupts()
}

/// The kernel's log from record number `first` on, as far as it is still kept.
pub fn log_records(first: u64) -> Vec<LogRecord> {
    kernel::system_log_records(first)
}

/// How the memory is used.
pub fn memory() -> MemoryStatus {
    kernel::system_memory()
}

/// From now on shows on the console what the log gets that is as urgent as `level`, and keeps all the same what is less.
/// Whether records of the levels `debug` and `trace` are made at all is decided by this, too.
pub fn show_log(level: LevelFilter) {
    kernel::system_show_log(level);
}

/// A kind of events that can be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TraceKind {
    /// Calls into modules: what is behind a provider is probed, started, interrupted, used.
    Calls,
    /// Interrupts, by line.
    Interrupts,
    /// A processor goes on with another thread.
    Switches,
    /// The binding of a provider.
    Binding,
    /// The loading of a module, and its steps.
    Loading,
    /// Failures of modules that were contained.
    Failures,
}

impl TraceKind {
    /// All of them, each at its number.
    pub const ALL: [Self; 6] =
        [Self::Calls, Self::Interrupts, Self::Switches, Self::Binding, Self::Loading, Self::Failures];

    /// Its name, as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Interrupts => "interrupts",
            Self::Switches => "switches",
            Self::Binding => "binding",
            Self::Loading => "loading",
            Self::Failures => "failures",
        }
    }
}

/// What a trace record marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TracePhase {
    /// Something has begun.
    Begin,
    /// What the same thread began last, of the same kind, is at its end.
    End,
    /// Something has happened.
    Moment,
}

/// A record of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceRecord {
    /// When, since reset.
    pub time: Duration,
    /// The number of the processor.
    pub processor: usize,
    /// The number of the thread that ran there.
    pub thread: u32,
    /// Its name.
    pub thread_name: String,
    /// The kind of event.
    pub kind: TraceKind,
    /// What the record marks.
    pub phase: TracePhase,
    /// What it is about: a provider, an interrupt line, a module, the number of the thread that is next.
    pub subject: String,
    /// What more there is to say: a provider's module, the step of loading, what came of binding. May be empty.
    pub detail: String,
}

/// Some records of the trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceRecords {
    /// The records, the earliest first.
    pub records: Vec<TraceRecord>,
    /// Where to go on, for each processor.
    pub positions: Vec<u64>,
}

/// How tracing stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceStatus {
    /// What is switched on.
    pub kinds: Vec<TraceKind>,
    /// What each processor has recorded; empty if nothing has ever been switched on.
    pub processors: Vec<TraceCount>,
}

/// How much a processor has recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCount {
    /// Records that can be read.
    pub kept: u64,
    /// Records that later ones have overwritten.
    pub lost: u64,
}

/// Switches tracing on for these kinds of events, and off for all others. What has been recorded stays.
///
/// # Errors
/// [`Error::OutOfMemory`](crate::Error::OutOfMemory) when there is no memory for the records: it is allocated the first
/// time.
pub fn trace_switch(kinds: &[TraceKind]) -> Result<()> {
    kernel::system_trace_switch(kinds)
}

/// How tracing stands.
pub fn trace_status() -> TraceStatus {
    kernel::system_trace_status()
}

/// The earliest records of all processors from these positions on, `most` of them at most. Positions that are missing
/// are zero, where everything begins; go on with those that are returned. None are returned when there are no more.
///
/// Names are those at the time of the call: a thread that has ended has none any more.
pub fn trace_records(positions: &[u64], most: usize) -> TraceRecords {
    kernel::system_trace_records(positions, most)
}

/// What the kernel and each module hold of the memory, the largest first.
pub fn memory_holders() -> Vec<MemoryHolder> {
    kernel::system_memory_holders()
}

/// How the heap's pieces of each size are used, the smallest first. Larger allocations are whole pages.
pub fn heap_classes() -> Vec<HeapClass> {
    kernel::system_heap_classes()
}
