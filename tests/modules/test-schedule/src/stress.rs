//! Many threads that wake each other, time out, wait for mutexes, begin and end, all at once.

use abi::prelude::*;
use abi::sync::Mutex;
use abi::thread::{Priority, spawn_with_priority, yield_now};
use abi::{system, time};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

const PAIRS: u32 = 8;
const LOCKERS: u32 = 6;
const PARENTS: u32 = 3;

/// Who waits for something longer than this waits for what has been lost.
const PATIENCE: Duration = Duration::from_secs(5);

const PRIORITIES: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

#[derive(Default)]
struct Counts {
    trips: AtomicU32,
    timeouts: AtomicU32,
    turns: AtomicU32,
    threads: AtomicU32,
    errors: AtomicU32,
    running: AtomicU32,
}

/// What all threads share.
#[derive(Clone)]
struct Trial {
    counts: Arc<Counts>,
    /// Both are always equal.
    pair: Arc<Mutex<(u64, u64)>>,
    end: Instant,
}

impl Trial {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// Something is wrong.
    fn error(&self, what: &str) {
        if self.counts.errors.fetch_add(1, Ordering::Relaxed) < 5 {
            error!("{what}");
        }
    }

    /// Starts a thread, which isn't missed when it ends because it is told to.
    fn spawn(
        &self,
        name: &str,
        seed: u32,
        body: impl FnOnce(&Self, Random) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let trial = self.clone();
        self.counts.running.fetch_add(1, Ordering::Relaxed);
        let priority = PRIORITIES[seed as usize % PRIORITIES.len()];
        spawn_with_priority(name, priority, move || {
            if let Err(error) = body(&trial, Random(seed.wrapping_mul(0x9e37_79b9) | 1)) {
                trial.error(&format!("a thread ended: {error}"));
            }
            trial.counts.running.fetch_sub(1, Ordering::Release);
        })
    }
}

/// Numbers that look like chance (xorshift, Marsaglia 2003).
struct Random(u32);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % bound
    }

    /// Up to a third of a millisecond.
    fn moment(&mut self) -> Duration {
        Duration::from_micros(self.below(333).into())
    }
}

pub fn run(time: Duration) -> Result<String> {
    let trial = Trial { counts: Arc::default(), pair: Arc::default(), end: Instant::now() + time };
    for number in 0..PAIRS {
        start_pair(&trial, number)?;
    }
    for number in 0..LOCKERS {
        trial.spawn("locker", number, lock)?;
    }
    for number in 0..PARENTS {
        trial.spawn("parent", number, bear)?;
    }
    while trial.goes_on() {
        // Looks at all of them in the middle of things.
        let threads = system::threads();
        if threads.iter().filter(|thread| thread.name == "locker").count() > LOCKERS as usize {
            trial.error("there are more threads than were started");
        }
        time::sleep(Duration::from_millis(7))?;
    }
    let end = Instant::now() + 2 * PATIENCE;
    while trial.counts.running.load(Ordering::Acquire) > 0 {
        if Instant::now() > end {
            trial.error("not all threads have ended");
            break;
        }
        time::sleep(Duration::from_millis(1))?;
    }
    let Counts { trips, timeouts, turns, threads, errors, .. } = &*trial.counts;
    let [trips, timeouts, turns, threads, errors] =
        [trips, timeouts, turns, threads, errors].map(|count| count.load(Ordering::Relaxed));
    Ok(format!("{trips} round trips, {timeouts} timeouts, {turns} turns, {threads} threads, {errors} errors"))
}

/// Two threads that wake each other in turn. One of them keeps timing out.
fn start_pair(trial: &Trial, number: u32) -> Result<()> {
    let (ask, answer) = (Event::new()?, Event::new()?);
    let (asked, answered) = (ask.signal(), answer.signal());
    trial.spawn("asker", number, move |trial, mut random| {
        while trial.goes_on() {
            asked.raise();
            let deadline = Instant::now() + PATIENCE;
            if answer.wait(Some(deadline))? == Wake::TimedOut {
                let early = if Instant::now() < deadline { "early" } else { "late" };
                trial.error(&format!("a signal got lost: timed out {early}"));
            }
            trial.counts.trips.fetch_add(1, Ordering::Relaxed);
            if random.below(16) == 0 {
                time::sleep(random.moment())?;
            }
        }
        Ok(())
    })?;
    trial.spawn("answerer", number + 1, move |trial, mut random| {
        while trial.goes_on() {
            let deadline = Instant::now() + random.moment();
            match ask.wait(Some(deadline))? {
                Wake::Raised => answered.raise(),
                Wake::TimedOut if Instant::now() < deadline => trial.error("a wait timed out early"),
                Wake::TimedOut => {
                    trial.counts.timeouts.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        // The other may wait for an answer still.
        answered.raise();
        Ok(())
    })
}

/// Takes turns with others of any priority.
fn lock(trial: &Trial, mut random: Random) -> Result<()> {
    while trial.goes_on() {
        let mut pair = trial.pair.lock()?;
        pair.0 += 1;
        match random.below(8) {
            0 => yield_now(),
            1 => time::sleep(random.moment())?,
            _ => {}
        }
        pair.1 += 1;
        if pair.0 != pair.1 {
            trial.error("two threads hold a mutex");
        }
        drop(pair);
        trial.counts.turns.fetch_add(1, Ordering::Relaxed);
        if random.below(4) == 0 {
            time::sleep(random.moment())?;
        }
    }
    Ok(())
}

/// Starts threads that don't live long.
fn bear(trial: &Trial, mut random: Random) -> Result<()> {
    while trial.goes_on() {
        let done = Event::new()?;
        let signal = done.signal();
        let life = random.moment();
        trial.spawn("child", random.below(3), move |_, _| {
            time::sleep(life)?;
            signal.raise();
            Ok(())
        })?;
        if done.wait(Some(Instant::now() + PATIENCE))? == Wake::TimedOut {
            trial.error("a thread got lost");
        }
        trial.counts.threads.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
