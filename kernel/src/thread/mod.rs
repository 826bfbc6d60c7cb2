//! Threads: starting them, blocking and waking them, telling them to end.
//!
//! [`schedule`] decides which runs where, [`event`] and [`mutex`] are what they wait for, [`calls`] what they are calling, and [`ending`]
//! ends them.

pub mod calls;
pub mod ending;
pub mod event;
pub mod mutex;
pub mod schedule;

use crate::memory::layout::stack_of;
use crate::memory::space::Stack;
use crate::modules::{self, Loaded};
use crate::processor::context::Context;
use crate::processor::{self, HardGuard, InterruptsMasked, MOST};
use crate::{failure, interrupt, supervision, time};
use abi::registry::ProviderId;
use abi::running::{Block, CALLS, Call};
use abi::sync::Lock;
use abi::system::{ThreadState, ThreadStatus};
use abi::thread::Priority;
use abi::time::Instant;
use abi::{Error, Result};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::mem;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use schedule::State;

/// Why a thread that was blocked goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Woken {
    /// What it waited for has happened.
    Raised,
    /// Its deadline has passed.
    Timeout,
    /// What it waited for is gone.
    Gone,
    /// It is to end, or to leave the module that it calls.
    Stopped,
}

/// A thread. Freed only when it has finished and is on no processor.
#[repr(C)]
pub struct Thread {
    // First, so that the one's address is the other's.
    block: Block,
    context: UnsafeCell<Context>,
    name: String,
    /// On whose behalf it runs.
    owner: Option<ProviderId>,
    /// Whose code it runs: that stays in memory as long as the thread.
    module: Option<Arc<Loaded>>,
    /// None for those that processors start with.
    stack: Option<Stack>,
    body: UnsafeCell<Option<Box<dyn FnOnce() + Send>>>,
    state: AtomicU8,
    woken: AtomicU8,
    woken_at: AtomicU64,
    base_priority: Priority,
    /// The priority that it has now.
    priority: AtomicUsize,
    /// Whether somebody is on its stack.
    on_processor: AtomicBool,
    /// The processor that it runs on, ran on last, or is queued at.
    processor: AtomicUsize,
    /// The next in a queue of those that are ready, or of those that have finished.
    next: AtomicPtr<Thread>,
    /// The next of those that wait for the same.
    next_waiter: AtomicPtr<Thread>,
    /// The next of those that sleep on the same processor's timer.
    next_sleeper: AtomicPtr<Thread>,
    deadline: AtomicU64,
    /// The word of the mutex that it waits for.
    mutex: AtomicPtr<AtomicU32>,
    /// The processor on whose timer it sleeps, or `usize::MAX`.
    sleeps_on: AtomicUsize,
    /// Its module is being removed.
    stopping: AtomicBool,
    /// The provider that it has to leave, see [`NOBODY`].
    leaving: AtomicU32,
    /// When it was given its processor, and for how long it has run before, in ticks of the counter.
    since: AtomicU64,
    time: AtomicU64,
    /// How often it was given a processor.
    switches: AtomicU64,
    /// How many ticks each of its calls has used.
    ticks: [AtomicU32; CALLS],
    /// For how many ticks of the counter each of its calls has waited.
    waits: [AtomicU64; CALLS],
    /// The instruction that an interrupt came upon the last time.
    interrupted_at: AtomicU64,
    /// It was told to end, or to leave a module, and doesn't.
    doomed: AtomicBool,
    /// It is being unwound, and uses what is kept for that of its stack.
    unwinding: AtomicBool,
}

// SAFETY: the cells are accessed by whoever starts the thread before it runs, by the thread itself, and by the scheduler
// while it runs nowhere; everything else is atomic or constant.
unsafe impl Sync for Thread {}

/// No provider.
const NOBODY: u32 = u32::MAX;

/// All threads.
static THREADS: Lock<Vec<&'static Thread>> = Lock::new(Vec::new());

/// Threads that have finished: the first of a list.
static FINISHED: AtomicPtr<Thread> = AtomicPtr::new(ptr::null_mut());

