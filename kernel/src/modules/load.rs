//! The way of a module into memory: read, checked, linked, sealed.

use super::refused::Reason;
use super::{Loaded, debugger, path, require, trust};
use crate::machine::Machine;
use crate::memory::UnwindTables;
use crate::memory::layout::PAGE_SIZE;
use crate::memory::space::{ModuleSpace, Pages, Permission};
use crate::processor::cache;
use crate::{thread, time, trace};
use abi::sync::Lock;
use abi::system::{Assignment, LoadReport, LoadStep};
use abi::time::Instant;
use abi::{MODULE_SYMBOL, Module};
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use hashbrown::HashMap;
use loader::modinfo::ModuleInformation;
use loader::{Layout, Linked, Object, Place, Segment, Segments, link};
use module_signature::split;
use stamp::Stamp;
use stamp::description::{self, Description};

/// Loads the module `name`, up to where its own code would run. Those that it depends on are loaded first; `chain` names
/// the modules that wait for this one.
///
/// # Errors
/// When there is no such module, or it is refused.
pub fn load(machine: &Machine, name: &str, chain: &mut Vec<String>) -> Result<Loaded, Reason> {
    let mut stopwatch = Stopwatch::new(name);
    let bytes = machine.file(&path(name)).ok_or(Reason::NotFound)?;
    let trust::Object { bytes: object, version } = trust::check(machine, name, bytes)?;
    stopwatch.lap("verify");
    let object = Object::parse(object).map_err(Reason::Broken)?;
    stopwatch.lap("parse");
    check_stamp(machine, &object)?;
    let information = ModuleInformation::of(&object).map_err(Reason::Broken)?;
    let own_name = information.value("name").unwrap_or(name);
    trust::check_version(machine, name, own_name, version)?;
    let interface = information.value("interface");
    stopwatch.lap("check");
    let needs = dependencies(machine, &object, &information, chain)?;
    stopwatch.lap("dependencies");

    let layout = Layout::new(&object, machine.workarounds).map_err(Reason::Broken)?;
    let mut memory = Memory::new(&layout)?;
    stopwatch.lap("place");
    let resolve = |symbol: &str| {
        let from_module = || needs.iter().find_map(|module| module.exports.get(symbol).copied());
        machine.contract.exports.find(symbol).or_else(from_module)
    };
    let linked = link(&object, &layout, memory.places(), &resolve).map_err(Reason::Broken)?;
    let root = root(&linked)?;
    let exports = match interface {
        Some(_) => exports(machine, &linked)?,
        None => HashMap::new(),
    };
    let frames = linked.unwind_tables();
    let frames = frames.start as usize..frames.end as usize;
    let unwind_tables = UnwindTables { frames, index: None, actions: memory.constants() };
    let start = memory.space.place().start;
    let text = start..start + layout.segments().execute.size.next_multiple_of(PAGE_SIZE);
    let is_outside = |function: &&u64| !text.contains(&(**function as usize));
    if let Some(function) = linked.initializers().iter().find(is_outside) {
        return Err(Reason::BadInitializer(*function));
    }
    stopwatch.lap("link");

    memory.seal()?;
    stopwatch.lap("seal");
    // SAFETY: a module with this kernel's stamp defines the symbol with this type (`abi::module!`); its size, place
    // and alignment were checked. It stays mapped as long as `Loaded` lives, which whoever uses it keeps alive.
    let module = unsafe { &*(root as *const Module) };
    let line = debugger::line(name, &linked);
    let (figures, used) = (linked.figures(), linked.used());
    let report = LoadReport {
        file: bytes.len(),
        text: used.execute,
        constants: used.read,
        data: used.write,
        sections: figures.sections,
        imports: figures.imports,
        relocations: figures.relocations,
        veneers: figures.veneers,
        erratum_fixes: figures.erratum_fixes,
        offset_table_entries: figures.offset_table_entries,
        steps: stopwatch.steps,
    };
    Ok(Loaded {
        name: name.to_owned(),
        own_name: own_name.to_owned(),
        version,
        place: memory.space.place(),
        text,
        unwind_tables,
        module,
        needs,
        exports,
        interface,
        initializers: linked.initializers().to_vec(),
        report: Lock::new(report),
        line,
        _memory: memory,
    })
}

