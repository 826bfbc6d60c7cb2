//! Unwinding: which frames are left how.

use crate::{Action, Error, Frame, Place, Registers, System, Walk};

/// Who catches: the end of the frame, and its landing pad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// Where the frame ends ([`Frame::end`]).
    pub frame: u64,
    /// The address of the code that it goes on with.
    pub landing_pad: u64,
}

/// The frame that catches what happens at these registers. `visit` sees all frames below it, from the innermost.
///
/// # Errors
/// When none does, or when the frames can't be followed so far, or when one on the way must not be unwound and isn't
/// expendable.
pub fn search(
    system: &impl System,
    registers: &Registers,
    place: Place,
    mut visit: impl FnMut(&Frame),
) -> Result<Boundary, Error> {
    let mut walk = Walk::new(system, registers.clone(), place);
    while let Some(frame) = walk.next_frame()? {
        match frame.action {
            Action::Catch(landing_pad) => return Ok(Boundary { frame: frame.end, landing_pad }),
            Action::Refuse if !system.is_expendable(frame.instruction()) => {
                return Err(Error::MustNotUnwind(frame.instruction()));
            }
            Action::Refuse | Action::None | Action::Cleanup(_) => visit(&frame),
        }
    }
    Err(Error::NotCaught)
}

/// The registers with which the next landing pad on the way to who catches is entered, with `exception` as what it gets.
///
/// Cleanups that have no room on the stack are left out; who catches has to do with what there is.
///
/// # Errors
/// As for [`search`], which has found the way: the stack has changed since.
pub fn advance(system: &impl System, registers: &Registers, place: Place, exception: u64) -> Result<Registers, Error> {
    let mut walk = Walk::new(system, registers.clone(), place);
    while let Some(frame) = walk.next_frame()? {
        match frame.action {
            Action::Catch(landing_pad) => return Ok(frame.enter(landing_pad, exception)),
            Action::Cleanup(landing_pad) if system.has_room(frame.registers.stack_pointer) => {
                return Ok(frame.enter(landing_pad, exception));
            }
            Action::Refuse if !system.is_expendable(frame.instruction()) => {
                return Err(Error::MustNotUnwind(frame.instruction()));
            }
            Action::Refuse | Action::None | Action::Cleanup(_) => {}
        }
    }
    Err(Error::NotCaught)
}
