//! Unwinding: which frames are left how.

use crate::{Action, Error, Frame, Place, Registers, System, Walk};

/// Where unwinding ends: in code that goes on when what it has called has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landing {
    /// The stack pointer there. All frames that begin below are unwound.
    pub stack_pointer: u64,
    /// The address of the code.
    pub program_counter: u64,
}

impl Landing {
    /// Whether a frame is not below, so that this is where to land.
    fn is_below(&self, frame: &Frame) -> bool {
        frame.place == Place::Call && frame.registers.stack_pointer >= self.stack_pointer
    }

    /// The registers to land with; only these count, and x0, which is `exception`.
    pub fn enter(&self, exception: u64) -> Registers {
        let mut registers = Registers {
            stack_pointer: self.stack_pointer,
            program_counter: self.program_counter,
            ..Registers::default()
        };
        let [x0, ..] = &mut registers.general;
        *x0 = exception;
        registers
    }
}

/// Looks whether all frames can be unwound from these registers to the landing. `visit` sees them, from the innermost.
///
/// # Errors
/// When the frames can't be followed so far, or when one on the way must not be unwound and isn't expendable.
pub fn search(
    system: &impl System,
    registers: &Registers,
    place: Place,
    landing: &Landing,
    mut visit: impl FnMut(&Frame),
) -> Result<(), Error> {
    let mut walk = Walk::new(system, registers.clone(), place);
    while let Some(frame) = walk.next_frame()? {
        if landing.is_below(&frame) {
            return Ok(());
        }
        if frame.action == Action::Refuse && !system.is_expendable(frame.instruction()) {
            return Err(Error::MustNotUnwind(frame.instruction()));
        }
        visit(&frame);
    }
    Err(Error::NotReached)
}

/// The registers with which the next landing pad on the way is entered, or at last the landing, with `exception` as what it
/// gets.
///
/// Cleanups that have no room on the stack are left out; who lands has to do with what there is.
///
/// # Errors
/// As for [`search`], which has found the way: the stack has changed since.
pub fn advance(
    system: &impl System,
    registers: &Registers,
    place: Place,
    landing: &Landing,
    exception: u64,
) -> Result<Registers, Error> {
    let mut walk = Walk::new(system, registers.clone(), place);
    while let Some(frame) = walk.next_frame()? {
        if landing.is_below(&frame) {
            return Ok(landing.enter(exception));
        }
        match frame.action {
            Action::Cleanup(landing_pad) if system.has_room(frame.registers.stack_pointer) => {
                return Ok(frame.enter(landing_pad, exception));
            }
            Action::Refuse if !system.is_expendable(frame.instruction()) => {
                return Err(Error::MustNotUnwind(frame.instruction()));
            }
            Action::Refuse | Action::None | Action::Cleanup(_) => {}
        }
    }
    Err(Error::NotReached)
}
