//! Interrupt lines: who is served by which, and passing them on.
//!
//! One controller collects all lines for now, the root of the interrupt tree. It is a module like any other.

use crate::registry::{self, Borrowed};
use crate::{thread, trace};
use abi::interrupt::{InterruptController, Line};
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
    let line = match TABLE.lock().claims.get_mut(number as usize) {
        Some(Some(claim)) => {
            claim.active = true;
            claim.line
        }
        _ => return Ok(()),
    };
    with_controller(controller, |controller| controller.enable(line))
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

/// Whether the kernel's timer interrupts through this controller.
pub fn serves_the_timer(controller: ProviderId) -> bool {
    let table = TABLE.lock();
    let is_timer = |claim: &Claim| claim.handler == Handler::Timer;
    table.controller == Some(controller) && table.claims.iter().flatten().any(is_timer)
}

/// Serves the most urgent interrupt. Called with interrupts masked; another that is pending comes right after.
pub fn dispatch() {
    let Some(controller) = TABLE.lock().controller else { return };
    // A controller in use can't be removed, and one that isn't in use lets no interrupt through.
    let _ = with_controller(controller, |controller| {
        let Some(number) = controller.acknowledge() else { return Ok(()) };
        let _traced = trace::interrupt(number);
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
        controller.end(number);
        Ok(())
    });
}

/// Calls the driver; false if it can't serve its interrupt any more.
fn serve(provider: ProviderId, index: usize) -> bool {
    let Ok(borrowed) = Borrowed::new(provider) else { return false };
    match thread::guarded(|| borrowed.interrupt(index)) {
        Ok(()) => true,
        Err(message) => {
            trace::failure(Some(provider));
            let name = registry::name(provider);
            log::error!("{name}: the interrupt handler panicked, and the line is silenced: {message}");
            false
        }
    }
}
