//! Interrupt lines: who is served by which, and passing them on.
//!
//! One controller interrupts the processors, the root of the interrupt tree; lines of others may come together in lines of
//! it. All are modules like any other.
//!
//! An interrupt is taken at once wherever it comes. The kernel's timer and signals are served there and then; a driver's
//! has to wait while the interrupted thread holds a lock. Drivers' handlers run on a thread of their own, unless
//! [`Driver::interrupt_now`](abi::Driver::interrupt_now) has done all there is to do.

mod controllers;

use crate::processor::{self, HardLock, InterruptsMasked, MOST};
use crate::registry::{self, Object};
use crate::thread::{self, event, schedule};
use crate::{failure, trace};
use abi::event::Signal;
use abi::interrupt::{InterruptController, Line, ProcessorId, Served, Urgency};
use abi::registry::ProviderId;
use abi::running::Publication;
use abi::sync::Lock;
use abi::system::InterruptStatus;
use abi::thread::Priority;
use abi::{Class, Error, Handle, Result};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use controllers::{LineId, ROOT, Source, Taken};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
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

/// A controller in use.
struct Controller {
    provider: ProviderId,
    /// By line number.
    claims: Vec<Option<Claim>>,
}

/// By place.
static TABLE: Lock<Vec<Option<Controller>>> = Lock::new(Vec::new());

/// The timer's line; [`NONE`] before it is claimed.
static TIMER: AtomicU32 = AtomicU32::new(NONE);

/// How often the timer has interrupted each processor: no lock may be taken there.
static TIMER_COUNTS: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];

/// No line.
const NONE: u32 = u32::MAX;

/// What each processor has acknowledged and not yet served. Until it is ended no other comes but the timer.
static DEFERRED: [HardLock<Option<(LineId, Taken)>>; MOST] = [const { HardLock::new(None) }; MOST];

/// How often drivers may be interrupted in a row while the thread that runs doesn't get to its next instruction.
const MOST_IN_A_ROW: u32 = 10_000;

/// How many of drivers' interrupts have come upon each processor without anything being done there in between.
static IN_A_ROW: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];

/// All lines that are taken.
fn claims(table: &[Option<Controller>]) -> impl Iterator<Item = (LineId, &Claim)> {
    table.iter().enumerate().flat_map(|(place, controller)| {
        let claims = controller.iter().flat_map(|controller| controller.claims.iter().flatten());
        claims.filter_map(move |claim| Some((LineId::new(place, claim.line.number)?, claim)))
    })
}

/// The claim of a line.
fn claim_of(table: &mut [Option<Controller>], line: LineId) -> Option<&mut Option<Claim>> {
    table.get_mut(line.place())?.as_mut()?.claims.get_mut(line.number() as usize)
}

fn claim(provider: ProviderId, specifier: &[u32], handler: Handler) -> Result<LineId> {
    let deferred = || Error::Deferred(format!("interrupt controller {}", registry::name(provider)));
    let publication = registry::publication(provider, Class::InterruptController).ok_or_else(deferred)?;
    // SAFETY: it is of the class.
    let handle: Handle<dyn InterruptController> = unsafe { Handle::from_publication(publication) };
    let line = handle.call(|controller| controller.translate(specifier))??;
    let mut table = TABLE.lock();
    let place = match table.iter().position(|known| known.as_ref().is_some_and(|known| known.provider == provider)) {
        Some(place) => place,
        None => {
            let place = use_controller(&table, provider, publication)?;
            if table.len() <= place {
                table.resize_with(place + 1, || None);
            }
            table[place] = Some(Controller { provider, claims: Vec::new() });
            place
        }
    };
    let number = line.number as usize;
    let id = LineId::new(place, line.number);
    let id = id.ok_or_else(|| Error::Unsupported(format!("an interrupt line of number {number}")))?;
    if let Some(Some(controller)) = table.get_mut(place)
        && controller.claims.len() <= number
    {
        controller.claims.resize_with(number + 1, || None);
    }
    match claim_of(&mut table, id) {
        Some(slot @ None) => {
            let counts = iter::repeat_with(AtomicU64::default).take(MOST).collect();
            *slot = Some(Claim { line, handler, active: false, thread: None, counts });
        }
        _ => return Err(Error::Busy(format!("interrupt line {number} of {} is taken", registry::name(provider)))),
    }
    Ok(id)
}

