//! Threads, and the events that they wait for.
//!
//! One processor runs them for now, in the order in which they act_for ready; a thread that an interrupt makes ready
//! preempts the one that was interrupted.

use crate::memory::space::Stack;
use crate::memory::{self, reserve};
use crate::modules::{self, Loaded};
use crate::processor::context::{self, Context};
use crate::{processor, time};
use abi::event::{Signal, Wake};
use abi::registry::ProviderId;
use abi::sync::{InterruptsMasked, Lock, LockGuard};
use abi::time::Instant;
use abi::{Error, Result};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

type Index = usize;

/// How long a removal waits for threads to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The thread that started the kernel, which runs when no other can.
const IDLE: Index = 0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Running, or in the queue.
    Ready,
    Blocked,
    Finished,
}

struct Thread {
    name: String,
    /// On whose behalf it runs.
    owner: Option<ProviderId>,
    state: State,
    context: Context,
    /// None for the idle thread.
    stack: Option<Stack>,
    body: Option<Box<dyn FnOnce() + Send>>,
    deadline: Option<Instant>,
    /// Why it was woken.
    timed_out: bool,
    /// Its module is being removed.
    stopping: bool,
    /// It gives way only when it waits.
    undisturbed: bool,
    /// Whose code it runs: that stays in memory as long as the thread.
    module: Option<Arc<Loaded>>,
}

impl Thread {
    /// A thread that is ready, with neither a stack nor anything to do.
    fn new(name: &str, owner: Option<ProviderId>) -> Self {
        Self {
            name: name.to_owned(),
            owner,
            state: State::Ready,
            context: Context::default(),
            stack: None,
            body: None,
            deadline: None,
            timed_out: false,
            stopping: false,
            undisturbed: false,
            module: None,
        }
    }
}

struct EventSlot {
    generation: u32,
    live: bool,
    /// On whose behalf it was made.
    owner: Option<ProviderId>,
    raised: bool,
    waiters: Vec<Index>,
}

struct Scheduler {
    // Boxed, because a suspended thread's context is written through a pointer.
    threads: Vec<Option<Box<Thread>>>,
    running: Index,
    ready: VecDeque<Index>,
    sleepers: BTreeSet<(Instant, Index)>,
    events: Vec<EventSlot>,
    /// An interrupt has made a thread ready.
    preempt: bool,
    /// The thread that has just finished, and can be dropped once nobody is on its stack any more.
    finished: Option<Index>,
}

static SCHEDULER: Lock<Scheduler> = Lock::new(Scheduler {
    threads: Vec::new(),
    running: IDLE,
    ready: VecDeque::new(),
    sleepers: BTreeSet::new(),
    events: Vec::new(),
    preempt: false,
    finished: None,
});

/// The running thread's owner, for those who want nothing else: its number, or [`NOBODY`].
static OWNER: AtomicU32 = AtomicU32::new(NOBODY);

const NOBODY: u32 = u32::MAX;

impl Scheduler {
    fn thread(&mut self, index: Index) -> &mut Thread {
        match self.threads.get_mut(index) {
            Some(Some(thread)) => thread,
            _ => unreachable!("thread {index} is in a queue and doesn't exist"),
        }
    }

    fn running(&mut self) -> &mut Thread {
        self.thread(self.running)
    }

    fn wake(&mut self, index: Index, timed_out: bool) {
        let thread = self.thread(index);
        if thread.state != State::Blocked {
            return;
        }
        thread.state = State::Ready;
        thread.timed_out = timed_out;
        if let Some(deadline) = thread.deadline.take() {
            self.sleepers.remove(&(deadline, index));
            self.arm_timer();
        }
        self.ready.push_back(index);
        self.preempt = true;
    }

    fn arm_timer(&self) {
        time::set_deadline(self.sleepers.first().map(|(deadline, _)| *deadline));
    }

    fn event(&mut self, signal: Signal) -> Option<&mut EventSlot> {
        let (index, generation) = (signal.raw() as u32, (signal.raw() >> 32) as u32);
        self.events.get_mut(index as usize).filter(|event| event.live && event.generation == generation)
    }

    fn add(&mut self, thread: Thread) -> Index {
        let index = self.threads.iter().position(Option::is_none).unwrap_or(self.threads.len());
        let thread = Some(Box::new(thread));
        match self.threads.get_mut(index) {
            Some(slot) => *slot = thread,
            None => self.threads.push(thread),
        }
        index
    }
}

