//! What one side does with the other.

use alloc::{borrow::ToOwned, boxed::Box, format, sync::Arc, vec, vec::Vec};
use core::any::Any;

use contract::{
    Apply, Bits, Counted, Device, Drops, Fault, Ledger, Mixed, Named, Node, Pair, Report, Scale, Side, Sum, boxed,
    checksum,
};

use super::{FACTOR, Own, OwnDevice, choice, digest, mixed, words};

/// What one side looks at in the other.
const TOPICS: [(&str, Look); 13] = [
    ("order and completeness of a vtable", vtable),
    ("supertraits", supertraits),
    ("default methods", default_methods),
    ("generic methods `where Self: Sized`", generic_methods),
    ("arguments and results of methods", arguments),
    ("`Any` downcasts", downcasts),
    ("drop through `Box<dyn _>`", drops),
    ("`Arc<dyn _>` shared both ways", shares),
    ("values of structs, enums and unions", values),
    ("field offsets, sizes and other facts", facts),
    ("`inline(never)` functions and methods", functions),
    ("static dispatch to what the kernel implements", static_dispatch),
    ("statics in functions", statics),
];

/// Looks at one kind of thing.
type Look = fn(&dyn Side, &mut Report);

/// Does everything with the other side that one can do with a side.
pub fn examine(other: &dyn Side, report: &mut Report) {
    for (topic, look) in TOPICS {
        report.begin(topic);
        look(other, report);
    }
}

fn vtable(other: &dyn Side, report: &mut Report) {
    let object = other.ordered();
    let [_drop, size, alignment, methods @ ..] = words(&*object);
    report.equal("size in the vtable", size, 8);
    report.equal("alignment in the vtable", alignment, 8);
    for (number, &method) in methods.iter().enumerate() {
        report.equal(&format!("method {number} is in the vtable"), method != 0, true);
        if method != 0 {
            // SAFETY: all methods of `Ordered` that have a slot have this type, and the object is of the vtable's type.
            let method = unsafe { core::mem::transmute::<usize, fn(*const ()) -> u64>(method) };
            let result = method((&raw const *object).cast());
            report.equal(&format!("method {number} in the vtable"), result, number as u64);
        }
    }
    report.equal("method called where the object was made", order::third(&*object), 3);
    report.equal("zeroth method", object.zeroth(), 0);
    report.equal("first method", object.first(), 1);
    report.equal("second method", object.second(), 2);
    report.equal("third method", object.third(), 3);
    report.equal("fourth method", object.fourth(), 4);
    report.equal("fifth method", object.fifth(), 5);
    report.equal("sixth method", object.sixth(), 6);
    report.equal("seventh method", object.seventh(), 7);
}

fn supertraits(other: &dyn Side, report: &mut Report) {
    let device = other.device(12, Drops::default());
    report.equal("method of a supertrait", device.name(), "device 12".to_owned());
    device.count(30);
    report.equal("methods of another supertrait", device.counted(), 31);
    let named: &dyn Named = &*device;
    report.equal("object of a supertrait", named.name(), "device 12".to_owned());
    let counted: &dyn Counted = &*device;
    counted.count(1);
    report.equal("object of another supertrait", counted.counted(), 32);
    report.equal("it is the same object", device.counted(), 32);
    let named: Box<dyn Named> = device;
    report.equal("Box of a supertrait", named.name(), "device 12".to_owned());
}

fn default_methods(other: &dyn Side, report: &mut Report) {
    let device = other.device(12, Drops::default());
    report.equal("default of a supertrait", device.initial(), Some('d'));
    report.equal("default that is kept", device.greeting(), "I am device 12".to_owned());
    report.equal("default that is replaced", device.limit(), 120);
}

/// They take no slot of the vtable, so that those behind them are where the other side looks for them.
fn generic_methods(other: &dyn Side, report: &mut Report) {
    let device = other.device(12, Drops::default());
    report.equal("the other side called one of its own", device.counted(), 1);
    report.equal("the method behind them", device.transform(mixed(1)).long, mixed(1).long + 12);
    report.equal("another that calls one", other.ordered().fifth(), 5);
    report.equal("the last method", device.last(), 12 ^ 0xff);
}

fn arguments(other: &dyn Side, report: &mut Report) {
    let mut device = other.device(12, Drops::default());
    let expected =
        Mixed { text: "seed 4!".to_owned(), list: vec![4, 4, 4, 4, 1], long: mixed(4).long + 12, ..mixed(4) };
    report.equal("values in and out", device.transform(mixed(4)), expected);
    let mut visited = Vec::new();
    device.visit(&mut |number| visited.push(number));
    report.equal("a closure to call", visited, (0..12).collect());
    report.equal("Ok", device.divide(4), Ok(3));
    report.equal("Err", device.divide(5), Err(Fault::Rest(2)));
    report.equal("Err without data", device.divide(0), Err(Fault::Zero));
    let sum = device.many(1, 1 << 100, [2, 3, 4, 5], "text", 6, Some(7), true);
    report.equal("more than registers hold", sum, (1 << 100) + 45);
    device.rename("new name".to_owned());
    report.equal("&mut self", device.name(), "new name".to_owned());
    report.equal("Box<Self>", device.into_name(), "new name".to_owned());
}

