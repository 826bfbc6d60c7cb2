//! The two readers beside the loader: what a module says of itself, and the table of exports.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;

use common::compile;
use loader::{
    Error, Object,
    exports::{Export, ExportTable, arrange},
    modinfo::ModuleInformation,
};

/// What `source` in section `.modinfo` says.
fn information(source: &str, read: impl FnOnce(Result<ModuleInformation<'_>, Error>)) {
    let bytes = compile("modinfo.s", source, &[]);
    read(ModuleInformation::of(&Object::parse(&bytes).unwrap()));
}

#[test]
fn a_module_says_what_it_is_without_being_linked() {
    let source = "
        .section .modinfo, \"a\"
        .asciz \"name=arm-pl031\", \"summary=clock = time\", \"compatible=arm,pl031\"
        .align 5
        .asciz \"compatible=arm,primecell\", \"version=\"
        .text; bl nowhere
    ";
    information(source, |information| {
        let information = information.unwrap();
        assert_eq!(information.value("name"), Some("arm-pl031"));
        assert_eq!(information.value("summary"), Some("clock = time"));
        assert_eq!(information.value("version"), Some(""));
        assert_eq!(information.value("license"), None);
        assert_eq!(information.values("compatible").collect::<Vec<_>>(), ["arm,pl031", "arm,primecell"]);
        assert_eq!(information.entries().count(), 5);
    });
    information(".text; ret", |information| assert_eq!(information.unwrap().entries().count(), 0));
}

#[test]
fn what_is_not_a_key_and_a_value_is_refused() {
    for string in ["name", "=value", "name=\\377"] {
        information(&format!(".section .modinfo, \"a\"; .asciz \"a=b\", \"{string}\""), |information| {
            let text = "section `.modinfo`: expected strings `key=value` of UTF-8 text, but the one with this number \
                        is not, found 0x1";
            assert_eq!(information.unwrap_err().to_string(), text, "{string}");
        });
    }
}

/// The table that the build would write for these names, each at an address of its own.
fn table(names: &[&'static str]) -> ExportTable {
    let arrangement = arrange(names.iter().copied()).unwrap();
    let address = |name: &str| std::ptr::without_provenance(names.iter().position(|found| *found == name).unwrap() + 1);
    let exports = arrangement.names.iter().map(|&name| Export { name, address: address(name) });
    ExportTable { starts: arrangement.starts.leak(), exports: exports.collect::<Vec<_>>().leak() }
}

#[test]
fn every_export_is_found_by_its_whole_name_and_nothing_else_is() {
    let names: Vec<&'static str> =
        (0..3000).map(|number| &*format!("_RNvNtCs2ahBMWSSipK_4core3fmt{number}").leak()).collect();
    for count in [0, 1, 2, 3, 100, 3000] {
        let table = table(&names[..count]);
        for (number, name) in names.iter().enumerate() {
            let expected = (number < count).then_some(number as u64 + 1);
            assert_eq!(table.find(name), expected, "{name} of {count}");
            assert_eq!(table.find(&format!("{name} ")), None);
        }
        assert_eq!(table.find(""), None);
    }
}

#[test]
fn buckets_hold_few_names() {
    let names: Vec<String> = (0..2048).map(|number| format!("_RNvXs{number}_NtCs2ahBMWSSipK_4core3fmt")).collect();
    let arrangement = arrange(names.iter().map(String::as_str)).unwrap();
    assert_eq!(arrangement.starts.len(), 2049);
    let mut sizes = HashMap::<u32, usize>::new();
    for pair in arrangement.starts.windows(2) {
        *sizes.entry(pair[1] - pair[0]).or_default() += 1;
    }
    assert!(sizes.keys().all(|&size| size < 10), "{sizes:?}");
}

#[test]
fn the_arrangement_does_not_depend_on_the_order_of_the_names_and_refuses_one_that_is_there_twice() {
    let names = ["memcpy", "_Unwind_Resume", "lockstep_signal", "memset"];
    let mut reversed = names;
    reversed.reverse();
    assert_eq!(arrange(names), arrange(reversed));
    assert_eq!(arrange(["a", "b", "a"]), Err("a"));
}
