//! Unloads and loads a module again and again, and says what that has cost.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::system::{self, Dependents};
use abi::thread;

abi::service!(
    TestRounds,
    summary = "Unloads and loads a module again and again",
    parameters = {
        /// The module
        module: String = "arm-pl031",
        /// How often
        rounds: u32 = 10000,
        /// The pause after each round, in milliseconds
        pause: u32 = 0,
    },
);

/// After so many rounds, what grows with use has grown: the log, tables.
const WARM_UP: u32 = 2100;

struct TestRounds;

impl Service for TestRounds {
    fn start(_resources: &mut Resources) -> Result<Self> {
        thread::spawn("test-rounds", || {
            if let Err(error) = run(&parameters::module(), parameters::rounds()) {
                error!("ended early: {error}");
            }
        })?;
        Ok(Self)
    }
}

fn run(module: &str, rounds: u32) -> Result<()> {
    for _ in 0..WARM_UP.min(rounds / 4) {
        round(module)?;
    }
    let before = system::memory();
    for _ in 0..rounds {
        round(module)?;
    }
    let after = system::memory();
    let lost = |before: u64, after: u64| i128::from(after) - i128::from(before);
    warn!(
        "{rounds} rounds of {module}: free {:+}, heap {:+}, modules {:+}, DMA {:+}",
        lost(before.free, after.free),
        lost(before.heap_used, after.heap_used),
        lost(before.modules, after.modules),
        lost(before.dma, after.dma),
    );
    Ok(())
}

fn round(module: &str) -> Result<()> {
    system::unload_module(module, Dependents::Keep)?;
    system::load_module(module, &[])?;
    abi::time::sleep(Duration::from_millis(parameters::pause().into()))
}
