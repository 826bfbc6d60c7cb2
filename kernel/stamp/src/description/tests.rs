//! Descriptions read, packed and compared. Tabulators are written as `|`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use alloc::string::ToString;
use alloc::vec;

fn description(items: &str) -> Description {
    Description::parse(text(items)).unwrap()
}

fn text(items: &str) -> String {
    alloc::format!("{HEAD}\n{items}").replace('|', "\t")
}

/// What is said of two versions of an item's facts.
fn said(kind: &str, module: &str, kernel: &str) -> Vec<String> {
    let item = |facts: &str| description(&alloc::format!("a::X|{kind}\n{facts}"));
    sentences(&item(module), &item(kernel))
}

fn sentences(module: &Description, kernel: &Description) -> Vec<String> {
    module.differences(kernel).map(|difference| difference.to_string()).collect()
}

#[test]
fn fields_are_told_by_name_place_and_type() {
    for (module, kernel, sentence) in [
        ("|field|irq|u64\n", "|field|irq|u32\n", "`a::X`: field `irq` was u64, is u32"),
        ("|field|irq|u8\n", "|field|irq|u8|pub\n", "`a::X`: field `irq` was declared private, is declared pub"),
        ("|field|a|u8\n", "|field|a|u8\n|field|b|u8\n", "`a::X`: field `b` exists only in the kernel"),
        ("|field|a|u8\n|field|b|u8\n", "|field|b|u8\n", "`a::X`: field `a` exists only in the module"),
        ("|field|a|u8\n|field|b|u8\n", "|field|a|u8\n|field|c|u8\n", "`a::X`: field `b` is called `c` in the kernel"),
        (
            "|field|a|u8\n|field|b|u8\n",
            "|field|b|u8\n|field|a|u8\n",
            "`a::X`: field `a` is number 1 in the module, number 2 in the kernel",
        ),
    ] {
        assert_eq!(said("struct", module, kernel), [sentence]);
    }
    let expected = ["`a::X`: field `b` exists only in the module", "`a::X`: field `c` exists only in the kernel"];
    assert_eq!(said("struct", "|field|b|u8\n", "|field|c|u16\n"), expected);
}

#[test]
fn variants_are_told_by_contents_and_value() {
    for (module, kernel, sentence) in [
        ("|variant|A\n", "|variant|A|(u32)\n", "`a::X`: variant `A` held nothing, holds (u32)"),
        ("|variant|A||1\n", "|variant|A||2\n", "`a::X`: variant `A` had the value 1, has the value 2"),
        ("|variant|A\n", "|variant|A||2\n", "`a::X`: variant `A` had the value of its place, has the value 2"),
        ("|variant|A\n", "|variant|A\n|variant|B\n", "`a::X`: variant `B` exists only in the kernel"),
    ] {
        assert_eq!(said("enum", module, kernel), [sentence]);
    }
}

#[test]
fn methods_are_told_by_the_first_difference_that_a_caller_would_notice() {
    let method = |columns: &str| alloc::format!("|method|send|{columns}\n");
    for (module, kernel, sentence) in [
        ("|||R|&self|F", "|||R|&self|F|u8", "method `send` takes 2 arguments in the module, 3 in the kernel"),
        ("||||&self", "|||||", "method `send` takes 1 argument in the module, 2 in the kernel"),
        ("|||R|&self|F", "|||R|&self|G", "argument 2 of method `send` was F, is G"),
        ("|||R|&self", "||||&self", "method `send` returned R, returns nothing"),
        ("|||R|&self", "unsafe|||R|&self", "method `send` was declared private, is declared unsafe"),
        ("|||R|&self", "|<T>||R|&self", "method `send` was generic over nothing, is generic over <T>"),
        ("|||R|&self", "||1f|R|&self", "method `send` is required in the module, provided in the kernel"),
        ("||1f|R|&self", "|||R|&self", "method `send` is provided in the module, required in the kernel"),
        ("||1f|R|&self", "||2f|R|&self", "the code of method `send` has changed"),
        ("||1f|R|&self|F", "unsafe||2f|Q|&self", "method `send` was declared private, is declared unsafe"),
    ] {
        assert_eq!(said("trait", &method(module), &method(kernel)), [alloc::format!("`a::X`: {sentence}")]);
    }
}

