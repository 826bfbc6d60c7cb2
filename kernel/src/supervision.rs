//! What becomes of modules that fail: whose fault it was, and starting them again.
//!
//! A failure is caught at the boundary of the call in which it happened ([`caught`]), noted, and left to a thread of the
//! kernel's, the supervisor. That takes back what the module held and starts it again, at first at once and then after
//! growing pauses, until it has failed too often.

mod budgets;

use crate::binding::{self, Restarted};
use crate::failure::{self, Failure};
use crate::machine::Machine;
use crate::processor::exceptions::Frame;
use crate::thread::{self, calls, ending, event, schedule};
use crate::{interrupt, modules, processor, registry, time, trace};
use abi::Error;
use abi::event::Signal;
use abi::registry::ProviderId;
use abi::running::Publication;
use abi::sync::Lock;
use abi::thread::Priority;
use abi::time::Instant;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use budgets::BUDGETS;
use core::time::Duration;

/// How often a module may fail within [`PERIOD`] and be started again; `restart.limit=N` in `bootargs` sets another.
const LIMIT: usize = 5;
/// `restart.period=SECONDS` sets another.
const PERIOD: Duration = Duration::from_secs(60);
/// The pause before the second restart within the period. Each is twice the one before, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the supervisor has to do.
enum Order {
    /// A provider, or a thread of it, has failed.
    Failed { provider: ProviderId, failure: Failure, thread: Option<String>, is_first: bool },
    /// A line has interrupted that has no thread to serve it yet.
    StartInterruptThread { provider: ProviderId, line: u32 },
}

static ORDERS: Lock<VecDeque<Order>> = Lock::new(VecDeque::new());
static SIGNAL: Lock<Option<Signal>> = Lock::new(None);

fn order(order: Order) {
    ORDERS.lock().push_back(order);
    let signal = *SIGNAL.lock();
    if let Some(signal) = signal {
        event::raise(signal);
    }
}

/// See `abi::kernel::caught`.
pub fn caught(exception: *mut u8, publication: &'static Publication) -> Error {
    let failure = failure::caught(exception);
    let provider = publication.provider;
    if is_callers(&failure, provider) {
        failure::resume(failure);
    }
    let text = failure.to_string();
    failed(provider, None, failure);
    thread::give_way_if_due();
    Error::Failed(text)
}

/// Whether not the provider has failed that was called, but who called it: in the closure that was passed to its handle, or
/// in what that has called.
fn is_callers(failure: &Failure, provider: ProviderId) -> bool {
    let Some(addresses) = failure.addresses() else { return false };
    let own = registry::module_of(provider).unwrap_or_default();
    // Right behind the call an exception comes from what the provider has left in registers, or returned.
    let inner = match addresses {
        [inner @ .., _boundary] if !failure.is_panic() => inner,
        all => all,
    };
    inner.iter().any(|address| modules::containing(*address).is_some())
        && !addresses.iter().any(|address| modules::is_code_of(&own, *address))
}

/// A thread has failed that runs on behalf of `owner`.
pub fn thread_failed(owner: Option<ProviderId>, name: &str, failure: Failure) {
    match owner {
        Some(provider) => failed(provider, Some(name.to_owned()), failure),
        None => log::error!("thread '{name}' {failure}\n{}", failure.backtrace()),
    }
}

fn failed(provider: ProviderId, thread: Option<String>, failure: Failure) {
    trace::failure(Some(provider));
    let is_first = !interrupt::serves_the_kernel(provider) && registry::fail(provider, !failure.is_panic());
    order(Order::Failed { provider, failure, thread, is_first });
}

/// A line has interrupted that has no thread to serve it yet.
pub fn start_interrupt_thread(provider: ProviderId, line: u32) {
    order(Order::StartInterruptThread { provider, line });
}

/// The timer came upon the running thread, which has run for a whole tick: ends a call that has taken too long.
pub fn charge(frame: &mut Frame) {
    let Some(call) = schedule::charge() else { return };
    let limit = BUDGETS.of(&call);
    if call.time > limit {
        // Where it can't be stopped now it can be a tick later.
        let _ = failure::stop(frame, format_args!("it took more than {} ms", limit.as_millis()));
    }
}

/// How long a call may wait, for one thing or many.
pub fn longest_wait() -> Duration {
    BUDGETS.longest_wait()
}

/// An interrupt came upon the running thread: ends it where it is if it was told to end and doesn't.
pub fn stop_if_told(frame: &mut Frame) {
    if ending::is_doomed() && !calls::holds_kernel_lock() && is_callees(frame.registers.program_counter as usize) {
        let _ = failure::stop(frame, format_args!("it was told to end and didn't"));
    }
}

/// Whether code is that of the module that the running thread calls, if it does, and not of a closure that calls it.
fn is_callees(address: usize) -> bool {
    abi::running::block().innermost().is_none_or(|call| {
        registry::module_of(call.provider).is_some_and(|module| modules::is_code_of(&module, address))
    })
}

