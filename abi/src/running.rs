//! What kernel and modules share about the thread that runs: which locks it holds, and whom it is calling.
//!
//! It is read and written by code that is compiled into modules, so that taking a lock or calling another module costs a
//! few instructions and no call into the kernel.

use crate::Class;
use crate::registry::ProviderId;
use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// How many locks and how many mutexes a thread may hold at once, an interrupt counted as a lock.
pub const MOST_LOCKS: usize = 16;

/// How many locks more it takes to end a thread that holds as many and takes another.
const SPARE_LOCKS: usize = 5;

/// How many calls into modules may be nested.
pub const MOST_CALLS: usize = 16;

/// How many more an interrupt's handler may make.
pub const HANDLER_CALLS: usize = 4;

/// How many more it takes to ask interrupt controllers.
const CONTROLLER_CALLS: usize = 2;

/// How many calls there is room for.
pub const CALLS: usize = MOST_CALLS + HANDLER_CALLS + CONTROLLER_CALLS;

/// A thread's block. On the machine TPIDRRO_EL0 holds the running thread's, which it alone writes to, but for
/// [`pending`](Self::pending).
#[derive(Debug)]
#[repr(C, align(8))]
pub struct Block {
    /// How many of `held` are in use. As long as there are any, no interrupt is served and no other thread runs on the
    /// processor.
    pub masked: AtomicU32,
    /// How many of `mutexes` are in use.
    pub mutexes_held: AtomicU32,
    /// How many of `calls` are under way.
    pub depth: AtomicU32,
    /// Something waits for the last lock to be let go of.
    pub pending: AtomicU32,
    /// Tells the thread from all others; not 0.
    pub number: AtomicU32,
    /// The calls under way, the outermost first.
    pub calls: [Call; CALLS],
    /// The locks that it holds; null stands for an interrupt that is being served.
    pub held: [Cell<*const LockWord>; MOST_LOCKS + SPARE_LOCKS],
    /// The mutexes that it holds, with `depth` as it was when it took them.
    pub mutexes: [Cell<(*const LockWord, u32)>; MOST_LOCKS],
}

/// A call into a module.
#[derive(Debug)]
#[repr(C)]
pub struct Call {
    /// Who is called; null if the kernel only wants to know of a failure. The lowest bits are the kernel's.
    pub publication: AtomicPtr<Publication>,
    /// What [`Block::held`] was when it began.
    pub base: AtomicU64,
    /// Where the caller goes on when it fails.
    pub landing: Landing,
}

/// Where code goes on when what it has called has failed.
#[derive(Debug)]
#[repr(C)]
pub struct Landing {
    /// The stack pointer there; all that is below is left behind.
    pub stack_pointer: AtomicU64,
    /// The address of the next instruction, which gets what the kernel knows of the failure in x0.
    pub program_counter: AtomicU64,
}

impl Call {
    const fn new() -> Self {
        let landing = Landing { stack_pointer: AtomicU64::new(0), program_counter: AtomicU64::new(0) };
        Self { publication: AtomicPtr::new(core::ptr::null_mut()), base: AtomicU64::new(0), landing }
    }

    /// Who is called; nobody if the kernel only wants to know of a failure.
    pub fn publication(&self) -> Option<&'static Publication> {
        let publication =
            self.publication.load(Ordering::Relaxed).map_addr(|address| address & !(align_of::<Publication>() - 1));
        // SAFETY: publications are never freed, and whoever notes a call notes one.
        unsafe { publication.as_ref() }
    }

    /// How many locks the thread held when it began, an interrupt counted as one.
    pub fn locks_before(&self) -> u32 {
        self.base.load(Ordering::Relaxed) as u32
    }
}

// SAFETY: all but the atomics is accessed by the thread itself only, or by the kernel while the thread doesn't run.
unsafe impl Sync for Block {}
// SAFETY: as above; what the pointers point to is static or outlives its being held.
unsafe impl Send for Block {}

impl Block {
    /// The block of a thread that holds and calls nothing.
    pub const fn new(number: u32) -> Self {
        Self {
            masked: AtomicU32::new(0),
            mutexes_held: AtomicU32::new(0),
            depth: AtomicU32::new(0),
            pending: AtomicU32::new(0),
            number: AtomicU32::new(number),
            calls: [const { Call::new() }; CALLS],
            held: [const { Cell::new(core::ptr::null()) }; MOST_LOCKS + SPARE_LOCKS],
            mutexes: [const { Cell::new((core::ptr::null(), 0)) }; MOST_LOCKS],
        }
    }

    /// How many locks the thread holds, in the lower half, and how many mutexes, in the upper.
    #[inline]
    pub fn held(&self) -> u64 {
        // SAFETY: the two counters, at the beginning of the block, which is aligned for this. Only the running thread writes
        // to them, and this is it.
        unsafe { core::ptr::from_ref(self).cast::<u64>().read() }
    }

    /// Who runs: the module that is being called, if there is a call.
    pub fn innermost(&self) -> Option<&'static Publication> {
        let depth = self.depth.load(Ordering::Relaxed) as usize;
        self.calls.get(depth.checked_sub(1)?)?.publication()
    }
}

/// The running thread's block, where no register holds it.
#[cfg(not(target_os = "none"))]
pub fn block() -> &'static Block {
    // SAFETY: a module gets no further with it: what is there is changed by this crate's code alone.
    unsafe { crate::kernel::block() }
}

/// The running thread's block.
#[cfg(target_os = "none")]
#[inline(always)]
pub fn block() -> &'static Block {
    let block: *const Block;
    // SAFETY: reads a register that is the thread's own, so that it may be read once and kept.
    unsafe {
        core::arch::asm!("mrs {}, tpidrro_el0", out(reg) block, options(nomem, pure, nostack, preserves_flags));
    }
    // SAFETY: the kernel sets the register whenever it changes threads, to a block that lives as long as its thread.
    unsafe { &*block }
}

/// What is locked or not.
#[derive(Debug, Default)]
#[repr(C)]
pub struct LockWord {
    /// The number of the thread that holds it; 0 if nobody does.
    pub holder: AtomicU32,
    /// The thread that held it was stopped on the way: what it protects may be half changed.
    pub poisoned: AtomicU32,
}

/// What a provider publishes under one class: the place that a [`Handle`](crate::Handle) leads to. It stays when the
/// provider's module goes or is replaced.
#[derive(Debug)]
#[repr(align(8))]
pub struct Publication {
    /// Who publishes it.
    pub provider: ProviderId,
    /// Under which class; none for the object itself, which the kernel calls.
    pub class: Option<Class>,
    /// The object, and the vtable of its trait; 0 while there is none, or while each call is to be found out about.
    pub object: [AtomicUsize; 2],
    /// The object; 0 while there is none.
    pub hidden: AtomicUsize,
}

impl Publication {
    /// The place of a provider that publishes nothing yet.
    pub const fn new(provider: ProviderId, class: Option<Class>) -> Self {
        Self { provider, class, object: [const { AtomicUsize::new(0) }; 2], hidden: AtomicUsize::new(0) }
    }
}
