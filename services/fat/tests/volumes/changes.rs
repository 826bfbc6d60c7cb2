//! What is changed here is what others find then, and what others have written is found here.

use crate::{FakeDisk, MIB, contents, files, mounted, tree, volumes};
use abi::file::{FileSystem, Kind};
use abi::{Error, Result};
use fake_kernel::Session;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use tests::{DiskImage, Tree};

/// Names of all sorts: short ones, such as DOS would have them or not, long ones, and some that need more than ASCII.
const NAMES: [&str; 8] = [
    "a",
    "UPPER.TXT",
    "lower.txt",
    "Mixed Case.text",
    "a name that is much longer than eight dot three.with.dots",
    "größe ß.txt",
    "日本語のファイル名",
    ".profile",
];

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// What the trait promises, with a tree in memory: whether the call succeeds is returned, and done is what it does.
struct Model(Tree);

impl Model {
    fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.0.get(path) == Some(&None)
    }

    fn has_entries(&self, path: &str) -> bool {
        self.0.keys().any(|other| parent(other) == path)
    }

    fn create(&mut self, path: &str, kind: Kind) -> bool {
        let allowed = self.is_directory(parent(path)) && !self.0.contains_key(path);
        if allowed {
            self.0.insert(path.to_owned(), (kind == Kind::File).then(Vec::new));
        }
        allowed
    }

    fn write(&mut self, path: &str, offset: usize, bytes: &[u8]) -> bool {
        let Some(Some(file)) =
            self.0.get_mut(path).filter(|file| file.as_ref().is_some_and(|file| offset <= file.len()))
        else {
            return false;
        };
        file.resize(file.len().max(offset + bytes.len()), 0);
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        true
    }

    fn truncate(&mut self, path: &str, length: usize) -> bool {
        let Some(Some(file)) = self.0.get_mut(path) else { return false };
        file.truncate(length);
        true
    }

    fn remove(&mut self, path: &str) -> bool {
        !self.has_entries(path) && self.0.remove(path).is_some()
    }

    fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(source) = self.0.get(from) else { return false };
        if !self.is_directory(parent(to)) || to.starts_with(&format!("{from}/")) {
            return false;
        }
        let replaces = match self.0.get(to) {
            None => true,
            Some(target) => source.is_some() == target.is_some() && !self.has_entries(to),
        };
        if from == to {
            return true;
        }
        if replaces {
            self.0.remove(to);
            let moved: Vec<_> =
                self.0.keys().filter(|path| *path == from || path.starts_with(&format!("{from}/"))).cloned().collect();
            for path in moved {
                let contents = self.0.remove(&path).unwrap();
                self.0.insert(format!("{to}{}", &path[from.len()..]), contents);
            }
        }
        replaces
    }
}

/// A path at random: often one that is there.
fn path(random: &mut fastrand::Rng, model: &Model) -> String {
    let known: Vec<_> = model.0.keys().cloned().collect();
    if random.u8(..) < 128
        && let Some(path) = random.choice(&known)
    {
        return path.clone();
    }
    let directories: Vec<_> = model.0.iter().filter(|(_, contents)| contents.is_none()).map(|(path, _)| path).collect();
    let directory = random.choice(&directories).filter(|_| random.u8(..) < 160);
    let name = random.choice(NAMES).unwrap();
    directory.map_or(name.to_owned(), |directory| format!("{directory}/{name}"))
}