impl Thread {
    fn new(name: &str, owner: Option<ProviderId>, priority: Priority, stack: Option<Stack>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        Self {
            block: Block::new(NUMBER.fetch_add(1, Ordering::Relaxed)),
            context: UnsafeCell::default(),
            name: name.to_owned(),
            owner,
            module: None,
            stack,
            body: UnsafeCell::new(None),
            state: AtomicU8::new(State::Ready as u8),
            woken: AtomicU8::new(Woken::Raised as u8),
            woken_at: AtomicU64::new(0),
            base_priority: priority,
            priority: AtomicUsize::new(priority as usize),
            on_processor: AtomicBool::new(false),
            processor: AtomicUsize::new(processor::index()),
            next: AtomicPtr::new(ptr::null_mut()),
            next_waiter: AtomicPtr::new(ptr::null_mut()),
            next_sleeper: AtomicPtr::new(ptr::null_mut()),
            deadline: AtomicU64::new(0),
            mutex: AtomicPtr::new(ptr::null_mut()),
            sleeps_on: AtomicUsize::new(usize::MAX),
            stopping: AtomicBool::new(false),
            leaving: AtomicU32::new(NOBODY),
            since: AtomicU64::new(0),
            time: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            ticks: [const { AtomicU32::new(0) }; CALLS],
            waits: [const { AtomicU64::new(0) }; CALLS],
            interrupted_at: AtomicU64::new(0),
            doomed: AtomicBool::new(false),
            unwinding: AtomicBool::new(false),
        }
    }

    /// Its number, which no other thread has had.
    pub fn number(&self) -> u32 {
        self.block.number.load(Ordering::Relaxed)
    }

    fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Running,
            1 => State::Ready,
            2 => State::Blocked,
            _ => State::Finished,
        }
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    fn priority(&self) -> usize {
        self.priority.load(Ordering::Relaxed)
    }

    /// Adds the time since it was given its processor to what it has used.
    fn account(&self, now: u64) {
        let used = now.wrapping_sub(self.since.load(Ordering::Relaxed));
        self.time.store(self.time.load(Ordering::Relaxed) + used, Ordering::Relaxed);
    }

    /// Whether it is a module's, and more urgent than most.
    fn is_urgent_for_module(&self) -> bool {
        self.owner.is_some() && self.priority() > Priority::Normal as usize
    }

    /// Lets it be as urgent as one who waits for it.
    fn lend(&'static self, priority: usize) {
        if self.priority() < priority {
            self.set_priority(priority);
        }
    }

    fn set_priority(&'static self, priority: usize) {
        self.priority.store(priority, Ordering::Relaxed);
        schedule::requeue(self);
    }

    /// Ends a blocked thread's wait as far as its state goes; false if it doesn't wait any more.
    fn become_ready(&self, why: Woken) -> bool {
        let (blocked, ready) = (State::Blocked as u8, State::Ready as u8);
        let won = self.state.compare_exchange(blocked, ready, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if won {
            self.woken.store(why as u8, Ordering::Relaxed);
            self.woken_at.store(time::counter(), Ordering::Relaxed);
        }
        won
    }

    /// Wakes it if it is blocked.
    fn wake(&'static self, why: Woken) -> bool {
        let won = self.become_ready(why);
        if won {
            schedule::end_sleep(self);
            schedule::enqueue(self);
        }
        won
    }

    /// Blocks the thread, which is the running one, until it is woken; `lock` keeps away who would do that until then. If it
    /// waits in a call for longer than that may, it is as if it had been told to stop: when it waits again, it fails.
    fn block<T>(&'static self, lock: HardGuard<'_, T>, deadline: Option<Instant>) -> Woken {
        // First, since from here on it may be woken: who tells it to stop doesn't need the lock.
        self.priority.fetch_max(self.base_priority as usize, Ordering::Relaxed);
        let began = time::counter();
        let limit = self.patience().map(|patience| time::at(began) + patience);
        if let Some(deadline) = deadline.into_iter().chain(limit).min() {
            schedule::sleep(self, deadline);
        }
        self.set_state(State::Blocked);
        // Interrupts stay masked until it has its turn again.
        let masked = lock.release();
        // Who told it to stop before it was blocked couldn't wake it.
        if self.is_stopping() && self.become_ready(Woken::Stopped) {
            schedule::end_sleep(self);
            self.set_state(State::Running);
        } else {
            schedule::switch(&masked);
            // What comes between being woken and its turn isn't anybody's doing.
            self.add_wait(self.woken_at.load(Ordering::Relaxed).saturating_sub(began));
        }
        match self.woken.load(Ordering::Relaxed) {
            0 => Woken::Raised,
            1 if deadline.is_none_or(|deadline| limit.is_some_and(|limit| limit < deadline)) => Woken::Stopped,
            1 => Woken::Timeout,
            2 => Woken::Gone,
            _ => Woken::Stopped,
        }
    }

    /// Whether it mustn't wait any more: it is to end, or to leave a module that it calls.
    fn is_stopping(&self) -> bool {
        let leaving = self.leaving.load(Ordering::Acquire);
        self.stopping.load(Ordering::Acquire) || leaving != NOBODY && self.is_calling(ProviderId::from_raw(leaving))
    }

    /// Whether it is calling a provider, directly or not.
    fn is_calling(&self, provider: ProviderId) -> bool {
        let depth = self.block.depth.load(Ordering::Acquire) as usize;
        let publications = self.block.calls.iter().take(depth).filter_map(Call::publication);
        publications.into_iter().any(|publication| publication.provider == provider)
    }
}

