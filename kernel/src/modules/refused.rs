//! Why a module was not loaded.

use abi::MODULE_SYMBOL;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A module that was refused, and why.
#[derive(Debug)]
pub struct Refused {
    file: String,
    // Boxed, because an error should be small where there is none.
    reason: Box<Reason>,
}

/// Why a module was not loaded. The file is named by [`Refused`].
#[derive(Debug)]
pub enum Reason {
    /// There is no such file.
    NotFound,
    /// It isn't signed as it should be.
    Signature(module_signature::Error),
    /// The kernel has no key to check it with.
    NoKey(module_signature::UnusableKey),
    /// A later version of it has been seen.
    Older {
        /// What the module calls itself.
        module: String,
        /// Its version.
        version: u64,
        /// The latest version.
        seen: u64,
    },
    /// It can't be read or linked.
    Broken(loader::Error),
    /// Nothing says what it was built with.
    NoStamp,
    /// What says so is damaged.
    BrokenStamp(stamp::Error),
    /// It was built with something else than this kernel; the clause says with what.
    OutOfLockstep(String),
    /// It has no entry.
    NoEntry,
    /// It depends on modules that depend on it: the names, from one to the same again.
    Cycle(Vec<String>),
    /// Too many modules wait for this one.
    TooDeep,
    /// A module that it depends on can't be loaded.
    Dependency(Refused),
    /// A module that it depends on is no library.
    NoLibrary(String),
    /// It was built against another version of a module that it depends on.
    OtherLibrary {
        /// The module.
        name: String,
        /// The item in which the versions differ most.
        item: Option<String>,
    },
    /// It exports a symbol that is exported already.
    ExportedTwice {
        /// The symbol.
        symbol: String,
        /// Who exports it: a module, or the kernel.
        by: Option<String>,
    },
    /// It wants a function called first that isn't its own.
    BadInitializer(u64),
    /// It has no parameter of that name.
    NoParameter {
        /// The name.
        name: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// A parameter can't be set, its code panicked, or there is no memory for it.
    Error(abi::Error),
}

impl Refused {
    /// The module with this name was refused.
    pub fn new(name: &str, reason: Reason) -> Self {
        Self { file: super::path(name), reason: Box::new(reason) }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.file, self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => formatter.write_str("there is no such file in the initramfs"),
            Self::Signature(error) => error.fmt(formatter),
            Self::NoKey(error) => write!(formatter, "nothing can be loaded by this kernel: {error}"),
            Self::Older { module, version, seen } => {
                write!(formatter, "it is version {version} of {module}, and version {seen} has been seen")
            }
            Self::Broken(error) => error.fmt(formatter),
            Self::NoStamp => write!(
                formatter,
                "it has no section {}, so nothing says that it was built in lockstep with this kernel",
                stamp::SECTION
            ),
            Self::BrokenStamp(error) => write!(formatter, "its stamp is damaged: {error}"),
            Self::OutOfLockstep(difference) => write!(formatter, "it is out of lockstep: {difference}"),
            Self::NoEntry => {
                write!(formatter, "it defines no {MODULE_SYMBOL}, as abi::driver!, abi::service! and abi::library! do")
            }
            Self::Cycle(names) => write!(formatter, "its dependencies lead back to it: {}", names.join(" -> ")),
            Self::TooDeep => {
                write!(formatter, "it is the end of a chain of more than {} dependencies", super::DEEPEST)
            }
            Self::Dependency(refused) => write!(formatter, "it depends on a module that can't be loaded: {refused}"),
            Self::NoLibrary(name) => write!(formatter, "it depends on module {name}, which is no library"),
            Self::OtherLibrary { name, item } => {
                write!(formatter, "it was built against another version of module {name} than the one that is loaded")?;
                item.as_ref().map_or(Ok(()), |item| write!(formatter, ": {item}"))
            }
            Self::ExportedTwice { symbol, by } => {
                let symbol = rustc_demangle::demangle(symbol);
                match by {
                    Some(module) => write!(formatter, "it exports `{symbol:#}`, which module {module} exports already"),
                    None => write!(formatter, "it exports `{symbol:#}`, which the kernel exports already"),
                }
            }
            Self::BadInitializer(address) => {
                write!(formatter, "its .init_array names a function at {address:#x}, which is not in its code")
            }
            Self::NoParameter { name, known } if known.is_empty() => {
                write!(formatter, "it has no parameter {name}, nor any other")
            }
            Self::NoParameter { name, known } => {
                write!(formatter, "it has no parameter {name}, only {}", known.join(", "))
            }
            Self::Error(error) => error.fmt(formatter),
        }
    }
}
