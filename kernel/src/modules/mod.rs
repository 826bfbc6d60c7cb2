//! Modules: found in the initramfs, checked, linked, sealed; and taken out again.

mod debugger;
mod load;
mod refused;
mod trust;

use crate::machine::{self, Machine};
use crate::memory::{UnwindTables, heap};
use crate::registry;
use crate::thread::ending;
use abi::Module;
use abi::sync::Lock;
use abi::system::{Assignment, LoadReport, ModuleStatus};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use hashbrown::HashMap;
use load::Memory;
use loader::modinfo::ModuleInformation;
use loader::{Layout, Object, function_at};
use refused::Reason;
use rustc_demangle::demangle;
use stamp::Stamp;

pub use refused::Refused;
pub use trust::Policy;

/// A module that is loaded. Dropped last of all that refers to it.
pub struct Loaded {
    name: String,
    /// What it calls itself, which its signature covers.
    own_name: String,
    /// Which version of that it is, if a signature vouches for it.
    version: Option<u64>,
    place: Range<usize>,
    text: Range<usize>,
    unwind_tables: UnwindTables,
    module: &'static Module,
    /// The modules that it is linked against, which stay as long as it.
    needs: Vec<Arc<Loaded>>,
    /// What others may link against.
    exports: HashMap<String, u64>,
    /// For a library, the hash of what others are compiled against.
    interface: Option<&'static str>,
    /// The functions to call before any other.
    initializers: Vec<u64>,
    report: Lock<LoadReport>,
    /// What a debugger is told of it.
    line: String,
    _memory: Memory,
}

impl Loaded {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it calls itself.
    pub fn own_name(&self) -> &str {
        &self.own_name
    }

    /// How to enter it.
    pub fn entry(&self) -> &abi::Entry {
        &self.module.entry
    }
}

/// How many modules may wait for each other to be loaded: each takes some 3 KiB of the stack meanwhile.
pub const DEEPEST: usize = 12;

/// All that are loaded, in the order of loading.
static LOADED: Lock<Vec<Arc<Loaded>>> = Lock::new(Vec::new());

/// The parameters that modules were loaded with, by name, for when they are loaded again without being told.
static PARAMETERS: Lock<Vec<(String, Vec<Assignment>)>> = Lock::new(Vec::new());

/// Notes with which parameters to load a module from now on.
pub fn set_parameters(name: &str, parameters: &[Assignment]) {
    let mut all = PARAMETERS.lock();
    all.retain(|(other, _)| other != name);
    if !parameters.is_empty() {
        all.push((name.to_owned(), parameters.to_vec()));
    }
}

fn parameters_of(name: &str) -> Vec<Assignment> {
    PARAMETERS
        .lock()
        .iter()
        .find(|(other, _)| other == name)
        .map(|(_, parameters)| parameters.clone())
        .unwrap_or_default()
}

fn path(name: &str) -> String {
    format!("modules/{name}.o")
}

fn find(name: &str) -> Option<Arc<Loaded>> {
    LOADED.lock().iter().find(|loaded| loaded.name == name).cloned()
}

/// Whether a module is loaded.
pub fn is_loaded(name: &str) -> bool {
    find(name).is_some()
}

/// The module of that name, loaded now if it isn't yet: with the parameters that were set for it, and behind all that it
/// depends on.
///
/// # Errors
/// When there is none, or it is refused.
pub fn get(machine: &Machine, name: &str) -> Result<Arc<Loaded>, Refused> {
    if let Some(loaded) = find(name) {
        return Ok(loaded);
    }
    let before = count();
    let result = load(machine, name, &parameters_of(name), &mut Vec::new());
    if result.is_err() {
        unload_latest(before);
    }
    result
}

/// Loads a module although one of its name may be loaded: it is to take that one's place.
///
/// # Errors
/// When there is none, or it is refused.
pub fn get_beside(machine: &Machine, name: &str, parameters: &[Assignment]) -> Result<Arc<Loaded>, Refused> {
    let before = count();
    let result = load(machine, name, parameters, &mut Vec::new());
    if result.is_err() {
        unload_latest(before);
    }
    result
}

