//! Interrupt lines: who is served by which, and passing them on.
//!
//! One controller collects all lines for now, the root of the interrupt tree. It is a module like any other.
//!
//! An interrupt is taken at once wherever it comes. The kernel's timer and signals are served there and then; a driver's
//! has to wait while the interrupted thread holds a lock. Drivers' handlers run on a thread of their own, unless
//! [`Driver::interrupt_now`](abi::Driver::interrupt_now) has done all there is to do.

use crate::processor::{self, HardLock, InterruptsMasked, MOST};
use crate::registry::{self, Object};
use crate::thread::{self, event, schedule};
use crate::{failure, trace};
use abi::event::Signal;
use abi::interrupt::{Acknowledged, Cause, InterruptController, Line, ProcessorId, Served, Urgency};
use abi::registry::ProviderId;
use abi::running::Publication;
use abi::sync::Lock;
use abi::system::InterruptStatus;
use abi::thread::Priority;
use abi::{Class, Error, Handle, Result};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use core::{iter, ptr};

/// Who serves a line.
#[derive(Clone, Copy)]
enum Handler {
    /// The kernel's own timer.
    Timer,
    /// A driver: the node, where its object is published, and the interrupt's number there.
    Driver { provider: ProviderId, root: &'static Publication, index: usize },
}

impl Handler {
    /// The timer must get through while a driver's handler runs.
    fn urgency(self) -> Urgency {
        match self {
            Self::Timer => Urgency::High,
            Self::Driver { .. } => Urgency::Normal,
        }
    }
}

struct Claim {
    line: Line,
    handler: Handler,
    /// Whether the controller lets it through: only once `probe` has succeeded.
    active: bool,
    /// What wakes the thread that serves it, once there is one.
    thread: Option<Signal>,
    /// How often it has interrupted which processor.
    counts: Box<[AtomicU64]>,
}

struct Table {
    controller: Option<ProviderId>,
    /// By line number.
    claims: Vec<Option<Claim>>,
}

static TABLE: Lock<Table> = Lock::new(Table { controller: None, claims: Vec::new() });

/// Where the controller is published, while it is in use.
static CONTROLLER: AtomicPtr<Publication> = AtomicPtr::new(ptr::null_mut());

/// The timer's line; [`NONE`] before it is claimed.
static TIMER: AtomicU32 = AtomicU32::new(NONE);

/// How often the timer has interrupted each processor: no lock may be taken there.
static TIMER_COUNTS: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];

/// No line.
const NONE: u32 = u32::MAX;

/// What each processor has acknowledged and not yet served. Until it is ended no other comes but the timer.
static DEFERRED: [HardLock<Option<Acknowledged>>; MOST] = [const { HardLock::new(None) }; MOST];

/// How often drivers may be interrupted in a row while the thread that runs doesn't get to its next instruction.
const MOST_IN_A_ROW: u32 = 10_000;

/// Where drivers' interrupts have come upon each processor last, and how often in a row there.
static LAST_PLACES: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];
static IN_A_ROW: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];

/// The controller in use.
fn controller() -> Option<Handle<dyn InterruptController>> {
    // SAFETY: publications are never freed; this one is of the class.
    unsafe { Some(Handle::from_publication(CONTROLLER.load(Ordering::Acquire).as_ref()?)) }
}

fn claim(provider: ProviderId, specifier: &[u32], handler: Handler) -> Result<u32> {
    let deferred = || Error::Deferred(format!("interrupt controller {}", registry::name(provider)));
    let publication = registry::publication(provider, Class::InterruptController).ok_or_else(deferred)?;
    // SAFETY: it is of the class.
    let handle: Handle<dyn InterruptController> = unsafe { Handle::from_publication(publication) };
    let line = handle.call(|controller| controller.translate(specifier))??;
    let mut table = TABLE.lock();
    if *table.controller.get_or_insert(provider) != provider {
        return Err(Error::Unsupported(format!("interrupts of a second controller, {}", registry::name(provider))));
    }
    CONTROLLER.store(ptr::from_ref(publication).cast_mut(), Ordering::Release);
    let number = line.number as usize;
    if table.claims.len() <= number {
        table.claims.resize_with(number + 1, || None);
    }
    match table.claims.get_mut(number) {
        Some(slot @ None) => {
            let counts = iter::repeat_with(AtomicU64::default).take(MOST).collect();
            *slot = Some(Claim { line, handler, active: false, thread: None, counts });
        }
        _ => return Err(Error::Busy(format!("interrupt line {number} is taken"))),
    }
    Ok(line.number)
}

