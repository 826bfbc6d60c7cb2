//! Bringing up the processors that the kernel wasn't booted on.
//!
//! They are started one after the other. One that has arrived waits, with interrupts masked, until the interrupt
//! controller passes it a signal; it signals the first processor in turn, and is let go when that has come through. So
//! no processor is taken into use that couldn't be woken. One that arrives when nobody waits for it any more stops
//! before it has touched anything.

use super::local::{self, NOBODY};
use super::{MOST, cache, exceptions};
use crate::machine::Machine;
use crate::memory::layout;
use crate::memory::space::{self, MemoryMapping, Stack};
use crate::{interrupt, registry, thread, time};
use aarch64_cpu::registers::{Readable, SCTLR_EL1, TCR_EL1, TTBR1_EL1};
use abi::sync::Lock;
use abi::system::DeviceState;
use abi::{Error, Result};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::ToString;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use devicetree::{Node, Processor};
use smccc::{Hvc, Smc, psci};

/// How long a processor may take to arrive, and to answer. They take microseconds, and a busy host's emulator longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a processor has to know before it can see the rest of the kernel: `start.s` reads it with the MMU off.
///
/// Each is used for one attempt to start one processor, so that none ever finds another's stack here.
#[repr(C, align(64))]
struct Start {
    /// Whom it is for.
    identifier: AtomicU64,
    /// The end of its stack.
    stack_end: AtomicUsize,
    /// TTBR1_EL1, TCR_EL1 and SCTLR_EL1 as the processor has them that starts it.
    tables: AtomicU64,
    translation: AtomicU64,
    control: AtomicU64,
    /// Where it goes on once it has those tables.
    entry: AtomicUsize,
    /// The number that it will have.
    index: AtomicUsize,
    /// How far it has come.
    step: AtomicU32,
}

/// It has been sent for.
const CALLED: u32 = 0;
/// It has arrived, and its number and stacks are its own.
const ARRIVED: u32 = 1;
/// It can be interrupted, and waits for a signal.
const WAITING: u32 = 2;
/// It couldn't get ready; [`FAILURE`] has the reason.
const FAILED: u32 = 3;
/// It has been taken into use.
const STARTED: u32 = 4;
/// Nobody waits for it any more.
const GIVEN_UP: u32 = 5;

// `start.s` counts on it.
const _: () = assert!(
    offset_of!(Start, identifier) == 0
        && offset_of!(Start, stack_end) == 8
        && offset_of!(Start, tables) == 16
        && offset_of!(Start, translation) == 24
        && offset_of!(Start, control) == 32
        && offset_of!(Start, entry) == 40
        && size_of::<Start>() == 64
        && MOST == 64
);

#[unsafe(no_mangle)]
static PROCESSOR_STARTS: [Start; MOST] = [const {
    Start {
        identifier: AtomicU64::new(NOBODY),
        stack_end: AtomicUsize::new(0),
        tables: AtomicU64::new(0),
        translation: AtomicU64::new(0),
        control: AtomicU64::new(0),
        entry: AtomicUsize::new(0),
        index: AtomicUsize::new(0),
        step: AtomicU32::new(CALLED),
    }
}; MOST];

unsafe extern "C" {
    /// Where a processor starts (`start.s`).
    static processor_entry: u8;
    static processor_upper: u8;
}

/// Why the processor couldn't get ready that has failed.
static FAILURE: Lock<Option<Error>> = Lock::new(None);

/// Starts all processors that the tree names, or as many as `cpu=N` allows. What keeps one from running is logged, and
/// told by `lsdev`.
pub fn all(machine: &Machine) {
    let limit = limit(machine);
    // One runs already.
    let mut starts = PROCESSOR_STARTS.iter().take(MOST - 1);
    for processor in machine.tree.processors() {
        let processor = match processor {
            Ok(processor) => processor,
            Err(error) => {
                log::error!("{error}");
                continue;
            }
        };
        let node = processor.node;
        if !node.is_enabled() || local::identifier_of(0) == Some(processor.identifier) {
            continue;
        }
        let index = local::count();
        let state = match limit {
            Some(limit) if index >= limit => DeviceState::NotStarted(format!("bootargs has cpu={limit}")),
            _ => {
                match starts.next().ok_or_else(too_many).and_then(|start| start.bring_up(machine, &processor, index)) {
                    Ok(()) => DeviceState::Kernel,
                    Err(error) => {
                        log::error!("{}: the processor is not started: {error}", node.path());
                        DeviceState::NotStarted(error.to_string())
                    }
                }
            }
        };
        if let Some(provider) = registry::by_node(node.index()) {
            registry::set_state(provider, None, state);
        }
    }
    if local::count() > 1 {
        log::info!("{} processors", local::count());
    }
}