/// Does something at random in both, and compares what comes of it.
fn step(random: &mut fastrand::Rng, files: &dyn FileSystem, volume: &str, model: &mut Model) {
    let (path, other) = (path(random, model), path(random, model));
    let (full, full_other) = (format!("/{volume}/{path}"), format!("/{volume}/{other}"));
    let length = model.0.get(&path).and_then(|contents| contents.as_ref().map(Vec::len)).unwrap_or(0);
    let offset = random.usize(..=length + 1);
    let (what, result, expected): (_, Result<()>, bool) = match random.u8(..12) {
        0 => ("make", files.create(&full, Kind::Directory), model.create(&path, Kind::Directory)),
        1..4 => ("create", files.create(&full, Kind::File), model.create(&path, Kind::File)),
        4..8 => {
            let most = if random.u8(..) < 32 { 100_000 } else { 3000 };
            let mut bytes = vec![0; random.usize(..most)];
            random.fill(&mut bytes);
            ("write", files.write(&full, offset as u64, &bytes), model.write(&path, offset, &bytes))
        }
        8 => ("truncate", files.truncate(&full, offset as u64), model.truncate(&path, offset)),
        9 => ("remove", files.remove(&full), model.remove(&path)),
        10 => ("rename", files.rename(&full, &full_other), model.rename(&path, &other)),
        _ => ("sync", files.sync(), true),
    };
    assert_eq!(result.is_ok(), expected, "{what} {path}, {other}, {offset}: {result:?}");

    let found = files.find(&full).unwrap();
    let kinds = (found.map(|status| status.kind), model.0.get(&path));
    assert!(
        matches!(kinds, (None, None) | (Some(Kind::Directory), Some(None)) | (Some(Kind::File), Some(Some(_)))),
        "{what} {path}: {kinds:?}"
    );
    if let Some(Some(bytes)) = model.0.get(&path) {
        assert_eq!(contents(files, &full, found.unwrap().length), *bytes, "{what} {path}");
    }
}

#[test]
fn after_any_changes_mtools_find_the_same_and_fsck_finds_no_fault() {
    for (seed, (bits, size, block_size, options)) in [
        (12, 4 * MIB, 512, vec![]),
        (12, 8 * MIB, 4096, vec!["-S", "4096"]),
        (16, 16 * MIB, 512, vec![]),
        (16, 16 * MIB, 512, vec!["-f", "1", "-s", "1"]), // one table instead of two
        (32, 36 * MIB, 512, vec!["-s", "1"]),
    ]
    .into_iter()
    .enumerate()
    {
        let image = DiskImage::new(size).with_fat(bits, 0..size, &options);
        let session = Session::start(|| ());
        let disk = FakeDisk::new(image.bytes(), block_size, false);
        disk.publish_as(crate::DISK);
        let files = files(&session);
        assert_eq!(volumes(files), ["vda"]);
        assert_eq!(files.volumes()[0].format, format!("FAT{bits}"));

        let mut random = fastrand::Rng::with_seed(seed as u64);
        let mut model = Model(Tree::new());
        for _ in 0..5 {
            for _ in 0..200 {
                step(&mut random, files, "vda", &mut model);
            }
            assert!(tree(files, "/vda") == model.0, "FAT{bits}, seed {seed}");
            files.sync().unwrap();
            let image = disk.image();
            assert!(image.tree(0) == model.0, "FAT{bits}, seed {seed}: mtools find something else");
            assert_eq!(image.complaints(0..size), "", "FAT{bits}, seed {seed}");
        }
        let used = BTreeSet::from_iter(model.0.keys().map(|path| path.rsplit('/').next().unwrap()));
        assert!(used.len() == NAMES.len() && model.0.len() > 20, "too little has come together: {used:?}");
    }
}

