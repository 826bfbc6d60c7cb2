//! The kernel's log: kept for `dmesg`, and shown on the console.

mod early;

pub use early::EarlyConsole;

use crate::thread::{self, calls};
use crate::{processor, time};
use abi::Handle;
use abi::console::Console;
use abi::registry::ProviderId;
use abi::screen::Screen;
use abi::sync::{Lock, LockGuard};
use abi::system::LogRecord;
use abi::text::printable;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{borrow::ToOwned, format};
use core::fmt::Write;
use core::mem;
use core::sync::atomic::{AtomicU32, Ordering};
use log::{Level, LevelFilter, Log, Metadata, Record};

/// How many bytes of records are kept; the oldest go first.
const KEPT: usize = 96 << 10;

/// How many bytes of one record's text are kept, and of what names its source.
const LONGEST_TEXT: usize = 8 << 10;
const LONGEST_SOURCE: usize = 64;

/// Where the log is shown.
enum Sink {
    /// Nowhere yet: everything is shown once there is one.
    None,
    /// The kernel's own few lines, until a console is bound.
    Early(EarlyConsole),
    /// A module's console.
    Console(Handle<dyn Console>),
    /// A module's screen.
    Screen(Handle<dyn Screen>),
}

/// A place where the log is shown, and how far it has been.
struct Output {
    sink: Sink,
    /// The first record that has not been shown there.
    unshown: u64,
}

/// A record, and whether it is shown: not if it comes from who shows others, for that would go on for ever.
struct Kept {
    record: LogRecord,
    is_shown: bool,
}

struct State {
    records: VecDeque<Kept>,
    bytes: usize,
    next: u64,
    console: Output,
    screens: Vec<Output>,
    /// What is shown; everything is kept.
    shown: LevelFilter,
}

static STATE: Lock<State> = Lock::new(State {
    records: VecDeque::new(),
    bytes: 0,
    next: 0,
    console: Output { sink: Sink::None, unshown: 0 },
    screens: Vec::new(),
    shown: LevelFilter::Info,
});

impl State {
    /// The console, and then the screens.
    fn output(&mut self, index: usize) -> Option<&mut Output> {
        if index == 0 { Some(&mut self.console) } else { self.screens.get_mut(index - 1) }
    }
}

/// The number of the thread that is writing to the console, or 0: what others log meanwhile is shown by it.
static SHOWING: AtomicU32 = AtomicU32::new(0);

/// How many records a thread shows, one after the other, while others log more. What is left is for the next that logs.
const MOST_SHOWN: usize = 500;

/// Ends when the running thread has shown what it could, or fails in a console's driver.
struct Showing;

impl Showing {
    fn begin() -> Option<Self> {
        SHOWING.compare_exchange(0, thread::current(), Ordering::Acquire, Ordering::Relaxed).is_ok().then_some(Self)
    }
}

impl Drop for Showing {
    fn drop(&mut self) {
        SHOWING.store(0, Ordering::Release);
    }
}

struct KernelLog;

