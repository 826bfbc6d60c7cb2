//! The system from the outside; see the crate's documentation.

mod bad_archives;
mod bad_modules;
mod bad_trees;
mod block;
mod boot;
mod card_image;
mod debugging;
mod failures;
mod fatal;
mod faults;
mod files;
mod hardening;
mod heedless;
mod libraries;
mod lies;
mod memory;
mod missing_nodes;
mod modules;
mod network;
mod outside;
mod processors;
mod raspberry_pi;
mod replacement;
mod screen;
mod sd_card;
mod shell;
mod signatures;
mod threads;
mod unruly;
mod zcu102;

use tests::Setup;

/// An object in which a text, which must be there once, is replaced by another of the same length.
fn replaced(object: &[u8], old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut places = (0..object.len()).filter(|place| object[*place..].starts_with(old.as_bytes()));
    let (place, other) = (places.next().expect("the text is there"), places.next());
    assert_eq!(other, None, "{old} is there twice");
    let mut object = object.to_vec();
    object[place..place + new.len()].copy_from_slice(new.as_bytes());
    object
}

/// A machine that is as good as any other, without a network card.
fn plain() -> Setup {
    Setup::virt("virt", "cortex-a72", "512M")
}
