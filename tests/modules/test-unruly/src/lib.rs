//! Does what it is told to, and shouldn't.
#![no_std]

use abi::prelude::*;
use abi::registry;
use abi::system::{self, Dependents};

abi::service!(
    TestUnruly: Clock,
    summary = "Does what it is told to, and shouldn't",
    parameters = {
        /// `load`, `unload` or `wait` in `start`, `panic` before that, or on another thread `early`, `stay` in a call, `leak` events
        /// and fail, fail with many `words`
        mode: String = "none",
    },
);

/// Called before anything else. Parameters have been set by then.
extern "C-unwind" fn initialize() {
    if parameters::mode() == "panic" {
        panic!("it was told to");
    }
}

// SAFETY: the section is a list of functions to call, and this is one.
#[cfg(target_os = "none")]
#[used]
#[unsafe(link_section = ".init_array")]
static INITIALIZER: extern "C-unwind" fn() = initialize;

#[cfg(not(target_os = "none"))]
const _: extern "C-unwind" fn() = initialize;

struct TestUnruly;

impl Service for TestUnruly {
    fn start(_resources: &mut Resources) -> Result<Self> {
        match parameters::mode().as_str() {
            "load" => system::load_module("test-library", &[])?,
            "unload" => system::unload_module("test-unruly", Dependents::Stop)?,
            "stay" => abi::thread::spawn("test-unruly", || {
                let _ = abi::time::sleep(Duration::from_millis(1));
                for clock in registry::all::<dyn Clock>() {
                    // One of them is the one below.
                    let _ = clock.call(|clock| clock.now());
                }
            })?,
            "wait" => drop(Event::new()?.wait(None)),
            "words" => return Err(Error::Device("x".repeat(8 << 20))),
            "early" => {
                abi::thread::spawn("test-unruly", || panic!("it couldn't wait"))?;
                abi::time::sleep(Duration::from_millis(50))?;
            }
            "leak" => {
                for _ in 0..100 {
                    core::mem::forget(Event::new()?);
                }
                return Err(Error::Device("it was told to fail".to_owned()));
            }
            _ => {}
        }
        Ok(Self)
    }
}

impl Clock for TestUnruly {
    fn now(&self) -> UnixTime {
        // Until the module is removed.
        while parameters::mode() == "stay" && abi::time::sleep(Duration::from_secs(1)).is_ok() {}
        UnixTime::from_secs(0)
    }
}
