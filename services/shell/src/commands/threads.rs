//! Commands about threads, processors and interrupts.

use super::Failure;
use crate::key::CANCEL;
use crate::table::{Column, Table};
use crate::terminal::Terminal;
use abi::prelude::*;
use abi::registry::ProviderId;
use abi::system::{self, ModuleStatus, ThreadState, ThreadStatus};
use abi::thread::Priority;
use alloc::collections::BTreeMap;
use core::cmp::Reverse;

/// How many lines a terminal has that says nothing about it.
const LINES: usize = 24;

/// How long `top` waits from one look to the next when nothing is said.
const PAUSE: Duration = Duration::from_secs(2);

pub fn ps(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    let columns = [
        Column::Right("PID"),
        Column::Right("CPU"),
        Column::Left("PRI"),
        Column::Left("STAT"),
        Column::Right("TIME"),
        Column::Left("NAME"),
        Column::Left("MODULE"),
    ];
    let mut table = Table::new(columns);
    let modules = system::modules();
    let mut threads = system::threads();
    threads.sort_by_key(|thread| thread.number);
    for thread in &threads {
        table.row([
            thread.number.to_string(),
            thread.processor.to_string(),
            priority(thread).into(),
            state(thread).into(),
            minutes(thread.time),
            name(thread),
            module(thread.owner, &modules),
        ]);
    }
    write!(terminal, "{table}");
    Ok(())
}

fn priority(thread: &ThreadStatus) -> &'static str {
    match thread.priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
        Priority::Urgent => "urgent",
    }
}

/// As `ps` of Linux says it: running or ready to, or asleep.
fn state(thread: &ThreadStatus) -> &'static str {
    match thread.state {
        ThreadState::Running | ThreadState::Ready => "R",
        ThreadState::Blocked => "S",
    }
}

/// The kernel's own threads are in brackets.
fn name(thread: &ThreadStatus) -> String {
    if thread.owner.is_none() { format!("[{}]", thread.name) } else { thread.name.clone() }
}

/// The module that drives a node or is a service.
fn module(owner: Option<ProviderId>, modules: &[ModuleStatus]) -> String {
    let Some(owner) = owner.map(ProviderId::name) else { return String::new() };
    let module = modules.iter().find(|module| module.drives.contains(&owner));
    module.map_or(owner, |module| module.name.clone())
}

/// Minutes, seconds and hundredths.
fn minutes(time: Duration) -> String {
    format!("{}:{:02}.{:02}", time.as_secs() / 60, time.as_secs() % 60, time.subsec_millis() / 10)
}

pub fn irqs(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    let interrupts = system::interrupts();
    let processors = interrupts.iter().map(|interrupt| interrupt.counts.len()).max().unwrap_or(0);
    write!(terminal, "LINE");
    (0..processors).for_each(|processor| write!(terminal, "{:>10}", format!("CPU{processor}")));
    writeln!(terminal, "  DEVICE");
    for interrupt in interrupts {
        write!(terminal, "{:>4}", interrupt.line);
        interrupt.counts.iter().for_each(|count| write!(terminal, "{count:>10}"));
        writeln!(terminal, "  {}", interrupt.device.map_or_else(|| "[timer]".into(), ProviderId::name));
    }
    Ok(())
}

pub fn top(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let (mut looks, mut pause) = (u32::MAX, PAUSE);
    let mut words = arguments.iter();
    while let Some(&word) = words.next() {
        let number = words.next().and_then(|value| value.parse::<u32>().ok()).filter(|number| *number > 0);
        let number = number.ok_or(Failure::Usage)?;
        match word {
            "-n" => looks = number,
            "-d" => pause = Duration::from_secs(number.into()),
            _ => return Err(Failure::Usage),
        }
    }
    let clears = looks > 1;
    // At first it is about the time since reset.
    let mut before = Look { time: Instant::default(), used: BTreeMap::new() };
    loop {
        let (time, threads) = (Instant::now(), system::threads());
        let text = before.report(time, &threads, &system::modules());
        if clears {
            // Each line replaces the one that was there, without a moment at which the screen is empty.
            writeln!(terminal, "\x1b[H{}\x1b[J", text.trim_end().replace('\n', "\x1b[K\n"));
        } else {
            write!(terminal, "{text}");
        }
        looks -= 1;
        if looks == 0 || terminal.is_typed_before(&[b'q', CANCEL], time + pause)? {
            return Ok(());
        }
        before = Look { time, used: threads.iter().map(|thread| (thread.number, thread.time)).collect() };
    }
}