/// Gives the first processor an exception stack that has a guard, as all others get one: so far it has had a part of the
/// image.
///
/// # Errors
/// When there is no memory for it.
pub fn guard_exception_stack() -> Result<()> {
    let stack = Stack::new()?;
    local::prepare(0, stack.end());
    core::mem::forget(stack);
    Ok(())
}

fn too_many() -> Error {
    Error::Unsupported(format!("this kernel runs {MOST} processors at most"))
}

/// How many processors may run, if `cpu=N` says so.
fn limit(machine: &Machine) -> Option<usize> {
    let argument = machine.argument("cpu")?;
    let limit = argument.parse().ok().filter(|limit| *limit >= 1);
    if limit.is_none() {
        log::error!("bootargs: cpu={argument}: expected how many processors to use, 1 or more");
    }
    limit
}

impl Start {
    /// Starts a processor and makes sure that it can be signalled.
    fn bring_up(&'static self, machine: &Machine, processor: &Processor<'_>, index: usize) -> Result<()> {
        if !interrupt::has_controller() {
            return Err(Error::Invalid("there is no interrupt controller that could signal it".to_owned()));
        }
        let method = Method::of(machine, processor)?;
        let (stack, exception_stack) = (Stack::new()?, Stack::new()?);
        local::prepare(index, exception_stack.end());
        self.stack_end.store(stack.end(), Ordering::Relaxed);
        self.tables.store(TTBR1_EL1.get(), Ordering::Relaxed);
        self.translation.store(TCR_EL1.get(), Ordering::Relaxed);
        self.control.store(SCTLR_EL1.get(), Ordering::Relaxed);
        self.entry.store(&raw const processor_upper as usize, Ordering::Relaxed);
        self.index.store(index, Ordering::Relaxed);
        self.identifier.store(processor.identifier, Ordering::Relaxed);
        // It reads this without caches.
        cache::clean(&raw const *self as usize, size_of::<Self>());
        method.start(processor.identifier)?;
        // From here on it may be on its stacks, now or later.
        core::mem::forget((stack, exception_stack));

        self.wait_while(CALLED, "it hasn't arrived")?;
        self.wait_while(ARRIVED, "it doesn't get ready for interrupts")?;
        if self.step.load(Ordering::Acquire) == FAILED {
            return Err(FAILURE.lock().take().unwrap_or(Error::Gone));
        }
        let answers = local::signals(0);
        interrupt::signal(index);
        let answered = wait_until(|| local::signals(0) != answers);
        if !answered {
            self.step.store(GIVEN_UP, Ordering::Release);
            return Err(Error::Device(format!("it hasn't answered a signal within {} s", PATIENCE.as_secs())));
        }
        local::set_count(index + 1);
        self.step.store(STARTED, Ordering::Release);
        Ok(())
    }

    /// Waits until the processor gets beyond `step`, and gives it up when that takes too long.
    fn wait_while(&self, step: u32, problem: &str) -> Result<()> {
        if wait_until(|| self.step.load(Ordering::Acquire) != step) || !self.advance(step, GIVEN_UP) {
            return Ok(());
        }
        Err(Error::Device(format!("{problem} within {} s", PATIENCE.as_secs())))
    }

