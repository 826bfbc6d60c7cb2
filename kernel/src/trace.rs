//! Trace points: what happens when, recorded for each processor and read by whoever wants to know.
//!
//! A point that is switched off costs a load and a branch. One that is switched on takes no lock and allocates nothing,
//! so it may stand anywhere, in an interrupt handler or in the scheduler.

use crate::processor::{self, InterruptsMasked};
use crate::{machine, registry, thread, time};
use ::trace::{Next, Record, Ring, next};
use abi::registry::ProviderId;
use abi::sync::Lock;
use abi::system::{TraceCount, TraceKind, TracePhase, TraceRecord, TraceRecords, TraceStatus};
use abi::time::Instant;
use abi::{Error, Result};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// How many records each processor keeps, of 32 bytes each: what a busy second leaves.
const KEPT: usize = 8191;

/// What is switched on: a bit for each kind.
static KINDS: AtomicU32 = AtomicU32::new(0);

/// The ring of each processor, by its number; null until something is switched on for the first time.
static RINGS: AtomicPtr<Box<[Ring]>> = AtomicPtr::new(core::ptr::null_mut());

/// The names that records refer to by their place here: those of modules and of the steps of loading them.
static NAMES: Lock<Vec<String>> = Lock::new(Vec::new());

/// What came of a probe, as its last record says it.
const OUTCOMES: [&str; 4] = ["bound", "empty", "deferred", "failed"];

/// For a failure that is nobody's.
const NOBODY: u64 = u64::MAX;

const fn bit(kind: TraceKind) -> u32 {
    1 << kind as u32
}

#[inline(always)]
fn is_on(kind: TraceKind) -> bool {
    KINDS.load(Ordering::Relaxed) & bit(kind) != 0
}

#[inline(always)]
fn point(kind: TraceKind, phase: TracePhase, subject: u64, detail: u64) {
    if is_on(kind) {
        record(kind, phase, subject, detail);
    }
}

#[cold]
#[inline(never)]
fn record(kind: TraceKind, phase: TracePhase, subject: u64, detail: u64) {
    // The ring is this processor's, and nobody else's until this record is written.
    let _masked = InterruptsMasked::new();
    if let Some(ring) = rings().get(processor::index()) {
        let event = kind as u32 | (phase as u32) << 8;
        let words = [subject, detail];
        ring.write(&Record { time: time::counter(), thread: thread::current(), event, words });
    }
}

/// Something that is traced from here until this is dropped.
#[must_use]
pub struct Span {
    kind: TraceKind,
    subject: u64,
}

impl Span {
    #[inline(always)]
    fn begin(kind: TraceKind, subject: u64) -> Self {
        point(kind, TracePhase::Begin, subject, 0);
        Self { kind, subject }
    }
}

impl Drop for Span {
    #[inline(always)]
    fn drop(&mut self) {
        point(self.kind, TracePhase::End, self.subject, 0);
    }
}

/// A call into the module behind `provider`.
#[inline(always)]
pub fn call(provider: ProviderId) -> Span {
    Span::begin(TraceKind::Calls, provider.raw().into())
}

/// Whether calls into modules are traced.
pub fn traces_calls() -> bool {
    is_on(TraceKind::Calls)
}

/// The beginning of a call through a handle.
pub fn begin_call(provider: ProviderId) {
    point(TraceKind::Calls, TracePhase::Begin, provider.raw().into(), 0);
}

/// The end of a call through a handle.
pub fn end_call(provider: ProviderId) {
    point(TraceKind::Calls, TracePhase::End, provider.raw().into(), 0);
}

/// The service of an interrupt.
#[inline(always)]
pub fn interrupt(line: u32) -> Span {
    Span::begin(TraceKind::Interrupts, line.into())
}

/// The running thread gives way to another.
#[inline(always)]
pub fn switch_to(thread: u32) {
    point(TraceKind::Switches, TracePhase::Moment, thread as u64, 0);
}

/// A module is about to be asked whether it drives what `provider` stands for.
pub fn probing(provider: ProviderId) {
    point(TraceKind::Binding, TracePhase::Begin, provider.raw().into(), 0);
}

/// What came of it.
pub fn probed<T>(provider: ProviderId, result: &Result<T>) {
    let outcome = match result {
        Ok(_) => 0,
        Err(Error::Absent) => 1,
        Err(Error::Deferred(_)) => 2,
        Err(_) => 3,
    };
    point(TraceKind::Binding, TracePhase::End, provider.raw().into(), outcome);
}

