//! Running a target on one mutant after the other.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use crate::{Input, TIME_LIMIT, Target, mutant};

/// What came of running a target on many inputs.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// The inputs.
    pub inputs: u64,
    /// Those of them that were accepted.
    pub accepted: u64,
}

/// Runs a target on mutants 0, 1, 2 and so on of `inputs`, for as long as `goes_on` says for the next one's number.
///
/// # Panics
///
/// When the target fails on a mutant, which is then in [`Target::failure`]. When it hangs, the process is aborted.
pub fn search(target: &Target, inputs: &[Input], goes_on: impl Fn(u64) -> bool) -> Counts {
    let (number, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let result = thread::scope(|scope| {
        let watch = scope.spawn(|| watch(target, inputs, &number, &done));
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut counts = Counts::default();
            while goes_on(counts.inputs) {
                number.store(counts.inputs, Relaxed);
                counts.accepted += u64::from(target.run(&mutant(inputs, counts.inputs)));
                counts.inputs += 1;
            }
            counts
        }));
        done.store(true, Relaxed);
        watch.thread().unpark();
        result
    });
    result.unwrap_or_else(|panic| {
        save(target, &mutant(inputs, number.into_inner()));
        resume_unwind(panic)
    })
}

/// Ends the process when the number of the mutant at work stays the same for too long.
fn watch(target: &Target, inputs: &[Input], number: &AtomicU64, done: &AtomicBool) {
    let mut last = None;
    while !done.load(Relaxed) {
        let current = Some(number.load(Relaxed));
        if current == last {
            eprintln!("{} hangs: it has run for {TIME_LIMIT:?} at least", target.name);
            save(target, &mutant(inputs, number.load(Relaxed)));
            process::abort();
        }
        last = current;
        thread::park_timeout(TIME_LIMIT);
    }
}

/// Saves an input on which a target fails.
fn save(target: &Target, input: &[u8]) {
    let path = target.failure();
    let saved = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, input));
    match saved {
        Ok(()) => eprintln!("the input is saved; to run it again: ./x fuzz {} target/fuzz/{0}.failure", target.name),
        Err(error) => eprintln!("the input cannot be saved as {}: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails for what has a byte with the highest bit set.
    const TARGET: Target = Target {
        name: "test-of-search",
        summary: "",
        check: |input| {
            assert!(input.is_ascii());
            true
        },
        real_inputs: || Ok(Vec::new()),
        structure: |_| Vec::new(),
    };

    #[test]
    fn an_input_on_which_a_target_fails_is_saved() {
        let _ = fs::remove_file(TARGET.failure());
        let inputs = [Input::new(&TARGET, b"something harmless".to_vec())];
        let result = catch_unwind(AssertUnwindSafe(|| search(&TARGET, &inputs, |_| true)));
        assert!(result.is_err());
        assert!(!fs::read(TARGET.failure()).expect("the failure").is_ascii());
    }
}
