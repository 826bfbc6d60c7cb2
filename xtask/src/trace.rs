//! `x trace`: takes what the shell's `trace export` has printed out of a console's log.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cargo::Workspace;
use crate::{console, files};

/// The lines that the shell prints around it.
const BEGIN: &str = "-----BEGIN TRACE-----\n";
const END: &str = "\n-----END TRACE-----";

/// Writes the last trace in a console's log to `out/trace.json`.
pub fn trace(workspace: &Workspace, log: Option<&str>) -> Result<()> {
    let log = console::read(workspace, log)?;
    let (json, events) = extract(&log)?;
    files::write(&workspace.out().join("trace.json"), json.as_bytes())?;
    println!("out/trace.json has {events} events: https://ui.perfetto.dev opens it, and so does chrome://tracing");
    Ok(())
}

/// The last trace in a log, and how many events it has.
fn extract(log: &str) -> Result<(&str, usize)> {
    let (_, rest) = log.rsplit_once(BEGIN).context("there is no trace: the shell's `trace export` prints one")?;
    let (json, _) = rest.split_once(END).context("the trace has no end: did `trace export` finish?")?;
    let value: Value = serde_json::from_str(json).context(
        "the trace is damaged: has something else been written to the console meanwhile? `dmesg -n off` prevents that",
    )?;
    let events = value["traceEvents"].as_array().context("the trace has no events")?;
    Ok((json, events.len()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_last_trace_is_taken() {
        let trace = |events: &str| {
            format!("{BEGIN}{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{events}\n]}}{END}\nlockstep> ")
        };
        let log = format!("lockstep> trace export\n{}x\n{}", trace("{\"ph\":\"i\"}"), trace("{},\n{}"));
        assert_eq!(extract(&log).unwrap(), ("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{},\n{}\n]}", 2));
    }

    #[test]
    fn what_is_no_trace_is_refused_with_the_reason() {
        let refusal = |log: &str| extract(log).unwrap_err().to_string();
        assert!(refusal("lockstep> trace\n").starts_with("there is no trace"));
        assert!(refusal(&format!("{BEGIN}{{")).starts_with("the trace has no end"));
        assert!(refusal(&format!("{BEGIN}{{\n[  1.0] net: link is down\n}}{END}")).starts_with("the trace is damaged"));
        assert!(refusal(&format!("{BEGIN}{{}}{END}")).starts_with("the trace has no events"));
    }
}
