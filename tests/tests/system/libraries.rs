//! Modules that are linked against modules.

use std::process::Command;

use tests::{Initramfs, Machine, test_module};

use crate::{plain, replaced};

const OBJCOPY: &str = "aarch64-linux-gnu-objcopy";

fn archive() -> Initramfs {
    ["test-library", "test-user", "test-clash"]
        .into_iter()
        .fold(Initramfs::shipped(), |archive, name| archive.with_module(name, test_module(name)))
}

/// An object that says more of itself.
pub fn with_information(object: &[u8], text: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("module.o"), object).expect("it can be written to");
    let run = |arguments: &[String]| {
        let status = Command::new(OBJCOPY).current_dir(folder.path()).args(arguments).arg("module.o").status();
        assert!(status.is_ok_and(|status| status.success()), "{OBJCOPY} {arguments:?}");
    };
    run(&["--dump-section".into(), ".modinfo=information".into()]);
    let mut information = std::fs::read(path("information")).expect("it was dumped");
    information.extend_from_slice(text.as_bytes());
    std::fs::write(path("information"), information).expect("it can be written to");
    run(&["--update-section".into(), ".modinfo=information".into()]);
    std::fs::read(path("module.o")).expect("it is there")
}

fn modules(machine: &mut Machine) -> Vec<String> {
    machine.table("lsmod").into_iter().map(|row| row[0].clone()).collect()
}

#[test]
fn a_library_is_loaded_first_counted_and_shared() {
    let mut machine = plain().initramfs(&archive()).boot();
    let log = |machine: &mut Machine| machine.command("dmesg");
    machine.command("insmod test-user");
    let output = log(&mut machine);
    machine.expect(&output, "test-user: count 1 and 2");
    assert_eq!(machine.row("lsmod", "test-library").last().map(String::as_str), Some("test-user"));
    let information = machine.command("modinfo test-user");
    machine.expect(&information, "depends:");
    let answer = "rmmod: module test-library is needed by module test-user";
    assert_eq!(machine.command("rmmod test-library"), answer);

    // It stays when its user goes, and counts on when that comes back.
    assert_eq!(machine.command("rmmod test-user"), "");
    assert_eq!(machine.row("lsmod", "test-library").len(), 3);
    machine.command("insmod test-user");
    let output = log(&mut machine);
    machine.expect(&output, "test-user: count 3 and 4");

    // With force both go, and it begins anew, with another step.
    assert_eq!(machine.command("rmmod --force test-library"), "");
    let left = modules(&mut machine);
    assert!(!left.iter().any(|name| name.starts_with("test-")), "{left:?}");
    assert_eq!(machine.command("insmod test-library step=10"), "");
    machine.command("insmod test-user");
    let output = log(&mut machine);
    machine.expect(&output, "test-user: count 10 and 20");
}

#[test]
fn a_second_module_with_the_same_export_is_refused() {
    let mut machine = plain().initramfs(&archive()).boot();
    assert_eq!(machine.command("insmod test-library"), "");
    let answer =
        "insmod: modules/test-clash.o: it exports `test_library_count`, which module test-library exports already";
    assert_eq!(machine.command("insmod test-clash"), answer);
    assert_eq!(machine.command("rmmod test-library"), "");
    assert_eq!(machine.command("insmod test-clash"), "");
    let answer = "insmod: modules/test-user.o: it depends on a module that can't be loaded: modules/test-library.o: it exports \
                  `test_library_count`, which module test-clash exports already";
    assert_eq!(machine.command("insmod test-user"), answer);
}

#[test]
fn dependencies_that_cannot_be_met() {
    let user = test_module("test-user");
    let information = String::from_utf8_lossy(&user).into_owned();
    let (_, after) = information.split_once("depends=test-library ").expect("it depends on it");
    let hash = &after[..64];
    let other: String = hash.chars().rev().collect();
    let circle = with_information(&test_module("test-library"), &format!("depends=test-user {hash}\0"));
    let archive = archive()
        .with_module("other", replaced(&user, hash, &other))
        .with_module("missing", replaced(&user, "=test-library ", "=test-nothing "))
        .with_module("driver", replaced(&user, "=test-library ", "=arm-pl031 xx "));
    let mut machine = plain().initramfs(&archive).boot();
    let before = modules(&mut machine);
    for (name, reason) in [
        ("other", "it was built against another version of module test-library than the one that is loaded"),
        (
            "missing",
            "it depends on a module that can't be loaded: modules/test-nothing.o: there is no such file in the initramfs",
        ),
        ("driver", "it depends on module arm-pl031, which is no library"),
    ] {
        assert_eq!(machine.command(&format!("insmod {name}")), format!("insmod: modules/{name}.o: {reason}"));
    }
    // What was loaded for their sake is gone again.
    assert_eq!(modules(&mut machine), before);

    let mut machine = plain().initramfs(&archive.with_module("test-library", circle)).boot();
    let answer = "insmod: modules/test-user.o: it depends on a module that can't be loaded: modules/test-library.o: \
                  its dependencies lead back to it: test-user -> test-library -> test-user";
    assert_eq!(machine.command("insmod test-user"), answer);
    assert_eq!(modules(&mut machine), before);
}
