//! Takes memory without end, or leaks it.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::sync::Lock;
use abi::thread;

abi::service!(
    TestHoarder,
    summary = "Takes memory without end, or leaks it",
    parameters = {
        /// What it does: objects, vector, threads, keep, leak, statics, price
        mode: String = "objects",
        /// How many objects it leaks
        count: u32 = 10000,
    },
);

/// What is hoarded in pieces of this size.
type Piece = [u8; 1000];

/// Outlives the service, but not the module.
static KEPT: Lock<Vec<Option<Box<Piece>>>> = Lock::new(Vec::new());

struct TestHoarder;

impl Service for TestHoarder {
    fn start(_resources: &mut Resources) -> Result<Self> {
        match parameters::mode().as_str() {
            "objects" => objects(),
            "vector" => vector(),
            "threads" => threads()?,
            "keep" => thread::spawn("test-hoarder", keep)?,
            "leak" => leak(),
            "statics" => (0..parameters::count()).for_each(|_| KEPT.lock().push(Some(Box::new([1; _])))),
            "price" => price(),
            other => return Err(Error::Invalid(format!("mode={other}?"))),
        }
        Ok(Self)
    }
}

/// Small pieces, until there are none.
fn objects() {
    let mut pieces = Vec::new();
    loop {
        pieces.push(Box::new([1; size_of::<Piece>()]));
    }
}

/// One large piece that grows.
fn vector() {
    let mut vector = vec![1u8];
    loop {
        vector.extend_from_within(..);
    }
}

/// Threads that do nothing, until one can't be started.
fn threads() -> Result<()> {
    loop {
        thread::spawn("test-hoarder", || while abi::time::sleep(Duration::from_secs(1)).is_ok() {})?;
    }
}

/// Takes all that it can get, says so, and keeps it until it has to end.
fn keep() {
    const CHUNK: usize = 64 << 10;
    let mut chunks: Vec<Vec<u8>> = Vec::with_capacity(64 << 10);
    let mut chunk = CHUNK;
    while chunks.len() < chunks.capacity() && chunk >= 4096 {
        let mut bytes = Vec::new();
        match bytes.try_reserve_exact(chunk) {
            Ok(()) => chunks.push(bytes),
            Err(_) => chunk /= 2,
        }
    }
    warn!("keeps {} chunks", chunks.len());
    while abi::time::sleep(Duration::from_secs(1)).is_ok() {}
}

/// Objects that refer to each other and that nobody else refers to.
fn leak() {
    let mut previous: Option<Box<(Option<Box<Piece>>, usize)>> = None;
    let mut chain: Vec<Box<dyn core::any::Any>> = Vec::new();
    for index in 0..parameters::count() as usize {
        let piece = Box::new((Some(Box::new([2; size_of::<Piece>()])), index));
        if let Some(previous) = previous.replace(piece) {
            chain.push(previous);
        }
    }
    core::mem::forget(chain);
    core::mem::forget(previous);
    // A large one, and a string that somebody else has: what is logged.
    core::mem::forget(vec![3u8; 1 << 20]);
    warn!("leaks {} objects", 2 * parameters::count());
}

/// What an allocation and its end take, in nanoseconds: guest instructions, if QEMU counts them so.
fn price() {
    const ROUNDS: u32 = 100_000;
    for size in [16usize, 100, 1000, 2000, 4096, 65536] {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            core::hint::black_box(Vec::<u8>::with_capacity(core::hint::black_box(size)));
        }
        let time = Instant::now() - start;
        warn!("{size} bytes take {} ns", time.as_nanos() / u128::from(ROUNDS));
    }
}
