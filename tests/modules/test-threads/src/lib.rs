//! Leaves threads behind: when its probe fails, and when it is dropped.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;

abi::driver!(TestThreads, compatible = ["lockstep,test-threads"], summary = "Leaves threads behind");

struct TestThreads;

impl Driver for TestThreads {
    fn probe(node: &Node, _resources: &mut Resources) -> Result<Self> {
        // Before any interrupt controller may be bound, too.
        abi::time::sleep(Duration::from_millis(20))?;
        start_thread();
        match node.property("fail") {
            Some(_) => Err(Error::Device("it was told to fail".to_owned())),
            None => Ok(Self),
        }
    }
}

impl Drop for TestThreads {
    fn drop(&mut self) {
        start_thread();
    }
}

/// Starts a thread that runs until it is told to end.
fn start_thread() {
    let run = || while abi::time::sleep(Duration::from_millis(1)).is_ok() {};
    if let Err(error) = abi::thread::spawn("test-threads", run) {
        warn!("{error}");
    }
}
