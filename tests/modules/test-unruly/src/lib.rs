//! Does what it is told to, and shouldn't.
#![no_std]

use abi::prelude::*;
use abi::registry;
use abi::system::{self, Dependents};

abi::service!(
    TestUnruly: Clock,
    summary = "Does what it is told to, and shouldn't",
    parameters = {
        /// `load` or `unload` in `start`, `panic` before that, `keep` itself borrowed, `leak` events and fail
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

struct TestUnruly {
    keeper: Lock<Option<Guard<dyn Clock>>>,
}

impl Service for TestUnruly {
    fn start(_resources: &mut Resources) -> Result<Self> {
        match parameters::mode().as_str() {
            "load" => system::load_module("test-library", &[])?,
            "unload" => system::unload_module("test-unruly", Dependents::Stop)?,
            "keep" => abi::thread::spawn("test-unruly", || {
                let _ = abi::time::sleep(Duration::from_millis(1));
                for clock in registry::all::<dyn Clock>() {
                    // Asks the clock for itself, if it is the one below.
                    let _ = clock.get().map(|clock| clock.now());
                }
            })?,
            "leak" => {
                for _ in 0..100 {
                    core::mem::forget(Event::new()?);
                }
                return Err(Error::Device("it was told to fail".to_owned()));
            }
            _ => {}
        }
        Ok(Self { keeper: Lock::new(None) })
    }
}

impl Clock for TestUnruly {
    fn now(&self) -> UnixTime {
        if parameters::mode() == "keep" {
            let own = registry::all::<dyn Clock>().into_iter().find(|clock| clock.provider().name() == "test-unruly");
            *self.keeper.lock() = own.and_then(|own| own.get().ok());
        }
        UnixTime::from_secs(0)
    }
}
