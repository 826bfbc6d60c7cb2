//! Reads the largest block device from its first block to its last, whatever happens to its driver meanwhile, and logs the
//! SHA-256 of it all; and does so again and again, as long as that doesn't change.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::thread::{self, Priority};
use abi::{registry, time};
use sha2::{Digest, Sha256};

abi::service!(
    TestReader,
    summary = "Reads a block device, again where its driver fails",
    parameters = {
        /// How often
        rounds: u32 = 1,
    },
);

struct TestReader;

impl Service for TestReader {
    fn start(_resources: &mut Resources) -> Result<Self> {
        let size = |device: &Handle<dyn BlockDevice>| device.call(|device| device.geometry().size()).unwrap_or(0);
        let device = registry::all().into_iter().max_by_key(size).ok_or(Error::Absent)?;
        // It takes the time that others leave, and all of that.
        thread::spawn_with_priority("test-reader", Priority::Low, move || {
            let mut first = None;
            for round in 0..parameters::rounds() {
                match read(device) {
                    Ok(sum) if *first.get_or_insert(sum.clone()) == sum => {}
                    Ok(sum) => return error!("round {round} gave {sum}"),
                    Err(error) => return info!("ended: {error}; {round} rounds gave {}", first.unwrap_or_default()),
                }
            }
        })?;
        Ok(Self)
    }
}

/// How much is read at a time, in bytes.
const PIECE: usize = 1 << 20;

/// How long to wait for a driver that was removed.
const PAUSE: Duration = Duration::from_millis(10);

/// Reads it once; returns the sum in hexadecimal digits.
fn read(device: Handle<dyn BlockDevice>) -> Result<String> {
    let geometry = device.call(|device| device.geometry())?;
    let mut piece = vec![0; PIECE];
    let (mut sum, mut block, mut calls, mut pieces) = (Sha256::new(), 0, 0, 0);
    info!("begins to read");
    while block < geometry.blocks {
        let length = (geometry.blocks - block).min((PIECE / geometry.block_size) as u64) as usize * geometry.block_size;
        let result = device.retry(|device| {
            calls += 1;
            device.read(block, &mut piece[..length])
        });
        match result {
            Ok(()) => {
                sum.update(&piece[..length]);
                block += (length / geometry.block_size) as u64;
                pieces += 1;
            }
            // Its driver may come back.
            Err(Error::Gone) => time::sleep(PAUSE)?,
            Err(error) => return Err(error),
        }
    }
    let digits: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    info!("read {digits} in {pieces} pieces by {calls} calls");
    Ok(digits)
}
