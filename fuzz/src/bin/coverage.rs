//! Runs the target that the environment names under libFuzzer, whose options are this program's: `./x fuzz NAME`.
#![no_main]

use std::sync::LazyLock;

use fuzz::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("LOCKSTEP_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("LOCKSTEP_FUZZ_TARGET should be the name of a target, found '{name}'"))
});

libfuzzer_sys::fuzz_target!(init: LazyLock::force(&TARGET), |input: &[u8]| {
    TARGET.run(input);
});