#[test]
fn what_is_about_the_item_itself_has_it_for_a_subject() {
    for (kind, module, kernel, clause) in [
        ("struct", "", "|declared||pub\n", "it was declared private, is declared pub"),
        ("struct", "|generics||<T>\n", "", "it was generic over <T>, is generic over nothing"),
        ("trait", "|supertraits||Send\n", "", "it was built upon Send, is built upon nothing"),
        ("type alias", "|type||u8\n", "|type||u16\n", "it was u8, is u16"),
        ("constant", "|constant||u8|1\n", "|constant||u8|2\n", "it had the value 1, has the value 2"),
        ("constant", "|constant||u8|1\n", "|constant||u16|1\n", "it was of type u8, is of type u16"),
        ("import", "|import||core::fmt\n", "|import||std::fmt\n", "it stood for core::fmt, stands for std::fmt"),
        ("function", "|function|||||R|u8\n", "|function|||||R|u9\n", "argument 1 was u8, is u9"),
        (
            "function",
            "|function|||||R\n",
            "|function|||||R|u8\n",
            "it takes 0 arguments in the module, 1 in the kernel",
        ),
        ("function", "|function|||||R\n", "|function||||f|R\n", "it is required in the module, provided in the kernel"),
        ("function", "|function||||e|R\n", "|function||||f|R\n", "its code has changed"),
        ("macro", "|code||e\n", "|code||f\n", "its code has changed"),
        ("struct", "|derived||Clone|e\n", "|derived||Clone|f\n", "the code that it derives has changed"),
        ("struct", "|derived||Clone|e\n", "", "it derived Clone, derives nothing"),
        ("crate", "|order||e\n", "|order||f\n", "its implementations are in another order"),
    ] {
        assert_eq!(said(kind, module, kernel), [alloc::format!("`a::X`: {clause}")]);
    }
}

#[test]
fn a_layout_is_told_only_when_the_definition_is_the_same() {
    for (module, kernel, clause) in [
        ("|layout||72|8|a 0\n", "|layout||80|8|a 8\n", "it has 72 bytes in the module, 80 in the kernel"),
        ("|layout||8|4|a 0\n", "|layout||8|8|a 0\n", "it is aligned to 4 bytes in the module, 8 in the kernel"),
        ("|layout||8|8|a 0\n", "|layout||8|8|a 4\n", "its fields are at offsets a 0 in the module, a 4 in the kernel"),
    ] {
        assert_eq!(said("struct", module, kernel), [alloc::format!("`a::X`: {clause}")]);
    }
    let (module, kernel) = ("|field|a|u8\n|layout||1|1|a 0\n", "|field|a|u16\n|layout||2|2|a 0\n");
    assert_eq!(said("struct", module, kernel), ["`a::X`: field `a` was u8, is u16"]);
    assert_eq!(said("struct", "|layout||1|1\n", ""), Vec::<String>::new());
}

#[test]
fn items_are_matched_by_path_and_namespace() {
    let module = description("a::A|struct\na::B|enum\na::D|tuple struct\na::D|function\na::E|function\na::E|import\n");
    let kernel = description("a::A|enum\na::C|trait\na::D|tuple struct\na::D|constant\na::E|import\n");
    let expected = [
        "`a::A`: it was a struct, is an enum",
        "`a::D`: it was a function, is a constant",
        "enum `a::B` exists only in the module",
        "trait `a::C` exists only in the kernel",
        "function `a::E` exists only in the module",
    ];
    assert_eq!(sentences(&module, &kernel), expected);
    assert_eq!(sentences(&module, &module), Vec::<String>::new());
}

#[test]
fn what_tells_most_comes_first() {
    let one = "a|crate\n|order||1\na::A|constant\n|constant||u8|1\na::B|struct\n|layout||1|1\na::C|function\n|function||||1\n\
        a::D|import\n|import||x\na::{impl T for B}|implementation\n|method|f|||1\na::Z|struct\n|field|a|u8\n";
    let other = "a|crate\n|order||2\na::A|constant\n|constant||u8|2\na::B|struct\n|layout||2|2\na::C|function\n|function||||2\n\
        a::D|import\n|import||y\na::E|union\na::{impl T for B}|implementation\n|method|f|||2\na::Z|struct\n|field|a|u9\n";
    let items = |text: &str| -> Vec<String> {
        let mut items: Vec<String> = Vec::new();
        for line in text.replace('|', "\t").split_inclusive('\n') {
            match items.last_mut() {
                Some(item) if line.starts_with('\t') => item.push_str(line),
                _ => items.push(line.into()),
            }
        }
        items
    };
    let (one, other) = (Description::new(items(one)).unwrap(), Description::new(items(other)).unwrap());
    let paths: Vec<_> = one.differences(&other).map(|difference| difference.path()).collect();
    assert_eq!(paths, ["a::Z", "a::A", "a::E", "a::B", "a::{impl T for B}", "a::D", "a::C", "a"]);
}

