//! Scratch.
use tests::{Initramfs, test_module};

#[test]
fn scratch() {
    let mut archive = Initramfs::shipped().without_file("modules/arm-pl031.o").with_claims("arm,pl031 test-faults\n");
    for name in ["test-faults", "test-caller", "test-reader"] {
        archive = archive.with_module(name, test_module(name));
    }
    std::fs::write("/tmp/unruly.cpio", archive.bytes()).unwrap();
}
