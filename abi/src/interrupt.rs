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

/// Whether a line may interrupt the handler of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It waits until no other is being served.
    Normal,
    /// It interrupts while one of normal urgency is being served.
    High,
}

/// A processor, by the affinity fields of its MPIDR_EL1 (Arm ARM D24.2.118), as the device tree's `reg` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessorId(u64);

impl ProcessorId {
    /// The processor whose MPIDR_EL1 has this value.
    pub const fn from_mpidr(value: u64) -> Self {
        Self(value & 0xff_00ff_ffff)
    }

    /// Aff3 in bits 32 to 39, Aff2, Aff1 and Aff0 in bits 0 to 23.
    pub const fn affinity(self) -> u64 {
        self.0
    }
}

/// Why a processor is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The line of this number.
    Line(u32),
    /// Another processor, or itself: see [`InterruptController::signal`].
    Signal,
}

/// An interrupt that a processor has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Why.
    pub cause: Cause,
    /// What the controller wants back in [`end`](InterruptController::end).
    pub token: u32,
}

/// What has become of an interrupt, see [`Driver::interrupt_now`](crate::Driver::interrupt_now).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Nothing is left to do.
    Done,
    /// The rest is for [`Driver::interrupt`](crate::Driver::interrupt).
    OnThread,
}

/// A controller that collects the interrupt lines of many devices, for one processor or several.
///
/// From [`acknowledge`](Self::acknowledge) to [`end`](Self::end) neither that interrupt nor any that is not more urgent
/// interrupts this processor again; one that is more urgent does, once the processor unmasks interrupts.
///
/// `acknowledge`, `end` and [`signal`](Self::signal) are called in interrupt context at any point, also while another
/// function of the controller runs on the same processor: they take no lock.
pub trait InterruptController: Send + Sync {
    /// Interprets the cells of an `interrupts` entry, as the controller's device-tree binding defines them.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for cells that name no line of this controller.
    fn translate(&self, specifier: &[u32]) -> Result<Line>;

    /// Prepares the controller for the calling processor, which isn't the one that bound it. It can be signalled from
    /// then on, and enable lines.
    ///
    /// # Errors
    /// When the controller doesn't serve this processor.
    fn start_processor(&self) -> Result<()>;

    /// Lets the line interrupt the calling processor, and no other. Of a line that each processor has privately, the
    /// calling processor's.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a line that the controller hasn't got.
    fn enable(&self, line: Line, urgency: Urgency) -> Result<()>;

    /// Silences the line; of private ones the calling processor's.
    fn disable(&self, number: u32);

    /// Interrupts a processor, with normal urgency. Several signals may arrive as one. Does nothing for a processor that
    /// hasn't been started.
    fn signal(&self, processor: ProcessorId);

    /// Takes the most urgent pending interrupt, or none when there is none any more. Each is ended with
    /// [`end`](Self::end).
    fn acknowledge(&self) -> Option<Acknowledged>;

    /// Says that what was acknowledged before, on this processor, has been served; the latest first.
    fn end(&self, acknowledged: Acknowledged);
}
