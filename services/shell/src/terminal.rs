//! The console, whichever is there.

use crate::files::Writer;
use crate::key::CANCEL;
use abi::prelude::*;
use abi::{Class, registry};
use alloc::collections::VecDeque;
use core::fmt;

/// How much output is collected before it is written.
const OUTPUT: usize = 1024;

/// How much input may wait while a command runs; the rest stays with the console.
const INPUT: usize = 16384;

/// A console that is found when it appears, and changed for another when it goes. Text is written to it as text: each
/// `\n` becomes CR LF.
pub struct Terminal {
    event: Event,
    console: Option<Handle<dyn Console>>,
    input: VecDeque<u8>,
    output: Vec<u8>,
    /// Where output goes instead, and what came of writing there.
    redirection: Option<(Writer, Result<()>)>,
}

/// What [`Terminal::read`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// There is a console, and it is another than before: it shows nothing yet.
    Connected,
    /// A byte was typed.
    Byte(u8),
}

impl Terminal {
    /// A terminal without a console yet.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new() -> Result<Self> {
        let event = Event::new()?;
        registry::watch(Class::Console, event.signal());
        Ok(Self { event, console: None, input: VecDeque::new(), output: Vec::new(), redirection: None })
    }

    /// Waits for input.
    ///
    /// # Errors
    /// [`Error::Stopping`] when the shell is being removed.
    pub fn read(&mut self) -> Result<Input> {
        loop {
            if let Some(byte) = self.input.pop_front() {
                return Ok(Input::Byte(byte));
            }
            self.flush();
            if self.fetch() {
                return Ok(Input::Connected);
            }
            if self.input.is_empty() {
                self.event.wait(None)?;
            }
        }
    }

    /// Waits until `deadline` or for Ctrl-C, and returns whether it was that. What was typed before it is thrown away.
    ///
    /// # Errors
    /// [`Error::Stopping`] when the shell is being removed.
    pub fn is_interrupted_before(&mut self, deadline: Instant) -> Result<bool> {
        self.is_typed_before(&[CANCEL], deadline)
    }

    /// Waits until `deadline` or for one of these keys, and returns whether it was that. What was typed before it is
    /// thrown away.
    ///
    /// # Errors
    /// [`Error::Stopping`] when the shell is being removed.
    pub fn is_typed_before(&mut self, keys: &[u8], deadline: Instant) -> Result<bool> {
        self.flush();
        loop {
            self.fetch();
            if let Some(position) = self.input.iter().rposition(|byte| keys.contains(byte)) {
                self.input.drain(..=position);
                return Ok(true);
            }
            if self.event.wait(Some(deadline))? == Wake::TimedOut {
                return Ok(false);
            }
        }
    }

    /// Shows text, at the latest when input is waited for. `write!` and `writeln!` call it.
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) {
        let written = fmt::write(self, text);
        debug_assert!(written.is_ok(), "collecting text can't fail");
    }

    /// Shows bytes as [`write_fmt`](Self::write_fmt) does text.
    ///
    /// # Errors
    /// Those of the file that output goes to, if it does.
    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some((writer, result)) = &mut self.redirection {
            if result.is_ok() {
                *result = writer.write(bytes);
            }
            return result.clone();
        }
        for &byte in bytes {
            if byte == b'\n' {
                self.output.push(b'\r');
            }
            self.output.push(byte);
        }
        if self.output.len() >= OUTPUT {
            self.flush();
        }
        Ok(())
    }

    /// Has output go to a file, until [`end_redirection`](Self::end_redirection).
    pub fn redirect(&mut self, writer: Writer) {
        self.redirection = Some((writer, Ok(())));
    }

    /// Has output go to the console.
    ///
    /// # Errors
    /// What kept the output from being written to the file.
    pub fn end_redirection(&mut self) -> Result<()> {
        match self.redirection.take() {
            Some((mut writer, result)) => result.and_then(|()| writer.flush()),
            None => Ok(()),
        }
    }

    /// Writes what has been collected, to all screens as well. Without a console it is kept for the next, as far as that makes
    /// sense.
    pub fn flush(&mut self) {
        if self.output.is_empty() {
            return;
        }
        match self.console.map(|console| console.call(|console| console.write(&self.output))) {
            Some(Ok(())) => {}
            _ if self.output.len() < OUTPUT => return,
            _ => {}
        }
        for screen in registry::all::<dyn Screen>() {
            // One that is gone, or is being started again, shows nothing.
            let _ = screen.call(|screen| screen.write(&self.output));
        }
        self.output.clear();
    }

    /// Takes what has been typed. Returns whether the console is another than before.
    fn fetch(&mut self) -> bool {
        let signal = self.event.signal();
        // Each time: the console's module may have been replaced by another that doesn't know us.
        let subscribe = |console: &Handle<dyn Console>| console.call(|console| console.subscribe(signal)).is_ok();
        let known = self.console.filter(subscribe);
        let found = known.or_else(|| registry::first::<dyn Console>().filter(subscribe));
        self.console = found;
        let Some(console) = found else { return false };
        let mut piece = [0; 64];
        while self.input.len() < INPUT {
            let length = console.call(|console| console.read(&mut piece)).unwrap_or(0);
            match piece.get(..length) {
                None | Some([]) => break,
                Some(bytes) => self.input.extend(bytes),
            }
        }
        known.is_none()
    }
}

impl fmt::Write for Terminal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // What goes wrong with a file is told at the end.
        let _ = self.write_bytes(text.as_bytes());
        Ok(())
    }
}