/// Makes the calling code the idle thread. To be called once, before anything else here.
pub fn initialise() {
    SCHEDULER.lock().add(Thread::new("idle", None));
}

/// Starts a thread on behalf of `owner`.
///
/// # Errors
/// When there is no memory for its stack.
pub fn spawn(name: &str, owner: Option<ProviderId>, body: Box<dyn FnOnce() + Send>) -> Result<()> {
    let module = module_of(&*body);
    let stack = Stack::new()?;
    let stack_end = stack.end();
    let mut scheduler = SCHEDULER.lock();
    let index = scheduler.add(Thread { stack: Some(stack), body: Some(body), module, ..Thread::new(name, owner) });
    // SAFETY: the stack was made for this thread and is freed only after it has finished.
    scheduler.thread(index).context = unsafe { Context::new(stack_end, enter, index) };
    scheduler.ready.push_back(index);
    Ok(())
}

/// The module whose code `body` is: a trait object's vtable is one of the module's constants.
fn module_of(body: &(dyn FnOnce() + Send)) -> Option<Arc<Loaded>> {
    let object: *const (dyn FnOnce() + Send) = body;
    // SAFETY: a pointer to a trait object is the object's address and that of its vtable; both are just numbers here.
    let [_, vtable]: [usize; 2] = unsafe { core::mem::transmute(object) };
    modules::containing(vtable)
}

extern "C" fn enter(index: usize) -> ! {
    bury();
    // SAFETY: `switch` comes here with interrupts masked and no lock held.
    unsafe { processor::unmask_interrupts() };
    let body = SCHEDULER.lock().thread(index).body.take();
    if let Some(Err(message)) = body.map(guarded) {
        log::error!("thread '{}' panicked: {message}", name());
    }
    let masked = InterruptsMasked::new();
    let mut scheduler = SCHEDULER.lock();
    scheduler.thread(index).state = State::Finished;
    scheduler.finished = Some(index);
    drop(scheduler);
    switch(&masked);
    unreachable!("a finished thread was resumed")
}

/// Gives the processor to the next thread that is ready. The caller has put the running thread where it belongs.
fn switch(_masked: &InterruptsMasked) {
    let mut scheduler = SCHEDULER.lock();
    scheduler.preempt = false;
    let previous = scheduler.running;
    let next = scheduler.ready.pop_front().unwrap_or(IDLE);
    if next == previous {
        return;
    }
    scheduler.running = next;
    set_owner(scheduler.thread(next).owner);
    let from = &raw mut scheduler.thread(previous).context;
    let to = scheduler.thread(next).context;
    drop(scheduler);
    // SAFETY: `next` isn't running, so its context is the one that it was suspended or made with; `from` points into a
    // boxed thread, which is dropped only once it has finished. The caller has masked interrupts.
    unsafe { context::switch(from, to) };
    bury();
}

/// After a switch: drops the thread that was just left, if it has finished. Nobody is on its stack any more.
fn bury() {
    let mut scheduler = SCHEDULER.lock();
    let finished = scheduler.finished.take().and_then(|index| scheduler.threads.get_mut(index)?.take());
    drop(scheduler);
    drop(finished);
}

/// Blocks the running thread; `scheduler` has been told by whom it will be woken. True if the deadline passed first.
fn block(
    masked: &InterruptsMasked,
    mut scheduler: LockGuard<'_, Scheduler>,
    deadline: Option<Instant>,
) -> Result<bool> {
    let index = scheduler.running;
    let thread = scheduler.running();
    if thread.stopping {
        return Err(Error::Stopping);
    }
    thread.state = State::Blocked;
    thread.deadline = deadline;
    if let Some(deadline) = deadline {
        scheduler.sleepers.insert((deadline, index));
        scheduler.arm_timer();
    }
    drop(scheduler);
    switch(masked);
    let mut scheduler = SCHEDULER.lock();
    let thread = scheduler.running();
    if thread.stopping { Err(Error::Stopping) } else { Ok(thread.timed_out) }
}

/// Lets the other threads that are ready run first.
pub fn yield_now() {
    let masked = InterruptsMasked::new();
    let mut scheduler = SCHEDULER.lock();
    let index = scheduler.running;
    if index != IDLE {
        scheduler.ready.push_back(index);
    }
    drop(scheduler);
    switch(&masked);
}

