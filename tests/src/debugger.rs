//! A debugger's way into a machine in QEMU: the part of GDB's remote serial protocol that reads and writes memory.
//!
//! Specification: Debugging with GDB, appendix E.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What stops the machine.
const INTERRUPT: u8 = 0x03;

/// A connection to a machine, which runs between calls.
pub struct Debugger(TcpStream);

impl Debugger {
    /// Connects to where QEMU listens, and as soon as it does.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(port: u16) -> io::Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut debugger = Self(stream);
        // QEMU has stopped the machine for us.
        debugger.send("c")?;
        Ok(debugger)
    }

    /// Reads words from an address on, a virtual one on the machine's first processor.
    ///
    /// # Errors
    /// When nothing is mapped there, or QEMU doesn't answer.
    pub fn read(&mut self, address: u64, count: usize) -> io::Result<Vec<u32>> {
        let answer = self.stopped(&format!("m{address:x},{:x}", 4 * count))?;
        let word = |digits: &[u8]| u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok().map(u32::swap_bytes);
        let words: Option<Vec<u32>> = answer.as_bytes().chunks(8).map(word).collect();
        words.filter(|words| words.len() == count).ok_or_else(|| misunderstood(&answer))
    }

    /// Writes a word there, whatever the page's permissions.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn write(&mut self, address: u64, word: u32) -> io::Result<()> {
        let answer = self.stopped(&format!("M{address:x},4:{:08x}", word.swap_bytes()))?;
        if answer == "OK" { Ok(()) } else { Err(misunderstood(&answer)) }
    }

    /// Has a request answered while the machine stands still.
    fn stopped(&mut self, request: &str) -> io::Result<String> {
        self.0.write_all(&[INTERRUPT])?;
        self.receive()?;
        self.send(request)?;
        let answer = self.receive()?;
        self.send("c")?;
        Ok(answer)
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        let sum = text.bytes().fold(0, u8::wrapping_add);
        self.0.write_all(format!("${text}#{sum:02x}").as_bytes())
    }

    /// The next packet. What acknowledges ours comes before it.
    fn receive(&mut self) -> io::Result<String> {
        let mut packet = Vec::new();
        while self.byte()? != b'$' {}
        loop {
            match self.byte()? {
                b'#' => break,
                byte => packet.push(byte),
            }
        }
        // The stream loses nothing, so the sum isn't checked.
        let _sum = (self.byte()?, self.byte()?);
        self.0.write_all(b"+")?;
        Ok(String::from_utf8_lossy(&packet).into_owned())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

fn misunderstood(answer: &str) -> io::Error {
    io::Error::other(format!("QEMU answers a debugger's request with {answer:?}"))
}
