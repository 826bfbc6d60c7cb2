//! What a thread is calling and holds: noted by the modules themselves (`abi::running`), used when something goes wrong.

use super::{Thread, mutex, running, schedule};
use crate::memory::layout;
use crate::{memory, modules, processor, registry, supervision, time};
use abi::running::{Call, HANDLER_CALLS, LockWord, MOST_CALLS};
use abi::time::Instant;
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use unwinder::Landing;

/// What the kernel notes in a call beside whom it leads to: gone when another has taken its place.
#[derive(Clone, Copy)]
pub enum Mark {
    /// The timer has come upon it.
    Ticked = 1,
    /// It has waited for something.
    Waited = 2,
}

/// Marks a call; returns whether it was marked before.
pub fn mark(call: &Call, mark: Mark) -> bool {
    let bit = mark as usize;
    let marked = call.publication.load(Ordering::Relaxed).map_addr(|address| address | bit);
    call.publication.swap(marked, Ordering::Relaxed).addr() & bit != 0
}

impl Thread {
    /// Its innermost call, and the number of that.
    fn innermost_call(&self) -> Option<(usize, &Call)> {
        let index = (self.block.depth.load(Ordering::Relaxed) as usize).checked_sub(1)?;
        Some((index, self.block.calls.get(index)?))
    }

    /// The locks that it holds since its innermost call began: all others are the caller's.
    fn locks_of_call(&self) -> impl Iterator<Item = &'static LockWord> {
        let block = &self.block;
        let depth = block.depth.load(Ordering::Relaxed) as usize;
        let base = self.innermost_call().map_or(0, |(_, call)| call.locks_before() as usize);
        let held = block.held.iter().take(block.masked.load(Ordering::Relaxed) as usize).skip(base);
        let mutexes = block.mutexes.iter().take(block.mutexes_held.load(Ordering::Relaxed) as usize).map(Cell::get);
        let mutexes = mutexes.filter(move |(_, taken)| *taken as usize >= depth).map(|(word, _)| word);
        // Where a module has damaged what is noted, there may be anything.
        let is_word = |word: &*const LockWord| word.is_aligned() && processor::is_writable(word.addr());
        // SAFETY: what is held lives, since nothing has been unwound yet; all else can be read at least.
        held.map(Cell::get).chain(mutexes).filter(is_word).filter_map(|word| unsafe { word.as_ref() })
    }

    /// Forgets the locks that were taken in a call that has been unwound, when there were `depth` calls.
    fn let_go_of_locks(&self, depth: usize) {
        let block = &self.block;
        let base = block.calls.get(depth).map_or(0, Call::locks_before);
        block.masked.fetch_min(base, Ordering::Relaxed);
        while let Some(index) = block.mutexes_held.load(Ordering::Relaxed).checked_sub(1)
            && let Some((word, taken)) = block.mutexes.get(index as usize).map(Cell::get)
            && taken as usize > depth
        {
            block.mutexes_held.store(index, Ordering::Relaxed);
            mutex::abandon(word);
        }
    }

    /// How long its innermost call has waited, in ticks of the counter; none if it calls nobody.
    fn waited(&self) -> Option<&AtomicU64> {
        let (index, call) = self.innermost_call()?;
        call.publication()?;
        let waited = self.waits.get(index)?;
        if !mark(call, Mark::Waited) {
            waited.store(0, Ordering::Relaxed);
        }
        Some(waited)
    }

    /// How long whom it calls may wait still; as long as he likes if it calls nobody.
    pub fn patience(&self) -> Option<Duration> {
        let waited = time::at(self.waited()?.load(Ordering::Relaxed)).since(Instant::default());
        Some(supervision::longest_wait().saturating_sub(waited))
    }

    /// Adds a wait in its innermost call, in ticks of the counter.
    pub fn add_wait(&self, ticks: u64) {
        if let Some(waited) = self.waited() {
            waited.fetch_add(ticks, Ordering::Relaxed);
        }
    }
}

/// The running thread is about to be unwound: what its locks protect may be half changed. The kernel's own are let go of
/// in the usual way.
pub fn poison_locks() {
    let Some(thread) = running() else { return };
    for word in thread.locks_of_call().filter(|word| !is_kernel_lock(word)) {
        // One that is only being waited for is another's.
        if word.holder.load(Ordering::Relaxed) & !mutex::AWAITED == thread.number() {
            word.poisoned.store(1, Ordering::Relaxed);
        }
    }
}

/// Whether the running thread has taken locks in its innermost call that it still holds.
pub fn keeps_locks() -> bool {
    running().is_some_and(|thread| thread.locks_of_call().next().is_some())
}

/// Whether all locks that [`keeps_locks`] is about are variables of other modules than the one that is called, or of functions
/// that led to the call: it was the caller that took them, in the closure that it passed.
pub fn keeps_callers_locks() -> bool {
    let is_callers = |thread: &Thread| {
        let Some((_, call)) = thread.innermost_call() else { return false };
        let Some(called) = call.publication() else { return false };
        let landing = call.landing.stack_pointer.load(Ordering::Relaxed) as usize;
        let above = layout::stack_of(landing).map_or(0..0, |stack| landing..stack.end);
        let own = registry::module_of(called.provider).unwrap_or_default();
        let is_others = |word: &LockWord| {
            let address = ptr::from_ref(word).addr();
            above.contains(&address) || modules::containing(address).is_some() && !modules::is_part_of(&own, address)
        };
        thread.locks_of_call().all(is_others)
    };
    running().is_some_and(is_callers)
}

/// With less of its stack a caller can't go on after a failure: it needs a page, and may be interrupted.
const LANDING_ROOM: usize = 6 << 10;

