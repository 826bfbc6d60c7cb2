//! The registers (section 2). All are accessed as words: the BCM2835's know no smaller accesses.

use abi::prelude::*;

abi::registers! {
    pub Layout {
        (0x00 => _reserved0),
        (0x04 => pub blocks: ReadWrite<u32, Blocks::Register>),
        (0x08 => pub argument: ReadWrite<u32>),
        (0x0c => pub command: ReadWrite<u32, Order::Register>),
        (0x10 => pub response: [ReadOnly<u32>; 4]),
        (0x20 => pub data: ReadWrite<u32>),
        (0x24 => pub present: ReadOnly<u32, Present::Register>),
        (0x28 => pub control: ReadWrite<u32, Control::Register>),
        (0x2c => pub clock: ReadWrite<u32, Clock::Register>),
        (0x30 => pub status: ReadWrite<u32, Status::Register>),
        (0x34 => pub status_enable: ReadWrite<u32, Status::Register>),
        (0x38 => pub signal_enable: ReadWrite<u32, Status::Register>),
        (0x3c => _reserved1),
        (0x40 => pub capabilities: ReadOnly<u32, Capabilities::Register>),
        (0x44 => _reserved2),
        (0x58 => pub descriptors: ReadWrite<u32>),
        (0x5c => @END),
    }
}

/// All errors of the status.
pub const ERRORS: u32 = 0xffff_0000;

register_bitfields! {u32,
    /// Block Size and Block Count.
    pub Blocks [
        SIZE OFFSET(0) NUMBITS(12) [],
        COUNT OFFSET(16) NUMBITS(16) []
    ],
    /// Transfer Mode and Command; to write it sends the command.
    pub Order [
        DMA OFFSET(0) NUMBITS(1) [],
        COUNTS_BLOCKS OFFSET(1) NUMBITS(1) [],
        READS OFFSET(4) NUMBITS(1) [],
        SEVERAL_BLOCKS OFFSET(5) NUMBITS(1) [],
        RESPONSE OFFSET(16) NUMBITS(2) [
            None = 0,
            Long = 1,
            Short = 2
        ],
        CHECK_CRC OFFSET(19) NUMBITS(1) [],
        CHECK_INDEX OFFSET(20) NUMBITS(1) [],
        HAS_DATA OFFSET(21) NUMBITS(1) [],
        TYPE OFFSET(22) NUMBITS(2) [
            Normal = 0,
            Abort = 3
        ],
        INDEX OFFSET(24) NUMBITS(6) []
    ],
    /// Present State.
    pub Present [
        COMMAND_INHIBIT OFFSET(0) NUMBITS(1) [],
        DATA_INHIBIT OFFSET(1) NUMBITS(1) []
    ],
    /// Host Control 1, Power Control, Block Gap Control and Wakeup Control.
    pub Control [
        WIDE OFFSET(1) NUMBITS(1) [],
        HIGH_SPEED OFFSET(2) NUMBITS(1) [],
        DMA OFFSET(3) NUMBITS(2) [
            Descriptors = 2
        ],
        POWER OFFSET(8) NUMBITS(1) [],
        VOLTAGE OFFSET(9) NUMBITS(3) [
            Volts33 = 7
        ]
    ],
    /// Clock Control, Timeout Control and Software Reset.
    pub Clock [
        INTERNAL OFFSET(0) NUMBITS(1) [],
        STABLE OFFSET(1) NUMBITS(1) [],
        CARD OFFSET(2) NUMBITS(1) [],
        DIVISOR_HIGH OFFSET(6) NUMBITS(2) [],
        DIVISOR_LOW OFFSET(8) NUMBITS(8) [],
        TIMEOUT OFFSET(16) NUMBITS(4) [
            Longest = 14
        ],
        RESET_ALL OFFSET(24) NUMBITS(1) [],
        RESET_COMMAND OFFSET(25) NUMBITS(1) [],
        RESET_DATA OFFSET(26) NUMBITS(1) []
    ],
    /// Normal and Error Interrupt Status, and what lets through what is there and what interrupts.
    pub Status [
        COMMAND_COMPLETE OFFSET(0) NUMBITS(1) [],
        TRANSFER_COMPLETE OFFSET(1) NUMBITS(1) [],
        WRITE_READY OFFSET(4) NUMBITS(1) [],
        READ_READY OFFSET(5) NUMBITS(1) [],
        COMMAND_TIMEOUT OFFSET(16) NUMBITS(1) [],
        COMMAND_CRC OFFSET(17) NUMBITS(1) [],
        COMMAND_END OFFSET(18) NUMBITS(1) [],
        COMMAND_INDEX OFFSET(19) NUMBITS(1) [],
        DATA_TIMEOUT OFFSET(20) NUMBITS(1) [],
        DATA_CRC OFFSET(21) NUMBITS(1) [],
        DATA_END OFFSET(22) NUMBITS(1) []
    ],
    pub Capabilities [
        /// Whether it moves data by itself, following descriptors (ADMA2).
        DESCRIPTORS OFFSET(19) NUMBITS(1) [],
        /// Whether it has a timing of its own for the high-speed mode.
        HIGH_SPEED OFFSET(21) NUMBITS(1) []
    ]
}