/// The numbers of threads are below; the blocks that processors start with have those from here on.
const THREAD_NUMBERS: u32 = 1 << 30;

/// Gives this processor a block, before anything else; [`initialise`] gives it a thread.
pub fn prepare() {
    static BLOCKS: [Block; MOST] = {
        let mut blocks = [const { Block::new(THREAD_NUMBERS) }; MOST];
        let mut index = 0;
        while index < MOST {
            blocks[index].number = AtomicU32::new(THREAD_NUMBERS + index as u32);
            index += 1;
        }
        blocks
    };
    processor::set_block(&BLOCKS[processor::index() % MOST]);
}

/// The running thread; none before this processor has one.
fn running() -> Option<&'static Thread> {
    (abi::running::block().number.load(Ordering::Relaxed) < THREAD_NUMBERS).then(schedule::running)
}

/// Makes the calling code the idle thread of this processor. To be called once on each.
pub fn initialise() {
    let name = alloc::format!("idle/{}", processor::index());
    let thread: &'static Thread = Box::leak(Box::new(Thread::new(&name, None, Priority::Low, None)));
    // A processor had nothing to do before it was started.
    thread.time.store(time::counter(), Ordering::Relaxed);
    schedule::enter(thread);
    THREADS.lock().push(thread);
}

/// Starts a thread on behalf of `owner`.
///
/// # Errors
/// When there is no memory for its stack; [`Error::Stopping`] when the running thread is to end.
pub fn spawn(name: &str, owner: Option<ProviderId>, priority: Priority, body: Box<dyn FnOnce() + Send>) -> Result<()> {
    if schedule::running().is_stopping() {
        return Err(Error::Stopping);
    }
    reap();
    let module = module_of(&*body);
    let stack = Stack::new()?;
    let stack_end = stack.end();
    let room = Box::try_new_uninit().map_err(|_| Error::OutOfMemory(size_of::<Thread>()))?;
    let mut thread = Box::write(room, Thread { module, ..Thread::new(name, owner, priority, Some(stack)) });
    thread.body = UnsafeCell::new(Some(body));
    // SAFETY: the stack was made for this thread and is freed only after it has finished.
    thread.context = UnsafeCell::new(unsafe { Context::new(stack_end, enter, 0) });
    let mut threads = THREADS.lock();
    threads.try_reserve(1).map_err(|_| Error::OutOfMemory(size_of::<&Thread>() * threads.len()))?;
    let thread: &'static Thread = Box::leak(thread);
    threads.push(thread);
    drop(threads);
    schedule::enqueue(thread);
    give_way_if_due();
    Ok(())
}

/// The module whose code `body` is: a trait object's vtable is one of the module's constants.
fn module_of(body: &(dyn FnOnce() + Send)) -> Option<Arc<Loaded>> {
    let object: *const (dyn FnOnce() + Send) = body;
    // SAFETY: a pointer to a trait object is the object's address and that of its vtable; both are just numbers here.
    let [_, vtable]: [usize; 2] = unsafe { mem::transmute(object) };
    modules::containing(vtable)
}

