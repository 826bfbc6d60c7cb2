//! Which modules are trusted: those that are signed with the kernel's key, and are no older than one seen before.

use super::path;
use super::refused::Reason;
use crate::machine::Machine;
use abi::sync::Lock;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::HashMap;
use module_signature::{Signed, split, verify};

/// What becomes of a module whose signature is missing or wrong, or that is older than one seen: the boot argument
/// `module.sig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It is refused.
    Enforce,
    /// It is loaded, with a warning.
    Warn,
    /// It is loaded, and nothing is checked.
    Off,
}

impl Policy {
    /// The policy that the boot argument names; without it, signatures are enforced.
    ///
    /// # Errors
    /// With a sentence, when it names none.
    pub fn parse(argument: Option<&str>) -> Result<Self, String> {
        match argument {
            None | Some("enforce") => Ok(Self::Enforce),
            Some("warn") => Ok(Self::Warn),
            Some("off") => Ok(Self::Off),
            Some(other) => Err(alloc::format!("module.sig={other}: expected enforce, warn or off; it is enforced")),
        }
    }
}

/// A module's object file, and the version that its signature vouches for.
pub struct Object {
    /// The bytes without the signature.
    pub bytes: &'static [u8],
    /// The version counter; none when no signature vouches for it.
    pub version: Option<u64>,
}

struct Seen {
    /// The files that have passed. The archive doesn't change, so that holds until the machine is reset.
    files: Vec<usize>,
    /// The latest version of each module that has been loaded, by the name that it gives itself.
    versions: HashMap<String, u64>,
}

static SEEN: Lock<Option<Seen>> = Lock::new(None);

fn with_seen<R>(action: impl FnOnce(&mut Seen) -> R) -> R {
    action(SEEN.lock().get_or_insert_with(|| Seen { files: Vec::new(), versions: HashMap::new() }))
}

/// Checks a module's signature, before a byte of it is parsed.
///
/// # Errors
/// When signatures are enforced, and it has none or a wrong one.
pub fn check(machine: &Machine, name: &str, bytes: &'static [u8]) -> Result<Object, Reason> {
    let (object, trailer) = split(bytes);
    let claimed = trailer.map(|trailer| trailer.version);
    let place = bytes.as_ptr().addr();
    if machine.policy == Policy::Off || with_seen(|seen| seen.files.contains(&place)) {
        return Ok(Object { bytes: object, version: claimed.filter(|_| machine.policy != Policy::Off) });
    }
    let checked = match &machine.key {
        Ok(key) => verify(bytes, key).map_err(Reason::Signature),
        Err(unusable) => Err(Reason::NoKey(*unusable)),
    };
    match checked {
        Ok(Signed { object, version }) => {
            with_seen(|seen| seen.files.push(place));
            Ok(Object { bytes: object, version: Some(version) })
        }
        Err(reason) => {
            tolerate(machine, name, reason)?;
            Ok(Object { bytes: object, version: None })
        }
    }
}

/// Checks that a module is no older than any of the same name that has been loaded since reset. `own_name` is what it
/// calls itself, which its signature covers.
///
/// # Errors
/// When signatures are enforced, and it is older.
pub fn check_version(machine: &Machine, name: &str, own_name: &str, version: Option<u64>) -> Result<(), Reason> {
    let Some(version) = version else { return Ok(()) };
    match with_seen(|seen| seen.versions.get(own_name).copied()) {
        Some(seen) if version < seen => {
            tolerate(machine, name, Reason::Older { module: own_name.to_owned(), version, seen })
        }
        _ => Ok(()),
    }
}

/// Notes that a module which passed [`check_version`] has been loaded.
pub fn note_version(own_name: &str, version: Option<u64>) {
    let Some(version) = version else { return };
    with_seen(|seen| {
        let latest = seen.versions.entry(own_name.to_owned()).or_insert(version);
        *latest = version.max(*latest);
    });
}

fn tolerate(machine: &Machine, name: &str, reason: Reason) -> Result<(), Reason> {
    if machine.policy == Policy::Enforce {
        return Err(reason);
    }
    log::warn!("{}: {reason}; it is loaded all the same, as module.sig=warn says", path(name));
    Ok(())
}
