use core::fmt;

/// Why a stack can't be unwound further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no code at this address, to which a function would return.
    NoCode(u64),
    /// No table tells of the function with the instruction at this address.
    NoEntry(u64),
    /// The tables of the function at this address are damaged, or need what isn't supported.
    BadTables {
        /// Where the function was.
        address: u64,
        /// What is wrong.
        reason: gimli::Error,
    },
    /// The function at this address has unwind rules of a kind that no compiler makes for this processor.
    UnknownRule(u64),
    /// What was saved lies outside of the stack, at this address.
    OutsideStack(u64),
    /// A caller's frame isn't above its callee's, at this stack pointer.
    Circular(u64),
    /// The function at this address must not be unwound.
    MustNotUnwind(u64),
    /// The frames end before who would go on.
    NotReached,
    /// Nobody goes on when this fails.
    NotGuarded,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCode(address) => {
                write!(formatter, "a function would return to {address:#x}, where there is no code")
            }
            Self::NoEntry(address) => write!(formatter, "no unwind table tells of the function at {address:#x}"),
            Self::BadTables { address, reason } => {
                write!(formatter, "the unwind tables of the function at {address:#x} can't be used: {reason}")
            }
            Self::UnknownRule(address) => {
                write!(formatter, "the function at {address:#x} has unwind rules of an unknown kind")
            }
            Self::OutsideStack(address) => {
                write!(formatter, "the frames lead out of the stack, to {address:#x}")
            }
            Self::Circular(stack_pointer) => {
                write!(formatter, "the frame of a caller isn't above {stack_pointer:#x}, where its callee's ends")
            }
            Self::MustNotUnwind(address) => write!(formatter, "the function at {address:#x} must not be unwound"),
            Self::NotReached => formatter.write_str("the frames end before who would go on"),
            Self::NotGuarded => formatter.write_str("nobody goes on when this fails"),
        }
    }
}

impl core::error::Error for Error {}
