//! From a frame to its caller's.

use crate::{Action, Error, System, actions};
use gimli::{AArch64, CfaRule, Register, RegisterRule, UnwindContext, UnwindContextStorage, UnwindTableRow};

/// The registers of a processor.
#[repr(C)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// x0 to x30.
    pub general: [u64; 31],
    /// The stack pointer.
    pub stack_pointer: u64,
    /// The address of the next instruction.
    pub program_counter: u64,
}

impl Registers {
    fn get(&self, register: Register) -> Option<u64> {
        match register {
            AArch64::SP => Some(self.stack_pointer),
            Register(number) => self.general.get(usize::from(number)).copied(),
        }
    }

    /// x30, where a function returns to, without a signature: pointer authentication signs it in the bits above an
    /// address, which repeat bit 55 in one that isn't signed (Arm ARM D8.10).
    fn return_address(&self) -> u64 {
        let [.., link] = self.general;
        let unused = u64::MAX << ADDRESS_BITS;
        if link & (1 << 55) != 0 { link | unused } else { link & !unused }
    }
}

/// How many bits of an address are translated.
const ADDRESS_BITS: u32 = 48;

/// Where in a function a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the instruction at the program counter: it caused an exception, or was interrupted.
    Instruction,
    /// In a call, which returns to the program counter.
    Call,
}

/// A function that is being executed.
#[derive(Debug)]
pub struct Frame {
    /// The registers in this frame; those that calls needn't preserve are only right in the first.
    pub registers: Registers,
    /// Where in the function it is.
    pub place: Place,
    /// Where the frame ends: the caller's stack pointer (DWARF's canonical frame address).
    pub end: u64,
    /// What it wants done.
    pub action: Action,
}

impl Frame {
    /// An address in the instruction that is executed.
    pub fn instruction(&self) -> u64 {
        instruction(&self.registers, self.place)
    }

    /// What the registers hold when a landing pad is entered (Itanium C++ ABI for AArch64: x0 the exception, x1 which
    /// of the handlers, of which Rust has one).
    pub(crate) fn enter(&self, landing_pad: u64, exception: u64) -> Registers {
        let mut registers = self.registers.clone();
        let [x0, x1, ..] = &mut registers.general;
        (*x0, *x1) = (exception, 1);
        registers.program_counter = landing_pad;
        registers
    }
}

fn instruction(registers: &Registers, place: Place) -> u64 {
    match place {
        Place::Instruction => registers.program_counter,
        Place::Call => registers.program_counter.wrapping_sub(1),
    }
}

/// Room for the rules of one function: x19 to x30 and the state of its return address, three times for those of the
/// CIE, the current ones, and those that are remembered.
struct Storage;

impl UnwindContextStorage<usize> for Storage {
    type Rules = [(Register, RegisterRule<usize>); 16];
    type Stack = [UnwindTableRow<usize, Self>; 3];
}

/// Frames, from that of some registers outwards.
pub struct Walk<'a, S> {
    system: &'a S,
    /// The next frame's; `None` behind the last.
    next: Option<(Registers, Place)>,
    context: UnwindContext<usize, Storage>,
}

impl<'a, S: System> Walk<'a, S> {
    /// Starts with the frame that these are the registers of.
    pub fn new(system: &'a S, registers: Registers, place: Place) -> Self {
        Self { system, next: Some((registers, place)), context: UnwindContext::new_in() }
    }

    /// The next frame; `None` behind the last, whose function says that it returns nowhere.
    ///
    /// # Errors
    /// When the tables or the stack don't tell who called it. There is no further frame then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some((registers, place)) = self.next.take() else { return Ok(None) };
        let address = instruction(&registers, place);
        let Some(tables) = self.system.tables(address).filter(|_| address.is_multiple_of(4) || place == Place::Call)
        else {
            return self.nowhere(registers, place).map(Some);
        };
        let entry = tables.entry(address)?;
        // Its landing pads are for calls that unwind. An instruction that doesn't get done is none.
        let action = match place {
            Place::Instruction => Action::None,
            Place::Call => actions::find(&tables, &entry, address)?,
        };
        let row = entry
            .unwind_info_for_address(&tables.section(), &tables.bases(), &mut self.context, address)
            .map_err(|reason| Error::BadTables { address, reason })?;

        let end = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                registers.get(*register).ok_or(Error::UnknownRule(address))?.wrapping_add_signed(*offset)
            }
            CfaRule::Expression(_) => return Err(Error::UnknownRule(address)),
        };
        let mut caller = registers.clone();
        let (mut is_last, mut is_signed) = (false, false);
        for (register, rule) in row.registers() {
            let word = |offset: &i64| {
                let place = end.wrapping_add_signed(*offset);
                self.system.word(place).ok_or(Error::OutsideStack(place))
            };
            let value = match rule {
                RegisterRule::SameValue => continue,
                RegisterRule::Undefined if *register == AArch64::X30 => {
                    is_last = true;
                    continue;
                }
                RegisterRule::Undefined => continue,
                RegisterRule::Constant(state) if *register == AArch64::RA_SIGN_STATE => {
                    is_signed = *state & 1 != 0;
                    continue;
                }
                RegisterRule::Offset(offset) => word(offset)?,
                RegisterRule::ValOffset(offset) => end.wrapping_add_signed(*offset),
                RegisterRule::Register(other) => registers.get(*other).ok_or(Error::UnknownRule(address))?,
                _ => return Err(Error::UnknownRule(address)),
            };
            *caller.general.get_mut(usize::from(register.0)).ok_or(Error::UnknownRule(address))? = value;
        }
        if !is_last {
            // A function that has called another has a frame, for x30 at least: so this ends where the stack does.
            if end < registers.stack_pointer || end == registers.stack_pointer && place == Place::Call {
                return Err(Error::Circular(registers.stack_pointer));
            }
            // Where the stack is used up, the frame that is being made may lie below it.
            if place == Place::Call && self.system.word(end.wrapping_sub(8)).is_none() {
                return Err(Error::OutsideStack(end));
            }
            let [.., link] = caller.general;
            caller.program_counter = if is_signed { caller.return_address() } else { link };
            caller.stack_pointer = end;
            self.next = Some((caller, Place::Call));
        }
        Ok(Some(Frame { registers, place, end, action }))
    }

    /// A frame without code: a branch has gone nowhere. It came from a call, or from what was just called before, so that
    /// x30 tells where a caller is.
    fn nowhere(&mut self, registers: Registers, place: Place) -> Result<Frame, Error> {
        if place == Place::Call {
            return Err(Error::NoCode(registers.program_counter));
        }
        let caller = Registers { program_counter: registers.return_address(), ..registers.clone() };
        self.next = Some((caller, Place::Call));
        Ok(Frame { end: registers.stack_pointer, registers, place, action: Action::None })
    }
}
