//! Which thread runs where: a queue a processor, from which idle processors steal.
//!
//! Everything here happens with interrupts masked, allocates nothing and waits for nobody, so that the timer can do it
//! at any point.

use super::Thread;
use super::calls::{self, Mark};
use crate::processor::{self, HardGuard, HardLock, InterruptsMasked, MOST};
use crate::{interrupt, time, trace};
use abi::Class;
use abi::thread::Priority;
use abi::time::Instant;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

/// How many priorities there are, see [`abi::thread::Priority`].
const PRIORITIES: usize = 4;

/// How long a thread runs before its equals have their turn, and how often the time of calls is looked at.
pub const TICK: Duration = Duration::from_millis(4);

/// How much of each second a processor runs threads of modules' that are more urgent than most. Beyond that such a thread
/// is like most until it waits for something, so that others have their turn.
pub const MOST_URGENT: Duration = Duration::from_millis(500);

/// What a processor has spent on urgent threads of modules' in this second.
struct Urgent {
    /// When the timer came last, in nanoseconds.
    last: AtomicU64,
    /// In nanoseconds.
    used: AtomicU64,
}

impl Urgent {
    /// The timer comes upon a thread that is urgent or not; returns whether that has been so for too long.
    fn is_over(&self, now: Instant, is_urgent: bool) -> bool {
        const SECOND: u64 = 1_000_000_000;
        let now = now.as_nanoseconds();
        let last = self.last.swap(now, Ordering::Relaxed);
        if now / SECOND != last / SECOND {
            self.used.store(0, Ordering::Relaxed);
        }
        // It may not have come for long, while there was nothing to do.
        let since = (now - last).min(TICK.as_nanos() as u64);
        is_urgent && self.used.fetch_add(since, Ordering::Relaxed) > MOST_URGENT.as_nanos() as u64
    }
}

/// What a thread is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// On a processor.
    Running,
    /// In a queue.
    Ready,
    /// Waiting to be woken.
    Blocked,
    /// Never to run again.
    Finished,
}

/// The urgency of having nothing to do; priorities are above it.
const IDLE: usize = 0;

/// The urgency of a processor that can't run threads yet.
const NOT_STARTED: usize = usize::MAX;

/// What a processor schedules by.
struct Processor {
    queue: HardLock<Queue>,
    /// How many threads are in the queue: a hint for others.
    ready: AtomicUsize,
    /// How urgent the thread is that it runs: [`IDLE`], a priority, or [`NOT_STARTED`].
    urgency: AtomicUsize,
    /// What runs when nothing else can.
    idle: AtomicPtr<Thread>,
    /// The thread that was just left, until nobody is on its stack any more.
    left: AtomicPtr<Thread>,
    /// A thread in the queue ought to run instead of the one that does.
    reschedule: AtomicBool,
    /// What it spends on urgent threads.
    urgent: Urgent,
    /// How often it has changed threads.
    switches: AtomicU64,
    /// What `switches` was at the last tick.
    switches_at_tick: AtomicU64,
}

/// The threads that wait for a processor, and those that wait for a moment on its timer.
struct Queue {
    first: [*const Thread; PRIORITIES],
    last: [*const Thread; PRIORITIES],
    /// In the order of their deadlines.
    sleepers: *const Thread,
    /// What the timer is set to.
    armed: Option<Instant>,
}

// SAFETY: the pointers are to threads, which aren't freed while they are in a queue.
unsafe impl Send for Queue {}

static PROCESSORS: [Processor; MOST] = [const {
    Processor {
        queue: HardLock::new(Queue {
            first: [ptr::null(); PRIORITIES],
            last: [ptr::null(); PRIORITIES],
            sleepers: ptr::null(),
            armed: None,
        }),
        ready: AtomicUsize::new(0),
        urgency: AtomicUsize::new(NOT_STARTED),
        idle: AtomicPtr::new(ptr::null_mut()),
        left: AtomicPtr::new(ptr::null_mut()),
        reschedule: AtomicBool::new(false),
        urgent: Urgent { last: AtomicU64::new(0), used: AtomicU64::new(0) },
        switches: AtomicU64::new(0),
        switches_at_tick: AtomicU64::new(0),
    }
}; MOST];

