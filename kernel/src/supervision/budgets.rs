//! How long a call into a module may use a processor, and how long it may wait.

use crate::machine::Machine;
use crate::thread::schedule::Charged;
use abi::Class;
use alloc::format;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

/// In milliseconds. The timer reads it wherever it comes.
pub struct Budgets {
    /// For what is published, by class: `budget.CLASS=MILLISECONDS` in `bootargs`, with the class's name in one word.
    classes: [AtomicU64; Class::ALL.len()],
    /// For the rest, such as `probe`: `budget=MILLISECONDS`.
    others: AtomicU64,
    /// For interrupt handlers: `budget.interrupt=MILLISECONDS`.
    interrupts: AtomicU64,
    /// How long any call may wait, for one thing or many: `budget.wait=MILLISECONDS`.
    waits: AtomicU64,
}

/// What holds for all calls.
pub static BUDGETS: Budgets = {
    let mut classes = [const { AtomicU64::new(0) }; Class::ALL.len()];
    let mut index = 0;
    while index < classes.len() {
        classes[index] = AtomicU64::new(Class::ALL[index].budget().as_millis() as u64);
        index += 1;
    }
    Budgets { classes, others: AtomicU64::new(1000), interrupts: AtomicU64::new(100), waits: AtomicU64::new(30_000) }
};

impl Budgets {
    /// How long such a call may take.
    pub fn of(&self, call: &Charged) -> Duration {
        let class = call.class.and_then(|class| self.classes.get(class as usize));
        let budget = if call.in_interrupt { &self.interrupts } else { class.unwrap_or(&self.others) };
        Duration::from_millis(budget.load(Ordering::Relaxed))
    }

    /// How long a call may wait, by the clock on the wall.
    pub fn longest_wait(&self) -> Duration {
        Duration::from_millis(self.waits.load(Ordering::Relaxed))
    }

    /// Has `bootargs` set some.
    pub fn set(&self, machine: &Machine) {
        let set = |budget: &AtomicU64, name: &str| {
            if let Some(milliseconds) = machine.number(name) {
                budget.store(milliseconds, Ordering::Relaxed);
            }
        };
        for (class, budget) in Class::ALL.iter().zip(&self.classes) {
            set(budget, &format!("budget.{}", class.label().replace(' ', "-")));
        }
        set(&self.others, "budget");
        set(&self.interrupts, "budget.interrupt");
        set(&self.waits, "budget.wait");
    }
}