/// Puts a controller into use: behind the lines that it has itself taken, or as the root if it has none.
fn use_controller(
    table: &[Option<Controller>],
    provider: ProviderId,
    publication: &'static Publication,
) -> Result<usize> {
    let own: Vec<LineId> = lines_in(table, provider).collect();
    if !own.is_empty() {
        return controllers::add(publication, own.into_iter());
    }
    if let Some(Some(root)) = table.get(ROOT) {
        let (other, root) = (registry::name(provider), registry::name(root.provider));
        return Err(Error::Unsupported(format!("{other} as a second root of the interrupt tree, beside {root}")));
    }
    controllers::set_root(publication);
    Ok(ROOT)
}

/// Takes a node's interrupt for its driver. Silent until [`activate`].
///
/// # Errors
/// [`Error::Deferred`] while the controller isn't bound, [`Error::Invalid`] if it refuses the specifier,
/// [`Error::Busy`] if the line is taken.
pub fn claim_for_driver(controller: ProviderId, specifier: &[u32], provider: ProviderId, index: usize) -> Result<u32> {
    let root = registry::root(provider).ok_or(Error::Gone)?;
    claim(controller, specifier, Handler::Driver { provider, root, index }).map(LineId::raw)
}

/// Takes the timer's interrupt.
///
/// # Errors
/// As [`claim_for_driver`].
pub fn claim_for_timer(controller: ProviderId, specifier: &[u32]) -> Result<()> {
    let line = claim(controller, specifier, Handler::Timer)?;
    TIMER.store(line.raw(), Ordering::Relaxed);
    enable(line)
}

fn enable(id: LineId) -> Result<()> {
    let (line, urgency) = match claim_of(&mut TABLE.lock(), id) {
        Some(Some(claim)) => {
            claim.active = true;
            (claim.line, claim.handler.urgency())
        }
        _ => return Ok(()),
    };
    controllers::get(id.place()).ok_or(Error::Gone)?.call(|controller| controller.enable(line, urgency))?
}

/// Whether there is a controller in use.
pub fn has_controller() -> bool {
    controllers::get(ROOT).is_some()
}

/// Lets the controller, and through it the kernel's timer, interrupt the calling processor, which isn't the one that the
/// controller was bound on.
///
/// # Errors
/// When there is no controller, or it can't.
pub fn start_processor() -> Result<()> {
    let controller = controllers::get(ROOT).ok_or(Error::Gone)?;
    controller.call(|controller| controller.start_processor())??;
    match TIMER.load(Ordering::Relaxed) {
        NONE => Ok(()),
        line => enable(LineId::from_raw(line)),
    }
}

