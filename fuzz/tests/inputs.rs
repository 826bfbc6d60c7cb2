//! The corpus, real inputs, and more than 100,000 mutants of these: each is read or refused, and nothing else happens.

use fuzz::{Input, TARGETS, Target, mutant, run_all};

/// The target with this name.
fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target of that name")
}

#[test]
fn every_input_of_the_corpus_is_read_or_refused() {
    for target in TARGETS {
        let counts = run_all(target, corpus(target));
        println!("{}: {counts:?}", target.name);
        assert!(counts.accepted > 0 && counts.accepted < counts.inputs, "both kinds should be in the corpus");
    }
}

fn real(target: &Target) -> Vec<Vec<u8>> {
    target.real_inputs().expect("./x build makes real inputs")
}

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let corpus = target.corpus().expect("each target has a corpus");
    corpus.into_iter().map(|(_, input)| input).collect()
}

#[test]
fn every_real_input_is_accepted() {
    for target in TARGETS {
        let counts = run_all(target, real(target));
        assert_eq!(counts.accepted, counts.inputs, "{}", target.name);
    }
}

/// Runs a target on so many mutants of these inputs, of which some should be accepted and some not.
fn mutate(name: &str, inputs: fn(&Target) -> Vec<Vec<u8>>, count: u64) {
    let target = target(name);
    let inputs: Vec<_> = inputs(target).into_iter().map(|bytes| Input::new(target, bytes)).collect();
    let counts = run_all(target, (0..count).map(|number| mutant(&inputs, number)));
    println!("{name}: {} of {} mutants accepted", counts.accepted, counts.inputs);
    assert_eq!(counts.inputs, count);
    assert!(counts.accepted > count / 200 && counts.accepted < count - count / 20, "mutants are worth something");
}

#[test]
fn fifty_thousand_mutants_of_modules_are_read_or_refused() {
    mutate("object", real, 50_000);
}

#[test]
fn twenty_five_thousand_mutants_of_archives_are_read_or_refused() {
    mutate("initramfs", real, 25_000);
}

#[test]
fn thirty_thousand_mutants_of_device_trees_are_read_or_refused() {
    mutate("devicetree", real, 30_000);
}

#[test]
fn ten_thousand_mutants_of_signed_modules_are_read_or_refused() {
    mutate("signature", real, 10_000);
}

#[test]
fn ten_thousand_mutants_of_stamps_are_read_or_refused() {
    mutate("stamp", real, 10_000);
}

#[test]
fn ten_thousand_mutants_of_descriptions_are_read_or_refused() {
    mutate("description", corpus, 10_000);
}

#[test]
fn ten_thousand_mutants_of_indexes_are_read_or_refused() {
    mutate("index", corpus, 10_000);
}

#[test]
fn ten_thousand_mutants_of_parameters_are_read_or_refused() {
    mutate("parameters", corpus, 10_000);
}
