//! What the processor does when something interrupts it, and how a fatal exception is told.

use super::InterruptsMasked;
use super::local::Local;
use crate::memory::layout::{self, STACK_SIZE};
use crate::thread::{self, calls};
use crate::{failure, interrupt, modules, supervision};
use aarch64_cpu::registers::{ESR_EL1, FAR_EL1, Readable, VBAR_EL1, Writeable};
use core::fmt;
use core::ops::Range;
use unwinder::Registers;

core::arch::global_asm!(include_str!("exceptions.s"), exception_stack = const Local::EXCEPTION_STACK);

/// The registers of the interrupted code, as `exceptions.s` saves them.
#[repr(C)]
pub struct Frame {
    /// The registers; the program counter is where it goes on (ELR_EL1).
    pub registers: Registers,
    /// The processor state that it goes on with (SPSR_EL1).
    pub state: u64,
}

unsafe extern "C" {
    static exception_vectors: u8;
    static exception_vectors_end: u8;
}

/// What the processor masks when it takes an exception, and threads of the kernel don't: interrupts and SError (SPSR_EL1.I and
/// A; Arm ARM C5.2.19).
const EXCEPTION_MASKS: u64 = 1 << 7 | 1 << 8;

/// Installs the vectors on this processor.
pub fn install() {
    VBAR_EL1.set(&raw const exception_vectors as u64);
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
}

#[unsafe(no_mangle)]
extern "C" fn exception_interrupt(frame: &mut Frame) {
    calls::interrupted(|| {
        if interrupt::dispatch(frame.registers.program_counter) {
            supervision::charge(frame);
        }
        // The processor masked them when it took the exception.
        thread::settle(&InterruptsMasked::new());
    });
    supervision::stop_if_told(frame);
}

#[unsafe(no_mangle)]
extern "C" fn exception_synchronous(frame: &mut Frame) {
    failure::exception(&Cause::read(frame.registers.stack_pointer), frame);
}

#[unsafe(no_mangle)]
extern "C" fn exception_stack_overflowed(frame: &mut Frame) {
    let vectors = &raw const exception_vectors as u64..&raw const exception_vectors_end as u64;
    if vectors.contains(&frame.registers.program_counter) {
        // There was no stack to save what was interrupted, so that is lost. It wasn't the kernel's: that has one.
        frame.registers.program_counter = 0;
        frame.state &= !EXCEPTION_MASKS;
        failure::exception(&Cause::NoStack(frame.registers.stack_pointer), frame);
    } else {
        failure::exception(&Cause::StackOverflow(FAR_EL1.get()), frame);
    }
}

/// An interrupt came where there may not be stack enough to serve it. Ends what was interrupted, if that is about to overflow
/// the stack, and returns whether it has: a module's code, or a small function of the kernel's that it has called. Others have
/// [made sure](super::claim_stack) of what they need.
#[unsafe(no_mangle)]
extern "C" fn exception_short_of_stack(frame: &mut Frame) -> bool {
    /// With less an interrupt can't be served.
    const LEAST: u64 = 2 << 10;

    let Registers { stack_pointer, program_counter, .. } = frame.registers;
    // A handler may use what is kept for it.
    if calls::serves_interrupt() || calls::holds_kernel_lock() {
        return false;
    }
    let is_used_up = stack_pointer % (STACK_SIZE as u64) < LEAST;
    let ends = is_used_up || modules::containing(program_counter as usize).is_some();
    if ends {
        failure::exception(&Cause::StackOverflow(stack_pointer), frame);
    }
    ends
}

#[unsafe(no_mangle)]
extern "C" fn exception_unexpected(frame: &mut Frame, vector: u64) {
    let cause = match vector {
        7 => Cause::SystemError(ESR_EL1.get()),
        _ => Cause::Vector(vector),
    };
    failure::fatal_exception(&cause, None, frame)
}

