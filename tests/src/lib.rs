//! What the end-to-end tests share: machines that boot in QEMU, and the archives and device trees that they boot with.
//!
//! The tests themselves are in `tests/system`. Each boots what `./x build` left in `out/`, types on the console as a
//! person would, reaches forwarded ports from the host, and checks what can be seen there. libtest runs as many of them
//! side by side as the host has processors, and each has one machine at a time.
//!
//! `modules` holds modules that misbehave on purpose. They are built like drivers, into `out/test-modules`, and are in
//! no archive but those that tests make.

mod debugger;
mod device_tree;
mod disk_image;
mod initramfs;
mod machine;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;

pub use debugger::Debugger;
pub use device_tree::DeviceTree;
pub use disk_image::{DiskImage, Tree};
pub use initramfs::Initramfs;
pub use machine::{Machine, PROMPT, READY, Setup};

/// A file that `./x build` left in `out/`.
///
/// # Panics
/// When it is not there.
pub fn built(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../out").join(name);
    path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}; ./x test builds it", path.display()))
}

/// What a module that misbehaves on purpose was linked to.
///
/// # Panics
/// When it is not there.
pub fn test_module(name: &str) -> Vec<u8> {
    read(&built(&format!("test-modules/{name}.o")))
}

/// An object file signed with the tree's key and this version counter.
///
/// # Panics
/// When the key can't be read.
pub fn signed_with_version(object: &[u8], version: u64) -> Vec<u8> {
    let key = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../keys/development.key"));
    let key = SigningKey::from_pkcs8_pem(&String::from_utf8_lossy(&key)).expect("./x test makes the key");
    module_signature::sign(object, version, &key)
}

/// An object file with the signature that `./x build` would give it now.
///
/// # Panics
/// When the key can't be read.
pub fn signed(object: &[u8]) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    signed_with_version(object, now.as_secs())
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}
