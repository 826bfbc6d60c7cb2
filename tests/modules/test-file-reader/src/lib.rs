//! Reads a file from its beginning to its end, whatever happens to the file system and the disk meanwhile, and logs its
//! SHA-256, or what went wrong.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::{registry, thread};
use sha2::{Digest, Sha256};

abi::service!(
    TestFileReader,
    summary = "Reads a file, again where a module fails",
    parameters = {
        /// Its path
        path: String = "",
    },
);

struct TestFileReader;

impl Service for TestFileReader {
    fn start(_resources: &mut Resources) -> Result<Self> {
        let files = registry::first().ok_or(Error::Absent)?;
        thread::spawn("test-file-reader", move || match read(files, &parameters::path()) {
            Ok(sum) => info!("read {sum}"),
            Err(error) => info!("ended: {error}"),
        })?;
        Ok(Self)
    }
}

/// How much is read at a time, in bytes.
const PIECE: usize = 1 << 20;

/// Reads it once; returns the sum in hexadecimal digits.
fn read(files: Handle<dyn FileSystem>, path: &str) -> Result<String> {
    let (mut sum, mut offset, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
    info!("begins to read");
    loop {
        let length = files.retry(|files| files.read(path, offset, &mut piece))?;
        if length == 0 {
            return Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        sum.update(&piece[..length]);
        offset += length as u64;
    }
}