/// The loading of a module.
pub fn load(module: &str) -> Span {
    Span::begin(TraceKind::Loading, if is_on(TraceKind::Loading) { number_of(module) } else { 0 })
}

/// A step of `load`, which is done.
pub fn step(load: &Span, name: &str) {
    if is_on(TraceKind::Loading) {
        record(TraceKind::Loading, TracePhase::Moment, load.subject, number_of(name));
    }
}

/// A failure on behalf of `provider` was contained.
pub fn failure(provider: Option<ProviderId>) {
    let provider = provider.map_or(NOBODY, |provider| provider.raw().into());
    point(TraceKind::Failures, TracePhase::Moment, provider, 0);
}

/// The place of a name in [`NAMES`], where it stays. Number 0 is nobody's.
fn number_of(name: &str) -> u64 {
    let mut names = NAMES.lock();
    if names.is_empty() {
        names.push(String::new());
    }
    let known = names.iter().position(|other| other == name);
    known.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    }) as u64
}

fn rings() -> &'static [Ring] {
    // SAFETY: it is null, or what `make_rings` leaked.
    unsafe { RINGS.load(Ordering::Acquire).as_ref() }.map_or(&[], |rings| rings)
}

fn make_rings() -> Result<()> {
    let processors = machine::get().map_or(0, |machine| machine.tree.processors().into_iter().flatten().count());
    let mut rings = Vec::new();
    for _ in 0..processors.clamp(1, processor::MOST) {
        rings.push(Ring::new(KEPT).map_err(|_| Error::OutOfMemory(KEPT * size_of::<Record>()))?);
    }
    let rings = Box::into_raw(Box::new(rings.into_boxed_slice()));
    if RINGS.compare_exchange(core::ptr::null_mut(), rings, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        // SAFETY: it came from a box just now, and another thread was quicker, so nobody has seen it.
        drop(unsafe { Box::from_raw(rings) });
    }
    Ok(())
}

/// Switches points on and off.
///
/// # Errors
/// See [`abi::system::trace_switch`].
pub fn switch(kinds: &[TraceKind]) -> Result<()> {
    if !kinds.is_empty() && rings().is_empty() {
        make_rings()?;
    }
    KINDS.store(kinds.iter().fold(0, |set, kind| set | bit(*kind)), Ordering::Relaxed);
    registry::show_again();
    Ok(())
}

/// How tracing stands.
pub fn status() -> TraceStatus {
    let count = |ring: &Ring| {
        let lost = ring.lost();
        TraceCount { kept: ring.written() - lost, lost }
    };
    TraceStatus {
        kinds: TraceKind::ALL.into_iter().filter(|kind| is_on(*kind)).collect(),
        processors: rings().iter().map(count).collect(),
    }
}

/// Some records; see [`abi::system::trace_records`].
pub fn records(positions: &[u64], most: usize) -> TraceRecords {
    let rings = rings();
    let mut positions = positions.to_owned();
    positions.resize(rings.len(), 0);
    let found = core::iter::from_fn(|| next(rings, &mut positions));
    let records = found.take(most).filter_map(in_words).collect();
    TraceRecords { records, positions }
}

fn in_words(Next { ring: processor, record }: Next) -> Option<TraceRecord> {
    let kind = *TraceKind::ALL.get(record.event as usize & 0xff)?;
    let phase = match record.event >> 8 {
        0 => TracePhase::Begin,
        1 => TracePhase::End,
        _ => TracePhase::Moment,
    };
    let [subject, detail] = record.words;
    let provider = || {
        let provider = ProviderId::from_raw(subject as u32);
        (registry::name(provider), registry::module_of(provider).unwrap_or_default())
    };
    let name = |number: u64| NAMES.lock().get(number as usize).cloned().unwrap_or_default();
    let (subject, detail) = match kind {
        TraceKind::Failures if subject == NOBODY => ("kernel".to_owned(), String::new()),
        TraceKind::Calls | TraceKind::Failures => provider(),
        TraceKind::Interrupts => (subject.to_string(), String::new()),
        TraceKind::Switches => (subject.to_string(), thread::name_of(subject as u32).unwrap_or_default()),
        TraceKind::Binding if phase == TracePhase::End => {
            (provider().0, OUTCOMES.get(detail as usize).copied().unwrap_or_default().to_owned())
        }
        TraceKind::Binding => provider(),
        TraceKind::Loading => (name(subject), name(detail)),
    };
    Some(TraceRecord {
        time: time::at(record.time).since(Instant::default()),
        processor,
        thread: record.thread,
        thread_name: thread::name_of(record.thread).unwrap_or_default(),
        kind,
        phase,
        subject,
        detail,
    })
}