/// Where the running thread's innermost guarded call goes on if it fails; nowhere once it has. A caller that has left itself
/// no room on the stack for that fails as well.
pub fn landing() -> Option<Landing> {
    let thread = running()?;
    mend_calls();
    loop {
        let (_, call) = thread.innermost_call()?;
        let stack_pointer = call.landing.stack_pointer.load(Ordering::Relaxed);
        let is_on_stack = thread.stack.as_ref().is_none_or(|stack| stack.place().contains(&(stack_pointer as usize)));
        let program_counter = call.landing.program_counter.load(Ordering::Relaxed);
        if !is_on_stack || program_counter == LANDED {
            return None;
        }
        let room = layout::stack_of(stack_pointer as usize).map_or(0, |stack| stack_pointer as usize - stack.start);
        if thread.stack.is_none() || room >= LANDING_ROOM {
            return Some(Landing { stack_pointer, program_counter });
        }
        thread.leave_call();
    }
}

impl Thread {
    /// Has what happens from now on in its innermost call be the caller's failure.
    fn leave_call(&self) {
        let depth = self.block.depth.load(Ordering::Relaxed);
        self.block.depth.store(depth.saturating_sub(1), Ordering::Release);
    }
}

/// The running thread is about to fail since it holds a lock: if it does so since before its innermost call, the caller fails.
pub fn blame_holder() {
    let Some(thread) = running().filter(|_| !serves_interrupt()) else { return };
    while thread.innermost_call().is_some_and(|(_, call)| call.locks_before() > 0) {
        thread.leave_call();
    }
}

/// Where no call lands: it has done so, and is over as soon as the kernel has been told.
const LANDED: u64 = 0;

/// The running thread's innermost call lands. It can't fail again on the way to [`recover`]: what its landing takes from the
/// stack may be there no more.
pub fn land() {
    if let Some((_, call)) = running().and_then(Thread::innermost_call) {
        call.landing.program_counter.store(LANDED, Ordering::Relaxed);
    }
}

/// How many calls may be nested where the running thread is now. Handlers may be called where modules may call nobody any more,
/// and controllers are asked about interrupts that come upon handlers.
pub fn most_calls() -> usize {
    if processor::interrupts_are_masked() {
        abi::running::block().calls.len()
    } else if serves_interrupt() {
        MOST_CALLS + HANDLER_CALLS
    } else {
        MOST_CALLS
    }
}

/// Forgets the calls of the running thread if there are more than there can be. That is what is left of their count when a
/// module has not kept a register for its caller; as long as it stands, nobody can be called, not even to acknowledge an
/// interrupt. What remains is the call of the thread's own function.
pub fn mend_calls() {
    let block = &schedule::running().block;
    if block.depth.load(Ordering::Relaxed) as usize > block.calls.len() {
        block.depth.store(u32::from(!schedule::runs_nothing()), Ordering::Relaxed);
    }
}

/// Whether the running thread is in a call of a module's.
pub fn is_in_call() -> bool {
    running().is_some_and(|thread| thread.block.innermost().is_some())
}

/// Whether the running thread holds a lock of the kernel's since its innermost call began.
pub fn holds_kernel_lock() -> bool {
    running().is_none_or(|thread| thread.locks_of_call().any(is_kernel_lock))
}

fn is_kernel_lock(word: &LockWord) -> bool {
    let address = ptr::from_ref(word).addr();
    memory::image_data().iter().any(|data| data.contains(&address))
}

/// The running thread's innermost call has been unwound: it is over.
pub fn recover() {
    let thread = schedule::running();
    let depth = thread.block.depth.load(Ordering::Relaxed).saturating_sub(1);
    thread.let_go_of_locks(depth as usize);
    thread.block.depth.store(depth, Ordering::Release);
    // Where it was left while it was being unwound.
    thread.unwinding.store(false, Ordering::Relaxed);
}

/// Whether the running thread serves an interrupt.
pub fn serves_interrupt() -> bool {
    let block = abi::running::block();
    block.masked.load(Ordering::Relaxed) > 0 && block.held.first().is_some_and(|first| first.get().is_null())
}

/// Runs what unwinds the running thread.
pub fn unwinding<R>(action: impl FnOnce() -> R) -> R {
    let set = |value| running().into_iter().for_each(|thread| thread.unwinding.store(value, Ordering::Relaxed));
    set(true);
    let result = action();
    set(false);
    result
}

/// Runs what serves an interrupt. The interrupted thread may be on the way of a failure, as its handler may be soon, and it
/// may be about to make a call: it has noted a part of that in the place where the handler's calls are noted. It finds all as
/// it was.
pub fn interrupted<R>(action: impl FnOnce() -> R) -> R {
    let block = abi::running::block();
    let next = block.calls.get(block.depth.load(Ordering::Relaxed) as usize);
    let words = |call: &'static Call| {
        let Call { publication, base, landing } = call;
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        (publication.load(Ordering::Relaxed), load(base), load(&landing.stack_pointer), load(&landing.program_counter))
    };
    let noted = next.map(words);
    let unwinding = running().map(|thread| (thread, thread.unwinding.swap(false, Ordering::Relaxed)));
    let result = action();
    if let Some((thread, was_unwinding)) = unwinding {
        thread.unwinding.store(was_unwinding, Ordering::Relaxed);
    }
    if let (Some(call), Some((publication, base, stack_pointer, program_counter))) = (next, noted) {
        call.publication.store(publication, Ordering::Relaxed);
        call.base.store(base, Ordering::Relaxed);
        call.landing.stack_pointer.store(stack_pointer, Ordering::Relaxed);
        call.landing.program_counter.store(program_counter, Ordering::Relaxed);
    }
    result
}

/// Whether the running thread is being unwound.
pub fn is_unwinding() -> bool {
    running().is_some_and(|thread| thread.unwinding.load(Ordering::Relaxed))
}
