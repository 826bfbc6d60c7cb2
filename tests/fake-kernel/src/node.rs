//! Nodes whose registers are plain memory.

use crate::lock;
use crate::model::{self, Model};
use abi::kernel::MappedRegisters;
use abi::registry::ProviderId;
use abi::{Error, Node, Reference, Resources, Result};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// One block of registers.
type Block = &'static [AtomicU32];

/// The blocks of each node, by the number of its provider.
static NODES: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

/// The children of nodes, by the number of their provider.
static CHILDREN: Mutex<BTreeMap<u32, Vec<Node>>> = Mutex::new(BTreeMap::new());

/// What properties of nodes point to, by path and name.
static REFERENCES: Mutex<BTreeMap<(String, String), Vec<Reference>>> = Mutex::new(BTreeMap::new());

/// Says what a property of the node of this path points to: nodes by the numbers under which tests
/// [`publish`](crate::publish), and cells.
pub fn refer(path: &str, property: &str, references: &[(u32, &[u32])]) {
    let reference = |(number, cells): &(u32, &[u32])| Reference::new(ProviderId::from_raw(*number), cells.to_vec());
    let references = references.iter().map(reference).collect();
    lock(&REFERENCES).insert((path.into(), property.into()), references);
}

pub fn references(path: &str, property: &str) -> Vec<Reference> {
    lock(&REFERENCES).get(&(path.into(), property.into())).cloned().unwrap_or_default()
}

pub fn children(provider: ProviderId) -> Vec<Node> {
    lock(&CHILDREN).get(&provider.raw()).cloned().unwrap_or_default()
}

/// A node with registers, as many interrupts as are asked for, and a device that reaches all memory.
pub struct FakeNode {
    pub(crate) provider: ProviderId,
    blocks: Vec<Block>,
}

impl FakeNode {
    /// A node with one block of registers for each of `sizes`, in bytes; all zeros.
    pub fn new(sizes: &[usize]) -> Self {
        Self::with_blocks(sizes.iter().map(|size| aligned_words(size / 4)).collect())
    }

    /// A node with one block of registers, of that many bytes, behind which there is a model of the device: each access of
    /// the driver's is one of the model's.
    pub fn with_model(size: usize, model: impl Model + 'static) -> Self {
        let block = aligned_words(size / 4);
        model::put_behind(block, Box::new(model));
        Self::with_blocks(vec![block])
    }

    fn with_blocks(blocks: Vec<Block>) -> Self {
        let mut nodes = lock(&NODES);
        nodes.push(blocks.clone());
        Self { provider: ProviderId::from_raw(nodes.len() as u32 - 1), blocks }
    }

    /// What the kernel would give to `probe`.
    pub fn resources(&self) -> Resources {
        Resources::new(self.provider, None)
    }

    /// Gives the node these children.
    pub fn set_children(&self, children: &[Node]) {
        lock(&CHILDREN).insert(self.provider.raw(), children.to_vec());
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
