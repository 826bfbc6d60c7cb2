//! A driver from outside of the tree, which asks `core` and `alloc` for what no module in the tree needs, and counts with
//! a library of the tree's.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::prelude::*;
use alloc::collections::{BTreeMap, BinaryHeap};

abi::driver!(
    Outside,
    compatible = ["qemu,fw-cfg-mmio"],
    summary = "A driver from outside of the tree",
    parameters = {
        /// A number
        number: String = "2.5",
    },
);

struct Outside;

impl Driver for Outside {
    fn probe(node: &Node, _resources: &mut Resources) -> Result<Self> {
        let number: f64 =
            parameters::number().parse().map_err(|error| Error::Invalid(format!("parameter number: {error}")))?;
        let words: BTreeMap<String, usize> = node.path().split('@').map(|word| (word.to_uppercase(), word.len())).collect();
        let largest = words.keys().cloned().collect::<BinaryHeap<_>>().into_sorted_vec();
        info!("{:e} {words:?} {largest:?}", number * 1e10);
        Ok(Self)
    }
}
