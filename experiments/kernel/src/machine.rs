//! QEMU's `virt`, as far as the experiments need it.

use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use core::ops::Range;
use core::panic::PanicInfo;

global_asm!(include_str!("start.s"));
// `memcpy` and the like: the real kernel's.
global_asm!(include_str!("../../../kernel/src/processor/bytes.s"));

/// Memory for the heap.
pub const HEAP: Range<usize> = 0x4400_0000..0x4c00_0000;

/// Where QEMU is told to put the archive.
pub const ARCHIVE: Range<usize> = 0x4c00_0000..0x5000_0000;

/// The PL011's data register.
const CONSOLE: usize = 0x0900_0000;

/// PSCI's SYSTEM_OFF (Arm DEN 0022, section 5.1.7).
const SYSTEM_OFF: u64 = 0x8400_0008;

/// The console.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: a device register that takes any byte, mapped as device memory; QEMU's takes it at once.
            unsafe { (CONSOLE as *mut u32).write_volatile(byte.into()) }
        }
        Ok(())
    }
}

macro_rules! println {
    ($($argument:tt)*) => {{
        use core::fmt::Write as _;
        // The console never fails.
        let _ = writeln!($crate::machine::Console, $($argument)*);
    }};
}
pub(crate) use println;

/// Switches the machine off.
pub fn power_off() -> ! {
    loop {
        // SAFETY: on `virt` this call ends everything.
        unsafe { asm!("hvc #0", in("x0") SYSTEM_OFF) }
    }
}

/// Makes code that was written as data executable (Arm ARM B2.4.4).
pub fn publish_code(code: &[u8]) {
    /// No cache line is shorter.
    const LINE: usize = 16;
    for line in code.chunks(LINE) {
        // SAFETY: cleaning a line of memory that is mapped changes nothing that the program sees.
        unsafe { asm!("dc cvau, {}", in(reg) line.as_ptr()) }
    }
    // SAFETY: barriers, and caches that get filled again.
    unsafe { asm!("dsb ish", "ic ialluis", "dsb ish", "isb") }
}

/// Where `start.s` goes with an exception: its syndrome, the instruction and the address that it is about.
#[unsafe(no_mangle)]
extern "C" fn fault(syndrome: u64, instruction: u64, address: u64) -> ! {
    // Exception classes (Arm ARM D24.2.40, ESR_EL1).
    let class = match syndrome >> 26 {
        0x00 => "an undefined instruction",
        0x21 => "an instruction abort",
        0x25 => "a data abort",
        _ => "another exception",
    };
    println!("{class}: at {instruction:#x}, address {address:#x}");
    power_off()
}

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    println!("a panic: {}", information.message());
    power_off()
}

/// What unwinding would call. Nothing here unwinds.
#[lang = "eh_personality"]
extern "C" fn rust_eh_personality() {}

/// What landing pads end with. They are never reached.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    power_off()
}