/// Why an exception was taken.
pub enum Cause {
    /// A synchronous exception: the contents of ESR_EL1 and FAR_EL1.
    Synchronous {
        /// ESR_EL1.
        syndrome: u64,
        /// FAR_EL1.
        address: u64,
    },
    /// The stack reaches into the guard below it; FAR_EL1.
    StackOverflow(u64),
    /// The stack pointer, which pointed to where no stack is.
    NoStack(u64),
    /// An asynchronous bus error: ESR_EL1.
    SystemError(u64),
    /// An exception of a kind that can't happen here, by its place in the vector table.
    Vector(u64),
}

impl Cause {
    fn read(stack_pointer: u64) -> Self {
        let (syndrome, address) = (ESR_EL1.get(), FAR_EL1.get());
        // What reaches below a stack may leave the stack pointer where it was.
        let stack = layout::stack_of(stack_pointer as usize);
        let is_below = |stack: Range<usize>| (stack.start - STACK_SIZE..stack.start).contains(&(address as usize));
        let is_data_access = matches!((syndrome >> 26) & 0x3f, 0x24 | 0x25);
        if is_data_access && stack.is_some_and(is_below) {
            return Self::StackOverflow(address);
        }
        Self::Synchronous { syndrome, address }
    }
}

/// The exception class of ESR_EL1 in words (Arm ARM D24.2.40).
fn class(syndrome: u64) -> &'static str {
    match (syndrome >> 26) & 0x3f {
        0x00 => "undefined instruction",
        0x07 => "use of floating-point or vector registers, which the kernel and its modules must not touch",
        0x0d => "branch to a place that is no branch target",
        0x0e => "illegal execution state",
        0x1c => "pointer authentication failure",
        0x20 | 0x21 => "instruction fetch",
        0x22 => "misaligned program counter",
        0x24 | 0x25 => "data access",
        0x26 => "misaligned stack pointer",
        0x2f => "bus error",
        0x3c => "breakpoint instruction",
        _ => "exception of an unexpected class",
    }
}

/// The fault status code of an abort in words (Arm ARM D24.2.40, ISS encoding for Data Aborts).
fn fault(syndrome: u64) -> &'static str {
    match syndrome & 0x3f {
        0x00..=0x03 => "address size fault",
        0x04..=0x07 => "nothing is mapped there",
        0x08..=0x0b => "the mapping's access flag is clear",
        0x0c..=0x0f => "the mapping doesn't permit it",
        0x10 | 0x14..=0x17 => "the bus refused it",
        0x18 | 0x1c..=0x1f => "memory parity error",
        0x21 => "it is misaligned for that kind of memory",
        0x30 => "conflicting translations",
        _ => "for a reason of its own",
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Synchronous { syndrome, address } => {
                write!(formatter, "{}", class(syndrome))?;
                match (syndrome >> 26) & 0x3f {
                    0x20 | 0x21 => write!(formatter, " from {address:#018x}: {}", fault(syndrome))?,
                    0x24 | 0x25 => {
                        let direction = if syndrome & (1 << 6) != 0 { "write to" } else { "read from" };
                        let hint = if address < 4096 { " (a null pointer)" } else { "" };
                        write!(formatter, ", {direction} {address:#018x}{hint}: {}", fault(syndrome))?;
                    }
                    _ => {}
                }
                write!(formatter, " (ESR_EL1 {syndrome:#x})")
            }
            Self::StackOverflow(address) => write!(formatter, "stack overflow, access to {address:#018x}"),
            Self::NoStack(address) => write!(formatter, "the stack pointer was {address:#018x}, where no stack is"),
            Self::SystemError(syndrome) => write!(formatter, "asynchronous bus error (ESR_EL1 {syndrome:#x})"),
            Self::Vector(vector) => write!(formatter, "exception through unused vector {vector}"),
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, registers) in self.registers.general.chunks(4).enumerate() {
            for (column, register) in registers.iter().enumerate() {
                write!(formatter, "{}x{:<2} {register:016x}", if column == 0 { "" } else { "  " }, row * 4 + column)?;
            }
            if row < 7 {
                writeln!(formatter)?;
            }
        }
        write!(
            formatter,
            "  sp  {:016x}\npc  {:016x}  state {:08x}",
            self.registers.stack_pointer, self.registers.program_counter, self.state
        )
    }
}
