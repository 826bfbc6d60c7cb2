//! Tries out the scheduler, and says what it found: `mode` says what is tried.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod order;
mod stress;

use abi::prelude::*;
use abi::sync::{Lock, Mutex};
use abi::thread::{self, Priority};

abi::service!(
    TestSchedule,
    summary = "Tries out the scheduler",
    parameters = {
        /// `inherit`, `turns`, `preempt`, `sleep` or `stress`; `wait-locked`, `lock-twice` and `mutex-twice` fail
        mode: String = "none",
        /// How long `stress` lasts, in seconds
        seconds: u32 = 3,
    },
);

struct TestSchedule;

impl Service for TestSchedule {
    fn start(_resources: &mut Resources) -> Result<Self> {
        thread::spawn_with_priority("test-schedule", Priority::Urgent, || {
            let mode = parameters::mode();
            match try_out(&mode) {
                Ok(found) => warn!("{mode}: {found}"),
                Err(error) => error!("{mode}: {error}"),
            }
        })?;
        Ok(Self)
    }
}

fn try_out(mode: &str) -> Result<String> {
    match mode {
        "inherit" => order::inherit(),
        "turns" => order::turns(),
        "preempt" => order::preempt(),
        "sleep" => order::sleep(),
        "stress" => stress::run(Duration::from_secs(parameters::seconds().into())),
        "wait-locked" => {
            let _held = LOCK.lock();
            abi::time::sleep(Duration::from_millis(1))?;
            Ok("it waited with a lock held".into())
        }
        "lock-twice" => {
            let _held = LOCK.lock();
            let _again = LOCK.lock();
            Ok("it took a lock twice".into())
        }
        "mutex-twice" => {
            let _held = MUTEX.lock()?;
            let _again = MUTEX.lock()?;
            Ok("it took a mutex twice".into())
        }
        _ => Err(Error::Invalid("there is no such mode".into())),
    }
}

static LOCK: Lock<()> = Lock::new(());
static MUTEX: Mutex<()> = Mutex::new(());
