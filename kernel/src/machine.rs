//! What the boot loader handed over: the device tree, the initramfs, the arguments.

use crate::modules::Policy;
use crate::{Contract, Handover, memory, processor};
use abi::sync::Lock;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use devicetree::{Node, Tree};
use initramfs::{Archive, Entry, INDEX_PATH, Index};
use loader::Workarounds;
use module_signature::{PublicKey, UnusableKey};

/// What doesn't change between boot and power-off.
pub struct Machine {
    /// The device tree.
    pub tree: Tree<'static>,
    /// `bootargs`.
    pub arguments: &'static str,
    /// The files of the initramfs, up to where it is damaged.
    files: Vec<Entry<'static>>,
    /// Which module claims what.
    pub index: Index<'static>,
    /// What modules are linked for.
    pub contract: &'static Contract,
    /// What modules are checked with.
    pub key: Result<PublicKey, UnusableKey>,
    /// What becomes of modules that don't pass.
    pub policy: Policy,
    /// Which faults of the processors to avoid.
    pub workarounds: Workarounds,
}

static MACHINE: Lock<Option<&'static Machine>> = Lock::new(None);

/// The machine; none only before [`initialise`].
pub fn get() -> Option<&'static Machine> {
    *MACHINE.lock()
}

impl Machine {
    /// The contents of a file of the initramfs.
    pub fn file(&self, path: &str) -> Option<&'static [u8]> {
        // Of several the last counts, as when Linux unpacks them.
        self.files.iter().rev().find(|entry| entry.is_file() && entry.name == path).map(|entry| entry.data)
    }

    /// The names of all modules in the initramfs.
    pub fn modules(&self) -> Vec<String> {
        let name =
            |entry: &Entry<'static>| entry.name.strip_prefix("modules/")?.strip_suffix(".o").map(ToOwned::to_owned);
        self.files.iter().filter_map(name).collect()
    }

    /// The name of the module that somebody means: with dashes or underscores, as its file has them.
    pub fn module_name(&self, name: &str) -> String {
        let modules = self.modules();
        let exact = modules.iter().find(|module| *module == name);
        let alike = || modules.iter().find(|module| are_alike(module, name));
        exact.or_else(alike).map_or_else(|| name.to_owned(), Clone::clone)
    }

    /// The parameters of a module among the arguments: names and values of `MODULE.name=value`, or of a bare
    /// `MODULE.name`. Dashes and underscores in the module's name are the same.
    pub fn parameters<'m>(&self, module: &'m str) -> impl Iterator<Item = (&'m str, &'m str)> + use<'m> {
        self.arguments.split_ascii_whitespace().filter_map(move |word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let (owner, parameter) = name.split_once('.')?;
            are_alike(owner, module).then_some((parameter, value))
        })
    }

    /// The value of `name=value` among the arguments; empty for a bare `name`. Of several the last counts.
    pub fn argument(&self, name: &str) -> Option<&'static str> {
        argument(self.arguments, name)
    }

    /// The value of `name=N` among the arguments. What is no number is told, and has no effect.
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = self.argument(name)?;
        let number = value.parse().ok();
        if number.is_none() {
            log::error!("bootargs: {name}={value}: expected a number");
        }
        number
    }
}

/// Whether two names of modules are the same but for dashes in place of underscores, which Linux makes no difference
/// between.
fn are_alike(one: &str, other: &str) -> bool {
    let alike = |one: char, other: char| one == other || "-_".contains(one) && "-_".contains(other);
    one.len() == other.len() && one.chars().zip(other.chars()).all(|(one, other)| alike(one, other))
}

fn argument<'a>(arguments: &'a str, name: &str) -> Option<&'a str> {
    let value = |word: &'a str| match word.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (word == name).then_some(""),
    };
    arguments.split_ascii_whitespace().filter_map(value).next_back()
}

/// Reads what was handed over. Memory must have been taken over before: the tree and the archive are reserved.
pub fn initialise(tree: Tree<'static>, handover: &Handover) -> &'static Machine {
    let archive = archive(&tree);
    let mut files = Vec::new();
    for entry in archive.into_iter().flat_map(|archive| archive.entries()) {
        match entry {
            Ok(entry) => files.push(entry),
            Err(error) => log::error!("initramfs: {error}"),
        }
    }
    let index = files.iter().rev().find(|entry| entry.is_file() && entry.name == INDEX_PATH).map(|entry| entry.data);
    if index.is_none() && archive.is_some() {
        log::error!("initramfs: it has no {INDEX_PATH}, so no device can be matched to its module");
    }
    let index = Index::parse(index.unwrap_or_default());
    index.bad_lines().iter().for_each(|line| log::error!("initramfs: {line}"));
    index.conflicts().for_each(|conflict| log::error!("initramfs: {conflict}; the first is used"));
    let arguments = match tree.boot_arguments() {
        Ok(arguments) => arguments.unwrap_or_default().to_owned(),
        Err(error) => {
            log::error!("{error}");
            String::new()
        }
    };
    let policy = Policy::parse(argument(&arguments, "module.sig")).unwrap_or_else(|sentence| {
        log::error!("bootargs: {sentence}");
        Policy::Enforce
    });
    // Modules are shared by all processors, so one that has the fault is enough. Of those that haven't been started the
    // tree only tells the kind.
    let is_cortex_a53 = |node: Node<'_>| node.compatible().into_iter().flatten().any(|name| name == "arm,cortex-a53");
    let others = tree.processors().into_iter().flatten();
    let mut others = others.filter(|other| other.identifier != processor::identifier());
    let erratum_843419 = processor::has_erratum_843419() || others.any(|other| is_cortex_a53(other.node));
    let machine: &'static Machine = Box::leak(Box::new(Machine {
        tree,
        arguments: String::leak(arguments),
        files,
        index,
        contract: handover.contract,
        key: PublicKey::new(&handover.contract.key),
        policy,
        workarounds: Workarounds { erratum_843419 },
    }));
    *MACHINE.lock() = Some(machine);
    machine
}

fn archive(tree: &Tree<'_>) -> Option<Archive<'static>> {
    match tree.initial_ramdisk() {
        Ok(Some(range)) => {
            let range = memory::physical_range(&range);
            if !memory::is_memory(&range) {
                log::error!(
                    "initramfs: {range:#x?} isn't memory that the device tree lists, so no module can be loaded"
                );
                return None;
            }
            // SAFETY: it lies in memory, was reserved in `memory::initialise`, and nobody writes to it.
            Some(Archive::new(unsafe { memory::reserved_bytes(range) }))
        }
        Ok(None) => {
            log::error!(
                "initramfs: there is none (-initrd in QEMU, initramfs in config.txt), so no module can be loaded"
            );
            None
        }
        Err(error) => {
            log::error!("initramfs: {error}");
            None
        }
    }
}
