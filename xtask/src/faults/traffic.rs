//! Traffic that goes through all drivers of a machine, with everything that comes back compared.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::guest::{Guest, Silence};

/// How long anything may take that takes some milliseconds.
pub const PATIENCE: Duration = Duration::from_millis(2500);

/// How long to wait for a datagram before it is sent again.
const RESEND: Duration = Duration::from_millis(250);

/// The sizes of the datagrams: the least, one that is nothing special, and the most.
const DATAGRAMS: [usize; 3] = [1, 700, 1472];

/// How much goes over a connection, in bytes.
const STREAM: usize = 20_000;

/// How much of the disk is read and copied at a time, in bytes: two requests, neither a whole one.
const PIECE: usize = 72 << 10;

/// What dd copies at a time, in bytes.
const RECORD: usize = 4096;

/// By how much the machine's clock may differ from ours.
const DRIFT: time::Duration = time::Duration::seconds(3);

/// What is wrong with an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It didn't come, or an error came instead.
    Missing(String),
    /// It came, with other data than it should have.
    Wrong(String),
}

/// What came of a round.
#[derive(Default)]
pub struct Round {
    pub troubles: Vec<Trouble>,
    /// The shell doesn't take commands.
    pub shell_is_silent: bool,
    /// Neither a datagram nor anything over a connection comes back.
    pub network_is_silent: bool,
    /// The lines of the log that tell of failures.
    pub failures: Vec<String>,
}

impl Round {
    pub fn is_well(&self) -> bool {
        self.troubles.is_empty()
    }

    /// What data was wrong.
    pub fn wrong(&self) -> Option<&str> {
        self.troubles.iter().find_map(|trouble| match trouble {
            Trouble::Wrong(what) => Some(what.as_str()),
            Trouble::Missing(_) => None,
        })
    }

    fn note(&mut self, result: Result<(), Trouble>) -> bool {
        let well = result.is_ok();
        self.troubles.extend(result.err());
        well
    }
}

