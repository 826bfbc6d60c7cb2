//! What [`abi::system`] and `bootargs` tell.

use crate::lock;
use abi::log::LevelFilter;
use abi::system::{
    DeviceStatus, HeapClass, InterruptStatus, LogRecord, MemoryHolder, MemoryStatus, ModuleStatus, ThreadStatus,
    TraceKind, TraceRecord,
};
use abi::{Error, Result};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// The machine, as a test arranges it.
#[derive(Default)]
pub struct Machine {
    /// Words of `bootargs`.
    pub boot_arguments: BTreeMap<String, String>,
    /// The modules that are loaded. There are no others.
    pub modules: Vec<ModuleStatus>,
    /// The devices that are listed; those that a test [`publish`](crate::publish)es need not be.
    pub devices: Vec<DeviceStatus>,
    /// How the memory is used. Has to be arranged where a module asks for it.
    pub memory: Option<MemoryStatus>,
    /// The threads that there are; not those of modules under test.
    pub threads: Vec<ThreadStatus>,
    /// The interrupt lines that are taken.
    pub interrupts: Vec<InterruptStatus>,
    /// Who holds how much of it.
    pub memory_holders: Vec<MemoryHolder>,
    /// How the heap is used.
    pub heap_classes: Vec<HeapClass>,
    /// The kernel's log as a module sees it; what modules write is in [`log`](crate::log()).
    pub records: Vec<LogRecord>,
    /// What a module had the console show of the log.
    pub shown: Option<LevelFilter>,
    /// What is traced.
    pub trace_kinds: Vec<TraceKind>,
    /// What has been traced, on one processor.
    pub trace: Vec<TraceRecord>,
}

impl Machine {
    /// The position of a module.
    pub(crate) fn find(&self, name: &str) -> Result<usize> {
        let position = self.modules.iter().position(|module| module.name == name);
        position.ok_or_else(|| Error::Invalid(format!("there is no module `{name}`")))
    }
}

/// The machine. A new [`Session`](crate::Session) begins with an empty one.
pub fn machine() -> MutexGuard<'static, Machine> {
    static MACHINE: Mutex<Machine> = Mutex::new(Machine {
        boot_arguments: BTreeMap::new(),
        modules: Vec::new(),
        devices: Vec::new(),
        memory: None,
        threads: Vec::new(),
        interrupts: Vec::new(),
        memory_holders: Vec::new(),
        heap_classes: Vec::new(),
        records: Vec::new(),
        shown: None,
        trace_kinds: Vec::new(),
        trace: Vec::new(),
    });
    lock(&MACHINE)
}
