//! A few lines of console for the time before a driver is bound: a UART that firmware has set up, write only.

use crate::memory::space::DeviceMapping;
use abi::Result;
use core::ops::Range;
use devicetree::Node;

/// How a UART is written to.
struct Kind {
    /// What its node is compatible with.
    compatible: &'static str,
    /// Offsets of the registers for data and for the state of the transmitter.
    data: usize,
    state: usize,
    /// The bit of the state that tells whether there is room for another byte, and its value then.
    room: u32,
    room_value: u32,
}

const KINDS: [Kind; 2] = [
    // ARM DDI 0183G, sections 3.3.1 and 3.3.3: a bit for a full FIFO.
    Kind { compatible: "arm,pl011", data: 0x00, state: 0x18, room: 1 << 5, room_value: 0 },
    // BCM2835 ARM Peripherals, section 2.2.2: a bit for one with room.
    Kind { compatible: "brcm,bcm2835-aux-uart", data: 0x00, state: 0x14, room: 1 << 5, room_value: 1 << 5 },
];

/// How often to look for room before the UART is given up: longer than a byte takes at 9600 bits per second.
const LOOKS: u32 = 1_000_000;

/// A UART that only writes.
pub struct EarlyConsole {
    kind: &'static Kind,
    registers: DeviceMapping,
    /// It never got room: firmware has left it switched off.
    is_stuck: bool,
}

impl EarlyConsole {
    /// Whether a node is a UART of a known kind.
    pub fn is_known(node: &Node<'_>) -> bool {
        node.is_enabled() && kind_of(node).is_some()
    }

    /// Maps the registers of a known UART, which are at `physical`.
    ///
    /// # Errors
    /// When they can't be mapped or are too few.
    pub fn new(node: &Node<'_>, physical: Range<usize>) -> Result<Self> {
        let kind = kind_of(node).filter(|kind| physical.len() >= kind.data.max(kind.state) + 4);
        let kind = kind.ok_or_else(|| {
            abi::Error::Invalid(alloc::format!("this UART has more registers than {:#x} bytes", physical.len()))
        })?;
        Ok(Self { kind, registers: DeviceMapping::new(physical)?, is_stuck: false })
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        let registers = self.registers.start.as_ptr();
        let Kind { data, state, room, room_value, .. } = *self.kind;
        // SAFETY: the mapping reaches beyond this register, and lives as long as `self`; it is aligned.
        let has_room = || unsafe { registers.byte_add(state).cast::<u32>().read_volatile() } & room == room_value;
        for byte in bytes {
            if self.is_stuck || !(0..LOOKS).any(|_| has_room()) {
                self.is_stuck = true;
                return;
            }
            // SAFETY: as above.
            unsafe { registers.byte_add(data).cast::<u32>().write_volatile(u32::from(*byte)) }
        }
    }
}

fn kind_of(node: &Node<'_>) -> Option<&'static Kind> {
    let mut names = node.compatible().into_iter().flatten();
    names.find_map(|name| KINDS.iter().find(|kind| kind.compatible == name))
}