/// At the end of an interrupt: gives way to a thread that the interrupt has made ready.
pub fn preempt() {
    let mut scheduler = SCHEDULER.lock();
    let due = scheduler.preempt && !scheduler.running().undisturbed;
    drop(scheduler);
    if due {
        yield_now();
    }
}

/// Runs `action` without giving way to threads that act_for ready, unless it waits itself.
pub fn undisturbed<R>(action: impl FnOnce() -> R) -> R {
    SCHEDULER.lock().running().undisturbed = true;
    let result = action();
    SCHEDULER.lock().running().undisturbed = false;
    result
}

/// The timer's interrupt: wakes all whose deadline has passed.
pub fn timer_interrupt() {
    let now = time::now();
    let mut scheduler = SCHEDULER.lock();
    while let Some(&(deadline, index)) = scheduler.sleepers.first() {
        if deadline > now {
            break;
        }
        scheduler.wake(index, true);
    }
    scheduler.arm_timer();
}

/// What the processor does when there is nothing to do: sleeps until an interrupt comes.
pub fn idle() -> ! {
    loop {
        let masked = InterruptsMasked::new();
        let scheduler = SCHEDULER.lock();
        let (work, sleepers) = (!scheduler.ready.is_empty(), !scheduler.sleepers.is_empty());
        drop(scheduler);
        if work {
            switch(&masked);
        } else if sleepers && !time::has_interrupt() {
            // Nothing would end the sleep: the counter has to be looked at.
            timer_interrupt();
        } else {
            aarch64_cpu::asm::wfi();
        }
    }
}

/// Waits until `deadline`.
///
/// # Errors
/// [`Error::Stopping`].
pub fn sleep_until(deadline: Instant) -> Result<()> {
    let masked = InterruptsMasked::new();
    block(&masked, SCHEDULER.lock(), Some(deadline)).map(|_| ())
}

/// Makes an event.
pub fn event_create() -> Signal {
    let mut scheduler = SCHEDULER.lock();
    let index = scheduler.events.iter().position(|event| !event.live).unwrap_or(scheduler.events.len());
    if index == scheduler.events.len() {
        scheduler.events.push(EventSlot {
            generation: 0,
            live: false,
            owner: None,
            raised: false,
            waiters: Vec::new(),
        });
    }
    let owner = scheduler.running().owner;
    let generation = scheduler.events.get_mut(index).map_or(0, |event| {
        event.live = true;
        event.owner = owner;
        event.raised = false;
        event.generation
    });
    signal(index, generation)
}

/// Ends an event; later signals do nothing.
pub fn event_destroy(signal: Signal) {
    let mut scheduler = SCHEDULER.lock();
    let Some(event) = scheduler.event(signal) else { return };
    event.live = false;
    event.generation = event.generation.wrapping_add(1);
    for waiter in core::mem::take(&mut event.waiters) {
        scheduler.wake(waiter, false);
    }
}

/// Ends all events that were made on behalf of `owner`; returns how many.
pub fn destroy_events(owner: ProviderId) -> usize {
    let scheduler = SCHEDULER.lock();
    let theirs = |(_, event): &(usize, &EventSlot)| event.live && event.owner == Some(owner);
    let signal = |(index, event): (usize, &EventSlot)| signal(index, event.generation);
    let signals: Vec<Signal> = scheduler.events.iter().enumerate().filter(theirs).map(signal).collect();
    drop(scheduler);
    signals.iter().for_each(|signal| event_destroy(*signal));
    signals.len()
}

/// The name of the event at a place in the scheduler's list.
fn signal(index: usize, generation: u32) -> Signal {
    Signal::from_raw(u64::from(generation) << 32 | index as u64)
}

/// Whether an event hasn't been destroyed yet.
pub fn event_is_live(signal: Signal) -> bool {
    SCHEDULER.lock().event(signal).is_some()
}

/// Raises an event.
pub fn event_raise(signal: Signal) {
    let mut scheduler = SCHEDULER.lock();
    let Some(event) = scheduler.event(signal) else { return };
    event.raised = true;
    while let Some(waiter) = scheduler.event(signal).and_then(|event| event.waiters.pop()) {
        scheduler.wake(waiter, false);
    }
}