fn local() -> &'static Processor {
    processor_at(processor::index())
}

fn processor_at(index: usize) -> &'static Processor {
    // The number is masked, so that no check has to be able to fail.
    &PROCESSORS[index % MOST]
}

impl Queue {
    fn push(&mut self, thread: &'static Thread) {
        let level = thread.priority();
        thread.next.store(ptr::null_mut(), Ordering::Relaxed);
        match self.last[level] {
            last if last.is_null() => self.first[level] = thread,
            // SAFETY: threads in the queue live.
            last => unsafe { (*last).next.store(ptr::from_ref(thread).cast_mut(), Ordering::Relaxed) },
        }
        self.last[level] = thread;
    }

    /// Takes the most urgent thread that passes `test`.
    fn pop(&mut self, test: impl Fn(&Thread) -> bool) -> Option<&'static Thread> {
        for level in (0..PRIORITIES).rev() {
            let mut previous: *const Thread = ptr::null();
            let mut next = self.first[level];
            // SAFETY: threads in the queue live.
            while let Some(thread) = unsafe { next.as_ref::<'static>() } {
                let after = thread.next.load(Ordering::Relaxed).cast_const();
                if test(thread) {
                    // SAFETY: as above.
                    match unsafe { previous.as_ref() } {
                        None => self.first[level] = after,
                        Some(previous) => previous.next.store(after.cast_mut(), Ordering::Relaxed),
                    }
                    if after.is_null() {
                        self.last[level] = previous;
                    }
                    return Some(thread);
                }
                previous = next;
                next = after;
            }
        }
        None
    }

    /// The priority of the most urgent thread in the queue.
    fn highest(&self) -> Option<usize> {
        (0..PRIORITIES).rev().find(|level| !self.first[*level].is_null())
    }

    fn add_sleeper(&mut self, thread: &'static Thread, deadline: Instant) {
        thread.deadline.store(deadline.as_nanoseconds(), Ordering::Relaxed);
        thread.sleeps_on.store(processor::index(), Ordering::Relaxed);
        let (mut previous, mut next): (*const Thread, _) = (ptr::null(), self.sleepers);
        // SAFETY: sleepers live.
        while let Some(other) = unsafe { next.as_ref() } {
            if other.deadline.load(Ordering::Relaxed) > deadline.as_nanoseconds() {
                break;
            }
            (previous, next) = (next, other.next_sleeper.load(Ordering::Relaxed));
        }
        thread.next_sleeper.store(next.cast_mut(), Ordering::Relaxed);
        // SAFETY: as above.
        match unsafe { previous.as_ref() } {
            None => self.sleepers = thread,
            Some(previous) => previous.next_sleeper.store(ptr::from_ref(thread).cast_mut(), Ordering::Relaxed),
        }
        self.arm_before(deadline);
    }

    fn remove_sleeper(&mut self, thread: &Thread) {
        let (mut previous, mut next): (*const Thread, _) = (ptr::null(), self.sleepers);
        // SAFETY: sleepers live.
        while let Some(other) = unsafe { next.as_ref() } {
            let after = other.next_sleeper.load(Ordering::Relaxed).cast_const();
            if ptr::eq(other, thread) {
                // SAFETY: as above.
                match unsafe { previous.as_ref() } {
                    None => self.sleepers = after,
                    Some(previous) => previous.next_sleeper.store(after.cast_mut(), Ordering::Relaxed),
                }
                return;
            }
            (previous, next) = (next, after);
        }
    }

    /// Has the timer interrupt at `deadline` at the latest. On the timer's own processor only.
    fn arm_before(&mut self, deadline: Instant) {
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.armed = Some(deadline);
            time::set_deadline(Some(deadline));
        }
    }
}

/// The running thread.
#[inline]
pub fn running() -> &'static Thread {
    let block: *const abi::running::Block = abi::running::block();
    // SAFETY: on this kernel a block is the first field of its thread, which lives while it runs.
    unsafe { &*block.cast::<Thread>() }
}

