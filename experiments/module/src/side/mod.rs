//! One side of an experiment. The kernel and every module compile this text for themselves, so each has types, vtables
//! and instances of generic code of its own, and [`examine`] does the same with the other's.

mod examination;

pub use examination::examine;

use alloc::{boxed::Box, format, string::String, sync::Arc, vec, vec::Vec};
use core::any::{Any, TypeId};
use core::hash::{Hash, Hasher};
use core::sync::atomic::{AtomicU64, Ordering};

use contract::{
    Choice, Counted, Device, Drops, Fact, Fault, Ledger, Mixed, Named, Node, Ordered, Pair, Positions, Side, Sum,
    boxed, checksum,
};

/// What the kernel's [`contract::Apply`] multiplies by.
pub const FACTOR: u64 = 7;

/// How many methods of [`Ordered`] are called through its vtable.
const METHODS: usize = 8;

/// This side.
pub struct Own;

impl Side for Own {
    fn facts(&self) -> Vec<Fact> {
        let [_, _, _, methods @ ..] = words(&*self.ordered());
        let mut facts = contract::layout!();
        facts.extend([
            Fact::new("methods in a vtable", methods.into_iter().filter(|&method| method != 0).count()),
            Fact::new("alignment of a tuple", align_of::<Tuple>()),
            Fact::new("size of a tuple", size_of::<Tuple>()),
            Fact::new("offset of a tuple's 0", core::mem::offset_of!(Tuple, 0)),
            Fact::new("offset of a tuple's 1", core::mem::offset_of!(Tuple, 1)),
            Fact::new("offset of a tuple's 2", core::mem::offset_of!(Tuple, 2)),
            Fact::new("offset of a tuple's 3", core::mem::offset_of!(Tuple, 3)),
            Fact::new("size of a closure", size_of_closure()),
            Fact { what: "type of Mixed", value: hash(TypeId::of::<Mixed>()) },
            Fact { what: "type of Node", value: hash(TypeId::of::<Node>()) },
            Fact { what: "type of dyn Device", value: hash(TypeId::of::<dyn Device>()) },
            Fact::new("address of checksum", checksum as *const () as usize),
            Fact::new("address of Ledger::enter", Ledger::enter as *const () as usize),
            Fact::new("address of Ledger's Sum::sum", <Ledger as Sum>::sum as *const () as usize),
            Fact::new("address of a static in an inlined function", contract::address_of_static()),
        ]);
        facts
    }

    fn ordered(&self) -> Box<dyn Ordered> {
        order::object()
    }

    fn device(&self, seed: u64, drops: Drops) -> Box<dyn Device> {
        boxed::<OwnDevice>(seed, drops)
    }

    fn keep(&self, device: Arc<dyn Device>) -> Box<dyn FnOnce() -> usize> {
        Box::new(move || Arc::strong_count(&device) - 1)
    }

    fn end(&self, device: Box<dyn Device>) {
        drop(device);
    }

    fn mixed(&self, seed: u64) -> Mixed {
        mixed(seed)
    }

    fn digest(&self, mixed: &Mixed) -> u64 {
        digest(mixed)
    }

    fn choice(&self, number: u64) -> Choice {
        choice(number)
    }

    fn read(&self, node: &Node) -> [u64; 3] {
        #[allow(clippy::useless_conversion, reason = "the field is narrower when the contract is changed")]
        [node.interrupt.into(), node.address.into(), node.cells.into()]
    }

    fn any(&self, number: u64) -> Box<dyn Any + Send> {
        match number {
            0 => Box::new(String::new()),
            _ => Box::new(Pair { first: 1_u8, mark: 2, second: number }),
        }
    }

    fn number(&self, any: Box<dyn Any + Send>) -> Option<u64> {
        any.downcast::<Pair<u8, u64>>().ok().map(|pair| pair.second)
    }

    fn next(&self) -> [u64; 3] {
        [contract::next_inlined(), contract::next_generic(1_u32), contract::next_called()]
    }
}

/// A type that belongs to no crate.
type Tuple = (u8, u32, u16, u64);

fn size_of_closure() -> usize {
    let (small, large, medium) = (1_u8, 2_u64, 3_u16);
    size_of_val(&move || u64::from(small) + large + u64::from(medium))
}

fn hash(value: impl Hash) -> u64 {
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0 = bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        }
    }
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    value.hash(&mut hasher);
    hasher.finish()
}

fn choice(number: u64) -> Choice {
    match number % 4 {
        0 => Choice::Nothing,
        1 => Choice::Number(number as u32),
        2 => Choice::Text(format!("choice {number}")),
        _ => Choice::Both { number, flag: true, short: 3 },
    }
}

