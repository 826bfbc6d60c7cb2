//! Traits whose objects cross.

use alloc::{boxed::Box, format, string::String, sync::Arc};
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::{Fault, Mixed};

/// Eight methods of one type, so that the slots of a vtable can be called by their numbers. Each returns its place in
/// this declaration.
#[allow(missing_docs, reason = "what the methods are for is their order")]
pub trait Ordered: Send + Sync {
    fn zeroth(&self) -> u64;
    fn first(&self) -> u64;
    fn second(&self) -> u64;
    /// Takes no slot.
    fn generic<T: Into<u64>>(&self, value: T) -> u64
    where
        Self: Sized,
    {
        value.into()
    }
    fn third(&self) -> u64;
    /// The one that most implementations leave as it is.
    fn fourth(&self) -> u64 {
        4
    }
    fn fifth(&self) -> u64;
    /// Takes no slot either.
    fn made() -> Self
    where
        Self: Sized;
    fn sixth(&self) -> u64;
    fn seventh(&self) -> u64;
}

/// A supertrait, with a method that has a default.
pub trait Named {
    /// The name.
    fn name(&self) -> String;

    /// The name's first letter.
    fn initial(&self) -> Option<char> {
        self.name().chars().next()
    }
}

/// Another supertrait: the pointer to its vtable stands inside that of [`Device`].
pub trait Counted {
    /// Adds to the count.
    fn count(&self, amount: u64);

    /// The sum of what was added.
    fn counted(&self) -> u64;
}

/// What `Driver` is to the real kernel: every kind of method that an object can have.
pub trait Device: Named + Counted + Any + Send + Sync {
    /// Makes one; takes no slot.
    fn new(seed: u64, drops: Drops) -> Self
    where
        Self: Sized;

    /// Counts something of any type; takes no slot.
    fn count_any<T: Into<u64>>(&self, amount: T)
    where
        Self: Sized,
    {
        self.count(amount.into());
    }

    /// Takes and returns a value that does not fit into registers.
    fn transform(&self, mixed: Mixed) -> Mixed;

    /// A default that is kept.
    fn greeting(&self) -> String {
        format!("I am {}", self.name())
    }

    /// A default that is replaced.
    fn limit(&self) -> u64 {
        0
    }

    /// Calls back.
    fn visit(&self, visitor: &mut dyn FnMut(u64));

    /// Returns a result.
    ///
    /// # Errors
    /// [`Fault::Zero`], or [`Fault::Rest`].
    fn divide(&self, divisor: u64) -> Result<u64, Fault>;

    /// Takes an argument beyond those that registers hold.
    #[allow(clippy::too_many_arguments, reason = "that is the point")]
    fn many(&self, a: u8, b: u128, c: [u64; 4], d: &str, e: u16, f: Option<u64>, g: bool) -> u128;

    /// Needs exclusive access.
    fn rename(&mut self, name: String);

    /// Another object of the same kind, shared.
    fn sibling(&self) -> Arc<dyn Device>;

    /// Ends the object.
    fn into_name(self: Box<Self>) -> String;

    /// The last slot.
    fn last(&self) -> u64;
}

/// What each module does for its type, as `abi::driver!` does.
pub fn boxed<T: Device>(seed: u64, drops: Drops) -> Box<dyn Device> {
    Box::new(T::new(seed, drops))
}

/// Counts how many of the objects that share it were dropped.
#[derive(Clone, Default, Debug)]
pub struct Drops(Arc<AtomicU64>);

impl Drops {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