/// Interrupts processor number `index`. What was written before is there for it to see. Does nothing without a
/// controller or for a processor that hasn't been started.
pub fn signal(index: usize) {
    let (Some(processor), Some(controller)) = (processor::identifier_of(index), controllers::get(ROOT)) else { return };
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

fn silence(line: LineId) {
    // A controller that is gone has nothing to silence.
    let controller = controllers::get(line.place());
    let _ = controller.map(|controller| controller.call(|controller| controller.disable(line.number())));
}

/// The lines that `provider` has taken.
fn lines_of(provider: ProviderId) -> Vec<LineId> {
    lines_in(&TABLE.lock(), provider).collect()
}

fn lines_in(table: &[Option<Controller>], provider: ProviderId) -> impl Iterator<Item = LineId> {
    let is_theirs =
        move |claim: &Claim| matches!(claim.handler, Handler::Driver { provider: owner, .. } if owner == provider);
    claims(table).filter(move |(_, claim)| is_theirs(claim)).map(|(line, _)| line)
}

/// Gives a line back, by its number that [`claim_for_driver`] returned.
pub fn release(line: u32) {
    let line = LineId::from_raw(line);
    let mut table = TABLE.lock();
    let Some(Claim { active, thread, .. }) = claim_of(&mut table, line).and_then(Option::take) else { return };
    let is_unused = |controller: &Controller| controller.claims.iter().all(Option::is_none);
    let unused = table.get_mut(line.place()).filter(|place| place.as_ref().is_some_and(is_unused));
    let unused = unused.and_then(Option::take).is_some();
    drop(table);
    if active {
        silence(line);
    }
    if unused {
        controllers::remove(line.place());
    }
    if let Some(signal) = thread {
        event::destroy(signal);
    }
}

/// Gives back all lines of `provider`; returns how many.
pub fn release_all(provider: ProviderId) -> usize {
    let theirs = lines_of(provider);
    theirs.iter().for_each(|line| release(line.raw()));
    theirs.len()
}

/// Whose interrupts come through this controller.
pub fn users_of(controller: ProviderId) -> Vec<ProviderId> {
    let table = TABLE.lock();
    let provider = |claim: &Claim| match claim.handler {
        Handler::Driver { provider, .. } => Some(provider),
        Handler::Timer => None,
    };
    let controllers = table.iter().flatten().filter(|known| known.provider == controller);
    controllers.flat_map(|known| known.claims.iter().flatten()).filter_map(provider).collect()
}

/// Whether the kernel itself is interrupted through this controller: by its timer, or by signals between processors.
pub fn serves_the_kernel(controller: ProviderId) -> bool {
    let is_at = |place: usize| {
        TABLE.lock().get(place).and_then(Option::as_ref).is_some_and(|known| known.provider == controller)
    };
    let timer = TIMER.load(Ordering::Relaxed);
    (timer != NONE && is_at(LineId::from_raw(timer).place())) || (processor::count() > 1 && is_at(ROOT))
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
    claims(&table).map(|(_, claim)| status(claim)).collect()
}

/// Takes the most urgent interrupt, which came before the instruction at `place`. Called with interrupts masked; another
/// that is pending comes right after. Returns whether the timer found that the running thread has run for a whole tick.
pub fn dispatch(place: u64) -> bool {
    let Some(taken) = Taken::take() else { return false };
    let mut whole_tick = false;
    match taken.source {
        Source::Signal => {
            processor::count_signal();
            // Perhaps a thread waits for this processor.
            abi::running::block().pending.store(1, Ordering::Relaxed);
        }
        Source::Line(line) if line.raw() == TIMER.load(Ordering::Relaxed) => {
            TIMER_COUNTS[processor::index() % MOST].fetch_add(1, Ordering::Relaxed);
            whole_tick = schedule::tick();
        }
        Source::Line(line) => {
            let block = abi::running::block();
            if block.masked.load(Ordering::Relaxed) == 0 {
                count_in_a_row(place);
                serve(line, taken);
            } else {
                *DEFERRED[processor::index() % MOST].lock() = Some((line, taken));
                block.pending.store(1, Ordering::Relaxed);
            }
            return false;
        }
    }
    taken.end();
    whole_tick
}

/// Counts interrupts between which no thread did anything, whichever have their turn.
fn count_in_a_row(place: u64) {
    let index = processor::index() % MOST;
    let is_same = thread::is_interrupted_again(place) && !schedule::runs_nothing();
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
    if let Some((line, taken)) = deferred {
        serve(line, taken);
    }
}

/// Serves an interrupt of a driver's. Called with interrupts masked and no lock held.
fn serve(line: LineId, taken: Taken) {
    let block = abi::running::block();
    // Until it is ended, only the timer interrupts; and no other thread may run before that.
    block.held[0].set(ptr::null());
    block.masked.store(1, Ordering::Relaxed);
    schedule::watch_interrupt();
    // SAFETY: the vectors are installed; no lock is held.
    unsafe { processor::unmask_interrupts() };
    serve_line(line);
    core::mem::forget(InterruptsMasked::new());
    block.masked.store(0, Ordering::Relaxed);
    taken.end();
}

fn serve_line(line: LineId) {
    let _traced = trace::interrupt(line.number());
    let mut table = TABLE.lock();
    let claim = claim_of(&mut table, line).and_then(|claim| claim.as_ref()).map(|claim| {
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
    silence(line);
    match served {
        Some((_, Some(signal))) => event::raise(signal),
        Some((provider, None)) => crate::supervision::start_interrupt_thread(provider, line.raw()),
        None => {}
    }
}

/// Starts the thread that serves a line, which has interrupted just now.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub fn start_thread(provider: ProviderId, line: u32) -> Result<()> {
    let line = LineId::from_raw(line);
    let mut table = TABLE.lock();
    let Some(Some(claim)) = claim_of(&mut table, line) else { return Ok(()) };
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
                let _ = enable(line);
            }
        }
    };
    let name = format!("irq/{}", line.number());
    thread::spawn(&name, Some(provider), Priority::Urgent, Box::new(body))
}
