//! Executes data when it is started.
#![no_std]

use abi::prelude::*;

abi::service!(TestJump, summary = "Executes data");

struct TestJump;

impl Service for TestJump {
    fn start(_resources: &mut Resources) -> Result<Self> {
        // The instruction `ret`.
        let data = core::hint::black_box(Box::new(0xd65f_03c0_u32));
        // SAFETY: there is no argument for it: that this goes wrong is what the module is for.
        let code = unsafe { core::mem::transmute::<*const u32, extern "C" fn()>(&raw const *data) };
        code();
        Err(Error::Device("data could be executed".to_owned()))
    }
}