/// Takes a node's interrupt for its driver. Silent until [`activate`].
///
/// # Errors
/// [`Error::Deferred`] while the controller isn't bound, [`Error::Invalid`] if it refuses the specifier,
/// [`Error::Busy`] if the line is taken.
pub fn claim_for_driver(controller: ProviderId, specifier: &[u32], provider: ProviderId, index: usize) -> Result<u32> {
    let root = registry::root(provider).ok_or(Error::Gone)?;
    claim(controller, specifier, Handler::Driver { provider, root, index })
}

/// Takes the timer's interrupt.
///
/// # Errors
/// As [`claim_for_driver`].
pub fn claim_for_timer(controller: ProviderId, specifier: &[u32]) -> Result<()> {
    let number = claim(controller, specifier, Handler::Timer)?;
    TIMER.store(number, Ordering::Relaxed);
    enable(number)
}

fn enable(number: u32) -> Result<()> {
    let (line, urgency) = match TABLE.lock().claims.get_mut(number as usize) {
        Some(Some(claim)) => {
            claim.active = true;
            (claim.line, claim.handler.urgency())
        }
        _ => return Ok(()),
    };
    controller().ok_or(Error::Gone)?.call(|controller| controller.enable(line, urgency))?
}

/// Whether there is a controller in use.
pub fn has_controller() -> bool {
    TABLE.lock().controller.is_some()
}

/// Lets the controller, and through it the kernel's timer, interrupt the calling processor, which isn't the one that the
/// controller was bound on.
///
/// # Errors
/// When there is no controller, or it can't.
pub fn start_processor() -> Result<()> {
    let controller = controller().ok_or(Error::Gone)?;
    controller.call(|controller| controller.start_processor())??;
    match TIMER.load(Ordering::Relaxed) {
        NONE => Ok(()),
        number => enable(number),
    }
}

/// Interrupts processor number `index`. What was written before is there for it to see. Does nothing without a
/// controller or for a processor that hasn't been started.
pub fn signal(index: usize) {
    let (Some(processor), Some(controller)) = (processor::identifier_of(index), controller()) else { return };
    aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::ISHST);
    // A controller that is gone interrupts nobody.
    let _ = controller.call(|controller| controller.signal(ProcessorId::from_mpidr(processor)));
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
}

/// Lets the interrupts that `provider` has taken through.
///
/// # Errors
/// When the controller refuses.
pub fn activate(provider: ProviderId) -> Result<()> {
    lines_of(provider).into_iter().try_for_each(enable)
}

/// Silences the interrupts of `provider`, until [`activate`].
pub fn deactivate(provider: ProviderId) {
    lines_of(provider).into_iter().for_each(silence);
}

fn silence(number: u32) {
    // A controller that is gone has nothing to silence.
    let _ = controller().map(|controller| controller.call(|controller| controller.disable(number)));
}

/// The lines that `provider` has taken.
fn lines_of(provider: ProviderId) -> Vec<u32> {
    let is_theirs =
        |claim: &&Claim| matches!(claim.handler, Handler::Driver { provider: owner, .. } if owner == provider);
    TABLE.lock().claims.iter().flatten().filter(is_theirs).map(|claim| claim.line.number).collect()
}

