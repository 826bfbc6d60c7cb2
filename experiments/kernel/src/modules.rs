//! Loads a module with the crates that the real kernel uses.

use alloc::{
    format,
    string::{String, ToString},
    vec,
};

use contract::Module;
use loader::exports::ExportTable;
use loader::{Layout, Object, Permission, Place, Segment, Workarounds, link};
use stamp::Stamp;

use crate::machine::publish_code;

/// Links a module where it stays for good. With the kernel's `stamp`, a module that has another is refused.
///
/// # Errors
/// A sentence that says why the module can't be loaded.
pub fn load(object: &[u8], exports: &ExportTable, stamp: Option<&str>) -> Result<&'static Module, String> {
    let object = Object::parse(object).map_err(|error| error.to_string())?;
    if let Some(kernel) = stamp {
        check_stamp(&object, kernel)?;
    }
    let layout = Layout::new(&object, Workarounds::default()).map_err(|error| error.to_string())?;
    let places = layout.segments().map(place);
    let code = (places.execute.address as *const u8, places.execute.bytes.len());
    let linked = link(&object, &layout, places, &|symbol| exports.find(symbol)).map_err(|error| error.to_string())?;
    // SAFETY: the memory of `places.execute`, which stays where it is.
    publish_code(unsafe { core::slice::from_raw_parts(code.0, code.1) });

    let root = linked.symbol("LOCKSTEP_MODULE").filter(|root| root.permission == Some(Permission::Read));
    let root = root.ok_or("it defines no constant LOCKSTEP_MODULE")?;
    // SAFETY: a module defines the symbol with this type; whether it means the same by it is the experiment.
    Ok(unsafe { &*(root.address as *const Module) })
}

/// Memory for a segment, never given back. All of the heap can be read, written and executed.
fn place(segment: Segment) -> Place<'static> {
    let alignment = segment.alignment.max(1) as usize;
    let memory = vec![0; segment.size + alignment].leak();
    let (_, memory) = memory.split_at_mut(memory.as_ptr().align_offset(alignment));
    Place { address: memory.as_ptr().addr() as u64, bytes: memory }
}

fn check_stamp(object: &Object<'_>, kernel: &str) -> Result<(), String> {
    let bytes = object.section(stamp::SECTION).ok_or("it has no stamp")?;
    let module = Stamp::parse(bytes).map_err(|error| error.to_string())?;
    let kernel = Stamp::parse(kernel.as_bytes()).map_err(|error| error.to_string())?;
    match module.differences(&kernel).next() {
        None => Ok(()),
        Some(difference) => Err(format!("it is out of lockstep: {difference}")),
    }
}
