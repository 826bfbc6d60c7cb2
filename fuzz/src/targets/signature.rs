//! The signature behind a module, checked with a key that is known to all.

use std::{iter, sync::LazyLock};

use ed25519_dalek::SigningKey;
use module_signature::{LENGTH, PublicKey, sign, split, verify};

use super::hear;
use crate::{Target, heap, real};

pub const TARGET: Target = Target {
    name: "signature",
    summary: "a module with its signature, checked with a key that is known to all",
    check,
    real_inputs: || {
        let modules = real::modules()?.into_iter().enumerate();
        Ok(modules.map(|(version, module)| sign(split(&module).0, version as u64, &KEY)).collect())
    },
    structure: |bytes| iter::once(bytes.len().saturating_sub(LENGTH)..bytes.len()).collect(),
};

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[42; 32]));

fn check(bytes: &[u8]) -> bool {
    let key = PublicKey::new(KEY.verifying_key().as_bytes()).expect("the key is a sound one");
    // Neither taking a module apart nor checking it needs memory.
    let (object, trailer) = heap::within(0, || split(bytes));
    let signed = heap::within(0, || verify(bytes, &key));
    assert_eq!(bytes.len(), object.len() + trailer.map_or(0, |_| LENGTH));

    // Nobody but the key's owner signs, and nothing but what `sign` makes is accepted.
    let version = trailer.map_or(0, |trailer| trailer.version);
    assert_eq!(signed.is_ok(), trailer.is_some() && sign(object, version, &KEY) == bytes);
    let Some(signed) = hear(signed) else { return false };
    assert_eq!((signed.object, signed.version), (object, version));
    true
}
