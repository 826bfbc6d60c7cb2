//! Registers with a model of the device behind them: what a read returns and what a write does is the model's to say.
//!
//! The registers' pages can't be accessed. The processor's exception is where a read gets its value from the model; then
//! the page is opened for one instruction, which the processor is told to stop after, and that is where a write gets to the
//! model. No instruction has to be understood. It takes the trap flag of x86-64 and Linux's signals.

use crate::lock;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, PoisonError};
use std::{mem, ptr};

/// A device with registers of 32 bits, as its manual describes them.
///
/// It is called from a signal handler at the place of the driver's access, on the driver's thread. Only one thread at a time
/// may use a device.
pub trait Model: Send {
    /// The value of the register at `offset` when it is read.
    fn read(&mut self, offset: usize) -> u32;

    /// Writes a register.
    fn write(&mut self, offset: usize, value: u32);
}

/// A model may be shared with the test.
impl<M: Model> Model for std::sync::Arc<Mutex<M>> {
    fn read(&mut self, offset: usize) -> u32 {
        lock(self).read(offset)
    }

    fn write(&mut self, offset: usize, value: u32) {
        lock(self).write(offset, value);
    }
}

struct Modelled {
    block: &'static [AtomicU32],
    model: Box<dyn Model>,
}

static MODELS: Mutex<Vec<Modelled>> = Mutex::new(Vec::new());

/// An access that has been let through: the register's address, and whether it is a write.
type Access = (usize, bool);

thread_local! {
    static ACCESS: Cell<Option<Access>> = const { Cell::new(None) };
}

/// x86-64: the flag that stops after each instruction (Intel SDM, volume 1, section 3.4.3.3).
const TRAP_FLAG: i64 = 1 << 8;

/// x86-64: the bit of a page fault's error code that tells a write from a read (volume 3, section 4.7).
const IS_WRITE: i64 = 1 << 1;

/// Puts a model behind registers, which begin and end with a page.
pub fn put_behind(block: &'static [AtomicU32], model: Box<dyn Model>) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        install(libc::SIGSEGV, before_access);
        install(libc::SIGTRAP, after_access);
    });
    MODELS.lock().unwrap_or_else(PoisonError::into_inner).push(Modelled { block, model });
    protect(block, libc::PROT_NONE);
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

fn install(signal: libc::c_int, handler: Handler) {
    // SAFETY: all zeros are a valid value: no flags, no signals masked.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
    // SAFETY: the handler has the signature that `SA_SIGINFO` asks for.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }, 0);
}

fn protect(block: &'static [AtomicU32], protection: libc::c_int) {
    let start = block.as_ptr().cast_mut().cast();
    // SAFETY: whole pages that hold registers alone.
    assert_eq!(unsafe { libc::mprotect(start, size_of_val(block).next_multiple_of(4096), protection) }, 0);
}

/// Runs `action` on what is behind an address; none if that is no model's.
fn with_model<R>(address: usize, action: impl FnOnce(&mut Modelled, usize) -> R) -> Option<R> {
    let mut models = lock(&MODELS);
    let offset = |modelled: &Modelled| address.checked_sub(modelled.block.as_ptr().addr());
    let is_inside = |modelled: &&mut Modelled| offset(modelled).is_some_and(|at| at < size_of_val(modelled.block));
    let modelled = models.iter_mut().find(is_inside)?;
    let offset = address - modelled.block.as_ptr().addr();
    Some(action(modelled, offset & !3))
}

/// The flags, and the page fault's error code, of the thread that a signal handler runs on.
fn registers<'a>(context: *mut libc::c_void) -> &'a mut [i64; 23] {
    // SAFETY: the kernel passes a pointer to a `ucontext_t` to handlers installed with `SA_SIGINFO`, and nobody else uses it.
    unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs }
}

extern "C" fn before_access(_: libc::c_int, information: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid pointer; for this signal the field is there.
    let address = unsafe { (*information).si_addr() }.addr();
    let registers = registers(context);
    let is_write = registers[libc::REG_ERR as usize] & IS_WRITE != 0;
    let begun = with_model(address, |Modelled { block, model }, offset| {
        protect(block, libc::PROT_READ | libc::PROT_WRITE);
        if !is_write {
            block[offset / 4].store(model.read(offset), Ordering::SeqCst);
        }
    });
    match begun {
        Some(()) => {
            ACCESS.set(Some((address, is_write)));
            registers[libc::REG_EFL as usize] |= TRAP_FLAG;
        }
        // Not ours: it happens again, and ends the process.
        // SAFETY: the default action is always there.
        None => unsafe {
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        },
    }
}

extern "C" fn after_access(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    registers(context)[libc::REG_EFL as usize] &= !TRAP_FLAG;
    let Some((address, is_write)) = ACCESS.take() else { return };
    with_model(address, |Modelled { block, model }, offset| {
        if is_write {
            model.write(offset, block[offset / 4].load(Ordering::SeqCst));
        }
        protect(block, libc::PROT_NONE);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FakeNode;
    use abi::prelude::{ReadOnly, ReadWrite, Readable, Registers, Writeable};
    use std::sync::Arc;

    abi::registers! {
        Layout {
            (0x00 => counter: ReadOnly<u32>),
            (0x04 => _reserved),
            (0x10 => doubled: ReadWrite<u32>),
            (0x14 => @END),
        }
    }

    /// A register that counts how often it is read, and one that doubles what is written.
    #[derive(Default)]
    struct Example {
        reads: u32,
        doubled: u32,
    }

    impl Model for Example {
        fn read(&mut self, offset: usize) -> u32 {
            match offset {
                0x00 => {
                    self.reads += 1;
                    self.reads
                }
                0x10 => self.doubled,
                _ => panic!("there is no register at {offset:#x}"),
            }
        }

        fn write(&mut self, offset: usize, value: u32) {
            assert_eq!(offset, 0x10);
            self.doubled = 2 * value;
        }
    }

    #[test]
    fn each_access_is_the_models() {
        let model = Arc::new(Mutex::new(Example::default()));
        let node = FakeNode::with_model(0x14, model.clone());
        let registers: Registers<Layout> = node.resources().registers(0).unwrap();
        assert_eq!([registers.counter.get(), registers.counter.get(), registers.counter.get()], [1, 2, 3]);
        for value in [21, 1 << 30] {
            registers.doubled.set(value);
            assert_eq!(registers.doubled.get(), 2 * value);
        }
        assert_eq!(lock(&model).reads, 3);
    }
}