/// Waits for an event.
///
/// # Errors
/// [`Error::Stopping`], or [`Error::Gone`] for an event that has been destroyed.
pub fn event_wait(signal: Signal, deadline: Option<Instant>) -> Result<Wake> {
    loop {
        let masked = InterruptsMasked::new();
        let mut scheduler = SCHEDULER.lock();
        let (index, stopping) = (scheduler.running, scheduler.running().stopping);
        let event = scheduler.event(signal).ok_or(Error::Gone)?;
        if stopping {
            return Err(Error::Stopping);
        }
        if core::mem::take(&mut event.raised) {
            return Ok(Wake::Raised);
        }
        if deadline.is_some_and(|deadline| deadline <= time::now()) {
            return Ok(Wake::TimedOut);
        }
        event.waiters.push(index);
        let timed_out = block(&masked, scheduler, deadline);
        if let Some(event) = SCHEDULER.lock().event(signal) {
            event.waiters.retain(|waiter| *waiter != index);
        }
        if timed_out? {
            return Ok(Wake::TimedOut);
        }
    }
}

/// The running thread's number.
pub fn current() -> usize {
    SCHEDULER.lock().running
}

/// On whose behalf the running thread runs. In an interrupt it is the thread that was interrupted.
pub fn owner() -> Option<ProviderId> {
    match OWNER.load(Ordering::Relaxed) {
        NOBODY => None,
        owner => Some(ProviderId::from_raw(owner)),
    }
}

fn set_owner(owner: Option<ProviderId>) {
    OWNER.store(owner.map_or(NOBODY, ProviderId::raw), Ordering::Relaxed);
}

/// Runs `action` on behalf of `owner`.
pub fn on_behalf_of<R>(owner: ProviderId, action: impl FnOnce() -> R) -> R {
    let act_for = |owner| {
        let mut scheduler = SCHEDULER.lock();
        set_owner(owner);
        core::mem::replace(&mut scheduler.running().owner, owner)
    };
    let before = act_for(Some(owner));
    let result = action();
    act_for(before);
    result
}

/// Tells all threads that run on behalf of `owner` to end, and waits until they have, or for some seconds: what they run
/// stays in memory as long as they do.
pub fn stop_all(owner: ProviderId) {
    stop_where(|thread| thread.owner == Some(owner));
}

/// Tells all threads that run a module's code to end, whoever started them, and waits as [`stop_all`] does.
pub fn stop_module(name: &str) {
    stop_where(|thread| thread.module.as_ref().is_some_and(|module| module.name() == name));
}

fn stop_where(is_meant: impl Fn(&Thread) -> bool) {
    let deadline = time::now() + PATIENCE;
    loop {
        let mut scheduler = SCHEDULER.lock();
        let running = scheduler.running;
        let meant: Vec<Index> = scheduler
            .threads
            .iter()
            .enumerate()
            .filter_map(|(index, thread)| Some((index, thread.as_deref()?)))
            .filter(|(index, thread)| *index != running && thread.state != State::Finished && is_meant(thread))
            .map(|(index, _)| index)
            .collect();
        let Some(first) = meant.first() else { return };
        if time::now() > deadline {
            let name = scheduler.thread(*first).name.clone();
            drop(scheduler);
            log::error!("thread '{name}' was told to end and doesn't; the code that it runs stays in memory");
            return;
        }
        for index in meant {
            scheduler.thread(index).stopping = true;
            scheduler.wake(index, false);
        }
        drop(scheduler);
        yield_now();
    }
}

/// Runs code that may panic, such as a module's. A panic ends it, and its message is the error.
pub fn guarded<R>(action: impl FnOnce() -> R) -> core::result::Result<R, String> {
    unwinding::panic::catch_unwind(action).map_err(|payload| {
        reserve::close();
        match payload.downcast() {
            Ok(message) => *message,
            Err(_) => "a panic of an unknown kind".to_owned(),
        }
    })
}

/// What is in use of the stacks of all threads but the running one.
pub fn suspended_stacks() -> Vec<Range<usize>> {
    let scheduler = SCHEDULER.lock();
    let threads = scheduler.threads.iter().enumerate().filter(|(index, _)| *index != scheduler.running);
    let stack = |(_, thread): (_, &Option<Box<Thread>>)| {
        let thread = thread.as_ref()?;
        let end = thread.stack.as_ref().map_or(memory::boot_stack().end, Stack::end);
        Some(thread.context.stack_pointer()..end)
    };
    threads.filter_map(stack).collect()
}

/// The running thread's name.
pub fn name() -> String {
    match SCHEDULER.try_lock() {
        Some(mut scheduler) if !scheduler.threads.is_empty() => scheduler.running().name.clone(),
        _ => "boot".to_owned(),
    }
}
