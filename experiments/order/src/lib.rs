//! An object of [`Ordered`] in a crate of its own, which is no part of the contract: the kernel and each module link a
//! copy. Virtual function elimination is tried on it.
#![no_std]

extern crate alloc;

use alloc::boxed::Box;

use contract::Ordered;

struct Numbers {
    /// What is added to all of them, so that the methods need the object: 0.
    base: u64,
}

impl Ordered for Numbers {
    fn zeroth(&self) -> u64 {
        self.base
    }
    fn first(&self) -> u64 {
        self.base + 1
    }
    fn second(&self) -> u64 {
        self.base + 2
    }
    fn third(&self) -> u64 {
        self.base + 3
    }
    fn fifth(&self) -> u64 {
        self.base + self.generic(5_u8)
    }
    fn made() -> Self {
        Self { base: 0 }
    }
    fn sixth(&self) -> u64 {
        self.base + 6
    }
    fn seventh(&self) -> u64 {
        self.base + 7
    }
}

/// The object.
#[inline(never)]
pub fn object() -> Box<dyn Ordered> {
    Box::new(Numbers::made())
}

/// The only virtual call of this crate.
#[inline(never)]
pub fn third(object: &dyn Ordered) -> u64 {
    object.third()
}