/// The module that calls itself as `successor` does and was loaded before it.
pub fn predecessor(successor: &Arc<Loaded>) -> Option<Arc<Loaded>> {
    let loaded = LOADED.lock();
    let is_earlier = |other: &&Arc<Loaded>| other.own_name == successor.own_name && !Arc::ptr_eq(other, successor);
    loaded.iter().find(is_earlier).cloned()
}

/// Takes this very module out of memory, of several with its name. Nothing may refer to it any more.
pub fn unload_instance(module: &Arc<Loaded>) {
    let mut loaded = LOADED.lock();
    loaded.retain(|other| !Arc::ptr_eq(other, module));
    debugger::tell(&loaded);
}

/// The names of all that are loaded, in the order of loading.
pub fn names() -> Vec<String> {
    LOADED.lock().iter().map(|loaded| loaded.name.clone()).collect()
}

/// How many modules are loaded.
pub fn count() -> usize {
    LOADED.lock().len()
}

/// Takes all modules out of memory but the first `count`: what was loaded for the sake of one that is of no use.
pub fn unload_latest(count: usize) {
    let mut loaded = LOADED.lock();
    let others: Vec<_> = loaded.drain(count..).rev().collect();
    debugger::tell(&loaded);
    drop(loaded);
    others.iter().for_each(|module| ending::stop_module(&module.name));
    drop(others);
}

/// Loads a module and those that it depends on. What an error leaves loaded is for [`get`] to unload.
fn load(
    machine: &Machine,
    name: &str,
    parameters: &[Assignment],
    chain: &mut Vec<String>,
) -> Result<Arc<Loaded>, Refused> {
    chain.push(name.to_owned());
    let loaded = load::load(machine, name, chain).map_err(|reason| Refused::new(name, reason))?;
    chain.pop();
    let loaded = Arc::new(loaded);
    // Before its code runs: who unwinds it, or starts a thread of it, looks it up.
    let mut all = LOADED.lock();
    all.push(loaded.clone());
    debugger::tell(&all);
    drop(all);
    load::start(machine, &loaded, parameters).map_err(|reason| Refused::new(name, reason))?;
    Ok(loaded)
}

/// A module that another depends on; `chain` names those that wait for it.
fn require(machine: &Machine, name: &str, chain: &mut Vec<String>) -> Result<Arc<Loaded>, Reason> {
    if let Some(loaded) = find(name) {
        return Ok(loaded);
    }
    if let Some(start) = chain.iter().position(|waiting| waiting == name) {
        let circle = chain.iter().skip(start).cloned().chain([name.to_owned()]);
        return Err(Reason::Cycle(circle.collect()));
    }
    if chain.len() == DEEPEST {
        return Err(Reason::TooDeep);
    }
    load(machine, name, &parameters_of(name), chain).map_err(Reason::Dependency)
}

/// The module that exports a symbol.
fn exporting(symbol: &str) -> Option<String> {
    LOADED.lock().iter().find(|loaded| loaded.exports.contains_key(symbol)).map(|loaded| loaded.name.clone())
}

/// The modules that are linked against this one.
pub fn users_of(name: &str) -> Vec<String> {
    let loaded = LOADED.lock();
    let uses = |module: &&Arc<Loaded>| module.needs.iter().any(|need| need.name == name);
    loaded.iter().filter(uses).map(|module| module.name.clone()).collect()
}

/// Takes a module out of memory. Nothing may refer to it any more: its providers have been withdrawn and dropped, and no
/// module is linked against it.
pub fn unload(name: &str) {
    let mut loaded = LOADED.lock();
    let Some(index) = loaded.iter().position(|loaded| loaded.name == name) else { return };
    let module = loaded.remove(index);
    debugger::tell(&loaded);
    drop(loaded);
    drop(module);
}

