//! Lists targets, and runs them on inputs: what `./x fuzz` does without libFuzzer.
//!
//! ```text
//! fuzz                        list the targets
//! fuzz NAME FILE...           run one on the inputs in these files
//! fuzz NAME --seconds NUMBER  run one on mutants of all inputs that there are
//! fuzz NAME --seeds FOLDER    write inputs for libFuzzer to start from
//! ```

use std::{
    error::Error,
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use fuzz::{Input, TARGETS, Target, mutant, run_all};

/// The size of the largest inputs to start from, in bytes: many small ones lead libFuzzer further than few large ones.
const LARGEST_SEED: usize = 32 << 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let target = |name| TARGETS.iter().find(|target| target.name == name).ok_or(format!("there is no target {name}"));
    match *arguments {
        [] => list(),
        [name, "--seconds", seconds] => mutate(target(name)?, Duration::from_secs(seconds.parse()?))?,
        [name, "--seeds", folder] => write_seeds(target(name)?, Path::new(folder))?,
        [name, ref files @ ..] => replay(target(name)?, files)?,
    }
    Ok(())
}

fn list() {
    for Target { name, summary, .. } in TARGETS {
        println!("  {name:<12} {summary}");
    }
}

fn replay(target: &Target, files: &[&str]) -> Result<(), Box<dyn Error>> {
    for file in files {
        let input = fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?;
        let counts = run_all(target, [input]);
        println!("{file}: {}", if counts.accepted == 1 { "accepted" } else { "refused" });
    }
    Ok(())
}

fn mutate(target: &Target, duration: Duration) -> Result<(), Box<dyn Error>> {
    let corpus = target.corpus()?.into_iter().map(|(_, bytes)| bytes);
    let inputs: Vec<_> = corpus.chain(real_inputs(target)).map(|bytes| Input::new(target, bytes)).collect();
    let start = Instant::now();
    let mutants = (0..).map(|number| mutant(&inputs, number)).take_while(|_| start.elapsed() < duration);
    let counts = run_all(target, mutants);
    println!("{}: {} mutants of {} inputs, {} accepted", target.name, counts.inputs, inputs.len(), counts.accepted);
    Ok(())
}

fn write_seeds(target: &Target, folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let small = real_inputs(target).into_iter().filter(|input| input.len() <= LARGEST_SEED);
    for (number, input) in small.enumerate() {
        fs::write(folder.join(format!("real-{number}")), input)?;
    }
    Ok(())
}

/// The real inputs; without them the corpus has to do.
fn real_inputs(target: &Target) -> Vec<Vec<u8>> {
    target.real_inputs().unwrap_or_else(|error| {
        eprintln!("{}: no real inputs to start from, only the corpus: {error}", target.name);
        Vec::new()
    })
}
