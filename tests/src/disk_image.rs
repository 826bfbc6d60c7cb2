//! Disk images, made and read by the tools that others make and read them with: sfdisk, mkfs.fat, fsck.fat and mtools.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Bytes of a sector, in which partition tables and mkfs.fat count.
const SECTOR: u64 = 512;

/// A file that holds a disk's bytes.
pub struct DiskImage {
    folder: TempDir,
}

/// All that is in a file system: paths without a `/` at the beginning, and the bytes of files; directories have none.
pub type Tree = BTreeMap<String, Option<Vec<u8>>>;

impl DiskImage {
    /// A disk of so many bytes, all of them zero.
    pub fn new(size: u64) -> Self {
        let image = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        let file = fs::File::create(image.path()).expect("the temporary folder can be written to");
        file.set_len(size).expect("there is room for a disk");
        image
    }

    /// A disk that holds these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let image = Self::new(0);
        image.set_bytes(bytes);
        image
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }

    /// All bytes, as they are now.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).expect("the image can be read")
    }

    /// Replaces all bytes.
    pub fn set_bytes(&self, bytes: &[u8]) {
        fs::write(self.path(), bytes).expect("the image can be written");
    }

    /// Writes the partition table that this script of sfdisk(8) describes.
    #[must_use]
    pub fn with_table(self, script: &str) -> Self {
        let path = self.path();
        run(tool("sfdisk").args(["--quiet", "--no-reread", "--no-tell-kernel"]).arg(path), script.as_bytes());
        self
    }

    /// Makes a file system of these bytes: FAT12, FAT16 or FAT32, with more options of mkfs.fat(8).
    #[must_use]
    pub fn with_fat(self, bits: u8, place: Range<u64>, options: &[&str]) -> Self {
        let part = Self::new(place.end - place.start);
        let mut command = tool("mkfs.fat");
        command.args(["-F", &bits.to_string(), "-h", &(place.start / SECTOR).to_string()]).args(options);
        run(command.arg(part.path()), b"");
        let mut bytes = self.bytes();
        bytes[place.start as usize..place.end as usize].copy_from_slice(&part.bytes());
        self.set_bytes(&bytes);
        self
    }

    /// Adds a directory to the file system that begins there.
    #[must_use]
    pub fn with_directory(self, start: u64, path: &str) -> Self {
        run(mtools("mmd", &self.drive(start)).arg(format!("::{path}")), b"");
        self
    }

    /// Adds a file to the file system that begins there.
    #[must_use]
    pub fn with_file(self, start: u64, path: &str, bytes: &[u8]) -> Self {
        run(mtools("mcopy", &self.drive(start)).args(["-", &format!("::{path}")]), bytes);
        self
    }

    /// All that mtools find in the file system that begins there.
    pub fn tree(&self, start: u64) -> Tree {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("root");
        run(mtools("mcopy", &self.drive(start)).args(["-s", "-n", "::/"]).arg(&root), b"");
        let mut tree = Tree::new();
        collect(&root, "", &mut tree);
        tree
    }

    /// What fsck.fat complains of in the file system of these bytes; nothing if it is in order.
    pub fn complaints(&self, place: Range<u64>) -> String {
        let part = Self::from_bytes(&self.bytes()[place.start as usize..place.end as usize]);
        let output = tool("fsck.fat").arg("-n").arg(part.path()).output().expect("fsck.fat is installed");
        match output.status.success() {
            true => String::new(),
            false => String::from_utf8_lossy(&output.stdout).into_owned(),
        }
    }

    fn drive(&self, start: u64) -> String {
        format!("{}@@{start}", self.path().display())
    }
}

fn collect(folder: &Path, prefix: &str, tree: &mut Tree) {
    for entry in fs::read_dir(folder).expect("mtools have made it") {
        let path = entry.expect("it can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{name}/"), tree);
            tree.insert(name, None);
        } else {
            tree.insert(name, Some(fs::read(&path).expect("it can be read")));
        }
    }
}

fn mtools(program: &str, drive: &str) -> Command {
    let mut command = tool(program);
    // Images have no heads and tracks that would have to make sense.
    command.env("MTOOLS_SKIP_CHECK", "1").args(["-i", drive]);
    command
}

/// A program that may be where only root looks for programs.
fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C.UTF-8");
    command
}

#[track_caller]
fn run(command: &mut Command, input: &[u8]) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; ./x test installs it"));
    child.stdin.take().expect("its input is a pipe").write_all(input).expect("it reads its input");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