#[test]
fn what_mtools_have_written_is_found() {
    let long: Vec<u8> = (0..1_000_003_u32).map(|index| (index ^ index >> 9) as u8).collect();
    let mut image = DiskImage::new(8 * MIB).with_fat(16, 0..8 * MIB, &["-s", "1"]).with_directory(0, "over lays");
    for (name, bytes) in [("over lays/größe.dtbo", &long[..]), ("config.txt", b"enable_uart=1\n"), ("EMPTY", b"")] {
        image = image.with_file(0, name, bytes);
    }
    let (session, disk) = mounted(&image);
    let files = files(&session);
    assert!(tree(files, "/vda") == image.tree(0));
    let mut part = [0; 1000];
    assert_eq!(files.read("vda//OVER LAYS/./x/../GRÖSSE.dtbo", 0, &mut part).ok(), None);
    assert_eq!(files.read("vda//OVER LAYS/./x/../GRÖßE.dtbo", 999_500, &mut part), Ok(503));
    assert_eq!(part[..503], long[999_500..]);
    assert_eq!(files.read("/vda/config.txt", 14, &mut part), Ok(0));
    assert_eq!(files.read("/vda/config.txt", u64::MAX, &mut part), Ok(0));
    drop(session);
    assert!(*disk.bytes.lock().unwrap() == image.bytes(), "reading has changed something");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence_and_changes_nothing() {
    let image =
        DiskImage::new(2 * MIB).with_fat(12, 0..2 * MIB, &[]).with_directory(0, "d").with_file(0, "d/f", b"12345");
    let (session, disk) = mounted(&image);
    let files = files(&session);
    let says = |result: Result<()>, sentence: &str| assert_eq!(result, Err(Error::Invalid(sentence.into())));
    says(files.read("/vda/x", 0, &mut [0]).map(drop), "there is no /vda/x");
    says(files.read("/vda/d", 0, &mut [0]).map(drop), "/vda/d is a directory");
    says(files.list("/vda/d/f").map(drop), "/vda/d/f is no directory, or leads through a file");
    says(files.list("/vdb").map(drop), "there is no volume vdb; mount lists them");
    says(files.list("/").map(drop), "`/` names no volume");
    says(files.write("/vda/d/f", 6, b"x"), "/vda/d/f: it ends before the place to write to");
    says(files.write("/vda/d/g", 0, b"x"), "there is no /vda/d/g");
    says(files.truncate("/vda/d", 0), "/vda/d is a directory");
    says(files.create("/vda/d", Kind::File), "/vda/d is there already");
    says(files.create("/vda/D/F", Kind::Directory), "/vda/D/F is there already");
    says(files.create("/vda", Kind::Directory), "/vda: a volume can't be made, removed or renamed");
    says(files.create("/vda/x/y", Kind::File), "there is no /vda/x/y");
    says(files.remove("/vda/d"), "/vda/d is not empty");
    says(files.remove("/vda/.."), "`/vda/..` names no volume");
    says(files.rename("/vda/d/f", "/vdb/f"), "there is no volume vdb; mount lists them");
    says(files.rename("/vda/d/f", "/vda/x/f"), "there is no /vda/x/f");
    says(files.rename("/vda/x", "/vda/y"), "there is no /vda/x");
    says(files.rename("/vda/d/f", "/vda/d"), "/vda/d is a directory");
    for name in ["a:b", "a*", "what?", "\"", "a|b", "\u{1}", &"x".repeat(256)] {
        assert!(files.create(&format!("/vda/{name}"), Kind::File).is_err(), "{name}");
    }
    assert_eq!(files.find("/vda/d/f/g"), Ok(None));
    assert_eq!(files.find("/vdb"), Ok(None));
    files.sync().unwrap();
    assert!(disk.image().tree(0) == image.tree(0));
}

#[test]
fn a_volume_that_is_full_says_so_and_goes_on() {
    let image = DiskImage::new(MIB).with_fat(12, 0..MIB, &[]).with_file(0, "before", &[1; 5000]);
    let (session, disk) = mounted(&image);
    let files = files(&session);
    files.create("/vda/f", Kind::File).unwrap();
    let mut length = 0;
    while files.write("/vda/f", length, &[2; 10_000]).is_ok() {
        length += 10_000;
    }
    assert!(length > 900_000);
    assert_eq!(files.write("/vda/f", length, &[2; 10_000]), Err(Error::Io("vda is full".into())));
    files.truncate("/vda/f", 100_000).unwrap();
    files.create("/vda/after", Kind::File).unwrap();
    files.write("/vda/after", 0, &[3; 500_000]).unwrap();
    files.sync().unwrap();
    let expected = [("before", vec![1; 5000]), ("f", vec![2; 100_000]), ("after", vec![3; 500_000])];
    let expected: Tree = expected.into_iter().map(|(name, bytes)| (name.to_owned(), Some(bytes))).collect();
    assert!(disk.image().tree(0) == expected);
    assert_eq!(disk.image().complaints(0..MIB), "");
}

/// An empty file system, about as small as it can be, and its size.
fn small(bits: u8) -> (DiskImage, u64) {
    let size = if bits == 32 { 36 * MIB } else { 4 * MIB };
    (DiskImage::new(size).with_fat(bits, 0..size, if bits == 12 { &[] } else { &["-s", "1"] }), size)
}

#[test]
fn changes_are_written_out_without_being_asked() {
    for bits in [12, 16, 32] {
        let (image, size) = small(bits);
        let (session, disk) = mounted(&image);
        let files = files(&session);
        files.create("/vda/f", Kind::File).unwrap();
        files.write("/vda/f", 0, b"hello").unwrap();
        fake_kernel::wait_until("clean volume", || disk.image().complaints(0..size).is_empty());
        files.write("/vda/f", 0, b"HELLO").unwrap();
        // And the end of the module is no loss either.
        drop(session);
        assert_eq!(disk.image().complaints(0..size), "");
        assert_eq!(disk.image().tree(0)["f"], Some(b"HELLO".to_vec()));
    }
}

/// At each moment of many changes, all that was there before them can be read by others.
#[test]
fn power_that_fails_at_any_moment_costs_nothing_that_was_there() {
    for (seed, bits) in [12, 16, 32].into_iter().enumerate() {
        let mut image = small(bits).0.with_directory(0, "kept");
        for (index, length) in [0, 100, 5000, 70_000].into_iter().enumerate() {
            image = image.with_file(0, &format!("kept/File number {index}"), &vec![index as u8; length]);
        }
        let kept = image.tree(0);
        let (session, disk) = mounted(&image);
        let mut random = fastrand::Rng::with_seed(seed as u64);
        // In the same directory.
        let mut model = Model(Tree::new());
        for _ in 0..150 {
            step(&mut random, files(&session), "vda/kept", &mut model);
        }
        drop(session);
        let written = std::mem::take(&mut *disk.written.lock().unwrap());
        let mut bytes = image.bytes();
        let moments: BTreeSet<usize> = (0..40).map(|_| random.usize(..written.len())).collect();
        for (moment, (start, piece)) in written.into_iter().enumerate() {
            bytes[start..start + piece.len()].copy_from_slice(&piece);
            if moments.contains(&moment) {
                let tree = DiskImage::from_bytes(&bytes).tree(0);
                for (path, contents) in &kept {
                    assert!(tree.get(path) == Some(contents), "FAT{bits}: {path} is lost at moment {moment}");
                }
            }
        }
    }
}

#[test]
fn the_end_of_a_long_file_costs_no_more_than_its_beginning() {
    // Its chain takes more of the table than is remembered.
    let (session, disk) = mounted(&DiskImage::new(16 * MIB).with_fat(16, 0..16 * MIB, &["-s", "1"]));
    let files = files(&session);
    files.create("/vda/f", Kind::File).unwrap();
    let mut piece = vec![1; 64 << 10];
    let measure = |action: &mut dyn FnMut(u64)| {
        let costs = (0..200).map(|index| {
            let before = disk.reads.load(Ordering::Relaxed);
            action(index * (64 << 10));
            disk.reads.load(Ordering::Relaxed) - before
        });
        let costs: Vec<usize> = costs.collect();
        let (beginning, end): (usize, usize) = (costs[..50].iter().sum(), costs[150..].iter().sum());
        assert!(end < 2 * beginning, "{beginning} reads, and {end} at the end");
    };
    measure(&mut |offset| files.write("/vda/f", offset, &[1; 64 << 10]).unwrap());
    measure(&mut |offset| assert_eq!(files.read("/vda/f", offset, &mut piece), Ok(64 << 10)));
    // As in copying.
    files.create("/vda/g", Kind::File).unwrap();
    files.truncate("/vda/f", 7 << 20).unwrap();
    let mut offset = 0;
    measure(&mut |_| {
        assert_eq!(files.read("/vda/f", offset, &mut piece[..32 << 10]), Ok(32 << 10));
        files.write("/vda/g", offset, &piece[..32 << 10]).unwrap();
        offset += 32 << 10;
    });
}
