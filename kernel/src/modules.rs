//! Modules: found in the initramfs, checked, linked, sealed; and taken out again.

use crate::machine::{self, Machine};
use crate::memory::layout::PAGE_SIZE;
use crate::memory::space::{ModuleSpace, Pages, Permission};
use crate::processor::cache;
use crate::registry;
use abi::sync::Lock;
use abi::system::ModuleStatus;
use abi::{MODULE_SYMBOL, Module};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use loader::modinfo::ModuleInformation;
use loader::{Image, Layout, Object, Place, Segments, function_at, link};
use rustc_demangle::demangle;
use stamp::Stamp;

/// Why a module was not loaded. The file is named by [`Refused`].
#[derive(Debug)]
enum Reason {
    NotFound,
    Broken(loader::Error),
    NoStamp,
    BrokenStamp(stamp::Error),
    OutOfLockstep(String),
    NoEntry,
    Memory(abi::Error),
}

/// A module that was refused, and why.
#[derive(Debug)]
pub struct Refused {
    file: String,
    // Boxed, because an error should be small where there is none.
    reason: Box<Reason>,
}

impl Refused {
    fn new(name: &str, reason: Reason) -> Self {
        Self { file: path(name), reason: Box::new(reason) }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.file)?;
        match &*self.reason {
            Reason::NotFound => formatter.write_str("there is no such file in the initramfs"),
            Reason::Broken(error) => error.fmt(formatter),
            Reason::NoStamp => write!(
                formatter,
                "it has no section {}, so nothing says that it was built in lockstep with this kernel",
                stamp::SECTION
            ),
            Reason::BrokenStamp(error) => write!(formatter, "its stamp is damaged: {error}"),
            Reason::OutOfLockstep(difference) => write!(formatter, "it is out of lockstep: {difference}"),
            Reason::NoEntry => write!(
                formatter,
                "it defines no {MODULE_SYMBOL}: it is a library, or lacks abi::driver! or abi::service!"
            ),
            Reason::Memory(error) => error.fmt(formatter),
        }
    }
}

/// A module that is loaded. Dropped last of all that refers to it.
pub struct Loaded {
    name: String,
    place: Range<usize>,
    text: Range<usize>,
    eh_frame: usize,
    size: usize,
    module: &'static Module,
    // The mappings go before the memory that they map.
    _space: ModuleSpace,
    _pages: Vec<Pages>,
}

impl Loaded {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How to enter it.
    pub fn entry(&self) -> &abi::Entry {
        &self.module.entry
    }
}

static LOADED: Lock<Vec<Arc<Loaded>>> = Lock::new(Vec::new());

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

/// The module of that name, loaded now if it isn't yet.
///
/// # Errors
/// When there is none, or it is refused.
pub fn get(machine: &Machine, name: &str) -> Result<Arc<Loaded>, Refused> {
    if let Some(loaded) = find(name) {
        return Ok(loaded);
    }
    let loaded = load(machine, name).map_err(|reason| Refused::new(name, reason))?;
    let loaded = Arc::new(loaded);
    LOADED.lock().push(loaded.clone());
    Ok(loaded)
}

fn load(machine: &Machine, name: &str) -> Result<Loaded, Reason> {
    let started = crate::time::now();
    let bytes = machine.file(&path(name)).ok_or(Reason::NotFound)?;
    let image = Image::new(bytes).map_err(Reason::Broken)?;
    let object = Object::parse(&image).map_err(Reason::Broken)?;
    check_stamp(machine, &object)?;
    let layout = Layout::new(&object).map_err(Reason::Broken)?;

    let segments = layout.segments();
    let wanted = [
        (segments.execute, Permission::Execute),
        (segments.read, Permission::Read),
        (segments.write, Permission::Write),
    ];
    let total = wanted.iter().map(|(segment, _)| segment.size.next_multiple_of(PAGE_SIZE)).sum();
    let mut space = ModuleSpace::new(total).map_err(Reason::Memory)?;
    let mut pages = Vec::new();
    for (segment, _) in &wanted {
        pages.push(Pages::new(segment.size.div_ceil(PAGE_SIZE)).map_err(Reason::Memory)?);
    }
    let start = space.place().start;
    let [execute, read, write] = pages.as_mut_slice() else { unreachable!("three segments") };
    let mut next = start;
    let mut place = |pages| {
        let address = next as u64;
        let bytes = Pages::bytes(pages);
        next += bytes.len();
        Place { address, bytes }
    };
    let places = Segments { execute: place(execute), read: place(read), write: place(write) };
    let linked = link(&object, &layout, places, &|symbol| machine.exports.find(symbol)).map_err(Reason::Broken)?;

    let root = linked.symbol(MODULE_SYMBOL).ok_or(Reason::NoEntry)?;
    let is_constant = root.permission == Some(loader::Permission::Read);
    if !is_constant || root.size < size_of::<Module>() as u64 || root.address % align_of::<Module>() as u64 != 0 {
        return Err(Reason::NoEntry);
    }
    let (root, eh_frame, figures) = (root.address as usize, linked.unwind_tables().start as usize, linked.figures());
    let initializers = linked.initializers().to_vec();

    // Sealed from here on: nothing has been executable so far, and what is from now on can't be written at its address.
    if let Some(text) = pages.first_mut() {
        let bytes = text.bytes();
        cache::publish_code(bytes.as_ptr() as usize, bytes.len());
    }
    let mut offset = 0;
    for (pages, (_, permission)) in pages.iter().zip(wanted) {
        if pages.size() > 0 {
            space.map(offset, pages, permission).map_err(Reason::Memory)?;
        }
        offset += pages.size();
    }
    for initializer in initializers {
        // SAFETY: the module's own list of functions to run once before any other, as its object format defines it;
        // the stamp says that the build that made it is this kernel's.
        unsafe { core::mem::transmute::<usize, extern "C" fn()>(initializer as usize)() }
    }
    // SAFETY: a module with this kernel's stamp defines the symbol with this type (`abi::module!`); its size, place
    // and alignment were checked. It stays mapped as long as `Loaded` lives, which whoever uses it keeps alive.
    let module = unsafe { &*(root as *const Module) };
    let text = start..start + segments.execute.size.next_multiple_of(PAGE_SIZE);
    log::debug!(
        "{name}: {total} bytes at {start:#x}, {} relocations, {} imports, {} veneers, loaded in {} us",
        figures.relocations,
        figures.imports,
        figures.veneers,
        crate::time::now().since(started).as_micros()
    );
    Ok(Loaded {
        name: name.to_owned(),
        place: space.place(),
        text,
        eh_frame,
        size: total,
        module,
        _space: space,
        _pages: pages,
    })
}