impl Log for KernelLog {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Modules come here by the crate `log`, and not by a function that the kernel exports.
        processor::claim_stack();
        let source = record.target().split("::").next().unwrap_or_default().replace('_', "-");
        append(record.level(), &printable(source), &printable(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// Makes `log`'s macros write here.
pub fn initialise() {
    // It fails only if it has been done before.
    let _ = log::set_logger(&KernelLog);
    log::set_max_level(LevelFilter::Info);
}

fn append(level: Level, source: &str, text: &str) {
    let cut = |text: &str, most: usize| text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned();
    let (source, text) = (cut(source, LONGEST_SOURCE), cut(text, LONGEST_TEXT));
    let size = |record: &LogRecord| size_of::<Kept>() + record.source.len() + record.text.len();
    let is_shown = SHOWING.load(Ordering::Relaxed) != thread::current() || calls::serves_interrupt();
    let mut state = STATE.lock();
    let sequence = state.next;
    state.next += 1;
    let time = time::now().since(abi::time::Instant::default());
    let record = LogRecord { sequence, time, level, source, text };
    state.bytes += size(&record);
    // First, so that there is room.
    while state.bytes > KEPT {
        let Some(Kept { record: oldest, .. }) = state.records.front_mut() else { break };
        // What it refers to mustn't stay in its place: who looks for what is in use looks there, too.
        let nothing = LogRecord { source: String::new(), text: String::new(), ..*oldest };
        let bytes = size(&mem::replace(oldest, nothing));
        state.records.pop_front();
        state.bytes -= bytes;
    }
    state.records.push_back(Kept { record, is_shown });
    drop(state);
    show();
}

/// A record as the console shows it. What is announced stands alone.
fn line(record: &LogRecord) -> String {
    if record.source.is_empty() {
        return format!("{}\r\n", record.text);
    }
    let mut line = format!("[{:5}.{:06}] ", record.time.as_secs(), record.time.subsec_micros());
    for (index, text) in record.text.lines().enumerate() {
        let indent = if index == 0 { "" } else { "               " };
        // Writing to a string can't fail.
        let _ = write!(line, "{indent}{}: {text}\r\n", record.source);
    }
    line
}

/// Shows what has not been shown yet.
fn show() {
    let Some(_showing) = Showing::begin() else { return };
    let mut index = 0;
    for _ in 0..MOST_SHOWN {
        let mut state = STATE.lock();
        let Some(unshown) = state.output(index).map(|output| output.unshown) else { break };
        let first = state.records.front().map_or(state.next, |kept| kept.record.sequence);
        let Some(Kept { record, is_shown }) = state.records.get(unshown.saturating_sub(first) as usize) else {
            index += 1;
            continue;
        };
        // What is announced has no source.
        let is_shown = *is_shown && (record.level <= state.shown || record.source.is_empty());
        let (next, text) = (record.sequence + 1, if is_shown { line(record) } else { String::new() });
        if !write(state, index, &text) {
            index += 1;
            continue;
        }
        // Unless a screen has been bound anew meanwhile, and has to show all of it.
        if let Some(output) = STATE.lock().output(index).filter(|output| output.unshown == unshown) {
            output.unshown = next;
        }
    }
}

/// Writes to the console or a screen; false if there is none yet. A module's is written to without the lock, because it may
/// log something itself.
fn write(mut state: LockGuard<'_, State>, index: usize, text: &str) -> bool {
    match state.output(index).map(|output| &mut output.sink) {
        None | Some(Sink::None) => return false,
        Some(Sink::Early(console)) => console.write(text.as_bytes()),
        // One that is gone, or is being started again, shows nothing; the log is kept.
        Some(Sink::Console(handle)) => {
            let handle = *handle;
            drop(state);
            let _ = handle.call(|console| console.write(text.as_bytes()));
        }
        Some(Sink::Screen(handle)) => {
            let handle = *handle;
            drop(state);
            let _ = handle.call(|screen| screen.write(text.as_bytes()));
        }
    }
    true
}

/// Shows the log on the kernel's own console, until there is another.
pub fn use_early_console(console: EarlyConsole) {
    let mut state = STATE.lock();
    if matches!(state.console.sink, Sink::None) {
        state.console.sink = Sink::Early(console);
    }
    drop(state);
    show();
}

/// Shows the log on a module's console, from now on and for good.
pub fn use_console(console: Handle<dyn Console>) {
    // The early console's mapping goes away, outside of the lock.
    let early = mem::replace(&mut STATE.lock().console.sink, Sink::Console(console));
    drop(early);
    show();
}

/// Shows the log on a screen as well, from its beginning on. One that was bound before shows nothing of it any more.
pub fn use_screen(screen: Handle<dyn Screen>) {
    let mut state = STATE.lock();
    let is_this = |output: &Output| matches!(output.sink, Sink::Screen(known) if known.provider() == screen.provider());
    match state.screens.iter_mut().find(|output| is_this(output)) {
        Some(known) => known.unshown = 0,
        None => state.screens.push(Output { sink: Sink::Screen(screen), unshown: 0 }),
    }
    drop(state);
    show();
}

/// Whose console the log is shown on, if it is a module's.
pub fn console() -> Option<ProviderId> {
    match STATE.lock().console.sink {
        Sink::Console(console) => Some(console.provider()),
        _ => None,
    }
}

/// Whether the log is shown on a module's console.
pub fn has_console() -> bool {
    console().is_some()
}

/// What is shown on the console from now on; what is less urgent is kept all the same, down to `info` at least.
pub fn set_shown(level: LevelFilter) {
    log::set_max_level(level.max(LevelFilter::Info));
    STATE.lock().shown = level;
}

/// The records from number `first` on, as far as they are kept.
pub fn records(first: u64) -> Vec<LogRecord> {
    let state = STATE.lock();
    let records = state.records.iter().map(|kept| &kept.record);
    records.filter(|record| record.sequence >= first).cloned().collect()
}

/// Shows a line on the console at once, whatever the level.
pub fn announce(text: &str) {
    append(Level::Info, "", text);
}

/// Has the screens draw what was written to them, in this thread, past all locks that can't be had.
fn draw() {
    let screen = |index| match STATE.try_lock()?.output(index)?.sink {
        Sink::Screen(screen) => Some(screen),
        _ => None,
    };
    for screen in (1..).map_while(screen) {
        let _ = screen.call(|screen| screen.draw());
    }
}

/// For a kernel that is about to stop: writes to whatever console and screens there are, past all locks that can't be had.
pub struct Emergency;

impl Write for Emergency {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for line in text.split_inclusive('\n') {
            let end = if line.ends_with('\n') { "\r\n" } else { "" };
            for part in [line.trim_end_matches('\n'), end] {
                let Some(screens) = STATE.try_lock().map(|state| state.screens.len()) else { return Ok(()) };
                for index in 0..=screens {
                    let Some(state) = STATE.try_lock() else { return Ok(()) };
                    write(state, index, part);
                }
            }
        }
        draw();
        Ok(())
    }
}
