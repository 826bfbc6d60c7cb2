//! What the boot loader handed over: the device tree, the initramfs, the arguments.

use crate::{Handover, memory};
use abi::sync::Lock;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use devicetree::Tree;
use initramfs::{Archive, Entry, INDEX_PATH, Index};
use loader::exports::ExportTable;

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
    /// What modules may call.
    pub exports: &'static ExportTable,
    /// What modules must have been built with.
    pub stamp: &'static str,
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

    /// The value of `name=value` among the arguments; empty for a bare `name`. Of several the last counts.
    pub fn argument(&self, name: &str) -> Option<&'static str> {
        let value = |word: &'static str| match word.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (word == name).then_some(""),
        };
        self.arguments.split_ascii_whitespace().filter_map(value).next_back()
    }
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
    let machine: &'static Machine = Box::leak(Box::new(Machine {
        tree,
        arguments: String::leak(arguments),
        files,
        index,
        exports: handover.exports,
        stamp: handover.stamp,
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