extern "C" fn enter(_argument: usize) -> ! {
    schedule::finish();
    // SAFETY: `switch` comes here with interrupts masked and no lock held.
    unsafe { processor::unmask_interrupts() };
    let thread = schedule::running();
    // SAFETY: nobody else accesses it any more.
    let body = unsafe { (*thread.body.get()).take() };
    if let Some(Err(failure)) = body.map(failure::catch) {
        supervision::thread_failed(thread.owner, &thread.name, failure);
    }
    THREADS.lock().retain(|other| !ptr::eq(*other, thread));
    let masked = InterruptsMasked::new();
    let mut first = FINISHED.load(Ordering::Relaxed);
    loop {
        thread.next.store(first, Ordering::Relaxed);
        let own = ptr::from_ref(thread).cast_mut();
        match FINISHED.compare_exchange(first, own, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(other) => first = other,
        }
    }
    thread.set_state(State::Finished);
    schedule::switch(&masked);
    unreachable!("a finished thread was resumed")
}

/// Frees the threads that have finished.
pub fn reap() {
    static REAPING: Lock<()> = Lock::new(());
    while !FINISHED.load(Ordering::Relaxed).is_null() {
        // One at a time, so that nobody waits long. Who has taken one isn't interrupted before it is freed: what an idle
        // processor refers to isn't looked for.
        let _reaping = REAPING.lock();
        let Some(thread) = take_finished() else { return };
        while thread.state() != State::Finished || thread.on_processor.load(Ordering::Acquire) {
            // Its last few instructions on another processor.
            core::hint::spin_loop();
        }
        // SAFETY: it was leaked from a box in `spawn`, is in no list any more, and nobody is on its stack.
        drop(unsafe { Box::from_raw(ptr::from_ref(thread).cast_mut()) });
    }
}

/// Takes the first of the threads that have finished. One caller at a time: between two looks at the first nobody else may
/// take it, free it and put another in its place.
fn take_finished() -> Option<&'static Thread> {
    let mut first = FINISHED.load(Ordering::Acquire);
    loop {
        // SAFETY: who is in the list lives, and is taken out here alone.
        let thread: &'static Thread = unsafe { first.as_ref() }?;
        let next = thread.next.load(Ordering::Relaxed);
        match FINISHED.compare_exchange(first, next, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => return Some(thread),
            Err(other) => first = other,
        }
    }
}

/// Refuses to wait where that would never end well.
fn check_may_wait() {
    let running = schedule::running();
    if running.block.masked.load(Ordering::Relaxed) > 0 {
        calls::blame_holder();
        panic!("a wait in an interrupt handler or with a lock held");
    }
    if ending::is_doomed() {
        failure::stop_here(format_args!("it was told to end and waits again"));
    }
    if running.patience().is_some_and(|patience| patience.is_zero()) {
        failure::stop_here(format_args!("it waited for more than {} s", supervision::longest_wait().as_secs()));
    }
}

/// What the processor does when there is nothing to do: sleeps until an interrupt comes.
// Not inlined: its callers may have kept the block that they had before they were a thread.
#[inline(never)]
pub fn idle() -> ! {
    loop {
        reap();
        let masked = InterruptsMasked::new();
        if schedule::has_work() {
            schedule::switch(&masked);
        } else if schedule::has_sleepers() && !time::has_interrupt() {
            // Nothing would end the sleep: the counter has to be looked at.
            schedule::tick();
        } else {
            aarch64_cpu::asm::wfi();
        }
    }
}

/// Lets the other threads that are ready and not less urgent run first.
pub fn yield_now() {
    schedule::switch(&InterruptsMasked::new());
}

/// Does what waited for the running thread to let go of its last lock.
pub fn unmasked() {
    loop {
        // Where interrupts are masked, whoever masked them looks after it.
        if processor::interrupts_are_masked() {
            return;
        }
        let masked = InterruptsMasked::new();
        settle(&masked);
        drop(masked);
        if schedule::running().block.pending.load(Ordering::Relaxed) == 0 {
            return;
        }
    }
}

/// Serves the interrupts that had to wait, and gives way if that is due; nothing if a lock is held.
pub fn settle(masked: &InterruptsMasked) {
    let block = &schedule::running().block;
    if block.masked.load(Ordering::Relaxed) == 0 {
        processor::pause_if_told();
        block.pending.store(0, Ordering::Relaxed);
        interrupt::serve_deferred();
        if schedule::is_due() {
            schedule::switch(masked);
        }
    }
}

/// Gives way to a more urgent thread that has become ready, unless a lock is held.
pub fn give_way_if_due() {
    let block = &schedule::running().block;
    if block.pending.load(Ordering::Relaxed) != 0 && block.masked.load(Ordering::Relaxed) == 0 {
        unmasked();
    }
}