/// A module that has failed before.
struct History {
    module: String,
    /// When, within the last period.
    failures: Vec<Instant>,
}

/// A restart that is due at some time.
struct Restart {
    due: Instant,
    /// See [`binding::restart`].
    down: Vec<ProviderId>,
}

struct Supervisor {
    machine: &'static Machine,
    limit: usize,
    period: Duration,
    histories: Vec<History>,
    restarts: Vec<Restart>,
}

/// Starts the supervisor.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub fn start(machine: &'static Machine) -> abi::Result<()> {
    let signal = event::create()?;
    *SIGNAL.lock() = Some(signal);
    BUDGETS.set(machine);
    let mut supervisor = Supervisor {
        machine,
        limit: machine.number("restart.limit").map_or(LIMIT, |limit| limit as usize),
        period: machine.number("restart.period").map_or(PERIOD, Duration::from_secs),
        histories: Vec::new(),
        restarts: Vec::new(),
    };
    let body = move || {
        loop {
            // It looks for what failed modules have left, and mustn't seem to refer to that itself.
            processor::clear_unused_stack();
            if let Err(failure) = failure::catch(|| supervisor.take_turn(signal)) {
                // Whatever it was about is lost, and the rest goes on.
                log::error!("the supervisor {failure}\n{}", failure.backtrace());
            }
        }
    };
    thread::spawn("supervisor", None, Priority::Urgent, Box::new(body))
}

impl Supervisor {
    /// Does what is to be done next, or waits until there is something.
    #[inline(never)]
    fn take_turn(&mut self, signal: Signal) {
        let order = ORDERS.lock().pop_front();
        match order {
            Some(order) => self.perform(order),
            None if self.restart_next() => {}
            None => {
                let next = self.restarts.iter().map(|restart| restart.due).min();
                let _ = event::wait(signal, next);
            }
        }
    }

    fn perform(&mut self, order: Order) {
        match order {
            Order::StartInterruptThread { provider, line } => {
                if let Err(error) = interrupt::start_thread(provider, line) {
                    log::error!("interrupt line {line} can't be served: {error}");
                }
            }
            Order::Failed { provider, failure, thread, is_first } => {
                let name = registry::name(provider);
                let module = registry::module_of(provider).unwrap_or_default();
                let who =
                    thread.map_or(format!("module {module}"), |thread| format!("module {module}, thread '{thread}',"));
                log::error!("{name}: {who} {failure}");
                log::info!("{name}: where it {}\n{}", failure_kind(&failure), failure.backtrace());
                if is_first {
                    let text = failure.to_string();
                    // Its record is for the next.
                    drop(failure);
                    self.plan_restart(Vec::from([provider]), &text);
                }
            }
        }
    }

    /// The first of what is `down` has failed, or couldn't be started again; `text` says how.
    fn plan_restart(&mut self, down: Vec<ProviderId>, text: &str) {
        let now = time::now();
        let Some(&provider) = down.first() else { return };
        let module = registry::module_of(provider).unwrap_or_default();
        let index = match self.histories.iter().position(|history| history.module == module) {
            Some(index) => index,
            None => {
                self.histories.push(History { module, failures: Vec::new() });
                self.histories.len() - 1
            }
        };
        let Some(history) = self.histories.get_mut(index) else { return };
        let period = self.period;
        history.failures.retain(|time| *time + period > now);
        let earlier = history.failures.len();
        history.failures.push(now);
        if earlier >= self.limit {
            let reason =
                format!("it failed {} times within {} s, the last time it {text}", earlier + 1, period.as_secs());
            log::error!("{}: {reason}; it stays down", registry::name(provider));
            if let Err(error) = binding::give_up(down, &reason) {
                log::error!("{}: {error}", registry::name(provider));
            }
            return;
        }
        let pause = match earlier.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE),
        };
        self.restarts.push(Restart { due: now + pause, down });
    }

    /// Performs a restart that is due; false if there is none.
    fn restart_next(&mut self) -> bool {
        let now = time::now();
        let Some(index) = self.restarts.iter().position(|restart| restart.due <= now) else { return false };
        let Restart { down, .. } = self.restarts.swap_remove(index);
        let name = down.first().map_or_else(String::new, |first| registry::name(*first));
        match binding::restart(self.machine, down) {
            Ok(Restarted::Done) => log::warn!("{name}: started again"),
            Ok(Restarted::Needless) => {}
            Ok(Restarted::Refused { down, reason }) => {
                self.plan_restart(down, &format!("couldn't be started: {reason}"))
            }
            Err(error) => log::error!("{name}: it can't be started again: {error}"),
        }
        true
    }
}

/// The first words of what has happened.
fn failure_kind(failure: &Failure) -> String {
    failure.to_string().split(':').next().unwrap_or_default().to_owned()
}
