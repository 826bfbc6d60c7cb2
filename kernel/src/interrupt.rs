//! Interrupt lines: who is served by which, and passing them on.
//!
//! One controller collects all lines for now, the root of the interrupt tree. It is a module like any other.

use crate::registry::{self, Borrowed};
use crate::{processor, thread};
use abi::interrupt::{Cause, InterruptController, Line, ProcessorId, Urgency};
use abi::registry::ProviderId;
use abi::sync::Lock;
use abi::{Class, Error, Interface, Result};
use alloc::format;
use alloc::vec::Vec;

/// Who serves a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handler {
    /// The kernel's own timer.
    Timer,
    /// A driver: the node, and the interrupt's number there.
    Driver { provider: ProviderId, index: usize },
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

#[derive(Clone, Copy)]
struct Claim {
    line: Line,
    handler: Handler,
    /// Whether the controller lets it through: only once `probe` has succeeded.
    active: bool,
}

struct Table {
    controller: Option<ProviderId>,
    /// By line number.
    claims: Vec<Option<Claim>>,
}

static TABLE: Lock<Table> = Lock::new(Table { controller: None, claims: Vec::new() });

/// Calls the controller; it can't be removed meanwhile.
fn with_controller<R>(
    provider: ProviderId,
    action: impl FnOnce(&(dyn InterruptController + 'static)) -> Result<R>,
) -> Result<R> {
    let borrowed = Borrowed::new(provider)?;
    match borrowed.interface(Class::InterruptController) {
        Some(Interface::InterruptController(controller)) => action(controller),
        _ => Err(Error::Deferred(format!("interrupt controller {}", registry::name(provider)))),
    }
}

fn claim(controller: ProviderId, specifier: &[u32], handler: Handler) -> Result<u32> {
    let line = with_controller(controller, |controller| controller.translate(specifier))?;
    let mut table = TABLE.lock();
    if *table.controller.get_or_insert(controller) != controller {
        return Err(Error::Unsupported(format!("interrupts of a second controller, {}", registry::name(controller))));
    }
    let number = line.number as usize;
    if table.claims.len() <= number {
        table.claims.resize(number + 1, None);
    }
    match table.claims.get_mut(number) {
        Some(slot @ None) => *slot = Some(Claim { line, handler, active: false }),
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
    claim(controller, specifier, Handler::Driver { provider, index })
}

/// Takes the timer's interrupt.
///
/// # Errors
/// As [`claim_for_driver`].
pub fn claim_for_timer(controller: ProviderId, specifier: &[u32]) -> Result<()> {
    let number = claim(controller, specifier, Handler::Timer)?;
    enable(controller, number)
}

fn enable(controller: ProviderId, number: u32) -> Result<()> {
    let claim = match TABLE.lock().claims.get_mut(number as usize) {
        Some(Some(claim)) => {
            claim.active = true;
            *claim
        }
        _ => return Ok(()),
    };
    with_controller(controller, |controller| controller.enable(claim.line, claim.handler.urgency()))
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
    let table = TABLE.lock();
    let controller = table.controller.ok_or(Error::Gone)?;
    let timer = table.claims.iter().flatten().find(|claim| claim.handler == Handler::Timer).copied();
    drop(table);
    with_controller(controller, |controller| {
        controller.start_processor()?;
        timer.map_or(Ok(()), |timer| controller.enable(timer.line, timer.handler.urgency()))
    })
}

/// Interrupts processor number `index`. What was written before is there for it to see. Does nothing without a
/// controller or for a processor that hasn't been started.
pub fn signal(index: usize) {
    let (Some(processor), Some(controller)) = (processor::identifier_of(index), TABLE.lock().controller) else {
        return;
    };
    aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::ISHST);
    // A controller that is gone interrupts nobody.
    let _ = with_controller(controller, |controller| {
        controller.signal(ProcessorId::from_mpidr(processor));
        Ok(())
    });
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
}

/// Lets the interrupts that `provider` has taken through.
///
/// # Errors
/// When the controller refuses.
pub fn activate(provider: ProviderId) -> Result<()> {
    let Some(controller) = TABLE.lock().controller else { return Ok(()) };
    lines_of(provider).into_iter().try_for_each(|number| enable(controller, number))
}

/// Silences the interrupts of `provider`, until [`activate`].
pub fn deactivate(provider: ProviderId) {
    let Some(controller) = TABLE.lock().controller else { return };
    for number in lines_of(provider) {
        silence(controller, number);
    }
}

fn silence(controller: ProviderId, number: u32) {
    // A controller that is gone has nothing to silence.
    let _ = with_controller(controller, |controller| {
        controller.disable(number);
        Ok(())
    });
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
    let controller = table.controller;
    let released = table.claims.get_mut(number as usize).and_then(Option::take);
    if table.claims.iter().all(Option::is_none) {
        table.controller = None;
    }
    drop(table);
    if let (Some(controller), Some(Claim { active: true, .. })) = (controller, released) {
        silence(controller, number);
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
    let table = TABLE.lock();
    let is_timer = |claim: &Claim| claim.handler == Handler::Timer;
    let has_use = processor::count() > 1 || table.claims.iter().flatten().any(is_timer);
    table.controller == Some(controller) && has_use
}

/// Serves the most urgent interrupt. Called with interrupts masked; another that is pending comes right after.
pub fn dispatch() {
    let Some(controller) = TABLE.lock().controller else { return };
    // A controller in use can't be removed, and one that isn't in use lets no interrupt through.
    let _ = with_controller(controller, |controller| {
        let Some(acknowledged) = controller.acknowledge() else { return Ok(()) };
        match acknowledged.cause {
            Cause::Line(number) => serve_line(controller, number),
            Cause::Signal => {
                processor::count_signal();
                signalled();
            }
        }
        controller.end(acknowledged);
        Ok(())
    });
}

/// What a signal is for.
fn signalled() {}

fn serve_line(controller: &dyn InterruptController, number: u32) {
    let handler = match TABLE.lock().claims.get(number as usize) {
        Some(Some(claim)) => Some(claim.handler),
        _ => None,
    };
    match handler {
        Some(Handler::Timer) => thread::timer_interrupt(),
        Some(Handler::Driver { provider, index }) if serve(provider, index) => {}
        // It would come again at once, and for ever.
        _ => controller.disable(number),
    }
}

/// Calls the driver; false if it can't serve its interrupt any more.
fn serve(provider: ProviderId, index: usize) -> bool {
    let Ok(borrowed) = Borrowed::new(provider) else { return false };
    match thread::guarded(|| borrowed.interrupt(index)) {
        Ok(()) => true,
        Err(message) => {
            let name = registry::name(provider);
            log::error!("{name}: the interrupt handler panicked, and the line is silenced: {message}");
            false
        }
    }
}
