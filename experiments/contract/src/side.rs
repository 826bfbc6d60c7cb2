//! What the kernel and a module hand to each other.

use alloc::{borrow::ToOwned, boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::any::Any;
use core::fmt::Debug;

use crate::{Choice, Device, Drops, Mixed, Node, Ordered};

/// The kernel as a module sees it, and a module as the kernel sees it.
pub trait Side: Sync {
    /// What this side's compilation has made of the contract: offsets, sizes, addresses.
    fn facts(&self) -> Vec<Fact>;

    /// An object whose vtable has only methods of one type.
    fn ordered(&self) -> Box<dyn Ordered>;

    /// An object with all kinds of methods. The count is raised when it is dropped.
    fn device(&self, seed: u64, drops: Drops) -> Box<dyn Device>;

    /// Keeps a share of an object until what is returned is called; that returns how many shares are left.
    fn keep(&self, device: Arc<dyn Device>) -> Box<dyn FnOnce() -> usize>;

    /// Drops an object.
    fn end(&self, device: Box<dyn Device>);

    /// A value of all types that the contract has.
    fn mixed(&self, seed: u64) -> Mixed;

    /// What this side reads in each field of such a value, made into one number.
    fn digest(&self, mixed: &Mixed) -> u64;

    /// One variant after the other, and then the first again.
    fn choice(&self, number: u64) -> Choice;

    /// What this side reads in a [`Node`]: `interrupt`, `address`, `cells`.
    fn read(&self, node: &Node) -> [u64; 3];

    /// The same value as one of any type, or something else.
    fn any(&self, number: u64) -> Box<dyn Any + Send>;

    /// The number in a `Box<Pair<u8, u64>>`; `None` for any other type.
    fn number(&self, any: Box<dyn Any + Send>) -> Option<u64>;

    /// The next number of each counter: inlined, generic, called.
    fn next(&self) -> [u64; 3];
}

/// Something that a compilation has settled, as a number.
#[derive(Clone, PartialEq, Debug)]
pub struct Fact {
    /// What it is.
    pub what: &'static str,
    /// What it came to.
    pub value: u64,
}

impl Fact {
    /// A fact that is a size, an offset or an address.
    pub fn new(what: &'static str, value: usize) -> Self {
        Self { what, value: value as u64 }
    }
}

/// What the loader looks for in a module.
pub struct Module {
    /// The module, for the kernel.
    pub side: &'static dyn Side,
    /// Does with the kernel all that the kernel does with the module.
    pub examine: fn(&dyn Side, &mut Report),
}

/// What one side has found of the other.
#[derive(Default, Debug)]
pub struct Report {
    /// What was looked at, in this order.
    pub topics: Vec<Topic>,
    /// The values that were not as expected.
    pub wrong: Vec<Wrong>,
}

/// One kind of thing to look at.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many values were compared.
    pub values: u64,
}

/// A value that is not as expected.
#[derive(Debug)]
pub struct Wrong {
    /// Which value.
    pub what: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl Report {
    /// Begins another topic.
    pub fn begin(&mut self, topic: &str) {
        self.topics.push(Topic { name: topic.to_owned(), values: 0 });
    }

    /// Compares two values.
    pub fn equal<T: PartialEq + Debug>(&mut self, what: &str, found: T, expected: T) {
        if let Some(topic) = self.topics.last_mut() {
            topic.values += 1;
        }
        if found != expected {
            let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
            self.wrong.push(Wrong { what: what.to_owned(), expected, found });
        }
    }
}
