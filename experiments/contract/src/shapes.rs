//! Types with Rust's own layout.

use alloc::{boxed::Box, string::String, vec::Vec};

use crate::Fact;

/// Fields of many sizes, whose best order is not the declared one.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "what the fields are for is to be of these types")]
pub struct Mixed {
    pub flag: bool,
    pub byte: u8,
    pub short: u16,
    pub long: u64,
    pub huge: u128,
    pub letter: char,
    pub real: f64,
    pub text: String,
    pub list: Vec<u16>,
    pub triple: [u8; 3],
    pub positions: Positions,
    pub pair: Pair<u8, u64>,
    pub maybe: Option<Box<u32>>,
    pub choice: Choice,
    pub tuple: (u8, u32, u16),
}

/// A tuple struct.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Positions(pub u8, pub u32, pub u16);

/// A generic struct: its definition is the contract's, but each side lays out the instances that it uses.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs, reason = "what the fields are for is to be of these types")]
pub struct Pair<A, B> {
    pub first: A,
    pub mark: u8,
    pub second: B,
}

/// An enum with a variant of each kind.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "what the variants are for is to be of these types")]
pub enum Choice {
    Nothing,
    Number(u32),
    Text(String),
    Both { number: u64, flag: bool, short: u16 },
}

/// An error.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// Something was divided by zero.
    Zero,
    /// This much was left over.
    Rest(u64),
}

/// A union.
#[derive(Clone, Copy)]
pub union Bits {
    /// As a number.
    pub number: u64,
    /// As bytes.
    pub bytes: [u8; 8],
}

/// The width of [`Node::interrupt`].
#[cfg(not(feature = "changed"))]
type Interrupt = u64;
/// The width of [`Node::interrupt`], changed.
#[cfg(feature = "changed")]
type Interrupt = u32;

/// What changes with the feature `changed`.
pub struct Node {
    /// The field that gets narrower.
    pub interrupt: Interrupt,
    /// A field that moves with it.
    pub address: u32,
    /// Another one.
    pub cells: u32,
}

/// The layout of the contract's types as the crate in which this is expanded sees it: a `Vec<Fact>`.
#[macro_export]
macro_rules! layout {
    () => {{
        use $crate::{Bits, Choice, Device, Fault, Mixed, Node, Pair, Positions};
        use ::alloc::{boxed::Box, string::String};
        $crate::layout! {
            Mixed {
                flag, byte, short, long, huge, letter, real, text, list, triple, positions, pair, maybe, choice, tuple
            }
            Positions { 0, 1, 2 }
            Pair<u8, u64> { first, mark, second }
            Pair<u64, u16> { first, mark, second }
            Pair<String, bool> { first, mark, second }
            Choice { Number.0, Text.0, Both.number, Both.flag, Both.short }
            Option<Choice> {}
            Option<Mixed> {}
            Result<Mixed, Fault> {}
            Fault { Rest.0 }
            Bits { number, bytes }
            Option<Box<dyn Device>> {}
            Node { interrupt, address, cells }
        }
    }};
    ($($type:ty { $($($field:tt).+),* })*) => {
        ::alloc::vec![$(
            $crate::Fact::new(concat!("size of ", stringify!($type)), size_of::<$type>()),
            $crate::Fact::new(concat!("alignment of ", stringify!($type)), align_of::<$type>()),
            $($crate::Fact::new(
                concat!("offset of ", stringify!($type), ".", stringify!($($field).+)),
                ::core::mem::offset_of!($type, $($field).+),
            ),)*
        )*]
    };
}

/// The layout of these types as this crate sees it.
#[inline(never)]
pub fn layout_by_the_contract() -> Vec<Fact> {
    layout!()
}
