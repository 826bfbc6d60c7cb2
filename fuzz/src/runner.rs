//! Running a target on one input after the other.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use crate::{TIME_LIMIT, Target};

/// What came of running a target on many inputs.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// The inputs.
    pub inputs: u64,
    /// Those of them that were accepted.
    pub accepted: u64,
}

/// The input at work; none when all is done.
type Current = Mutex<Option<Arc<Vec<u8>>>>;

/// Runs a target on all of these inputs.
///
/// # Panics
///
/// When the target fails on an input, which is then in [`Target::failure`]. When it hangs, the process is aborted.
pub fn run_all(target: &Target, inputs: impl IntoIterator<Item = Vec<u8>>) -> Counts {
    let current = Current::default();
    thread::scope(|scope| {
        set(&current, Some(Arc::default()));
        let watch = scope.spawn(|| watch(target, &current));
        let mut counts = Counts::default();
        let mut result = Ok(());
        for input in inputs {
            let input = Arc::new(input);
            set(&current, Some(Arc::clone(&input)));
            result = catch_unwind(AssertUnwindSafe(|| counts.accepted += u64::from(target.run(&input))));
            if result.is_err() {
                save(target, &input);
                break;
            }
            counts.inputs += 1;
        }
        set(&current, None);
        watch.thread().unpark();
        result.map_or_else(|panic| resume_unwind(panic), |()| counts)
    })
}

/// Ends the process when the input at work stays the same for too long.
fn watch(target: &Target, current: &Current) {
    let mut last: Option<Arc<_>> = None;
    while let Some(input) = get(current) {
        if last.is_some_and(|last| Arc::ptr_eq(&last, &input)) {
            eprintln!("{} hangs: it has run for {TIME_LIMIT:?} at least", target.name);
            save(target, &input);
            process::abort();
        }
        last = Some(input);
        thread::park_timeout(TIME_LIMIT);
    }
}

fn get(current: &Current) -> Option<Arc<Vec<u8>>> {
    current.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set(current: &Current, input: Option<Arc<Vec<u8>>>) {
    *current.lock().unwrap_or_else(PoisonError::into_inner) = input;
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
        name: "test-of-the-runner",
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
        let inputs = [&b"harmless"[..], b"not \xff", b"harmless"].map(<[u8]>::to_vec);
        let result = catch_unwind(|| run_all(&TARGET, inputs));
        assert!(result.is_err());
        assert_eq!(fs::read(TARGET.failure()).expect("the failure"), b"not \xff");
        fs::remove_file(TARGET.failure()).expect("it can be removed");
    }
}
