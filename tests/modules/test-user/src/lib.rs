//! Counts with `test-library`.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;

abi::service!(TestUser, summary = "Counts with test-library");

struct TestUser;

impl Service for TestUser {
    fn start(_resources: &mut Resources) -> Result<Self> {
        warn!("count {} and {}", test_library::count(), test_library::test_library_count());
        Ok(Self)
    }
}
