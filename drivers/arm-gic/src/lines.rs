//! What the distributor of both versions and a redistributor have in common: arrays of registers with a few bits for
//! each line.

use abi::interrupt::{Acknowledged, Cause, Line, Trigger, Urgency};
use abi::prelude::*;

/// The numbers of lines end here; what follows means something else, such as that none is pending.
const END: u32 = 1020;

/// Where the numbers of shared lines begin; those below are each processor's own.
pub const FIRST_SHARED: u32 = 32;

/// Where the numbers of lines begin; those below are for interrupts from one processor to another.
const FIRST_LINE: u32 = 16;

/// The interrupt that processors signal each other with.
pub const SIGNAL: Line = Line { number: 0, trigger: Trigger::Edge };

/// Lets every priority through.
pub const PRIORITY_MASK: u8 = 0xff;

/// The priority that stands for an urgency: the lower, the more urgent. These differ in the bit below the highest, which
/// every GIC has and, with [`BINARY_POINT`], looks at. In the non-secure state the hardware halves their distance to 0xff.
fn priority(urgency: Urgency) -> u8 {
    match urgency {
        Urgency::High => 0x40,
        Urgency::Normal => 0x80,
    }
}

/// How many of the lower bits of a priority don't matter for preemption: as few as the GIC can do with.
pub const BINARY_POINT: u8 = 0;

/// What a processor has taken, by its number; `token` is what was read in its place.
pub fn acknowledged(number: u32, token: u32) -> Option<Acknowledged> {
    let cause = if number < FIRST_LINE { Cause::Signal } else { Cause::Line(number) };
    (number < END).then_some(Acknowledged { cause, token })
}

register_bitfields! {u32,
    /// `GICD_TYPER`: the number of lines is 32 (`LINES` + 1).
    pub DistributorKind [ LINES OFFSET(0) NUMBITS(5) [] ]
}

/// Registers of some lines, all beginning with the same line.
pub struct Lines<'a> {
    pub group: &'a [ReadWrite<u32>],
    pub set_enable: &'a [ReadWrite<u32>],
    pub clear_enable: &'a [ReadWrite<u32>],
    pub clear_active: &'a [ReadWrite<u32>],
    pub priority: &'a [ReadWrite<u8>],
    pub configuration: &'a [ReadWrite<u32>],
}

/// The [`Lines`] in a block of registers: all blocks have the same names for them, at places of their own.
macro_rules! lines_in {
    ($block:expr) => {
        Lines {
            group: &$block.group,
            set_enable: &$block.set_enable,
            clear_enable: &$block.clear_enable,
            clear_active: &$block.clear_active,
            priority: &$block.priority,
            configuration: &$block.configuration,
        }
    };
}
pub(crate) use lines_in;

impl Lines<'_> {
    /// Those of the lines that a distributor of this kind has.
    pub fn of_distributor(self, kind: &ReadOnly<u32, DistributorKind::Register>) -> Self {
        let words = kind.read(DistributorKind::LINES) as usize + 1;
        Self {
            group: &self.group[..words],
            set_enable: &self.set_enable[..words],
            clear_enable: &self.clear_enable[..words],
            clear_active: &self.clear_active[..words],
            priority: &self.priority[..(32 * words).min(END as usize)],
            configuration: &self.configuration[..2 * words],
        }
    }

    /// Those of the lines that are the calling processor's own.
    pub fn private(self) -> Self {
        Self {
            group: &self.group[..1],
            set_enable: &self.set_enable[..1],
            clear_enable: &self.clear_enable[..1],
            clear_active: &self.clear_active[..1],
            priority: &self.priority[..FIRST_SHARED as usize],
            configuration: &self.configuration[..2],
        }
    }

    /// Silences all lines, and forgets those that somebody before us acknowledged and didn't end.
    pub fn reset(&self) {
        for (enable, active) in self.clear_enable.iter().zip(self.clear_active) {
            enable.set(u32::MAX);
            active.set(u32::MAX);
        }
    }

    /// Puts all lines into group 0 or 1.
    pub fn set_group(&self, group: u32) {
        // A bit a line.
        let bits = if group == 0 { 0 } else { u32::MAX };
        self.group.iter().for_each(|lines| lines.set(bits));
    }

    /// Lets `line` interrupt.
    pub fn enable(&self, line: Line, urgency: Urgency) -> Result<()> {
        let index = line.number as usize;
        let (Some(enable), Some(priority), Some(configuration)) =
            (self.set_enable.get(index / 32), self.priority.get(index), self.configuration.get(index / 16))
        else {
            return Err(Error::Invalid(format!("this GIC has no line {}", line.number)));
        };
        priority.set(self::priority(urgency));
        // Two bits a line; the lower one is reserved.
        let edge = 2 << (index % 16 * 2);
        configuration.set(match line.trigger {
            Trigger::Edge => configuration.get() | edge,
            Trigger::Level => configuration.get() & !edge,
        });
        enable.set(1 << (index % 32));
        Ok(())
    }

    /// Silences a line; one that doesn't exist is silent.
    pub fn disable(&self, number: u32) {
        if let Some(enable) = self.clear_enable.get(number as usize / 32) {
            enable.set(1 << (number % 32));
        }
    }
}