/// Sets a module's parameters, first from `bootargs` and then from `parameters`, and runs its initializers.
///
/// # Errors
/// When a parameter is wrong, or its code fails.
pub fn start(machine: &Machine, loaded: &Loaded, parameters: &[Assignment]) -> Result<(), Reason> {
    let mut stopwatch = Stopwatch::new(&loaded.name);
    let started = thread::guarded(|| {
        set_parameters(machine, &loaded.name, loaded.module, parameters)?;
        for initializer in &loaded.initializers {
            // SAFETY: the module's own list of functions to run once before any other, as its object format defines it,
            // and they are in its code; the stamp says that the build that made it is this kernel's.
            unsafe { core::mem::transmute::<usize, extern "C-unwind" fn()>(*initializer as usize)() }
        }
        Ok(())
    });
    started.map_err(|message| Reason::Error(abi::Error::Failed(message)))??;
    stopwatch.lap("start");
    trust::note_version(&loaded.own_name, loaded.version);
    loaded.report.lock().steps.append(&mut stopwatch.steps);
    if log::log_enabled!(log::Level::Debug) {
        // Not held while the console is written to.
        let report = loaded.report.lock().clone();
        log::debug!("{}: {report}", loaded.name);
    }
    Ok(())
}

/// Measures the steps of loading.
struct Stopwatch {
    last: Instant,
    steps: Vec<LoadStep>,
    traced: trace::Span,
}

impl Stopwatch {
    fn new(module: &str) -> Self {
        Self { last: time::now(), steps: Vec::new(), traced: trace::load(module) }
    }

    /// Ends a step with this name.
    fn lap(&mut self, name: &str) {
        trace::step(&self.traced, name);
        let now = time::now();
        self.steps.push(LoadStep { name: name.to_owned(), time: now.since(self.last) });
        self.last = now;
    }
}

fn check_stamp(machine: &Machine, object: &Object<'_>) -> Result<(), Reason> {
    let bytes = object.section(stamp::SECTION).ok_or(Reason::NoStamp)?;
    if bytes == machine.contract.stamp.as_bytes() {
        return Ok(());
    }
    let module = Stamp::parse(bytes).map_err(Reason::BrokenStamp)?;
    let kernel = Stamp::parse(machine.contract.stamp.as_bytes()).map_err(Reason::BrokenStamp)?;
    let Some(difference) = module.differences(&kernel).next() else { return Ok(()) };
    let item = match difference.key {
        "crate abi" => changed_item(object.section(description::SECTION), Some(machine.contract.abi)),
        _ => None,
    };
    Err(Reason::OutOfLockstep(item.unwrap_or_else(|| difference.to_string())))
}

/// The item in which two descriptions of a crate differ most, the module's and that of what is at hand.
fn changed_item(module: Option<&[u8]>, here: Option<&[u8]>) -> Option<String> {
    let (module, here) = (Description::unpack(module?).ok()?, Description::unpack(here?).ok()?);
    module.differences(&here).next().map(|difference| difference.to_string())
}

/// Loads the modules that a module depends on, unless they are loaded already. Its `.modinfo` names each with the hash
/// of what it was compiled against.
fn dependencies(
    machine: &Machine,
    object: &Object<'_>,
    information: &ModuleInformation<'_>,
    chain: &mut Vec<String>,
) -> Result<Vec<Arc<Loaded>>, Reason> {
    let mut needs = Vec::new();
    for dependency in information.values("depends") {
        let (name, wanted) = dependency.split_once(' ').unwrap_or((dependency, ""));
        let loaded = require(machine, name, chain)?;
        match loaded.interface {
            None => return Err(Reason::NoLibrary(name.to_owned())),
            Some(interface) if interface != wanted => {
                let section = description::section_of_library(name);
                let (library, _) = split(machine.file(&path(name)).unwrap_or_default());
                let library = Object::parse(library).map_err(Reason::Broken)?;
                let item = changed_item(object.section(&section), library.section(&section));
                return Err(Reason::OtherLibrary { name: name.to_owned(), item });
            }
            Some(_) => needs.push(loaded),
        }
    }
    Ok(needs)
}

/// Memory for a module's segments.
pub struct Memory {
    // The mappings go before the memory that they map.
    space: ModuleSpace,
    segments: [Piece; 3],
}

