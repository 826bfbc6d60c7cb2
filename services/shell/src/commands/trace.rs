//! What has been traced: switched, shown, exported for viewers.

use super::Failure;
use crate::table::{Column, Table};
use crate::terminal::Terminal;
use abi::prelude::*;
use abi::system::{self, TraceKind, TracePhase, TraceRecord};
use alloc::collections::{BTreeMap, VecDeque};
use core::fmt;

/// How many records are asked for at once.
const BATCH: usize = 64;

pub fn trace(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        [] => status(terminal),
        ["on"] => system::trace_switch(&TraceKind::ALL)?,
        ["on", names @ ..] => {
            let kind = |name: &&str| TraceKind::ALL.into_iter().find(|kind| kind.name() == *name);
            let kinds: Option<Vec<_>> = names.iter().map(kind).collect();
            system::trace_switch(&kinds.ok_or(Failure::Usage)?)?;
        }
        ["off"] => system::trace_switch(&[])?,
        ["show"] => show(terminal, usize::MAX)?,
        ["show", "-n", count] => show(terminal, count.parse().map_err(|_| Failure::Usage)?)?,
        ["export"] => export(terminal)?,
        _ => return Err(Failure::Usage),
    }
    Ok(())
}

fn status(terminal: &mut Terminal) {
    let status = system::trace_status();
    let names = |on: bool| {
        let kinds = TraceKind::ALL.into_iter().filter(|kind| status.kinds.contains(kind) == on);
        let names: Vec<_> = kinds.map(TraceKind::name).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
    };
    writeln!(terminal, "on: {}\noff: {}", names(true), names(false));
    if !status.processors.is_empty() {
        let mut table = Table::new([Column::Right("Processor"), Column::Right("Recorded"), Column::Right("Lost")]);
        for (index, count) in status.processors.iter().enumerate() {
            table.row([index, count.kept as usize, count.lost as usize].map(|number| number.to_string()));
        }
        write!(terminal, "{table}");
    }
}

/// Calls `action` with all records, the earliest first. Tracing pauses meanwhile: to show the trace would fill it.
fn for_each(mut action: impl FnMut(TraceRecord)) -> Result<()> {
    let kinds = system::trace_status().kinds;
    system::trace_switch(&[])?;
    let mut positions = Vec::new();
    loop {
        let found = system::trace_records(&positions, BATCH);
        if found.records.is_empty() {
            break;
        }
        found.records.into_iter().for_each(&mut action);
        positions = found.positions;
    }
    system::trace_switch(&kinds)
}

/// The last `count` records, a line for each.
fn show(terminal: &mut Terminal, count: usize) -> Result<()> {
    let mut last = VecDeque::new();
    let mut write = |record: TraceRecord| writeln!(terminal, "{}", Line(&record));
    for_each(|record| {
        last.push_back(record);
        if last.len() > count {
            last.pop_front();
        }
    })?;
    last.into_iter().for_each(&mut write);
    Ok(())
}

/// A record as people read it.
struct Line<'a>(&'a TraceRecord);

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(record) = self;
        let (seconds, nanoseconds) = (record.time.as_secs(), record.time.subsec_nanos());
        let phase = match record.phase {
            TracePhase::Begin => "begin",
            TracePhase::End => "end",
            TracePhase::Moment => "",
        };
        let thread = thread_name(record.thread, &record.thread_name);
        write!(formatter, "[{seconds:5}.{nanoseconds:09}] {} {thread:<12} ", record.processor)?;
        write!(formatter, "{:<10} {phase:<5} {}", record.kind.name(), title(record))?;
        let is_told = matches!(record.kind, TraceKind::Switches | TraceKind::Loading);
        if record.detail.is_empty() || is_told { Ok(()) } else { write!(formatter, " ({})", record.detail) }
    }
}

/// What a record is about, in few words.
fn title(record: &TraceRecord) -> String {
    let TraceRecord { subject, detail, .. } = record;
    match record.kind {
        TraceKind::Calls => subject.clone(),
        TraceKind::Interrupts => format!("interrupt {subject}"),
        TraceKind::Switches => format!("to {}", thread_name(subject, detail)),
        TraceKind::Binding => format!("bind {subject}"),
        TraceKind::Loading if record.phase == TracePhase::Moment => format!("{subject}: {detail}"),
        TraceKind::Loading => format!("load {subject}"),
        TraceKind::Failures => format!("failure of {subject}"),
    }
}