/// What a module of the initramfs says of itself.
///
/// # Errors
/// When there is none, or it can't be read.
pub fn information(machine: &Machine, name: &str) -> Result<Vec<Assignment>, Refused> {
    let read = || {
        let bytes = machine.file(&path(name)).ok_or(Reason::NotFound)?;
        let (object, trailer) = module_signature::split(bytes);
        let object = Object::parse(object).map_err(Reason::Broken)?;
        let information = ModuleInformation::of(&object).map_err(Reason::Broken)?;
        let own = |(name, value): (&str, &str)| Assignment { name: name.to_owned(), value: value.to_owned() };
        let mut entries: Vec<_> = information.entries().map(own).collect();
        entries.push(own(("file", &format!("{} ({} bytes)", path(name), bytes.len()))));
        let signature = trailer.map(|trailer| format!("version {} by key {}", trailer.version, trailer.key));
        let signature = signature.map_or("none".to_owned(), |words| words + " (checked when it is loaded)");
        entries.push(own(("signature", &signature)));
        if let Some(Ok(stamp)) = object.section(stamp::SECTION).map(Stamp::parse) {
            entries.extend(stamp.entries().map(|(key, value)| own((&format!("stamp.{key}"), value))));
        }
        Ok(entries)
    };
    read().map_err(|reason| Refused::new(name, reason))
}

/// All modules that are loaded.
pub fn status() -> Vec<ModuleStatus> {
    let loaded = LOADED.lock().clone();
    let status = |loaded: &Arc<Loaded>| ModuleStatus {
        name: loaded.name.clone(),
        size: loaded.place.len(),
        text: loaded.text.start,
        needed_by: users_of(&loaded.name),
        drives: registry::of_module(&loaded.name).into_iter().map(registry::name).collect(),
        report: loaded.report.lock().clone(),
    };
    loaded.iter().map(status).collect()
}

/// Whether an address is in the code of a module, or of those that it is linked against.
pub fn is_code_of(name: &str, address: usize) -> bool {
    with_needs(name, &|module| module.text.contains(&address))
}

/// Whether an address is in a module or in one of those that it is linked against, be it code or variables.
pub fn is_part_of(name: &str, address: usize) -> bool {
    with_needs(name, &|module| module.place.contains(&address))
}

/// Whether a module or one of those that it is linked against passes `test`.
fn with_needs(name: &str, test: &dyn Fn(&Loaded) -> bool) -> bool {
    fn any(module: &Loaded, test: &dyn Fn(&Loaded) -> bool) -> bool {
        test(module) || module.needs.iter().any(|need| any(need, test))
    }
    // While one takes another's place there may be two of a name.
    LOADED.lock().iter().filter(|module| module.name == name).any(|module| any(module, test))
}

/// Bytes that all loaded modules are mapped in.
pub fn total_size() -> usize {
    LOADED.lock().iter().map(|loaded| loaded.place.len()).sum()
}

/// The module that has `address` in one of its segments.
pub fn containing(address: usize) -> Option<Arc<Loaded>> {
    LOADED.lock().iter().find(|loaded| loaded.place.contains(&address)).cloned()
}

/// The unwind tables of the module with text at `address`.
pub fn unwind_tables(address: usize) -> Option<UnwindTables> {
    LOADED.lock().iter().find(|loaded| loaded.text.contains(&address)).map(|loaded| loaded.unwind_tables.clone())
}

/// Writes in words which function and module `address` is in; the function only if there is a heap to find it with.
pub fn describe(address: usize, output: &mut impl fmt::Write) -> fmt::Result {
    let loaded = LOADED.try_lock();
    let Some(module) = loaded.iter().flat_map(|loaded| loaded.iter()).find(|module| module.text.contains(&address))
    else {
        return output.write_str("?");
    };
    let module = module.clone();
    drop(loaded);
    let offset = address - module.text.start;
    // Looked up in the file, since nobody needs the names while all goes well.
    let mut function = || {
        let machine = machine::get().filter(|_| heap::is_usable())?;
        let (object, _) = module_signature::split(machine.file(&path(&module.name))?);
        let object = Object::parse(object).ok()?;
        let (name, into) = function_at(&object, &Layout::new(&object, machine.workarounds).ok()?, offset)?;
        Some(write!(output, "{:#}+{into:#x}", demangle(name)))
    };
    match function() {
        Some(written) => written?,
        None => output.write_str("?")?,
    }
    write!(output, " ({}+{offset:#x})", module.name)
}
