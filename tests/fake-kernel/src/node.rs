//! Nodes whose registers are plain memory.

use crate::lock;
use abi::kernel::MappedRegisters;
use abi::registry::ProviderId;
use abi::{Error, Resources, Result};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// One block of registers.
type Block = &'static [AtomicU32];

/// The blocks of each node, by the number of its provider.
static NODES: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

/// A node with registers, as many interrupts as are asked for, and a device that reaches all memory.
pub struct FakeNode {
    pub(crate) provider: ProviderId,
    blocks: Vec<Block>,
}

impl FakeNode {
    /// A node with one block of registers for each of `sizes`, in bytes; all zeros.
    pub fn new(sizes: &[usize]) -> Self {
        let blocks: Vec<_> = sizes.iter().map(|size| aligned_words(size / 4)).collect();
        let mut nodes = lock(&NODES);
        nodes.push(blocks.clone());
        Self { provider: ProviderId::from_raw(nodes.len() as u32 - 1), blocks }
    }

    /// What the kernel would give to `probe`.
    pub fn resources(&self) -> Resources {
        Resources::new(self.provider, None)
    }

    /// Writes a register as the device does.
    pub fn set(&self, block: usize, offset: usize, value: u32) {
        self.blocks[block][offset / 4].store(value, Ordering::SeqCst);
    }

    /// Reads a register as the device does.
    pub fn get(&self, block: usize, offset: usize) -> u32 {
        self.blocks[block][offset / 4].load(Ordering::SeqCst)
    }
}

/// Block number `index` of a node.
pub fn registers(provider: ProviderId, index: usize) -> Result<MappedRegisters> {
    let missing = || Error::Missing { resource: "registers".into(), index };
    let block = *lock(&NODES)[provider.raw() as usize].get(index).ok_or_else(missing)?;
    Ok(MappedRegisters { start: NonNull::from(block).cast(), size: size_of_val(block), identifier: 0 })
}

/// Zeros, aligned as a page is.
fn aligned_words(count: usize) -> Block {
    #[repr(align(4096))]
    struct Page(#[allow(dead_code, reason = "only its address matters")] [AtomicU32; 1024]);
    let pages: &'static [Page] =
        Vec::leak((0..count.div_ceil(1024)).map(|_| Page([const { AtomicU32::new(0) }; 1024])).collect());
    // SAFETY: the pages are `count` words and more, without gaps, and live for good.
    unsafe { std::slice::from_raw_parts(pages.as_ptr().cast(), count) }
}