fn mixed(seed: u64) -> Mixed {
    Mixed {
        flag: seed % 2 == 1,
        byte: seed as u8,
        short: seed as u16 ^ 0x5555,
        long: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        huge: u128::from(seed) << 70 | 5,
        letter: char::from(b'a' + (seed % 26) as u8),
        real: seed as f64 / 4.0,
        text: format!("seed {seed}"),
        list: vec![seed as u16; (seed % 5) as usize],
        triple: [1, 2, seed as u8],
        positions: Positions(seed as u8, 0xdead_beef, 0x1234),
        pair: Pair { first: 9, mark: 8, second: seed },
        maybe: (!seed.is_multiple_of(3)).then(|| Box::new(seed as u32)),
        choice: choice(seed),
        tuple: (3, seed as u32, 4),
    }
}

/// Weighs each field with a number of its own, so that no two can be mistaken for each other.
fn digest(mixed: &Mixed) -> u64 {
    let fields = [
        u64::from(mixed.flag),
        u64::from(mixed.byte),
        u64::from(mixed.short),
        mixed.long,
        (mixed.huge >> 64) as u64,
        mixed.huge as u64,
        u64::from(mixed.letter),
        mixed.real.to_bits(),
        checksum(mixed.text.as_bytes()),
        mixed.list.iter().map(|&item| u64::from(item)).sum(),
        u64::from(mixed.triple[2]),
        u64::from(mixed.positions.0) + u64::from(mixed.positions.1) + u64::from(mixed.positions.2),
        u64::from(mixed.pair.first) + u64::from(mixed.pair.mark) + mixed.pair.second,
        mixed.maybe.as_deref().map_or(0, |&value| u64::from(value)),
        match &mixed.choice {
            Choice::Nothing => 1,
            Choice::Number(number) => u64::from(*number),
            Choice::Text(text) => checksum(text.as_bytes()),
            Choice::Both { number, flag, short } => number + u64::from(*flag) + u64::from(*short),
        },
        u64::from(mixed.tuple.0) + u64::from(mixed.tuple.1) + u64::from(mixed.tuple.2),
    ];
    fields.iter().fold(0, |digest: u64, &field| digest.wrapping_mul(31).wrapping_add(field))
}

struct OwnDevice {
    name: String,
    count: AtomicU64,
    seed: u64,
    drops: Drops,
}

impl Drop for OwnDevice {
    fn drop(&mut self) {
        self.drops.add();
    }
}

impl Named for OwnDevice {
    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Counted for OwnDevice {
    fn count(&self, amount: u64) {
        self.count.fetch_add(amount, Ordering::Relaxed);
    }
    fn counted(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Device for OwnDevice {
    fn new(seed: u64, drops: Drops) -> Self {
        let device = Self { name: format!("device {seed}"), count: AtomicU64::new(0), seed, drops };
        device.count_any(1_u32);
        device
    }
    fn transform(&self, mut mixed: Mixed) -> Mixed {
        mixed.text.push('!');
        mixed.list.push(1);
        mixed.long += self.seed;
        mixed
    }
    fn limit(&self) -> u64 {
        self.seed * 10
    }
    fn visit(&self, visitor: &mut dyn FnMut(u64)) {
        (0..self.seed).for_each(visitor);
    }
    fn divide(&self, divisor: u64) -> Result<u64, Fault> {
        let quotient = self.seed.checked_div(divisor).ok_or(Fault::Zero)?;
        match self.seed % divisor {
            0 => Ok(quotient),
            rest => Err(Fault::Rest(rest)),
        }
    }
    fn many(&self, a: u8, b: u128, c: [u64; 4], d: &str, e: u16, f: Option<u64>, g: bool) -> u128 {
        let small = u64::from(a) + c.iter().sum::<u64>() + d.len() as u64 + u64::from(e) + f.unwrap_or(0);
        b + u128::from(small) + u128::from(g) + u128::from(self.seed)
    }
    fn rename(&mut self, name: String) {
        self.name = name;
    }
    fn sibling(&self) -> Arc<dyn Device> {
        Arc::new(Self::new(self.seed + 1, self.drops.clone()))
    }
    fn into_name(mut self: Box<Self>) -> String {
        core::mem::take(&mut self.name)
    }
    fn last(&self) -> u64 {
        self.seed ^ 0xff
    }
}

/// The words of an object's vtable: drop, size, alignment, and then the methods as they are declared.
fn words(object: &dyn Ordered) -> [usize; 3 + METHODS] {
    // SAFETY: a reference to a trait object is a pointer to the data and one to the vtable. No rule of the language
    // says so, nor what is in the vtable; that this compiler does it is what the experiments are about.
    let [_, table] = unsafe { core::mem::transmute::<&dyn Ordered, [*const [usize; 3 + METHODS]; 2]>(object) };
    // SAFETY: as above; a vtable is a constant.
    unsafe { *table }
}
