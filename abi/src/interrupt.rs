//! Interrupts, and the class of interrupt controllers.

use crate::{Result, kernel};

/// One of a node's interrupts, taken by its driver; given back when dropped.
#[derive(Debug)]
pub struct Interrupt {
    identifier: u64,
}

impl Interrupt {
    pub(crate) fn from_raw(identifier: u64) -> Self {
        Self { identifier }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        kernel::interrupt_release(self.identifier);
    }
}

/// When a line signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// On a change from inactive to active.
    Edge,
    /// As long as it is active.
    Level,
}

/// A line of an interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The controller's number for it (INTID for a GIC).
    pub number: u32,
    /// When it signals.
    pub trigger: Trigger,
}

/// How soon a line has to interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// When nothing else is being served.
    Normal,
    /// Even while a line of normal urgency is being served.
    High,
}

/// The name of a processor: the affinity fields of its MPIDR_EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessorId(u64);

impl ProcessorId {
    /// From MPIDR.
    pub fn from_mpidr(mpidr: u64) -> Self {
        Self(mpidr)
    }
}

/// Temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A line.
    Line(u32),
    /// Another processor.
    Signal,
}

/// Temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Why.
    pub cause: Cause,
}

/// What has become of an interrupt, see [`Driver::interrupt_now`](crate::Driver::interrupt_now).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Nothing is left to do.
    Done,
    /// The rest is for [`Driver::interrupt`](crate::Driver::interrupt).
    OnThread,
}

/// A controller that collects the interrupt lines of many devices.
///
/// The kernel calls [`acknowledge`](Self::acknowledge) and [`end`](Self::end) in interrupt context.
pub trait InterruptController: Send + Sync {
    /// Interprets the cells of an `interrupts` entry, as the controller's device-tree binding defines them.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for cells that name no line of this controller.
    fn translate(&self, specifier: &[u32]) -> Result<Line>;

    /// Lets the line interrupt this processor.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a line that the controller hasn't got.
    fn enable(&self, line: Line, urgency: Urgency) -> Result<()>;
    /// Temporary.
    ///
    /// # Errors
    /// None.
    fn start_processor(&self) -> Result<()> {
        Ok(())
    }
    /// Temporary.
    fn signal(&self, _processor: ProcessorId) {}


    /// Silences the line.
    fn disable(&self, number: u32);

    /// Takes the most urgent pending line, or none when the interrupt was spurious. Each is ended with [`end`](Self::end).
    fn acknowledge(&self) -> Option<Acknowledged>;

    /// Says that the line acknowledged before has been served.
    fn end(&self, acknowledged: Acknowledged);
}