/// Waits until `deadline`.
///
/// # Errors
/// [`Error::Stopping`].
pub fn sleep_until(deadline: Instant) -> Result<()> {
    static NOTHING: processor::HardLock<()> = processor::HardLock::new(());
    check_may_wait();
    let thread = schedule::running();
    if thread.is_stopping() {
        return Err(Error::Stopping);
    }
    match thread.block(NOTHING.lock(), Some(deadline)) {
        Woken::Stopped if thread.is_stopping() => Err(Error::Stopping),
        // It was to leave a module that it has left meanwhile, or has slept for too long.
        Woken::Stopped => sleep_until(deadline),
        _ => Ok(()),
    }
}

/// Notes that an interrupt came upon the running thread at that instruction; returns whether the last one came there, too.
pub fn is_interrupted_again(place: u64) -> bool {
    schedule::running().interrupted_at.swap(place, Ordering::Relaxed) == place
}

/// The running thread's number.
pub fn current() -> u32 {
    abi::running::block().number.load(Ordering::Relaxed)
}

/// The name of the thread of that number, if it hasn't finished.
pub fn name_of(number: u32) -> Option<String> {
    THREADS.lock().iter().find(|thread| thread.number() == number).map(|thread| thread.name.clone())
}

/// On whose behalf the running code runs: the provider that is being called, or else the thread's own.
pub fn owner() -> Option<ProviderId> {
    match abi::running::block().innermost() {
        Some(call) => Some(call.provider),
        None => running()?.owner,
    }
}

/// Runs code that may panic, such as a module's. A panic ends it, and its message is the error.
pub fn guarded<R>(action: impl FnOnce() -> R) -> core::result::Result<R, String> {
    failure::catch(action).map_err(|failure| {
        log::info!("what it was that {failure}\n{}", failure.backtrace());
        failure.to_string()
    })
}

/// What is in use of the stacks of all threads but the running one, while the other processors stand still.
pub fn suspended_stacks() -> Vec<Range<usize>> {
    let running = schedule::running();
    let stack = |thread: &&'static Thread| {
        let pointer = if thread.on_processor.load(Ordering::Acquire) {
            processor::paused_stack_pointer(thread.processor.load(Ordering::Relaxed))
        } else {
            // SAFETY: it is on no processor, so that nobody writes there.
            unsafe { (*thread.context.get()).stack_pointer() }
        };
        match &thread.stack {
            // A module has lost it.
            Some(stack) if !stack.place().contains(&pointer) => stack.place(),
            // A stack is the upper half of its slot.
            _ => pointer..stack_of(pointer).map_or(pointer, |stack| stack.end),
        }
    };
    // What has nothing to do refers to nothing of a module's, whatever old addresses there are in its frames and registers.
    let is_idle = |thread: &Thread| thread.stack.is_none() && thread.block.depth.load(Ordering::Relaxed) == 0;
    let counts = |thread: &&&'static Thread| !ptr::eq(**thread, running) && !is_idle(thread);
    THREADS.lock().iter().filter(counts).map(stack).collect()
}

/// How things stand, for people.
pub fn status() -> Vec<ThreadStatus> {
    let now = time::counter();
    let status = |thread: &&'static Thread| {
        let state = match thread.state() {
            // An idle thread is in no queue while others run.
            State::Running if thread.on_processor.load(Ordering::Relaxed) => ThreadState::Running,
            State::Running | State::Ready => ThreadState::Ready,
            State::Blocked | State::Finished => ThreadState::Blocked,
        };
        let current = match state {
            ThreadState::Running => now.saturating_sub(thread.since.load(Ordering::Relaxed)),
            _ => 0,
        };
        let used = time::at(thread.time.load(Ordering::Relaxed) + current);
        ThreadStatus {
            number: thread.number(),
            name: thread.name.clone(),
            owner: thread.owner,
            priority: match thread.priority() {
                0 => Priority::Low,
                1 => Priority::Normal,
                2 => Priority::High,
                _ => Priority::Urgent,
            },
            state,
            processor: thread.processor.load(Ordering::Relaxed),
            time: used.since(Instant::default()),
            switches: thread.switches.load(Ordering::Relaxed),
        }
    };
    THREADS.lock().iter().map(status).collect()
}

/// The running thread's name.
pub fn name() -> String {
    running().map_or_else(|| "boot".to_owned(), |thread| thread.name.clone())
}