    /// Goes from one step to another; false if it isn't there any more.
    fn advance(&self, from: u32, to: u32) -> bool {
        self.step.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// What the processor itself does, until it is taken into use or stops.
    fn run(&self) -> ! {
        if !self.advance(CALLED, ARRIVED) {
            super::halt();
        }
        super::initialise(self.index.load(Ordering::Relaxed));
        thread::prepare();
        exceptions::install();
        time::set_deadline(None);
        if let Err(error) = interrupt::start_processor() {
            *FAILURE.lock() = Some(error);
            self.advance(ARRIVED, FAILED);
            super::halt();
        }
        if !self.advance(ARRIVED, WAITING) {
            super::halt();
        }
        // Masked interrupts end the sleep as well. The signal is taken when they are unmasked.
        while !is_interrupted() {
            aarch64_cpu::asm::wfi();
        }
        interrupt::signal(0);
        loop {
            match self.step.load(Ordering::Acquire) {
                WAITING => core::hint::spin_loop(),
                STARTED => break,
                _ => super::halt(),
            }
        }
        thread::initialise();
        // SAFETY: the vectors are installed, and no lock is held.
        unsafe { super::unmask_interrupts() };
        thread::idle()
    }
}

fn wait_until(condition: impl Fn() -> bool) -> bool {
    let deadline = time::now() + PATIENCE;
    loop {
        if condition() {
            return true;
        }
        if time::now() > deadline {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// Whether an interrupt is pending, masked or not: ISR_EL1.I (Arm ARM D24.2.69).
fn is_interrupted() -> bool {
    let pending: u64;
    // SAFETY: reading the register has no effect.
    unsafe { core::arch::asm!("mrs {}, isr_el1", out(reg) pending, options(nomem, nostack, preserves_flags)) }
    pending & (1 << 7) != 0
}

/// Where `start.s` goes on the processor's own stack, with the final tables and interrupts masked; `start` is the place
/// of its [`Start`].
#[unsafe(no_mangle)]
extern "C" fn processor_main(start: usize) -> ! {
    space::leave_lower_half();
    match PROCESSOR_STARTS.get(start) {
        Some(start) => start.run(),
        None => super::halt(),
    }
}

/// How the tree says that a processor is started.
enum Method {
    /// A call to firmware with this instruction (Arm DEN 0022F.b, section 5.1.4, CPU_ON).
    Hypervisor,
    SecureMonitor,
    /// It looks at this physical address for where to go (Devicetree Specification 0.4, section 3.8.1).
    SpinTable(usize),
}

impl Method {
    fn of(machine: &Machine, processor: &Processor<'_>) -> Result<Self> {
        match (processor.enable_method, processor.release_address) {
            (Some("psci"), _) => Self::of_firmware(machine),
            (Some("spin-table"), Some(address)) if address % 8 == 0 => Ok(Self::SpinTable(address as usize)),
            (Some("spin-table"), Some(address)) => {
                Err(Error::Invalid(format!("its cpu-release-addr should be a multiple of 8, found {address:#x}")))
            }
            (Some("spin-table"), None) => {
                Err(Error::Invalid("its enable-method is \"spin-table\", and it has no cpu-release-addr".to_owned()))
            }
            (method, _) => Err(Error::Unsupported(format!(
                "its enable-method should be \"psci\" or \"spin-table\", found {}",
                method.map_or("none".to_owned(), |method| format!("\"{method}\""))
            ))),
        }
    }

    /// The instruction that the tree's PSCI node asks for.
    fn of_firmware(machine: &Machine) -> Result<Self> {
        // Before version 0.2 functions had numbers that each machine chose.
        let is_psci = |node: &Node<'_>| {
            let mut names = node.compatible().into_iter().flatten();
            node.is_enabled() && names.any(|name| name == "arm,psci-0.2" || name == "arm,psci-1.0")
        };
        let node = machine.tree.nodes().find(is_psci);
        let node = node.ok_or_else(|| {
            Error::Invalid("its enable-method is \"psci\", and the tree has no node of PSCI 0.2 or later".to_owned())
        })?;
        match node.string("method") {
            Ok(Some("hvc")) => Ok(Self::Hypervisor),
            Ok(Some("smc")) => Ok(Self::SecureMonitor),
            Ok(method) => Err(Error::Unsupported(format!(
                "the method of {} should be \"hvc\" or \"smc\", found {}",
                node.path(),
                method.map_or("none".to_owned(), |method| format!("\"{method}\""))
            ))),
            Err(error) => Err(Error::Invalid(error.to_string())),
        }
    }

    /// Sends a processor to `processor_entry`.
    fn start(&self, identifier: u64) -> Result<()> {
        let entry = layout::physical(&raw const processor_entry as usize);
        let refused = |error| Error::Device(format!("the firmware refused to start it: {error}"));
        match self {
            Self::Hypervisor => psci::cpu_on::<Hvc>(identifier, entry as u64, 0).map_err(refused),
            Self::SecureMonitor => psci::cpu_on::<Smc>(identifier, entry as u64, 0).map_err(refused),
            Self::SpinTable(address) => {
                // It may lie in memory that the linear map leaves out.
                let mapping = MemoryMapping::new(*address..*address + 8)?;
                let release = mapping.start().cast::<u64>();
                // SAFETY: mapped and aligned; the tree says that the processor's release address is there, which is
                // memory that firmware leaves to us and that nobody else uses.
                unsafe { release.write_volatile(entry as u64) };
                cache::clean(release.as_ptr() as usize, size_of::<u64>());
                // SAFETY: wakes processors that wait for an event.
                unsafe { core::arch::asm!("sev", options(nomem, nostack, preserves_flags)) }
                Ok(())
            }
        }
    }
}