/// Makes `idle` the running thread of this processor, and what it does when there is nothing else to do.
pub fn enter(idle: &'static Thread) {
    let local = local();
    idle.state.store(State::Running as u8, Ordering::Relaxed);
    idle.on_processor.store(true, Ordering::Relaxed);
    idle.processor.store(processor::index(), Ordering::Relaxed);
    idle.since.store(time::counter(), Ordering::Relaxed);
    local.idle.store(ptr::from_ref(idle).cast_mut(), Ordering::Relaxed);
    processor::set_block(&idle.block);
    local.urgency.store(IDLE, Ordering::Release);
}

/// Gives the processor to the most urgent thread that is ready; the running one goes back into the queue unless it is
/// blocked or finished. Returns when it has its turn again.
pub fn switch(_masked: &InterruptsMasked) {
    let local = local();
    let previous = running();
    let idle = local.idle.load(Ordering::Relaxed).cast_const();
    let mut queue = local.queue.lock();
    local.reschedule.store(false, Ordering::Relaxed);
    if previous.state() == State::Running && !ptr::eq(previous, idle) {
        previous.set_state(State::Ready);
        queue.push(previous);
        local.ready.fetch_add(1, Ordering::Relaxed);
    }
    let next = match queue.pop(|_| true) {
        Some(next) => {
            local.ready.fetch_sub(1, Ordering::Relaxed);
            next
        }
        None => match steal() {
            Some(next) => next,
            // SAFETY: `enter` came before everything here, and idle threads live for good.
            None => unsafe { &*idle },
        },
    };
    next.set_state(State::Running);
    if ptr::eq(next, previous) {
        return;
    }
    next.on_processor.store(true, Ordering::Relaxed);
    next.processor.store(processor::index(), Ordering::Relaxed);
    trace::switch_to(next.number());
    let now = time::counter();
    previous.account(now);
    next.since.store(now, Ordering::Relaxed);
    next.switches.fetch_add(1, Ordering::Relaxed);
    local.switches.store(local.switches.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    if !ptr::eq(next, idle) {
        queue.arm_before(time::at(now) + TICK);
    }
    // Under the lock, so that who puts a thread into the queue knows whether it is more urgent.
    let urgency = if ptr::eq(next, idle) { IDLE } else { 1 + next.priority() };
    local.urgency.store(urgency, Ordering::Relaxed);
    drop(queue);
    local.left.store(ptr::from_ref(previous).cast_mut(), Ordering::Relaxed);
    processor::set_block(&next.block);
    // SAFETY: `next` was in a queue and is on no processor, so its context is the one that it was suspended or made
    // with; `previous` isn't freed before `finish` has let go of it. The caller has masked interrupts.
    unsafe { processor::context::switch(previous.context.get(), *next.context.get()) };
    finish();
}

/// What is left to do for the thread that was left, on the stack of the one that runs now.
pub fn finish() {
    let left = local().left.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: it is freed only after this, by whoever sees that it is on no processor.
    if let Some(left) = unsafe { left.as_ref() } {
        left.on_processor.store(false, Ordering::Release);
    }
}

/// Whether threads may run on any processor; before that, the one that booted runs them all.
static SPREAD: AtomicBool = AtomicBool::new(false);

/// Lets threads run on all processors from now on.
pub fn spread() {
    SPREAD.store(true, Ordering::Release);
    (1..processor::count()).for_each(interrupt::signal);
}

/// Takes a thread from another processor's queue.
fn steal() -> Option<&'static Thread> {
    if !SPREAD.load(Ordering::Relaxed) {
        return None;
    }
    let own = processor::index();
    for offset in 1..processor::count() {
        let other = processor_at((own + offset) % processor::count());
        if other.ready.load(Ordering::Relaxed) == 0 {
            continue;
        }
        // Two processors may want to steal from each other.
        let Some(mut queue) = other.queue.try_lock() else { continue };
        if let Some(thread) = queue.pop(|thread| !thread.on_processor.load(Ordering::Acquire)) {
            other.ready.fetch_sub(1, Ordering::Relaxed);
            return Some(thread);
        }
    }
    None
}

