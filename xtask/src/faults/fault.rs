//! The faults, and the instructions that can be hit.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::guest::Guest;
use super::mutation::Mutation;
use super::traffic;
use crate::bench::build_plugin;
use crate::cargo::Workspace;

/// The drivers that are hit: all that traffic goes through.
pub const DRIVERS: [&str; 6] = ["virtio-net", "virtio-blk", "virtio", "arm-pl011", "arm-pl031", "arm-gic"];

/// How many rounds of traffic are watched.
const ROUNDS: usize = 4;

/// How long the plugin may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A place in a module's text, and the word that is put there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub module: String,
    /// From where the module's text begins, in bytes.
    pub offset: u64,
    pub word: u32,
}

/// As in `virtio-net+0x1234=d503201f`.
impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}+{:#x}={:08x}", self.module, self.offset, self.word)
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (module, rest) = text.split_once("+0x")?;
            let (offset, word) = rest.split_once('=')?;
            let offset = u64::from_str_radix(offset, 16).ok()?;
            Some(Self { module: module.to_owned(), offset, word: u32::from_str_radix(word, 16).ok()? })
        };
        parse().with_context(|| format!("a fault looks like virtio-net+0x1234=d503201f, not like `{text}`"))
    }
}

/// An instruction that traffic executes.
struct Place {
    module: &'static str,
    offset: u64,
    instruction: u32,
}

/// All of them, by module and place.
pub struct Places(Vec<Place>);

impl Places {
    /// Watches a machine under traffic.
    pub fn find(workspace: &Workspace) -> Result<Self> {
        let scratch = workspace.root.join("target/bench");
        build_plugin(&workspace.root.join("bench/count.c"), &scratch)?;
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("control");
        let client = UnixDatagram::bind(folder.path().join("client"))?;
        client.set_read_timeout(Some(PATIENCE))?;
        let plugin =
            format!("{},out=/dev/null,profile=on,control={}", scratch.join("count.so").display(), socket.display());
        // With several processors, counting by address crashes QEMU.
        let mut guest = Guest::boot("log=off", &[("-smp", "1"), ("-plugin", &plugin)])?;
        let modules = guest.modules().ok().context("the machine doesn't list its modules")?;
        let profile = || profile(&client, &socket, &folder.path().join("profile"));
        let before = profile()?;
        let mut random = fastrand::Rng::with_seed(0);
        for _ in 0..ROUNDS {
            let round = traffic::round(&mut guest, &mut random);
            ensure!(round.is_well() && round.failures.is_empty(), "without any fault: {:?}", round.troubles);
        }
        let after = profile()?;

        let mut places = Vec::new();
        for module in DRIVERS {
            let (start, size) = *modules.get(module).with_context(|| format!("module {module} isn't loaded"))?;
            let executed = |address: &u64| after.get(address) > before.get(address);
            let mut addresses: Vec<u64> = (start..start + size).step_by(4).filter(executed).collect();
            addresses.sort_unstable();
            for address in addresses {
                let instruction = guest.read(address, 1)?[0];
                places.push(Place { module, offset: address - start, instruction });
            }
        }
        ensure!(!places.is_empty(), "traffic executes nothing of any driver");
        Ok(Self(places))
    }

    /// How many there are in each module.
    pub fn count(&self, module: &str) -> usize {
        self.0.iter().filter(|place| place.module == module).count()
    }

    /// A fault at any of them.
    pub fn draw(&self, random: &mut fastrand::Rng) -> (Fault, Mutation) {
        loop {
            let place = &self.0[random.usize(..self.0.len())];
            let mutation = Mutation::ALL[random.usize(..Mutation::ALL.len())];
            if let Some(word) = mutation.of(place.instruction, random) {
                return (Fault { module: place.module.to_owned(), offset: place.offset, word }, mutation);
            }
        }
    }
}

/// How often each instruction was executed so far, by its address.
fn profile(client: &UnixDatagram, socket: &Path, file: &Path) -> Result<HashMap<u64, u64>> {
    client.send_to(format!("profile {}", file.display()).as_bytes(), socket)?;
    client.recv(&mut [0; 32]).context("the plugin doesn't answer")?;
    let mut counts = HashMap::new();
    for line in std::fs::read_to_string(file)?.lines() {
        let Some((address, count)) = line.split_once(' ') else { bail!("the profile says {line:?}") };
        counts.insert(u64::from_str_radix(address, 16)?, count.parse()?);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        let fault = Fault { module: "virtio-net".into(), offset: 0x1234, word: 0xd503_201f };
        assert_eq!(fault.to_string(), "virtio-net+0x1234=d503201f");
        assert_eq!(fault.to_string().parse::<Fault>().ok(), Some(fault));
        for text in ["", "virtio-net", "virtio-net+0x10", "virtio-net+0x1g=0", "virtio-net+16=0", "a+0x10=100000000"] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }
}
