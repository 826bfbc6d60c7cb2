//! What code can do that it shouldn't, wherever it runs.

use abi::prelude::*;
use core::hint::black_box;

macro_rules! faults {
    ($($name:ident $text:literal $action:expr;)+) => {
        /// A way to misbehave.
        #[derive(Clone, Copy)]
        #[repr(u8)]
        pub enum Fault { $($name),+ }

        impl Fault {
            const ALL: &[Self] = &[$(Self::$name),+];

            /// The fault of that name.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)+ _ => None }
            }

            /// Does it.
            pub fn happen(self) {
                match self { $(Self::$name => $action),+ }
            }
        }
    };
}

faults! {
    None "none" {};
    Panic "panic" panic!("it was told to");
    Again "again" again();
    Divide "divide" divide();
    Null "null" read(0);
    Wild "wild" read(0x5555_5555_5000);
    Text "text" write((text as fn()) as usize);
    Jump "jump" jump(0x1000);
    Undefined "undefined" undefined();
    Overflow "overflow" { overflow(0); };
    Loop "loop" endless();
    LockedLoop "locked" locked_loop();
    Relock "relock" relock();
    Remutex "remutex" remutex();
    Kept "kept" core::mem::forget(LOCK.lock());
    Forgotten "forgotten" core::mem::forget(MUTEX.lock());
    ManyLocks "locks" many_locks(0);
    LockedWait "wait" locked_wait();
    Memory "memory" memory();
    Hoard "hoard" hoard();
}

impl Fault {
    /// The fault of that number.
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

// SAFETY, for all that is unsafe here: none. That it goes wrong is what the module is for.

fn read(address: usize) {
    let place: *const u64 = core::ptr::without_provenance(black_box(address));
    // SAFETY: none.
    unsafe { place.read_volatile() };
}

fn write(address: usize) {
    let place: *mut u64 = core::ptr::without_provenance_mut(black_box(address));
    // SAFETY: none.
    unsafe { place.write_volatile(0) };
}

fn jump(address: usize) {
    // SAFETY: none.
    let nothing = unsafe { core::mem::transmute::<usize, extern "C-unwind" fn()>(black_box(address)) };
    nothing();
}

fn text() {}

fn undefined() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: none.
    unsafe {
        core::arch::asm!("udf #0")
    };
}

fn divide() {
    black_box(1 / black_box(0));
}

/// Panics when it is dropped.
struct Stubborn;

impl Drop for Stubborn {
    fn drop(&mut self) {
        panic!("it doesn't want to be dropped");
    }
}

/// Panics while a panic unwinds.
fn again() {
    let _stubborn = Stubborn;
    panic!("it was told to");
}

#[allow(unconditional_recursion, reason = "that is the point")]
#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let dropped = black_box(vec![depth]);
    // Some hundred calls are enough.
    let room = black_box([depth; 20]);
    overflow(depth + 1) + dropped.iter().chain(&room).sum::<u64>()
}

fn endless() {
    loop {
        black_box(());
    }
}

static LOCK: Lock<u32> = Lock::new(0);
static MUTEX: Mutex<u32> = Mutex::new(0);
static MANY: [Lock<()>; 20] = [const { Lock::new(()) }; 20];
static KEPT: Lock<Vec<Vec<u8>>> = Lock::new(Vec::new());

fn locked_loop() {
    let _guard = LOCK.lock();
    endless();
}

fn relock() {
    let _guard = LOCK.lock();
    *LOCK.lock() += 1;
}

fn remutex() {
    let _guard = MUTEX.lock();
    if let Ok(mut value) = MUTEX.lock() {
        *value += 1;
    }
}

fn many_locks(index: usize) {
    if let Some(lock) = MANY.get(index) {
        let _guard = lock.lock();
        many_locks(index + 1);
    }
}

fn locked_wait() {
    let _guard = LOCK.lock();
    let _ = abi::time::sleep(Duration::from_millis(1));
}

fn memory() {
    let mut pieces = Vec::new();
    loop {
        pieces.push(Vec::<u8>::with_capacity(1 << 18));
    }
}

fn hoard() {
    loop {
        KEPT.lock().push(Vec::with_capacity(1 << 16));
    }
}