/// Gives a line back.
pub fn release(number: u32) {
    let mut table = TABLE.lock();
    let released = table.claims.get_mut(number as usize).and_then(Option::take);
    let unused = table.claims.iter().all(Option::is_none);
    drop(table);
    let Some(Claim { active, thread, .. }) = released else { return };
    if active {
        silence(number);
    }
    if unused {
        TABLE.lock().controller = None;
        CONTROLLER.store(ptr::null_mut(), Ordering::Release);
    }
    if let Some(signal) = thread {
        event::destroy(signal);
    }
}

/// Gives back all lines of `provider`; returns how many.
pub fn release_all(provider: ProviderId) -> usize {
    let theirs = lines_of(provider);
    theirs.iter().for_each(|number| release(*number));
    theirs.len()
}

/// Whose interrupts come through this controller.
pub fn users_of(controller: ProviderId) -> Vec<ProviderId> {
    let table = TABLE.lock();
    let provider = |claim: &Claim| match claim.handler {
        Handler::Driver { provider, .. } => Some(provider),
        Handler::Timer => None,
    };
    let claims = table.claims.iter().flatten().filter(|_| table.controller == Some(controller));
    claims.filter_map(provider).collect()
}

/// Whether the kernel itself is interrupted through this controller: by its timer, or by signals between processors.
pub fn serves_the_kernel(controller: ProviderId) -> bool {
    let has_use = processor::count() > 1 || TIMER.load(Ordering::Relaxed) != NONE;
    TABLE.lock().controller == Some(controller) && has_use
}

/// How often which line has interrupted.
pub fn status() -> Vec<InterruptStatus> {
    let table = TABLE.lock();
    let count = |counts: &[AtomicU64]| {
        counts.iter().take(processor::count()).map(|count| count.load(Ordering::Relaxed)).collect()
    };
    let status = |claim: &Claim| InterruptStatus {
        line: claim.line.number,
        counts: match claim.handler {
            Handler::Timer => count(&TIMER_COUNTS),
            Handler::Driver { .. } => count(&claim.counts),
        },
        device: match claim.handler {
            Handler::Timer => None,
            Handler::Driver { provider, .. } => Some(provider),
        },
    };
    table.claims.iter().flatten().map(status).collect()
}

/// Takes the most urgent interrupt, which came before the instruction at `place`. Called with interrupts masked; another
/// that is pending comes right after. Returns whether the timer found that the running thread has run for a whole tick.
pub fn dispatch(place: u64) -> bool {
    let Some(controller) = controller() else { return false };
    // A controller in use can't be removed, and one that isn't in use lets no interrupt through.
    let acknowledged = match controller.call(|controller| controller.acknowledge()) {
        Ok(Some(acknowledged)) => acknowledged,
        Ok(None) => return false,
        // It would come again at once, and for ever.
        Err(Error::Failed(how)) => panic!("nothing goes on without interrupts, and their controller's module {how}"),
        Err(_) => {
            thread::mend_calls();
            return false;
        }
    };
    let mut whole_tick = false;
    match acknowledged.cause {
        Cause::Signal => {
            processor::count_signal();
            // Perhaps a thread waits for this processor.
            abi::running::block().pending.store(1, Ordering::Relaxed);
        }
        Cause::Line(number) if number == TIMER.load(Ordering::Relaxed) => {
            TIMER_COUNTS[processor::index() % MOST].fetch_add(1, Ordering::Relaxed);
            whole_tick = schedule::tick();
        }
        Cause::Line(_) => {
            let block = abi::running::block();
            if block.masked.load(Ordering::Relaxed) == 0 {
                count_in_a_row(place);
                serve(controller, acknowledged);
            } else {
                *DEFERRED[processor::index() % MOST].lock() = Some(acknowledged);
                block.pending.store(1, Ordering::Relaxed);
            }
            return false;
        }
    }
    let _ = controller.call(|controller| controller.end(acknowledged));
    whole_tick
}

