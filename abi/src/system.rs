//! The system as a whole: its modules, devices, memory and log. For the shell and the like.

use crate::{Result, kernel};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// A module that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleStatus {
    /// Its name.
    pub name: String,
    /// Bytes of memory that it is mapped in.
    pub size: usize,
    /// Where its text starts.
    pub text: usize,
    /// The nodes that it drives, or the service that it runs.
    pub users: Vec<String>,
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

/// What a module of the initramfs says of itself: `key=value` pairs, in the order of its `.modinfo` section.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) when there is no such module or it can't be read.
pub fn module_information(name: &str) -> Result<Vec<(String, String)>> {
    kernel::system_module_information(name)
}

/// Loads a module of the initramfs and binds the nodes that it claims, or starts the service that it is.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) with the reason why the module was refused,
/// [`Error::Busy`](crate::Error::Busy) when it is loaded already.
pub fn load_module(name: &str) -> Result<()> {
    kernel::system_load_module(name)
}

/// Unbinds everything that a module drives and unloads it.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) when it isn't loaded, [`Error::Busy`](crate::Error::Busy) when something
/// that can't do without it is in use.
pub fn unload_module(name: &str) -> Result<()> {
    kernel::system_unload_module(name)
}

/// The kernel's log from record number `first` on, as far as it is still kept.
pub fn log_records(first: u64) -> Vec<LogRecord> {
    kernel::system_log_records(first)
}

/// How the memory is used.
pub fn memory() -> MemoryStatus {
    kernel::system_memory()
}