/// Memory for one segment.
struct Piece {
    /// Where it is in the module's addresses, in bytes from their start.
    offset: usize,
    pages: Pages,
    permission: Permission,
}

impl Memory {
    fn new(layout: &Layout) -> Result<Self, Reason> {
        let mut end: usize = 0;
        let mut alignment = PAGE_SIZE;
        let mut piece = |segment: Segment, permission| {
            let own = (segment.alignment as usize).max(PAGE_SIZE);
            alignment = alignment.max(own);
            let mut pages = Pages::new(segment.size.div_ceil(PAGE_SIZE)).map_err(Reason::Error)?;
            pages.charge_to_kernel();
            let offset = end.next_multiple_of(own);
            end = offset + pages.size();
            Ok(Piece { offset, pages, permission })
        };
        let Segments { execute, read, write } = layout.segments();
        let segments =
            [piece(execute, Permission::Execute)?, piece(read, Permission::Read)?, piece(write, Permission::Write)?];
        let space = ModuleSpace::new(end, alignment).map_err(Reason::Error)?;
        Ok(Self { space, segments })
    }

    /// The segments' addresses, and their memory through the linear map.
    fn places(&mut self) -> Segments<Place<'_>> {
        let start = self.space.place().start;
        let [execute, read, write] = self
            .segments
            .each_mut()
            .map(|piece| Place { address: (start + piece.offset) as u64, bytes: piece.pages.bytes() });
        Segments { execute, read, write }
    }

    /// The addresses of the read-only data.
    fn constants(&self) -> Range<usize> {
        let [_, Piece { offset, pages, .. }, _] = &self.segments;
        let start = self.space.place().start + offset;
        start..start + pages.size()
    }

    /// Maps the segments for good: nothing has been executable so far, and what is from now on can't be written at its
    /// address.
    fn seal(&mut self) -> Result<(), Reason> {
        for Piece { offset, pages, permission } in &mut self.segments {
            if pages.size() > 0 {
                if *permission == Permission::Execute {
                    let bytes = pages.bytes();
                    cache::publish_code(bytes.as_ptr() as usize, bytes.len());
                }
                self.space.map(*offset, pages, *permission).map_err(Reason::Error)?;
            }
        }
        Ok(())
    }
}

/// The address of the module's root symbol.
fn root(linked: &Linked<'_>) -> Result<usize, Reason> {
    let root = linked.symbol(MODULE_SYMBOL).ok_or(Reason::NoEntry)?;
    let is_constant = root.permission == Some(loader::Permission::Read);
    if !is_constant || root.size < size_of::<Module>() as u64 || root.address % align_of::<Module>() as u64 != 0 {
        return Err(Reason::NoEntry);
    }
    Ok(root.address as usize)
}

/// What a library defines for other modules.
fn exports(machine: &Machine, linked: &Linked<'_>) -> Result<HashMap<String, u64>, Reason> {
    let mut exports = HashMap::new();
    for symbol in linked.symbols().filter(|symbol| symbol.name != MODULE_SYMBOL) {
        let by = super::exporting(symbol.name);
        if by.is_some() || machine.contract.exports.find(symbol.name).is_some() {
            return Err(Reason::ExportedTwice { symbol: symbol.name.to_owned(), by });
        }
        exports.insert(symbol.name.to_owned(), symbol.address);
    }
    Ok(exports)
}

/// Sets the module's parameters, first from `bootargs` and then from `parameters`.
fn set_parameters(machine: &Machine, name: &str, module: &Module, parameters: &[Assignment]) -> Result<(), Reason> {
    for (parameter, value) in machine.parameters(name) {
        // A mistake in a word should not cost the machine its console.
        match module.parameters.iter().find(|known| known.name() == parameter) {
            Some(known) => known.set(value).map_err(Reason::Error)?,
            None => log::warn!("bootargs: module {name} has no parameter {parameter}"),
        }
    }
    for Assignment { name: parameter, value } in parameters {
        let Some(known) = module.parameters.iter().find(|known| known.name() == *parameter) else {
            let known = module.parameters.iter().map(|known| known.name().to_owned()).collect();
            return Err(Reason::NoParameter { name: parameter.clone(), known });
        };
        known.set(value).map_err(Reason::Error)?;
    }
    Ok(())
}