/// Counts interrupts between which the running thread did nothing.
fn count_in_a_row(place: u64) {
    let index = processor::index() % MOST;
    let is_same = LAST_PLACES[index].load(Ordering::Relaxed) == place && !schedule::runs_nothing();
    LAST_PLACES[index].store(place, Ordering::Relaxed);
    let count = if is_same { IN_A_ROW[index].load(Ordering::Relaxed) + 1 } else { 0 };
    IN_A_ROW[index].store(count, Ordering::Relaxed);
}

/// Whether one comes again as soon as it has been served, so that nothing else gets done here.
fn is_stuck() -> bool {
    let count = &IN_A_ROW[processor::index() % MOST];
    let is_stuck = count.load(Ordering::Relaxed) > MOST_IN_A_ROW;
    if is_stuck {
        count.store(0, Ordering::Relaxed);
    }
    is_stuck
}

/// Serves the interrupt that had to wait. Called with interrupts masked.
pub fn serve_deferred() {
    let deferred = DEFERRED[processor::index() % MOST].lock().take();
    if let (Some(acknowledged), Some(controller)) = (deferred, controller()) {
        serve(controller, acknowledged);
    }
}

/// Serves an interrupt of a driver's. Called with interrupts masked and no lock held.
fn serve(controller: Handle<dyn InterruptController>, acknowledged: Acknowledged) {
    let block = abi::running::block();
    // Until it is ended, only the timer interrupts; and no other thread may run before that.
    block.held[0].set(ptr::null());
    block.masked.store(1, Ordering::Relaxed);
    schedule::watch_interrupt();
    // SAFETY: the vectors are installed; no lock is held.
    unsafe { processor::unmask_interrupts() };
    if let Cause::Line(number) = acknowledged.cause {
        serve_line(controller, number);
    }
    core::mem::forget(InterruptsMasked::new());
    block.masked.store(0, Ordering::Relaxed);
    let _ = controller.call(|controller| controller.end(acknowledged));
}

fn serve_line(controller: Handle<dyn InterruptController>, number: u32) {
    let _traced = trace::interrupt(number);
    let table = TABLE.lock();
    let claim = table.claims.get(number as usize).and_then(Option::as_ref).map(|claim| {
        if let Some(count) = claim.counts.get(processor::index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        (claim.handler, claim.thread)
    });
    drop(table);
    let served = match claim {
        Some((Handler::Driver { provider, root, index }, thread)) => {
            let interrupt = |object: &Object| {
                if is_stuck() {
                    failure::stop_here(format_args!("its interrupt came {MOST_IN_A_ROW} times without a pause"));
                }
                object.interrupt_now(index)
            };
            match registry::call(root, interrupt) {
                Ok(Served::Done) => return,
                Ok(Served::OnThread) => Some((provider, thread)),
                // The failure has been noted, and the line stays silent until the driver has been started again.
                Err(_) => None,
            }
        }
        _ => None,
    };
    // It would come again at once.
    let _ = controller.call(|controller| controller.disable(number));
    match served {
        Some((_, Some(signal))) => event::raise(signal),
        Some((provider, None)) => crate::supervision::start_interrupt_thread(provider, number),
        None => {}
    }
}

/// Starts the thread that serves a line, which has interrupted just now.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub fn start_thread(provider: ProviderId, number: u32) -> Result<()> {
    let mut table = TABLE.lock();
    let Some(Some(claim)) = table.claims.get_mut(number as usize) else { return Ok(()) };
    let Handler::Driver { root, index, .. } = claim.handler else { return Ok(()) };
    if claim.thread.is_some() {
        return Ok(());
    }
    let signal = event::create()?;
    claim.thread = Some(signal);
    drop(table);
    event::raise(signal);
    let body = move || {
        // It ends with the event, when the line is given back.
        while event::wait(signal, None).is_ok() {
            if registry::call(root, |object| object.interrupt(index)).is_ok() {
                let _ = enable(number);
            }
        }
    };
    let name = format!("irq/{number}");
    thread::spawn(&name, Some(provider), Priority::Urgent, Box::new(body))
}
