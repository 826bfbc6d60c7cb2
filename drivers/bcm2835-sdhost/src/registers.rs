//! The registers.

use abi::prelude::*;

abi::registers! {
    pub Layout {
        (0x00 => pub command: ReadWrite<u32, Order::Register>),
        (0x04 => pub argument: ReadWrite<u32>),
        (0x08 => pub timeout: ReadWrite<u32>),
        (0x0c => pub divisor: ReadWrite<u32>),
        (0x10 => pub response: [ReadOnly<u32>; 4]),
        (0x20 => pub status: ReadWrite<u32, Status::Register>),
        (0x24 => _reserved0),
        (0x30 => pub power: ReadWrite<u32>),
        (0x34 => pub mode: ReadWrite<u32, Mode::Register>),
        (0x38 => pub configuration: ReadWrite<u32, Configuration::Register>),
        (0x3c => pub block_size: ReadWrite<u32>),
        (0x40 => pub data: ReadWrite<u32>),
        (0x44 => _reserved1),
        (0x50 => pub block_count: ReadWrite<u32>),
        (0x54 => @END),
    }
}

/// Words that the FIFO holds.
pub const FIFO: usize = 16;

register_bitfields! {u32,
    pub Order [
        INDEX OFFSET(0) NUMBITS(6) [],
        READS OFFSET(6) NUMBITS(1) [],
        WRITES OFFSET(7) NUMBITS(1) [],
        RESPONSE OFFSET(9) NUMBITS(2) [
            Short = 0,
            Long = 1,
            None = 2
        ],
        FAILED OFFSET(14) NUMBITS(1) [],
        /// Sends the command; clear again when it has been answered.
        NEW OFFSET(15) NUMBITS(1) []
    ],
    /// Written with ones to clear.
    pub Status [
        /// There is something to read from the FIFO, or room to write to.
        DATA OFFSET(0) NUMBITS(1) [],
        FIFO_ERROR OFFSET(3) NUMBITS(1) [],
        COMMAND_CRC OFFSET(4) NUMBITS(1) [],
        DATA_CRC OFFSET(5) NUMBITS(1) [],
        COMMAND_TIMEOUT OFFSET(6) NUMBITS(1) [],
        DATA_TIMEOUT OFFSET(7) NUMBITS(1) [],
        SDIO_INTERRUPT OFFSET(8) NUMBITS(1) [],
        BLOCK_INTERRUPT OFFSET(9) NUMBITS(1) [],
        BUSY_INTERRUPT OFFSET(10) NUMBITS(1) []
    ],
    pub Mode [
        STATE OFFSET(0) NUMBITS(4) [
            Identification = 0,
            Data = 1,
            /// Several blocks are read: the next is waited for.
            ReadWait = 4,
            /// Several blocks are written: the next is waited for.
            WriteStart = 10
        ],
        /// Words in the FIFO.
        FILLED OFFSET(4) NUMBITS(5) [],
        WRITE_THRESHOLD OFFSET(9) NUMBITS(5) [],
        READ_THRESHOLD OFFSET(14) NUMBITS(5) [],
        /// Ends waiting for a next block.
        FORCE_DATA OFFSET(19) NUMBITS(1) []
    ],
    pub Configuration [
        WIDE_INTERNAL OFFSET(1) NUMBITS(1) [],
        WIDE OFFSET(2) NUMBITS(1) [],
        /// The whole divisor counts, and not its lower three bits.
        SLOW OFFSET(3) NUMBITS(1) [],
        DATA_INTERRUPT OFFSET(4) NUMBITS(1) []
    ]
}