/// A thread that has ended has no name any more.
fn thread_name(number: impl fmt::Display, name: &str) -> String {
    if name.is_empty() { format!("thread {number}") } else { name.to_owned() }
}

/// What viewers show as a group of tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// A track for each thread, with what it did.
    Threads = 1,
    /// A track for each processor, with the threads that it ran.
    Processors = 2,
}

/// All records in the Trace Event Format of Chrome ("JSON Object Format"), between two lines that tell where it is.
fn export(terminal: &mut Terminal) -> Result<()> {
    writeln!(terminal, "-----BEGIN TRACE-----\n{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
    let mut events = Events { terminal, tracks: BTreeMap::new(), is_first: true };
    for (group, name) in [(Group::Threads, "threads"), (Group::Processors, "processors")] {
        events.metadata("process_name", group, 0, name);
    }
    let result = for_each(|record| events.record(&record));
    writeln!(terminal, "\n]}}\n-----END TRACE-----");
    result
}

/// Events being written.
struct Events<'a> {
    terminal: &'a mut Terminal,
    /// The tracks that have a name, each with how much on it has begun and not ended.
    tracks: BTreeMap<(Group, u64), usize>,
    is_first: bool,
}

impl Events<'_> {
    fn record(&mut self, record: &TraceRecord) {
        let processor = record.processor as u64;
        let thread = thread_name(record.thread, &record.thread_name);
        if record.kind == TraceKind::Switches {
            let next = thread_name(&record.subject, &record.detail);
            let track = (Group::Processors, processor);
            self.event(track, &format!("processor {processor}"), TracePhase::End, record, &thread);
            self.event(track, "", TracePhase::Begin, record, &next);
        } else {
            self.event((Group::Threads, record.thread.into()), &thread, record.phase, record, &title(record));
        }
    }

    /// Writes an event on a track.
    fn event(&mut self, track: (Group, u64), track_name: &str, phase: TracePhase, record: &TraceRecord, name: &str) {
        let (group, number) = track;
        if !self.tracks.contains_key(&track) {
            self.metadata("thread_name", group, number, track_name);
        }
        let open = self.tracks.entry(track).or_default();
        let letter = match phase {
            TracePhase::Begin => "B",
            TracePhase::End => "E",
            TracePhase::Moment => "i",
        };
        match phase {
            TracePhase::Begin => *open += 1,
            // What began before the first record that is kept.
            TracePhase::End if *open == 0 => return,
            TracePhase::End => *open -= 1,
            TracePhase::Moment => {}
        }
        let (group, time) = (group as u8, record.time.as_nanos());
        self.separate();
        write!(
            self.terminal,
            "{{\"ph\":\"{letter}\",\"pid\":{group},\"tid\":{number},\"ts\":{}.{:03},\"cat\":\"{}\",\"name\":{},\
             \"args\":{{\"processor\":{},\"detail\":{}}}}}",
            time / 1000,
            time % 1000,
            record.kind.name(),
            Quoted(name),
            record.processor,
            Quoted(&record.detail)
        );
    }

    /// Writes the name of a group (`process_name`) or a track (`thread_name`).
    fn metadata(&mut self, what: &str, group: Group, number: u64, name: &str) {
        self.separate();
        let group = group as u8;
        let name = Quoted(name);
        write!(
            self.terminal,
            "{{\"ph\":\"M\",\"pid\":{group},\"tid\":{number},\"name\":\"{what}\",\"args\":{{\"name\":{name}}}}}"
        );
    }

    fn separate(&mut self) {
        if !core::mem::take(&mut self.is_first) {
            writeln!(self.terminal, ",");
        }
    }
}

/// A string of JSON (RFC 8259, section 7).
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"")?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(formatter, "\\{character}")?,
                '\0'..' ' => write!(formatter, "\\u{:04x}", u32::from(character))?,
                _ => write!(formatter, "{character}")?,
            }
        }
        formatter.write_str("\"")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_quoted_so_that_it_is_read_back() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..5000 {
            let character = |_| if random.bool() { random.char('\0'..='\u{7f}') } else { random.char(..) };
            let text: String = (0..20).map(character).collect();
            let quoted = Quoted(&text).to_string();
            assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text, "{quoted}");
        }
    }
}
