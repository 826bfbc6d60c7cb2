//! Device trees to boot with, other than those that QEMU makes.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::{built, read};

/// A device tree as source text, which can be added to.
#[derive(Clone)]
pub struct DeviceTree {
    source: String,
    damage: fn(&mut [u8]),
}

impl DeviceTree {
    /// The tree that QEMU makes for a machine of its kind `virt`.
    ///
    /// # Panics
    /// When QEMU or `dtc` can't be run.
    pub fn virt(processor: &str, memory: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("virt.dtb");
        let machine = format!("virt,dumpdtb={}", file.display());
        let mut qemu = Command::new("qemu-system-aarch64");
        qemu.args(["-M", &machine, "-cpu", processor, "-m", memory, "-display", "none", "-nic", "none"]);
        let output = qemu.output().unwrap_or_else(|error| panic!("cannot run qemu-system-aarch64: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let source = dtc("dtb", "dts", &read(&file));
        Self { source: String::from_utf8(source).expect("dtc writes UTF-8"), damage: |_| {} }
    }

    /// A board's tree, of that file in `out/firmware`.
    ///
    /// # Panics
    /// When it isn't there, or `dtc` can't be run.
    pub fn of_firmware(name: &str) -> Self {
        let source = dtc("dtb", "dts", &read(&built(&format!("firmware/{name}"))));
        Self { source: String::from_utf8(source).expect("dtc writes UTF-8"), damage: |_| {} }
    }

    /// Adds to the tree, or changes what it has: device tree source that begins at the root, `/ { ... };`.
    #[must_use]
    pub fn with(mut self, source: &str) -> Self {
        self.source.push_str(source);
        self
    }

    /// The paths of all nodes, each behind that of its parent.
    pub fn nodes(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let mut open: Vec<&str> = Vec::new();
        for line in self.source.lines().map(str::trim) {
            if let Some(name) = line.strip_suffix(" {") {
                open.push(name);
                paths.push(format!("/{}", open[1..].join("/")));
            } else if line == "};" {
                open.pop();
            }
        }
        paths
    }

    /// Takes nodes out of the tree, with what is below them. What points to them stays.
    ///
    /// # Panics
    /// When a path isn't one of [`nodes`](Self::nodes).
    #[must_use]
    pub fn without(mut self, paths: &[&str]) -> Self {
        // What is below goes first: to name a node that is gone would make it anew.
        for path in paths.iter().rev() {
            assert!(self.nodes().iter().any(|node| node == path), "there is no {path}");
            let (parent, name) = path.rsplit_once('/').expect("a path has a slash");
            let parents: Vec<_> = parent.split('/').skip(1).collect();
            let open: String = parents.iter().map(|parent| format!("{parent} {{ ")).collect();
            let close = "}; ".repeat(parents.len());
            self.source.push_str(&format!("/ {{ {open}/delete-node/ {name}; {close}}};\n"));
        }
        self.source = String::from_utf8(dtc("dts", "dts", self.source.as_bytes())).expect("dtc writes UTF-8");
        self
    }

    /// Has the bytes of the flattened tree changed in the end.
    #[must_use]
    pub fn damaged(self, damage: fn(&mut [u8])) -> Self {
        Self { damage, ..self }
    }

    /// The flattened tree.
    ///
    /// # Panics
    /// When the source has errors.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = dtc("dts", "dtb", self.source.as_bytes());
        (self.damage)(&mut bytes);
        bytes
    }
}

/// Runs the device tree compiler.
fn dtc(from: &str, to: &str, input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("dtc");
    command.args(["-q", "-I", from, "-O", to]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run dtc: {error}"));
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    let output = std::thread::scope(|scope| {
        // Dropped when all has been written, which ends dtc's input.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output()
    });
    let output = output.expect("dtc can be waited for");
    assert!(output.status.success(), "dtc failed: {}", output.status);
    output.stdout
}