fn downcasts(other: &dyn Side, report: &mut Report) {
    report.equal("downcast here", Own.number(other.any(77)), Some(77));
    report.equal("downcast there", other.number(Own.any(78)), Some(78));
    report.equal("downcast to a wrong type", other.number(Own.any(0)), None);
    let another = Pair { first: 1_u16, mark: 2, second: 3_u64 };
    report.equal("downcast to another instance", other.number(Box::new(another)), None);
    let theirs: Box<dyn Any> = other.device(1, Drops::default());
    report.equal("the other side's type is not this side's of that name", theirs.is::<OwnDevice>(), false);
    let own: Box<dyn Any> = boxed::<OwnDevice>(1, Drops::default());
    report.equal("this side's type is", own.downcast::<OwnDevice>().is_ok(), true);
}

/// What is made on one side is dropped on the other, once.
fn drops(other: &dyn Side, report: &mut Report) {
    let drops = Drops::default();
    let device = other.device(1, drops.clone());
    report.equal("not dropped", drops.get(), 0);
    drop(device);
    report.equal("the other's object dropped here", drops.get(), 1);
    other.end(boxed::<OwnDevice>(2, drops.clone()));
    report.equal("this side's object dropped there", drops.get(), 2);
    other.end(other.device(3, drops.clone()));
    report.equal("the other's object sent back", drops.get(), 3);
    other.device(4, drops.clone()).into_name();
    report.equal("dropped by its own method", drops.get(), 4);
    drop(other.device(5, drops.clone()).sibling());
    report.equal("an object and its sibling", drops.get(), 6);
}

/// `Arc<dyn _>`, the last share of which is dropped on either side.
fn shares(other: &dyn Side, report: &mut Report) {
    for theirs in [false, true] {
        let drops = Drops::default();
        let device = if theirs { other.device(6, drops.clone()) } else { boxed::<OwnDevice>(6, drops.clone()) };
        let device: Arc<dyn Device> = Arc::from(device);
        let kept = other.keep(device.clone());
        report.equal("shares while the other has one", Arc::strong_count(&device), 2);
        report.equal("shares that the other leaves", kept(), 1);
        report.equal("shares left", Arc::strong_count(&device), 1);
        let kept = other.keep(device);
        report.equal("not dropped while the other has it", drops.get(), 0);
        report.equal("the other had the last", kept(), 0);
        report.equal("dropped with the last share", drops.get(), 1);
    }
    let drops = Drops::default();
    let sibling = other.device(7, drops.clone()).sibling();
    report.equal("an Arc made there", (sibling.name(), drops.get()), ("device 8".to_owned(), 1));
    drop(sibling);
    report.equal("an Arc made there, dropped here", drops.get(), 2);
}

/// Structs, enums and unions with Rust's own layout, by value and by reference.
fn values(other: &dyn Side, report: &mut Report) {
    for seed in 1..=6 {
        report.equal("a struct made there", other.mixed(seed), mixed(seed));
        report.equal("a struct read there", other.digest(&mixed(seed)), digest(&mixed(seed)));
    }
    for number in 0..8 {
        report.equal("an enum made there", other.choice(number), choice(number));
    }
    let node = Node { interrupt: 0x1122_3344, address: 0x5566_7788, cells: 2 };
    report.equal("a struct's fields", other.read(&node), [0x1122_3344, 0x5566_7788, 2]);
    // SAFETY: all of the union's bytes are initialized, and any bytes are a number.
    let number = unsafe { Bits { bytes: [1, 0, 0, 0, 0, 0, 0, 1] }.number };
    report.equal("a union", number, 0x0100_0000_0000_0001);
}

fn facts(other: &dyn Side, report: &mut Report) {
    for (theirs, own) in other.facts().into_iter().zip(Own.facts()) {
        report.equal(own.what, theirs.value, own.value);
    }
    for (contract, own) in contract::layout_by_the_contract().into_iter().zip(Own.facts()) {
        report.equal(own.what, own.value, contract.value);
    }
}

fn functions(_other: &dyn Side, report: &mut Report) {
    report.equal("function", checksum(b"lockstep"), 264_253);
    let mut ledger = Ledger::default();
    ledger.enter(40);
    ledger.enter(2);
    report.equal("method of a trait, dispatched statically", ledger.sum(), 42);
}

fn static_dispatch(_other: &dyn Side, report: &mut Report) {
    report.equal("method of a trait", Scale(3).apply(5), 15 * FACTOR);
}

/// Each counts for both sides.
fn statics(other: &dyn Side, report: &mut Report) {
    let before = Own.next();
    let there = other.next();
    let after = Own.next();
    for (counter, function) in ["inlined", "generic", "called"].into_iter().enumerate() {
        let steps = [there[counter].wrapping_sub(before[counter]), after[counter].wrapping_sub(before[counter])];
        report.equal(&format!("steps of the static in a function that is {function}"), steps, [1, 2]);
    }
}