/// Has all drivers do something.
pub fn round(guest: &mut Guest, random: &mut fastrand::Rng) -> Round {
    let port = guest.echo_port();
    let seed = random.u64(..);
    std::thread::scope(|scope| {
        let network = scope.spawn(move || network(port, &mut fastrand::Rng::with_seed(seed)));
        let mut round = console(guest, random);
        match network.join() {
            Ok(network) => {
                round.network_is_silent = network.network_is_silent;
                round.troubles.extend(network.troubles);
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
        round
    })
}

fn missing(what: impl Into<String>) -> Trouble {
    Trouble::Missing(what.into())
}

fn wrong(what: impl Into<String>) -> Trouble {
    Trouble::Wrong(what.into())
}

// --- The network -----------------------------------------------------------------------------------------------------

fn network(port: u16, random: &mut fastrand::Rng) -> Round {
    let mut round = Round::default();
    let mut answers = 0;
    for size in DATAGRAMS {
        answers += usize::from(round.note(datagram(port, &bytes(size, random))));
        if answers == 0 {
            break;
        }
    }
    answers += usize::from(round.note(stream(port, &bytes(STREAM, random))));
    round.network_is_silent = answers == 0;
    round
}

fn bytes(size: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    std::iter::repeat_with(|| random.u8(..)).take(size).collect()
}

/// Sends a datagram until one comes back.
fn datagram(port: u16, data: &[u8]) -> Result<(), Trouble> {
    let failed = |error: std::io::Error| missing(format!("UDP: {error}"));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    socket.connect((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
    socket.set_read_timeout(Some(RESEND)).map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    let mut answer = [0; 2048];
    while Instant::now() < deadline {
        socket.send(data).map_err(failed)?;
        if let Ok(length) = socket.recv(&mut answer) {
            let is_same = answer.get(..length) == Some(data);
            return if is_same { Ok(()) } else { Err(wrong(format!("UDP: other {length} bytes than were sent"))) };
        }
    }
    Err(missing(format!("UDP: none of {} bytes", data.len())))
}

/// Sends data over a connection of its own, and reads it back.
fn stream(port: u16, data: &[u8]) -> Result<(), Trouble> {
    let failed = |error: std::io::Error| missing(format!("TCP: {error}"));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    connection.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    connection.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    connection.write_all(data).map_err(failed)?;
    connection.shutdown(Shutdown::Write).map_err(failed)?;
    let mut answer = Vec::new();
    let result = connection.read_to_end(&mut answer);
    match answer.iter().zip(data).position(|(came, sent)| came != sent) {
        Some(position) => Err(wrong(format!("TCP: another byte at {position}"))),
        None if answer.len() > data.len() => Err(wrong("TCP: more than was sent")),
        None if answer.len() < data.len() => Err(missing(format!("TCP: {} bytes of {}", answer.len(), data.len()))),
        None => result.map(|_| ()).map_err(failed),
    }
}

// --- The console, the clock and the disk -----------------------------------------------------------------------------

fn console(guest: &mut Guest, random: &mut fastrand::Rng) -> Round {
    let mut round = Round::default();
    for check in [date, interface, read, copy] {
        if !round.shell_is_silent {
            match check(guest, random) {
                Ok(result) => {
                    round.note(result);
                }
                Err(silence) => {
                    round.troubles.push(missing(format!("no answer to `{}`", silence.command)));
                    round.shell_is_silent = silence.is_dead;
                }
            }
        }
    }
    if !round.shell_is_silent {
        match guest.failures() {
            Ok(failures) => round.failures = failures,
            Err(silence) => round.shell_is_silent = silence.is_dead,
        }
    }
    round
}

type Checked = Result<Result<(), Trouble>, Silence>;

fn date(guest: &mut Guest, _random: &mut fastrand::Rng) -> Checked {
    let shown = guest.ask("date")?;
    Ok(match OffsetDateTime::parse(&shown, &Rfc3339) {
        Ok(date) if (date - OffsetDateTime::now_utc()).abs() <= DRIFT => Ok(()),
        Ok(_) => Err(wrong(format!("date: {shown}"))),
        Err(_) => Err(missing(format!("date: {shown}"))),
    })
}

/// What the driver says of the card.
fn interface(guest: &mut Guest, _random: &mut fastrand::Rng) -> Checked {
    let shown = guest.ask("ip")?;
    let expected = ["state UP", "mtu 1500 ", "link/ether 52:54:00:12:34:56 brd"];
    Ok(match expected.map(|text| shown.contains(text)) {
        [true, true, true] => Ok(()),
        [true, ..] => Err(wrong(format!("ip: {}", shown.replace('\n', " ")))),
        _ => Err(missing("ip: no link")),
    })
}

/// Reads from the first half of the disk, which nobody writes to.
fn read(guest: &mut Guest, random: &mut fastrand::Rng) -> Checked {
    let start = random.usize(..guest.image.len() / 2 - PIECE);
    let shown = guest.ask(&format!("sha256sum -s {start} -n {PIECE} vda"))?;
    let sum = Sha256::digest(&guest.image[start..start + PIECE]);
    let digits: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    let is_sum = shown.strip_suffix("  vda").is_some_and(|sum| sum.len() == digits.len());
    Ok(match is_sum {
        true if shown.starts_with(&digits) => Ok(()),
        true => Err(wrong(format!("sha256sum: {PIECE} bytes at {start}: {shown}"))),
        false => Err(missing(shown)),
    })
}

/// Copies a piece of the first half of the disk into the second; afterwards the host must see that and nothing else.
fn copy(guest: &mut Guest, random: &mut fastrand::Rng) -> Checked {
    let count = PIECE / RECORD;
    let half = guest.image.len() / 2 / RECORD;
    let (from, to) = (random.usize(..half - count), half + random.usize(..half - count));
    let (source, target) = (from * RECORD..(from + count) * RECORD, to * RECORD..(to + count) * RECORD);
    let shown = guest.ask(&format!("dd if=vda of=vda bs={RECORD} count={count} skip={from} seek={to}"));
    let is_done = shown.as_ref().is_ok_and(|shown| shown.contains(&format!("{count}+0 records out")));
    guest.image.copy_within(source, target.start);
    if !is_done {
        // It may be done later, or in part.
        guest.unsure.push(target);
    }
    let Ok(mut stored) = guest.stored_image() else { return Ok(Err(missing("the image can't be read"))) };
    for range in guest.unsure.iter().cloned() {
        if let Some(stored) = stored.get_mut(range.clone()) {
            stored.copy_from_slice(&guest.image[range]);
        }
    }
    Ok(match shown?.lines().last() {
        _ if stored != guest.image => Err(wrong("dd: something else was written than should be")),
        _ if is_done => Ok(()),
        last => Err(missing(format!("dd: {}", last.unwrap_or_default()))),
    })
}
