//! Files of boards that are not ours: fetched once, from the distribution's own archive, or taken from a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use devicetree::Tree;
use object::read::elf::ElfFile32;
use object::{LittleEndian, Object, ObjectSegment};
use sha2::{Digest, Sha256};

use crate::archive::Files;
use crate::cargo::Workspace;
use crate::debian::{Package, Packages};
use crate::files;

/// The device tree of the Raspberry Pi 4, model B, as Debian's kernel package for arm64 names it.
pub const RASPBERRY_PI_4: &str = "bcm2711-rpi-4-b.dtb";

/// That of the Raspberry Pi 3, model B.
pub const RASPBERRY_PI_3: &str = "bcm2837-rpi-3-b.dtb";

/// That of AMD's (Xilinx's) ZCU102.
pub const ZCU102: &str = "zynqmp-zcu102-rev1.0.dtb";

/// The trees by the files of the kernel package.
const DEVICE_TREES: [(&str, &str); 3] =
    [(RASPBERRY_PI_4, RASPBERRY_PI_4), (RASPBERRY_PI_3, RASPBERRY_PI_3), (ZCU102, ZCU102)];

/// What a Raspberry Pi 4 runs before the kernel, and what makes that fit the board's memory.
const START: &str = "start4.elf";
const FIXUP: &str = "fixup4.dat";

/// Under what conditions they may be passed on; they demand that it goes with them. The name is upstream's.
const LICENCE: &str = "LICENCE.broadcom";

/// The Raspberry Pi's own firmware by the files of its package.
const FIRMWARE: [(&str, &str); 3] =
    [(START, "raspi-firmware/start4.elf"), (FIXUP, "raspi-firmware/fixup4.dat"), (LICENCE, "raspi-firmware/copyright")];

/// What is on a card for a Raspberry Pi 4 and isn't ours.
const ON_CARD: [&str; 4] = [START, FIXUP, LICENCE, RASPBERRY_PI_4];

/// A version of Debian's package raspi-firmware, with the SHA-256 hashes of two files that only work as a pair.
struct Release {
    version: &'static str,
    start: &'static str,
    fixup: &'static str,
}

/// Those of Debian bookworm and trixie.
const RELEASES: [Release; 2] = [
    Release {
        version: "1.20220830+ds-1",
        start: "36d12ae9eda1a508430e65d7877aada4d6c8dbe61a6dd3bbf20da1ed6ca58f70",
        fixup: "55aeb4d842356c655f230fdd0c08dfad8a0412abdf97e421d420ccd09861a233",
    },
    Release {
        version: "1.20240424+ds-6",
        start: "badf4cd8822d1b85ad56ddb9e32e9b4220c88099c8cc0c3e70ae77190571c8ef",
        fixup: "63a4a8f356e2b8ed2850d68b9adf21008ef1dfa7743b22ddc26987e4d3171302",
    },
];

/// Where a device tree is, one of those above. It is fetched if need be.
pub fn device_tree(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    fetch_device_trees(workspace)?;
    Ok(folder(workspace).join(name))
}

/// Fetches what isn't there yet, for all boards.
pub fn fetch(workspace: &Workspace) -> Result<()> {
    fetch_device_trees(workspace)?;
    from_package(workspace, &FIRMWARE, "Debian's package raspi-firmware (5 MB, once)", |apt| {
        // It may be used on these boards only, so it isn't in `main`.
        Packages::list(apt, "")?.component("non-free-firmware")?.download("raspi-firmware")
    })
    .context("cannot fetch the Raspberry Pi's firmware; ./x image rpi4 --firmware DIR takes it from a folder")
}

/// Fetches the device trees that aren't there yet.
fn fetch_device_trees(workspace: &Workspace) -> Result<()> {
    from_package(workspace, &DEVICE_TREES, "Debian's kernel package for arm64 (some 60 MB, once)", |apt| {
        let packages = Packages::list(apt, "")?;
        packages.download(&packages.dependency_of("linux-image-arm64")?)
    })
    .context("cannot fetch the boards' device trees; copies from any Linux 6 will do")
}

/// The files that a Raspberry Pi 4 has to find on its card beside ours: from that folder, or else from Debian's packages.
/// What isn't wrong but deserves a word is said on the standard error output.
///
/// # Errors
///
/// When one of them is missing or damaged.
pub fn raspberry_pi_4(workspace: &Workspace, from: Option<&Path>) -> Result<Files> {
    if from.is_none() {
        fetch(workspace)?;
    }
    let cache = folder(workspace);
    let folder = from.unwrap_or(&cache);
    let mut files = Files::new();
    for name in ON_CARD {
        let path = folder.join(name);
        let contents = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.insert(name.to_owned(), contents);
    }
    for note in check(&files).with_context(|| format!("{} can't be used", folder.display()))? {
        eprintln!("note: {note}");
    }
    Ok(files)
}

/// Where fetched files are kept.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.out().join("firmware")
}

/// Takes files from a package, unless all of them are there already.
fn from_package(
    workspace: &Workspace,
    names: &[(&str, &str)],
    source: &str,
    download: impl FnOnce(&Path) -> Result<Package>,
) -> Result<()> {
    let folder = folder(workspace);
    if names.iter().all(|(name, _)| folder.join(name).exists()) {
        return Ok(());
    }
    let list: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    eprintln!("    Fetching {} from {source}", list.join(", "));
    std::fs::create_dir_all(workspace.scratch())?;
    let apt = tempfile::tempdir_in(workspace.scratch())?;
    let package = download(apt.path()).with_context(|| format!("{} could hold them", folder.display()))?;
    for (name, path) in names {
        files::write(&folder.join(name), &package.file(path)?)?;
    }
    Ok(())
}

