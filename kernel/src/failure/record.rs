//! What is noted of a failure while it is unwound: in memory set aside for it, since the heap may be what has failed.

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use unwinder::{Error, Frame, Landing, Place};

/// How many failures can be noted at a time, of all threads together.
const RECORDS: usize = 32;
/// Bytes of text for each: a longer one is cut.
const TEXT: usize = 512;
/// Frames in a backtrace, from the innermost.
const FRAMES: usize = 32;
/// How many calls of the same place in a row are noted, as an endless recursion makes them.
const REPEATED: usize = 3;

/// What stands for a failure without a record. It is nothing that a call would return that hasn't failed.
const NO_RECORD: *mut u8 = core::ptr::without_provenance_mut(usize::MAX);

static RECORDED: [Record; RECORDS] = [const { Record::new() }; RECORDS];

/// What is noted of one failure.
struct Record {
    taken: AtomicBool,
    /// The stack pointer where it leads; 0 while it isn't being unwound.
    landing: AtomicU64,
    contents: UnsafeCell<Contents>,
}

// SAFETY: the contents are touched through the one `Note` alone for which `taken` was set.
unsafe impl Sync for Record {}

impl Record {
    const fn new() -> Self {
        let contents =
            Contents { text: Text { bytes: [0; TEXT], length: 0 }, backtrace: Backtrace::new(), is_abandoned: false };
        Self { taken: AtomicBool::new(false), landing: AtomicU64::new(0), contents: UnsafeCell::new(contents) }
    }
}

struct Contents {
    text: Text,
    backtrace: Backtrace,
    is_abandoned: bool,
}

/// A text of limited length.
struct Text {
    bytes: [u8; TEXT],
    length: usize,
}

impl Text {
    fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = text.floor_char_boundary(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        Ok(())
    }
}

/// Where the code was that failed, and who had called it.
pub struct Backtrace {
    addresses: [usize; FRAMES],
    length: usize,
    left_out: usize,
}

impl Backtrace {
    /// One without frames.
    pub const fn new() -> Self {
        Self { addresses: [0; FRAMES], length: 0, left_out: 0 }
    }

    /// Adds the caller of the frame before.
    pub fn push(&mut self, frame: &Frame) {
        let address = match frame.place {
            Place::Instruction => frame.registers.program_counter as usize,
            Place::Call => frame.registers.program_counter as usize - 4,
        };
        let noted = self.addresses();
        let repeats = noted.iter().rev().take_while(|noted| **noted == address).count();
        if self.length == FRAMES || repeats >= REPEATED {
            self.left_out += 1;
        } else {
            self.addresses[self.length] = address;
            self.length += 1;
        }
    }

    /// The addresses of the instructions, from the innermost.
    pub fn addresses(&self) -> &[usize] {
        &self.addresses[..self.length]
    }
}

/// The right to one record, or to none if all are taken.
pub struct Note(Option<&'static Record>);

impl Note {
    /// Takes a record and writes into it what the failed code did: the end of a sentence.
    pub fn new(what: fmt::Arguments<'_>) -> Self {
        let free = |record: &&Record| !record.taken.swap(true, Ordering::Acquire);
        let mut note = Self(RECORDED.iter().find(free));
        if let Some(contents) = note.contents_mut() {
            contents.text.length = 0;
            contents.backtrace = Backtrace::new();
            contents.is_abandoned = false;
            // What it tells may fail in turn; then it is cut there.
            let _ = contents.text.write_fmt(what);
        }
        note
    }

    fn contents(&self) -> Option<&Contents> {
        // SAFETY: this note has taken the record, and nobody else has until it is dropped.
        self.0.map(|record| unsafe { &*record.contents.get() })
    }

    fn contents_mut(&mut self) -> Option<&mut Contents> {
        // SAFETY: as above; `self` is borrowed for as long as the contents are.
        self.0.map(|record| unsafe { &mut *record.contents.get() })
    }

    /// What the failed code did, as the end of a sentence.
    pub fn text(&self) -> &str {
        match self.contents() {
            Some(contents) => contents.text.as_str(),
            None => "failed, as so much else did at the same time that no more was noted",
        }
    }

    /// Where it did.
    pub fn backtrace(&self) -> &Backtrace {
        static NONE: Backtrace = Backtrace::new();
        self.contents().map_or(&NONE, |contents| &contents.backtrace)
    }

    /// Notes where it did, unless it has been noted before.
    pub fn set_backtrace(&mut self, backtrace: Backtrace) {
        if let Some(contents) = self.contents_mut()
            && contents.backtrace.length == 0
        {
            contents.backtrace = backtrace;
        }
    }

    /// Notes that the failed code was left as it was, since it can't be unwound.
    pub fn abandon(&mut self, obstacle: &Error) {
        if let Some(contents) = self.contents_mut() {
            contents.is_abandoned = true;
            // Writing to a text can't fail.
            let _ = write!(contents.text, "; it was left as it was, since {obstacle}");
        }
    }

    /// Whether the failed code was left as it was.
    pub fn is_abandoned(&self) -> bool {
        self.contents().is_some_and(|contents| contents.is_abandoned)
    }

    /// Notes where this failure leads. If an earlier one was on the way there, this is what became of it: the record is the
    /// earlier one's from now on, and tells of both.
    pub fn set_landing(self, landing: &Landing) -> Self {
        let leads_there = |record: &&Record| record.landing.load(Ordering::Relaxed) == landing.stack_pointer;
        // A stack has one failure at a time that leads to a place on it, and this is noted and read on that stack only.
        if let Some(earlier) = RECORDED.iter().find(leads_there) {
            let mut earlier = Self(Some(earlier));
            if let Some(contents) = earlier.contents_mut() {
                contents.is_abandoned |= self.is_abandoned();
                // Writing to a text can't fail.
                let _ = write!(contents.text, "; while that was unwound, it {}", self.text());
            }
            return earlier;
        }
        if let Some(record) = self.0 {
            record.landing.store(landing.stack_pointer, Ordering::Relaxed);
        }
        self
    }

    /// As what a landing gets.
    pub fn into_raw(self) -> *mut u8 {
        let record = self.0;
        core::mem::forget(self);
        record.map_or(NO_RECORD, |record| (&raw const *record).cast_mut().cast())
    }

    /// Back from what [`Note::into_raw`] made.
    pub fn from_raw(raw: *mut u8) -> Self {
        Self(RECORDED.iter().find(|record| core::ptr::eq(*record, raw.cast())))
    }

    /// It has been caught.
    pub fn end(&mut self) {
        if let Some(record) = self.0 {
            record.landing.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some(record) = self.0 {
            record.landing.store(0, Ordering::Relaxed);
            record.taken.store(false, Ordering::Release);
        }
    }
}

impl fmt::Display for Backtrace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for address in self.addresses() {
            writeln!(formatter, "  {}", super::place::Named(*address))?;
        }
        if self.left_out > 0 {
            writeln!(formatter, "  ... and {} more", self.left_out)?;
        }
        Ok(())
    }
}