fn check_stamp(machine: &Machine, object: &Object<'_>) -> Result<(), Reason> {
    let bytes = object.section(stamp::SECTION).ok_or(Reason::NoStamp)?;
    if bytes == machine.stamp.as_bytes() {
        return Ok(());
    }
    let module = Stamp::parse(bytes).map_err(Reason::BrokenStamp)?;
    let kernel = Stamp::parse(machine.stamp.as_bytes()).map_err(Reason::BrokenStamp)?;
    let difference = module.differences(&kernel).next();
    difference.map_or(Ok(()), |difference| Err(Reason::OutOfLockstep(difference.to_string())))
}

/// Takes a module out of memory. Nothing may refer to it any more: its providers have been withdrawn and dropped.
pub fn unload(name: &str) {
    let mut loaded = LOADED.lock();
    let Some(index) = loaded.iter().position(|loaded| loaded.name == name) else { return };
    let module = loaded.remove(index);
    drop(loaded);
    drop(module);
}

/// What a module of the initramfs says of itself.
///
/// # Errors
/// When there is none, or it can't be read.
pub fn information(machine: &Machine, name: &str) -> Result<Vec<(String, String)>, Refused> {
    let read = || {
        let bytes = machine.file(&path(name)).ok_or(Reason::NotFound)?;
        let image = Image::new(bytes).map_err(Reason::Broken)?;
        let object = Object::parse(&image).map_err(Reason::Broken)?;
        let information = ModuleInformation::of(&object).map_err(Reason::Broken)?;
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let mut entries: Vec<_> = information.entries().map(own).collect();
        entries.push(("file".to_owned(), format!("{} ({} bytes)", path(name), bytes.len())));
        if let Some(Ok(stamp)) = object.section(stamp::SECTION).map(Stamp::parse) {
            entries.extend(stamp.entries().map(own).map(|(key, value)| (format!("stamp.{key}"), value)));
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
        size: loaded.size,
        text: loaded.text.start,
        users: registry::of_module(&loaded.name).into_iter().map(registry::name).collect(),
    };
    loaded.iter().map(status).collect()
}

/// Bytes that all loaded modules are mapped in.
pub fn total_size() -> usize {
    LOADED.lock().iter().map(|loaded| loaded.size).sum()
}

/// The module that has `address` in one of its segments.
pub fn containing(address: usize) -> Option<Arc<Loaded>> {
    LOADED.lock().iter().find(|loaded| loaded.place.contains(&address)).cloned()
}

/// Where the unwind tables of the module with text at `address` are.
pub fn eh_frame(address: usize) -> Option<usize> {
    LOADED.lock().iter().find(|loaded| loaded.text.contains(&address)).map(|loaded| loaded.eh_frame)
}

/// Which module and function `address` is in, in words.
pub fn describe(address: usize) -> Option<String> {
    let loaded = LOADED.try_lock()?.iter().find(|loaded| loaded.text.contains(&address)).cloned()?;
    let offset = address - loaded.text.start;
    // Looked up in the file, since nobody needs the names while all goes well.
    let function = || {
        let image = Image::new(machine::get()?.file(&path(&loaded.name))?).ok()?;
        let object = Object::parse(&image).ok()?;
        let (name, into) = function_at(&object, &Layout::new(&object).ok()?, offset)?;
        Some(format!("{:#}+{into:#x}", demangle(name)))
    };
    Some(format!("{} ({}+{offset:#x})", function().unwrap_or_else(|| "?".to_owned()), loaded.name))
}