#[test]
fn a_description_is_packed_and_unpacked() {
    let description = description("a::A|struct\n|field|a|u8\na::A|function\na::A|import\na::B|enum\n");
    assert_eq!(Description::unpack(&description.pack()).unwrap(), description);
}

#[test]
fn the_order_of_items_is_the_builds_business() {
    let items = ["a::B\tstruct\n", "a::A\timport\n", "a::A\tstruct\n", "a::A\tfunction\n"].map(String::from);
    let description = Description::new(items.into()).unwrap();
    assert_eq!(description.text(), text("a::A|struct\na::A|function\na::A|import\na::B|struct\n"));
}

#[test]
fn what_is_no_description_is_refused() {
    let refused = [
        ("", Error::Format),
        ("lockstep-description=2\n", Error::Format),
        ("lockstep-description=1", Error::Format),
        ("lockstep-description=1\na::A\tstruct", Error::Format),
        ("lockstep-description=1\na::A\n", Error::Line { line: 2 }),
        ("lockstep-description=1\n\tfield\ta\n", Error::Line { line: 2 }),
        ("lockstep-description=1\na\tcrate\n\tcolour\tred\n", Error::Line { line: 3 }),
        ("lockstep-description=1\na\tcrate\n\tfield\n", Error::Line { line: 3 }),
        ("lockstep-description=1\n\n", Error::Line { line: 2 }),
        ("lockstep-description=1\na::B\tstruct\n\tfield\ta\na::A\tstruct\n", Error::Order { line: 4 }),
        ("lockstep-description=1\na\tfunction\na\tstruct\n", Error::Order { line: 3 }),
    ];
    for (text, error) in refused {
        assert_eq!(Description::parse(text.into()), Err(error), "{text:?}");
    }
    let facts = |count| text("a|struct\n") + &"\tfield\ta\n".repeat(count);
    assert!(Description::parse(facts(MOST_FACTS)).is_ok());
    assert_eq!(Description::parse(facts(MOST_FACTS + 1)), Err(Error::ManyFacts { line: 3 }));

    let packed = |text: &[u8]| compress_to_vec_zlib(text, 1);
    assert_eq!(Description::unpack(&packed(b"\xff\n")), Err(Error::NoText(0)));
    assert_eq!(Description::unpack(b"lockstep"), Err(Error::Packing));
    assert_eq!(Description::unpack(b""), Err(Error::Packing));
    // A bomb, a thousand times its size when unpacked. That it isn't text is not noticed: unpacking ends before.
    assert_eq!(Description::unpack(&packed(&vec![0xff; 64 * LARGEST])), Err(Error::TooLong));
}

#[test]
fn damage_is_refused_or_told_and_never_panics() {
    let kernel = description(
        "a|crate\n|order||1f\na::A|struct\n|declared||pub\n|field|a|u8\n|field|b|u16|pub\n|layout||4|2|b 0, a 2\n\
         a::B|trait\n|supertraits||Send\n|method|f|||R|&self|u8\n|method|g||2f||&self\na::C|function\n|function||pub||3f|R|u8\n",
    );
    let mut random = fastrand::Rng::with_seed(3);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..5000 {
        let mut bytes = Vec::from(kernel.text());
        for _ in 0..random.usize(1..4) {
            let place = random.usize(0..bytes.len());
            match random.u8(0..3) {
                0 => bytes[place] = *random.choice(b"\t\n\xff:a1f{").unwrap(),
                1 => drop(bytes.drain(place..(place + random.usize(0..20)).min(bytes.len()))),
                _ => bytes.extend_from_within(place..(place + random.usize(0..20)).min(bytes.len())),
            }
        }
        let mut packed = compress_to_vec_zlib(&bytes, 6);
        if random.u8(0..4) == 0 {
            let place = random.usize(0..packed.len());
            packed[place] ^= 1 << random.u8(0..8);
        }
        match Description::unpack(&packed) {
            Ok(module) => {
                let told = sentences(&module, &kernel);
                assert!(told.len() <= 2 * (module.text().lines().count() + kernel.text().lines().count()));
                read += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(read > 500 && refused > 500, "{read} read, {refused} refused");
}
