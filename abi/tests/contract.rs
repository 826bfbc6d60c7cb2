//! What drivers and services rely on in the types of the contract.

use abi::network::MacAddress;
use abi::time::Instant;
use abi::{Class, Error, Node, Property};
use std::time::Duration;

fn node() -> Node {
    let property = |name: &str, value: &[u8]| Property { name: name.to_owned(), value: value.to_vec() };
    let properties = vec![
        property("reg-shift", &[0, 0, 0, 2]),
        property("label", b"heartbeat\0"),
        property("short", &[1, 2]),
        property("broken", b"no end"),
        property("dma-coherent", b""),
    ];
    Node::new("/soc/serial@1000".to_owned(), "ns16550a".to_owned(), properties)
}

#[test]
fn a_node_gives_its_properties_with_their_types() {
    let node = node();
    assert_eq!((node.path(), node.compatible()), ("/soc/serial@1000", "ns16550a"));
    assert_eq!(node.u32("reg-shift"), Some(2));
    assert_eq!(node.string("label"), Some("heartbeat"));
    assert_eq!(node.property("dma-coherent"), Some(&[][..]));
}

#[test]
fn a_property_of_another_type_is_none() {
    let node = node();
    assert_eq!(node.u32("short"), None);
    assert_eq!(node.u32("label"), None);
    assert_eq!(node.string("broken"), None);
    assert_eq!(node.property("absent"), None);
}

#[test]
fn time_neither_overflows_nor_runs_backwards() {
    let (early, late) = (Instant::from_nanoseconds(5), Instant::from_nanoseconds(1_000_000_005));
    assert_eq!(late - early, Duration::from_secs(1));
    assert_eq!(early - late, Duration::ZERO);
    assert_eq!(early + Duration::from_secs(1), late);
    assert_eq!((late + Duration::MAX).as_nanoseconds(), u64::MAX);
}

#[test]
fn errors_are_sentences() {
    let missing = Error::Missing { resource: "interrupt".to_owned(), index: 1 };
    assert_eq!(missing.to_string(), "the node has no interrupt number 1");
    assert_eq!(Error::Failed("panicked: oh".to_owned()).to_string(), "the module panicked: oh");
}

#[test]
fn classes_have_names_for_people() {
    assert_eq!(Class::InterruptController.to_string(), "interrupt controller");
    assert_eq!(MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]).to_string(), "52:54:00:12:34:56");
}