/// How things stood at some time: how long each thread had run by then.
struct Look {
    time: Instant,
    used: BTreeMap<u32, Duration>,
}

impl Look {
    /// What has happened since.
    fn report(&self, now: Instant, threads: &[ThreadStatus], modules: &[ModuleStatus]) -> String {
        let elapsed = now - self.time;
        let used = |thread: &ThreadStatus| {
            let before = self.used.get(&thread.number).copied().unwrap_or_default();
            // More than all of the time is an effect of looking at one after the other.
            thread.time.saturating_sub(before).min(elapsed)
        };
        let (idle, mut others): (Vec<_>, Vec<_>) = threads.iter().partition(|thread| is_idle(thread));
        let mut text = format!("{} threads, {} processors, up {} s\n", threads.len(), idle.len(), whole_seconds(now));
        for processor in &idle {
            let (idle, busy) = (used(processor), elapsed.saturating_sub(used(processor)));
            let number = processor.name.trim_start_matches(IDLE);
            text +=
                &format!("CPU{number:<3} {:>5} % busy, {:>5} % idle\n", percent(busy, elapsed), percent(idle, elapsed));
        }
        others.sort_by_key(|thread| (Reverse(used(thread)), thread.number));
        let columns = [
            Column::Right("PID"),
            Column::Right("CPU"),
            Column::Left("PRI"),
            Column::Left("S"),
            Column::Right("%CPU"),
            Column::Right("TIME+"),
            Column::Left("NAME"),
            Column::Left("MODULE"),
        ];
        let mut table = Table::new(columns);
        // The first line, a heading, and the line in which the cursor stays.
        let room = LINES.saturating_sub(idle.len() + 3);
        for thread in others.into_iter().take(room) {
            table.row([
                thread.number.to_string(),
                thread.processor.to_string(),
                priority(thread).into(),
                state(thread).into(),
                percent(used(thread), elapsed),
                minutes(thread.time),
                name(thread),
                module(thread.owner, modules),
            ]);
        }
        text + &table.to_string()
    }
}

/// How the names begin of those that run when a processor has nothing else to do.
const IDLE: &str = "idle/";

fn is_idle(thread: &ThreadStatus) -> bool {
    thread.owner.is_none() && thread.name.starts_with(IDLE)
}

fn whole_seconds(now: Instant) -> u64 {
    (now - Instant::default()).as_secs()
}

/// The share in percent, with one decimal.
fn percent(part: Duration, whole: Duration) -> String {
    let thousandths = (part.as_nanos() * 1000).checked_div(whole.as_nanos()).unwrap_or(0);
    format!("{}.{}", thousandths / 10, thousandths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    // Providers' names are the kernel's to know.
    use fake_kernel as _;

    fn thread(number: u32, name: &str, milliseconds: u64) -> ThreadStatus {
        ThreadStatus {
            number,
            name: name.into(),
            owner: None,
            priority: Priority::Normal,
            state: ThreadState::Blocked,
            processor: 0,
            time: Duration::from_millis(milliseconds),
            switches: 0,
        }
    }

    #[test]
    fn who_has_run_most_since_the_last_look_comes_first() {
        let used = [(1, 900), (2, 50), (3, 50)].map(|(number, time)| (number, Duration::from_millis(time)));
        let before = Look { time: Instant::from_nanoseconds(1_000_000_000), used: used.into() };
        let threads =
            [thread(1, "idle/0", 1650), thread(2, "calm", 50), thread(3, "busy", 250), thread(4, "new", 50_000)];
        let report = before.report(Instant::from_nanoseconds(2_000_000_000), &threads, &[]);
        let expected = "\
4 threads, 1 processors, up 2 s
CPU0    25.0 % busy,  75.0 % idle
PID  CPU  PRI     S   %CPU    TIME+  NAME    MODULE
  4    0  normal  S  100.0  0:50.00  [new]
  3    0  normal  S   20.0  0:00.25  [busy]
  2    0  normal  S    0.0  0:00.05  [calm]
";
        assert_eq!(report, expected);
    }

    #[test]
    fn no_more_threads_are_shown_than_a_screen_has_lines() {
        let threads: Vec<_> = (0..100).map(|number| thread(number, "one", 1)).collect();
        let before = Look { time: Instant::default(), used: BTreeMap::new() };
        assert_eq!(before.report(Instant::default(), &threads, &[]).lines().count(), LINES - 1);
    }
}