/// Checks the files of a Raspberry Pi 4 by all that can be known of them, and returns what can't: notes for the user.
///
/// Other versions than those that are known here may well be better ones, so that is a note. A file of a known version
/// beside one that doesn't belong to it is an error, because the board would not start.
fn check(files: &Files) -> Result<Vec<String>> {
    let contents = |name: &str| files.get(name).map(Vec::as_slice).unwrap_or_default();
    for name in ON_CARD {
        ensure!(!contents(name).is_empty(), "{name} is empty");
    }
    check_program(contents(START)).with_context(|| format!("{START} is damaged"))?;
    check_device_tree(contents(RASPBERRY_PI_4)).with_context(|| format!("{RASPBERRY_PI_4} is unfit"))?;

    let (start, fixup) = (hash(contents(START)), hash(contents(FIXUP)));
    match RELEASES.iter().find(|release| release.start == start || release.fixup == fixup) {
        Some(release) if release.start == start && release.fixup == fixup => Ok(Vec::new()),
        Some(release) => {
            let version = release.version;
            let (known, other, found) =
                if release.start == start { (START, FIXUP, fixup) } else { (FIXUP, START, start) };
            bail!(
                "{known} is that of raspi-firmware {version}, and {other} (SHA-256 {found}) isn't: the board starts \
                 only with two that belong together"
            )
        }
        None => Ok([(START, start), (FIXUP, fixup)]
            .map(|(name, hash)| format!("{name} is of no version that is known here (SHA-256 {hash})"))
            .to_vec()),
    }
}

/// The firmware is an ELF file, with its table of sections at the end.
fn check_program(bytes: &[u8]) -> Result<()> {
    let elf = ElfFile32::<LittleEndian>::parse(bytes)?;
    ensure!(elf.segments().count() > 0, "it has nothing to load");
    for segment in elf.segments() {
        segment.data()?;
    }
    Ok(())
}

fn check_device_tree(bytes: &[u8]) -> Result<()> {
    const BOARD: &str = "raspberrypi,4-model-b";
    let sentence = |error: devicetree::Error| anyhow::anyhow!("{error}");
    let tree = Tree::parse(bytes).map_err(sentence)?;
    if let Some(error) = tree.nodes().find_map(|node| node.damage()) {
        return Err(sentence(error));
    }
    let is_board = tree.root().compatible().map_err(sentence)?.any(|name| name == BOARD);
    ensure!(is_board, "it describes another board than {BOARD}");
    Ok(())
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// The files that were fetched.
    fn fetched() -> Files {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/firmware");
        let read = |name: &str| std::fs::read(folder.join(name)).expect("./x test fetches it");
        ON_CARD.map(|name| (name.to_owned(), read(name))).into()
    }

    fn refusal(change: impl FnOnce(&mut Files)) -> String {
        let mut files = fetched();
        change(&mut files);
        format!("{:#}", check(&files).unwrap_err())
    }

    #[test]
    fn the_packages_of_debian_releases_are_known() {
        assert_eq!(check(&fetched()).unwrap(), [""; 0]);
    }

    #[test]
    fn missing_and_empty_files_are_refused() {
        for name in ON_CARD {
            assert_eq!(refusal(|files| files.get_mut(name).unwrap().clear()), format!("{name} is empty"));
        }
        let workspace = Workspace::find().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let error = raspberry_pi_4(&workspace, Some(folder.path())).unwrap_err().to_string();
        assert_eq!(error, format!("cannot read {}", folder.path().join(START).display()));
    }

    #[test]
    fn truncated_files_are_refused() {
        for (name, sentence) in [(START, "start4.elf is damaged: "), (RASPBERRY_PI_4, "bcm2711-rpi-4-b.dtb is unfit: ")]
        {
            let length = fetched()[name].len();
            for kept in [1, 40, 4096, length / 2, length - 1] {
                let refusal = refusal(|files| files.get_mut(name).unwrap().truncate(kept));
                assert!(refusal.starts_with(sentence), "{kept} bytes: {refusal}");
            }
        }
        let refusal = refusal(|files| files.get_mut(FIXUP).unwrap().truncate(4096));
        assert!(refusal.starts_with("start4.elf is that of raspi-firmware 1.2"), "{refusal}");
        assert!(refusal.contains(", and fixup4.dat (SHA-256 "), "{refusal}");
    }

    #[test]
    fn a_known_file_is_refused_beside_one_that_does_not_belong_to_it() {
        let refusal = refusal(|files| files.get_mut(START).unwrap()[0x10_0000] ^= 1);
        assert!(refusal.starts_with("fixup4.dat is that of raspi-firmware 1.2"), "{refusal}");
        assert!(refusal.contains(", and start4.elf (SHA-256 "), "{refusal}");
    }

    #[test]
    fn firmware_of_another_version_is_taken_with_a_note() {
        let mut files = fetched();
        for name in [START, FIXUP] {
            *files.get_mut(name).unwrap().last_mut().unwrap() ^= 1;
        }
        let notes = check(&files).unwrap();
        assert_eq!(notes.len(), 2);
        for (note, name) in notes.iter().zip([START, FIXUP]) {
            assert!(note.starts_with(name) && note.contains(&hash(&files[name])), "{note}");
        }
    }

    #[test]
    fn another_boards_tree_is_refused() {
        let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/firmware").join(RASPBERRY_PI_3);
        let other = std::fs::read(other).expect("./x test fetches it");
        let refusal = refusal(|files| files.insert(RASPBERRY_PI_4.to_owned(), other).map_or((), drop));
        assert_eq!(refusal, "bcm2711-rpi-4-b.dtb is unfit: it describes another board than raspberrypi,4-model-b");
    }
}