/// Puts a thread that has just become ready into a queue, and has it run at once where that is due. For the caller's
/// processor that is noted, for [`is_due`].
pub fn enqueue(thread: &'static Thread) {
    let masked = InterruptsMasked::new();
    let (target, index) = place(thread);
    let mut queue = target.queue.lock();
    thread.processor.store(index, Ordering::Relaxed);
    queue.push(thread);
    target.ready.fetch_add(1, Ordering::Relaxed);
    let due = is_more_urgent(thread, target);
    drop(queue);
    if !due {
        return;
    }
    if index == processor::index() {
        note_reschedule(target);
    } else {
        target.reschedule.store(true, Ordering::Relaxed);
        interrupt::signal(index);
    }
    drop(masked);
}

/// On this processor: the running thread gives way as soon as it can.
fn note_reschedule(local: &Processor) {
    local.reschedule.store(true, Ordering::Relaxed);
    running().block.pending.store(1, Ordering::Relaxed);
}

/// Where a thread that becomes ready should run: where it ran before unless that is busy and another processor isn't.
fn place(thread: &Thread) -> (&'static Processor, usize) {
    let last = thread.processor.load(Ordering::Relaxed);
    if !SPREAD.load(Ordering::Relaxed) {
        return (processor_at(last), last);
    }
    // On its way out of a processor it can't run elsewhere yet.
    if thread.on_processor.load(Ordering::Acquire) || is_idle(processor_at(last)) {
        return (processor_at(last), last);
    }
    let idle = (0..processor::count()).find(|index| is_idle(processor_at(*index)));
    let index = idle.unwrap_or(last);
    (processor_at(index), index)
}

fn is_idle(processor: &Processor) -> bool {
    processor.urgency.load(Ordering::Relaxed) == IDLE && processor.ready.load(Ordering::Relaxed) == 0
}

/// Whether a thread should run instead of the one that a processor runs.
fn is_more_urgent(thread: &Thread, processor: &Processor) -> bool {
    1 + thread.priority() > processor.urgency.load(Ordering::Relaxed)
}

/// Whether the running thread ought to give way.
pub fn is_due() -> bool {
    local().reschedule.load(Ordering::Relaxed)
}

/// Whether there is something for this processor to do.
pub fn has_work() -> bool {
    if !SPREAD.load(Ordering::Acquire) {
        return local().ready.load(Ordering::Relaxed) > 0;
    }
    (0..processor::count()).any(|index| processor_at(index).ready.load(Ordering::Relaxed) > 0)
}

/// Wakes `thread` at `deadline` unless it is woken before. With interrupts masked, by the thread itself.
pub fn sleep(thread: &'static Thread, deadline: Instant) {
    local().queue.lock().add_sleeper(thread, deadline);
}

/// Ends what [`sleep`] began.
pub fn end_sleep(thread: &Thread) {
    let sleeps_on = thread.sleeps_on.swap(usize::MAX, Ordering::Relaxed);
    if sleeps_on != usize::MAX {
        processor_at(sleeps_on).queue.lock().remove_sleeper(thread);
    }
}

