//! Who holds how much memory.

use super::frames::{self, OWNERS};
use super::{heap, owner, owner_of};
use crate::{modules, registry, resources};
use ::heap::{ClassStatistics, Holding, Owner};
use abi::registry::ProviderId;
use abi::system::{HeapClass, MemoryHolder};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// What each owner holds of the heap, by its number.
pub fn count() -> Vec<Holding> {
    let mut holdings = vec![Holding::default(); OWNERS];
    heap::count_holdings(&mut holdings);
    holdings
}

/// What the kernel and each module hold, the largest first. What a provider holds counts for the module that drives it.
pub fn holders() -> Vec<MemoryHolder> {
    let holdings = count();
    let mut holders: Vec<MemoryHolder> = Vec::new();
    let mut add = |name: String, owner: Owner, dma: usize| {
        let Some(holding) = holdings.get(owner.number()) else { return };
        let index = holders.iter().position(|holder| holder.name == name).unwrap_or(holders.len());
        if index == holders.len() {
            holders.push(MemoryHolder { name, ..MemoryHolder::default() });
        }
        if let Some(holder) = holders.get_mut(index) {
            holder.objects += holding.objects as u64;
            holder.heap += holding.bytes as u64;
            holder.device_memory += dma as u64;
            holder.taken += frames::charged(owner) as u64;
        }
    };
    add("kernel".to_owned(), Owner::KERNEL, 0);
    for provider in registry::all() {
        let name = registry::module_of(provider).unwrap_or_else(|| registry::name(provider));
        add(name, owner_of(provider), resources::dma_of(provider));
    }
    for module in modules::status() {
        let image = module.size as u64;
        match holders.iter_mut().find(|holder| holder.name == module.name) {
            Some(holder) => holder.image = image,
            // It drives nothing, or is a library.
            None => holders.push(MemoryHolder { name: module.name, image, ..MemoryHolder::default() }),
        }
    }
    holders.retain(|holder| holder.heap + holder.device_memory + holder.taken + holder.image > 0);
    holders.sort_by_key(|holder| core::cmp::Reverse(holder.taken + holder.image));
    holders
}

/// How the heap's pieces of each size are used.
pub fn heap_classes() -> Vec<HeapClass> {
    let class = |class: &ClassStatistics| HeapClass {
        size: class.size as u64,
        slabs: class.slabs as u64,
        bytes: class.bytes as u64,
        capacity: class.capacity as u64,
        used: class.used as u64,
        kept: class.kept as u64,
    };
    heap::statistics().iter().map(class).collect()
}

/// An owner in words. Its lock may be held by the very code that ran out of memory.
fn name(owner: Owner) -> String {
    let Some(number) = owner.number().checked_sub(1) else { return "the kernel".to_owned() };
    registry::try_name(ProviderId::from_raw(number as u32)).unwrap_or_else(|| format!("provider {number}"))
}

/// Why there is no memory for that many bytes, in a sentence: who asked for them, and who holds most.
pub fn shortage(bytes: usize) -> String {
    let (largest, held) = frames::largest_holder();
    format!(
        "out of memory: {} asked for {bytes} bytes, {} KiB are free, and of the modules {} holds most: {} KiB",
        name(owner()),
        frames::free_bytes() >> 10,
        name(largest),
        held >> 10
    )
}
