//! The shell: a command line on the console.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod commands;
mod files;
mod key;
mod line;
mod table;
mod terminal;
mod words;

use abi::prelude::*;
use abi::thread;
use line::Editor;
use terminal::{Input, Terminal};

abi::service!(Shell, summary = "command line on the console");

const PROMPT: &str = "lockstep> ";

struct Shell;

impl Service for Shell {
    fn start(_resources: &mut Resources) -> Result<Self> {
        let terminal = Terminal::new()?;
        thread::spawn("shell", move || {
            // It ends when the module is removed, with nobody left to tell.
            let Err(_) = run(terminal);
        })?;
        Ok(Self)
    }
}

/// Runs commands for ever.
fn run(mut terminal: Terminal) -> Result<core::convert::Infallible> {
    let mut editor = Editor::new(PROMPT, commands::completions);
    loop {
        let mut echo = String::new();
        match terminal.read()? {
            Input::Connected => editor.show(&mut echo),
            Input::Byte(byte) => {
                if let Some(line) = editor.feed(byte, &mut echo) {
                    write!(terminal, "{echo}");
                    echo.clear();
                    commands::run(&line, &mut terminal);
                    editor.show(&mut echo);
                }
            }
        }
        write!(terminal, "{echo}");
    }
}