/// The timer's interrupt: wakes those whose deadline has passed, lets equals have their turn. Returns whether the running
/// thread has run for a whole tick.
pub fn tick() -> bool {
    let local = local();
    let now = time::now();
    let mut queue: HardGuard<'_, Queue> = local.queue.lock();
    queue.armed = None;
    loop {
        let first = queue.sleepers;
        // SAFETY: sleepers live.
        let Some(thread) = (unsafe { first.as_ref::<'static>() }) else { break };
        if thread.deadline.load(Ordering::Relaxed) > now.as_nanoseconds() {
            break;
        }
        queue.sleepers = thread.next_sleeper.load(Ordering::Relaxed);
        let won = thread.become_ready(super::Woken::Timeout);
        // Not before: who else wakes it would find that it doesn't sleep, and not wait for the queue's lock. It would
        // run, block again, and be woken here from another wait.
        thread.sleeps_on.store(usize::MAX, Ordering::Relaxed);
        if won {
            // It may be on its way out of another processor, but then it would sleep there.
            queue.push(thread);
            local.ready.fetch_add(1, Ordering::Relaxed);
            if is_more_urgent(thread, local) {
                note_reschedule(local);
            }
        }
    }
    let running = running();
    // Also while there is nothing to do, an interrupt may be served, and that for too long.
    let is_idle = is_idle_thread(running, local) && running.block.depth.load(Ordering::Relaxed) == 0;
    let switches = local.switches.load(Ordering::Relaxed);
    let whole = !is_idle && local.switches_at_tick.swap(switches, Ordering::Relaxed) == switches;
    if whole && queue.highest().is_some_and(|level| level >= running.priority()) {
        note_reschedule(local);
    }
    // SAFETY: sleepers live.
    let first = unsafe { queue.sleepers.as_ref() };
    let first = first.map(|thread| Instant::from_nanoseconds(thread.deadline.load(Ordering::Relaxed)));
    let tick = (!is_idle).then(|| now + TICK);
    match first.into_iter().chain(tick).min() {
        Some(deadline) => queue.arm_before(deadline),
        None => time::set_deadline(None),
    }
    drop(queue);
    if local.urgent.is_over(now, running.is_urgent_for_module()) {
        set_priority(Priority::Normal as usize);
    }
    whole
}

fn is_idle_thread(thread: &Thread, local: &Processor) -> bool {
    ptr::eq(thread, local.idle.load(Ordering::Relaxed))
}

/// Whether this processor has nothing to run.
pub fn runs_nothing() -> bool {
    is_idle_thread(running(), local())
}

/// Has the timer look after an interrupt that is about to be served, as it looks after threads: where nothing runs, it may
/// not be set.
pub fn watch_interrupt() {
    let local = local();
    if is_idle_thread(running(), local) {
        local.queue.lock().arm_before(time::now() + TICK);
    }
}

/// A call that the running thread is in.
pub struct Charged {
    /// How long it has used a processor, in whole ticks.
    pub time: Duration,
    /// Whether it serves an interrupt.
    pub in_interrupt: bool,
    /// What is called; none for a driver's or service's object itself.
    pub class: Option<Class>,
}

/// Charges the running thread's calls for a tick; returns the innermost.
pub fn charge() -> Option<Charged> {
    let thread = running();
    let depth = thread.block.depth.load(Ordering::Relaxed) as usize;
    let mut innermost = None;
    for (call, ticks) in thread.block.calls.iter().zip(&thread.ticks).take(depth) {
        let count = if calls::mark(call, Mark::Ticked) { ticks.load(Ordering::Relaxed) + 1 } else { 0 };
        ticks.store(count, Ordering::Relaxed);
        let in_interrupt = call.locks_before() > 0;
        // The kernel's own code may take as long as it likes.
        let called = call.publication();
        innermost = called.map(|called| Charged { time: TICK * count, in_interrupt, class: called.class });
    }
    innermost
}

/// Whether a processor's timer has anybody to wake.
pub fn has_sleepers() -> bool {
    !local().queue.lock().sleepers.is_null()
}

/// Interrupts whichever processor a thread runs on, if it is another.
pub fn prod(thread: &Thread) {
    let index = thread.processor.load(Ordering::Relaxed);
    if thread.on_processor.load(Ordering::Relaxed) && index != processor::index() {
        interrupt::signal(index);
    }
}

/// Gives the running thread another priority; it gives way as soon as it can if that is due then.
pub fn set_priority(priority: usize) {
    let _masked = InterruptsMasked::new();
    let (local, running) = (local(), running());
    let queue = local.queue.lock();
    running.priority.store(priority, Ordering::Relaxed);
    local.urgency.store(1 + priority, Ordering::Relaxed);
    if queue.highest().is_some_and(|highest| highest > priority) {
        note_reschedule(local);
    }
}

/// Moves a ready thread to the queue that its priority asks for, after that has changed.
pub fn requeue(thread: &'static Thread) {
    loop {
        let index = thread.processor.load(Ordering::Relaxed);
        let mut queue = processor_at(index).queue.lock();
        if queue.pop(|other| ptr::eq(other, thread)).is_some() {
            return queue.push(thread);
        }
        // It may have been moved to another processor meanwhile.
        if thread.processor.load(Ordering::Relaxed) == index {
            return;
        }
    }
}
