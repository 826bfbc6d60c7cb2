//! What can go wrong between kernel, modules and devices.

use alloc::string::String;
use core::fmt;

/// The result of nearly every call across the boundary.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why a call across the boundary failed.
///
/// Texts are owned: an error may outlive the module that reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No device answers behind the node. From `probe` this is no failure: the node is listed as empty.
    Absent,
    /// The node has no such resource: the device tree is at fault, or the driver asks for too much.
    Missing {
        /// What was asked for: `registers`, `interrupt`, ...
        resource: String,
        /// Its position in the node's list, from 0.
        index: usize,
    },
    /// Another module has yet to provide what is asked for. From `probe` this defers the node until something new is published.
    Deferred(String),
    /// Somebody has it already, or can't do without it: the whole sentence.
    Busy(String),
    /// The device, or the way it is set up, is one that this module can't handle.
    Unsupported(String),
    /// The device broke its protocol.
    Device(String),
    /// The device works, and could not do what it was asked to, because of its medium for instance: the whole sentence.
    Io(String),
    /// What was asked for makes no sense, or what it depends on does not: the whole sentence.
    Invalid(String),
    /// The kernel has no memory left for this many bytes.
    OutOfMemory(usize),
    /// The module has as many of these as it may have at a time.
    TooMany {
        /// Of what: `events`, ...
        what: String,
        /// How many it may have.
        most: usize,
    },
    /// The module or device that provided this is gone.
    Gone,
    /// This module is being removed: its threads have to end.
    Stopping,
    /// The time allowed ran out before anything happened.
    TimedOut,
    /// The module's code failed: it panicked, caused an exception, or was stopped. The end of a sentence says which.
    Failed(String),
    /// The module that provides this has failed and is being started again.
    Restarting,
}

impl Error {
    /// The error with a text of no more than some lines, however much a module has to say.
    pub fn shortened(mut self) -> Self {
        const MOST: usize = 1000;
        match &mut self {
            Self::Missing { resource: text, .. }
            | Self::TooMany { what: text, .. }
            | Self::Deferred(text)
            | Self::Busy(text)
            | Self::Unsupported(text)
            | Self::Device(text)
            | Self::Io(text)
            | Self::Invalid(text)
            | Self::Failed(text)
                if text.len() > MOST =>
            {
                text.truncate(text.floor_char_boundary(MOST));
                text.push_str("...");
                text.shrink_to_fit();
            }
            _ => {}
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => formatter.write_str("no device answers behind this node"),
            Self::Missing { resource, index } => write!(formatter, "the node has no {resource} number {index}"),
            Self::Deferred(what) => write!(formatter, "waiting for {what}"),
            Self::Unsupported(what) => write!(formatter, "not supported: {what}"),
            Self::Device(what) => write!(formatter, "the device misbehaved: {what}"),
            Self::Busy(sentence) | Self::Io(sentence) | Self::Invalid(sentence) => formatter.write_str(sentence),
            Self::OutOfMemory(bytes) => write!(formatter, "the kernel has no memory left for {bytes} bytes"),
            Self::TooMany { what, most } => write!(formatter, "the module has {most} {what}, and may not have more"),
            Self::Gone => formatter.write_str("the module or device that provided this is gone"),
            Self::Stopping => formatter.write_str("the module is being removed"),
            Self::TimedOut => formatter.write_str("timed out"),
            Self::Failed(how) => write!(formatter, "the module {how}"),
            Self::Restarting => formatter.write_str("the module has failed and is being started again"),
        }
    }
}

impl core::error::Error for Error {}
