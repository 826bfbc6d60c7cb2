//! The real `abi`, described as it is and changed in one place at a time.
//!
//! It is described for this machine, from the libraries that cargo has built for this test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::mem::offset_of;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::rlib;

/// A text in a file of `abi`, and what replaces it.
type Edit = (&'static str, &'static str, &'static str);

/// Changes that modules can't notice.
const UNNOTICED: &[&[Edit]] = &[
    &[("network.rs", "//! The class", "// What it is for:\n//! The class")],
    &[("network.rs", "/// An Ethernet card.\n", "/// An Ethernet card, or something like it.\n///\n/// Or so.\n")],
    &[("handle.rs", "        // Now that the call", "\n\n\n        // Once that the call")],
    &[("handle.rs", "pub struct Handle", "#[must_use]\n#[allow(dead_code)]\n#[doc(hidden)]\npub struct Handle")],
    &[(
        "handle.rs",
        "Self { publication, class: PhantomData }",
        "Self{publication,\n            class : PhantomData,\n}",
    )],
    &[("driver.rs", "$(\"class=\", stringify!($class),", "// One each.\n    $( \"class=\",   stringify!( $class ),")],
    &[(
        "event.rs",
        "use crate::time::Instant;\nuse crate::{Result, kernel};",
        "use crate::{kernel, time::Instant, Result};",
    )],
    // What an argument is called where there is no code.
    &[("console.rs", "fn write(&self, bytes: &[u8])", "fn write(&self, text: &[u8])")],
    // Another order of functions.
    &[
        (
            "clock.rs",
            "    /// Seconds since the epoch.\n    pub const fn as_secs(self) -> u64 {\n        self.0\n    }\n",
            "",
        ),
        (
            "clock.rs",
            "impl UnixTime {\n",
            "impl UnixTime {\n    pub const fn as_secs(self) -> u64 {\n        self.0\n    }\n",
        ),
    ],
];

/// Changes that modules can notice, with what a module built before is told, first of all.
const NOTICED: &[(&[Edit], &str)] = &[
    (
        &[("system.rs", "pub size: usize", "pub size: u32")],
        "`abi::system::ModuleStatus`: field `size` was usize, is u32",
    ),
    (
        &[("system.rs", "    pub dma: u64,\n", "    pub dma: u64,\n    pub lost: u64,\n")],
        "`abi::system::MemoryStatus`: field `lost` exists only in the kernel",
    ),
    (&[("system.rs", "    pub dma: u64,", "")], "`abi::system::MemoryStatus`: field `dma` exists only in the module"),
    (
        &[("system.rs", "pub drives:", "pub holders:")],
        "`abi::system::ModuleStatus`: field `drives` is called `holders` in the kernel",
    ),
    (
        &[("node.rs", "    path: String,\n    compatible: String,\n", "    compatible: String,\n    path: String,\n")],
        "`abi::Node`: field `path` is number 1 in the module, number 2 in the kernel",
    ),
    (
        &[("network.rs", "pub struct Statistics", "#[repr(C)]\npub struct Statistics")],
        "`abi::network::Statistics`: it was declared pub, is declared #[repr(C)] pub",
    ),
    (
        &[("interrupt.rs", "#[derive(Debug)]\npub struct Interrupt", "pub struct Interrupt")],
        "`abi::interrupt::Interrupt`: it derived Debug, derives nothing",
    ),
    (
        &[("network.rs", "fn transmit(&self, frame: Frame)", "fn transmit(&self, frame: Frame, urgent: bool)")],
        "`abi::network::NetworkDevice`: method `transmit` takes 2 arguments in the module, 3 in the kernel",
    ),
    (
        &[
            ("network.rs", "fn recycle(&self, frame: Frame)", "fn recycle(&self, frame: Box<Frame>)"),
            ("network.rs", "use core::fmt;", "use core::fmt;\nuse alloc::boxed::Box;"),
        ],
        "`abi::network::NetworkDevice`: argument 2 of method `recycle` was Frame, is Box<Frame>",
    ),
    (
        &[("network.rs", "fn link_is_up(&self) -> bool", "fn link_is_up(&self) -> u8")],
        "`abi::network::NetworkDevice`: method `link_is_up` returned bool, returns u8",
    ),
    (
        &[
            ("network.rs", "    fn link_is_up(&self) -> bool;\n", ""),
            ("network.rs", "    fn mac_address(&self)", "    fn link_is_up(&self) -> bool;\n    fn mac_address(&self)"),
        ],
        "`abi::network::NetworkDevice`: method `mac_address` is number 1 in the module, number 2 in the kernel",
    ),
    (
        &[("network.rs", "    fn mtu(", "    /// Starts anew.\n    fn reset(&self) {}\n\n    fn mtu(")],
        "`abi::network::NetworkDevice`: method `reset` exists only in the kernel",
    ),
    (
        &[("console.rs", "-> usize;", "-> usize { let _ = buffer; 0 }")],
        "`abi::console::Console`: method `read` is required in the module, provided in the kernel",
    ),
    (
        &[("clock.rs", "pub trait Clock: Send + Sync", "pub trait Clock: Send + Sync + core::fmt::Debug")],
        "`abi::clock::Clock`: it was built upon Send + Sync, is built upon Send + Sync + core::fmt::Debug",
    ),
    (
        &[(
            "class.rs",
            "    /// A terminal.\n",
            "    Service: crate::Service, \"service\", 1000 ms;\n    /// A terminal.\n",
        )],
        "`abi::Class`: variant `Service` exists only in the kernel",
    ),
    (
        &[("interrupt.rs", "pub enum Trigger {", "pub enum Trigger { Both,")],
        "`abi::interrupt::Trigger`: variant `Both` exists only in the kernel",
    ),
    (
        &[("error.rs", "OutOfMemory(usize)", "OutOfMemory(u32)")],
        "`abi::Error`: variant `OutOfMemory` held (usize), holds (u32)",
    ),
    (
        &[
            ("kernel.rs", "lockstep_sleep_until(deadline: Instant)", "lockstep_sleep_until(deadline: Option<Instant>)"),
            (
                "time.rs",
                "kernel::sleep_until(Instant::now() + duration)",
                "kernel::sleep_until(Some(Instant::now() + duration))",
            ),
        ],
        "`abi::kernel::Kernel`: argument 1 of method `sleep_until` was Instant, is Option<Instant>",
    ),
    (
        &[("kernel.rs", "lockstep_thread_yield()", "lockstep_yield()")],
        "`abi::kernel::thread_yield`: it was declared #[link_name = \"lockstep_thread_yield\"] pub unsafe extern \"Rust\" \
         safe, is declared #[link_name = \"lockstep_yield\"] pub unsafe extern \"Rust\" safe",
    ),
    (
        &[("driver.rs", "\"LOCKSTEP_MODULE\"", "\"LOCKSTEP\"")],
        "`abi::MODULE_SYMBOL`: it had the value \"LOCKSTEP_MODULE\", has the value \"LOCKSTEP\"",
    ),
    // A type without a size.
    (
        &[("network.rs", "impl Frame {", "pub struct Name(str);\n\nimpl Frame {")],
        "tuple struct `abi::network::Name` exists only in the kernel",
    ),
    // Code that is compiled into modules: of a generic function, of an inlined one, of a macro; and of any other, since
    // the compiler inlines small functions as it sees fit.
    (&[("handle.rs", "if object[0] == 0 {", "if 0 == object[0] {")], "`abi::Handle::call`: its code has changed"),
    (
        &[("sync.rs", "taken.then(|| self.guard(mask))", "taken.then_some(self.guard(mask))")],
        "`abi::sync::Lock::try_lock`: its code has changed",
    ),
    (&[("driver.rs", "\"service=\"", "\"services=\"")], "`abi::service!`: its code has changed"),
    (
        &[("network.rs", "self.range.start.saturating_add(", "self.range.start.wrapping_add(")],
        "`abi::network::Frame::set_length`: its code has changed",
    ),
    (
        &[("network.rs", "{a:02x}:{b:02x}", "{a:02x}-{b:02x}")],
        "`abi::network::{impl fmt::Display for MacAddress}`: the code of method `fmt` has changed",
    ),
    (
        &[("time.rs", "use core::time::Duration;", "use core::time::Duration;\nuse core::time::Duration as Span;")],
        "import `abi::time::Span` exists only in the kernel",
    ),
    // What an old module would miss is a symbol: its name has the number of the implementation in it.
    (
        &[
            ("dma.rs", "unsafe impl Sync for DmaBuffer {}", ""),
            (
                "dma.rs",
                "unsafe impl Send for DmaBuffer {}",
                "unsafe impl Sync for DmaBuffer {}\nunsafe impl Send for DmaBuffer {}",
            ),
        ],
        "`abi`: its implementations are in another order",
    ),
];

/// The tree.
fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The rlib of `abi` that this test is linked with: the newest among the libraries beside it.
static ABI: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = std::env::current_exe().unwrap();
    let files = test.parent().unwrap().read_dir().unwrap().map(|file| file.unwrap().path());
    let is_abi = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("libabi-") && name.ends_with(".rlib")
    };
    let changed = |file: &PathBuf| file.metadata().unwrap().modified().unwrap();
    files.filter(is_abi).max_by_key(changed).expect("xtask depends on abi for its tests")
});

/// What `abi` is compiled against, the standard library apart, which rustc finds by itself.
static DEPENDENCIES: LazyLock<Vec<Dependency>> = LazyLock::new(|| {
    let scratch = tempfile::tempdir().unwrap();
    let records = rlib::Records { cache: scratch.path().to_owned(), installed: None };
    let all = records.dependencies(&ABI).unwrap();
    all.into_iter().filter(|dependency| dependency.path.exists()).collect()
});

/// `abi` as it stands in the tree.
static UNCHANGED: LazyLock<Description> = LazyLock::new(|| {
    let scratch = tempfile::tempdir().unwrap();
    source(Path::new("abi/src/lib.rs")).describe(&ABI, &settings(tree(), scratch.path())).unwrap()
});

fn source(root: &Path) -> Source<'static> {
    Source {
        name: "abi".to_owned(),
        root: root.to_owned(),
        edition: "2024",
        features: &[],
        environment: Vec::new(),
        dependencies: &DEPENDENCIES,
        flags: Vec::new(),
        macros: tree(),
    }
}

/// What is described is for this machine, and uses no macros that rustc would have to load.
fn settings<'a>(folder: &'a Path, cache: &'a Path) -> Settings<'a> {
    Settings { folder, target: Path::new(""), macros: folder, cache }
}

/// Describes a copy of `abi`, in another folder, with these changes.
fn changed(edits: &[Edit]) -> Description {
    let scratch = tempfile::tempdir().unwrap();
    for file in tree().join("abi/src").read_dir().unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), scratch.path().join(file.file_name())).unwrap();
    }
    for (file, old, new) in edits {
        let path = scratch.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{file} should have once: {old}");
        std::fs::write(&path, text.replace(old, new)).unwrap();
    }
    let source = source(&scratch.path().join("lib.rs"));
    let library = scratch.path().join("libabi.rmeta");
    let mut rustc = source.rustc(scratch.path(), "abi", &source.root);
    let compiled = rustc.arg(format!("--emit=metadata={}", library.display())).status().unwrap();
    assert!(compiled.success(), "abi should compile with {edits:?}");
    source.describe(&library, &settings(scratch.path(), scratch.path())).unwrap()
}

/// Calls `check` for each case, on as many threads as there are processors.
fn for_each<T: Sync>(cases: &[T], check: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(case);
                }
            });
        }
    });
}

#[test]
fn a_module_keeps_fitting_when_comments_and_the_like_change() {
    for_each(UNNOTICED, |edits| {
        let after = changed(edits);
        let differences: Vec<_> = UNCHANGED.differences(&after).map(|difference| difference.to_string()).collect();
        assert_eq!(differences, Vec::<String>::new(), "after {edits:?}");
        assert_eq!(tokens::hash(UNCHANGED.text()), tokens::hash(after.text()), "after {edits:?}");
    });
}

#[test]
fn a_module_is_told_first_which_item_has_changed() {
    for_each(NOTICED, |(edits, sentence)| {
        let after = changed(edits);
        let first = UNCHANGED.differences(&after).next().map(|difference| difference.to_string());
        assert_eq!(first.as_deref(), Some(*sentence), "after {edits:?}");
        assert_ne!(tokens::hash(UNCHANGED.text()), tokens::hash(after.text()), "after {edits:?}");
    });
}

#[test]
fn what_contains_a_changed_type_is_told_by_its_size() {
    let after = changed(&[(
        "network.rs",
        "    /// Frames that the card or the driver had to drop.\n    pub dropped: u64,\n",
        "",
    )]);
    let differences: Vec<_> = UNCHANGED.differences(&after).map(|difference| difference.to_string()).collect();
    assert_eq!(differences[0], "`abi::network::Statistics`: field `dropped` exists only in the module");
    let before = size_of::<abi::internet::InterfaceStatus>();
    let contains =
        format!("`abi::internet::InterfaceStatus`: it has {before} bytes in the module, {} in the kernel", before - 8);
    assert!(differences.contains(&contains), "{differences:#?}");
}

#[test]
fn layouts_are_those_that_this_test_was_compiled_with() {
    let layout = |path: &str| {
        let (_, item) = UNCHANGED.text().split_once(&format!("\n{path}\t")).unwrap();
        item.lines().find_map(|line| line.strip_prefix("\tlayout\t\t")).unwrap().split('\t').collect::<Vec<_>>()
    };
    macro_rules! check {
        ($($type:ty),+) => {$(
            let path = stringify!($type).split('<').next().unwrap();
            let expected = [size_of::<$type>().to_string(), align_of::<$type>().to_string()];
            assert_eq!(layout(path)[..2], expected, "{path}");
        )+};
    }
    check!(abi::Node, abi::Error, abi::Class, abi::Interface<'_>, abi::Module, abi::Entry);
    check!(abi::internet::InterfaceStatus, abi::kernel::MappedRegisters, abi::network::Frame, abi::time::Instant);

    let offsets = layout("abi::kernel::MappedRegisters")[2].split(", ").collect::<Vec<_>>();
    for (field, offset) in [
        ("start", offset_of!(abi::kernel::MappedRegisters, start)),
        ("size", offset_of!(abi::kernel::MappedRegisters, size)),
        ("identifier", offset_of!(abi::kernel::MappedRegisters, identifier)),
    ] {
        assert!(offsets.contains(&format!("{field} {offset}").as_str()), "{field}: {offsets:?}");
    }
}

#[test]
fn each_public_type_without_parameters_has_a_layout() {
    let mut types = 0;
    let mut lines = UNCHANGED.text().lines().peekable();
    while let Some(item) = lines.next() {
        let mut facts = Vec::new();
        while let Some(fact) = lines.next_if(|line| line.starts_with('\t')) {
            facts.push(fact);
        }
        let has = |start: &str| facts.iter().any(|fact| fact.starts_with(start));
        let (path, kind) = item.split_once('\t').unwrap_or((item, ""));
        let is_type = ["struct", "tuple struct", "unit struct", "enum"].contains(&kind);
        if is_type && has("\tdeclared\t\tpub") && !has("\tgenerics") {
            assert!(has("\tlayout"), "{path}");
            types += 1;
        }
    }
    assert!(types > 20);
}

#[test]
fn every_kind_of_item_is_described() {
    let source = "#![no_std]
        extern crate core as base;
        pub use base::fmt::{self, Debug as Shown};
        #[repr(C)] pub union Word { pub whole: u32, low: u16 }
        pub struct Unit;
        pub type Pair<T> = (T, T);
        pub enum Level { Low = 1, High { by: u8 } }
        pub const unsafe fn f<T: Copy>(x: T, (a, b): (u8, u8)) -> T where T: Send { x }
        unsafe extern \"C\" { pub static mut COUNT: u32; safe fn g(x: u8, ...); }
        static NAME: &str = \"n\";
        pub trait Shape: Shown { type Side: Copy; const SIDES: usize = 4; fn area(&self) -> u32; fn name() -> u8 { 1 } }
        impl<T: Copy> Shape for [T] { type Side = T; fn area(&self) -> u32 { 0 } }
        impl Unit { pub const LIMIT: u8 = 3; fn new() -> Self { Self } }
        impl<T> Hidden<T> { fn get(&self) -> &T { &self.0 } }
        struct Hidden<T>(T);
        macro_rules! private { () => {} }
        #[macro_export] macro_rules! public { ($x:expr) => { $x } }
        mod inner { const _: () = assert!(true); }
        #[automatically_derived] impl Clone for Hidden<u8> { fn clone(&self) -> Self { Self(0) } }
        #[automatically_derived] impl Copy for base::Far {}";
    let items = Expanded::parse("k", source).unwrap().describe(&Default::default()).unwrap();
    let text = Description::new(items).unwrap().text().replace('\t', "|");
    // The fingerprints are as they happen to be.
    let mut lines = Vec::new();
    for line in text.lines() {
        let columns = line.split('|').map(|column| {
            let fingerprint = column.len() == 16 && column.bytes().all(|byte| byte.is_ascii_hexdigit());
            if fingerprint { "#" } else { column }
        });
        lines.push(columns.collect::<Vec<_>>().join("|"));
    }
    let expected = "lockstep-description=1
k|crate
|declared||#![no_std]
|order||#
k::COUNT|static
|constant||mut u32||pub unsafe extern \"C\"
k::Far::{derived}|implementation
|derived||Copy|#
k::Hidden|tuple struct
|generics||<T>
|field|0|T
|derived||Clone|#
k::Hidden::get|function
|within||impl<T> Hidden<T>
|function||||#|&T|&self
k::Level|enum
|declared||pub
|variant|Low||1
|variant|High|{ by: u8 }
k::NAME|static
|constant||&str|\"n\"
k::Pair|type alias
|declared||pub
|generics||<T>
|type||(T, T)
k::Shape|trait
|declared||pub
|supertraits||Shown
|type|Side||Copy
|constant|SIDES|usize|4
|method|area||||u32|&self
|method|name|||#|u8
k::Shown|import
|import||base::fmt::Debug|pub
k::Unit|unit struct
|declared||pub
k::Unit::LIMIT|constant
|constant||u8|3|pub
k::Unit::new|function
|function||||#|Self
k::Word|union
|declared||#[repr(C)] pub
|field|whole|u32|pub
|field|low|u16
k::base|import
|import||extern crate core
k::f|function
|function||pub const unsafe|<T: Copy> where T: Send|#|T|T|(u8, u8)
k::fmt|import
|import||base::fmt|pub
k::g|function
|function||unsafe extern \"C\" safe||||u8|...
k::inner|module
k::inner::_|constant
|constant||()|assert!(true)
k::public!|macro
|declared||#[macro_export]
|code||#
k::{impl<T: Copy> Shape for [T]}|implementation
|type|Side|T
|method|area|||#|u32|&self";
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn the_root_and_the_environment_are_read_from_the_compilers_notes() {
    let notes = "/t/k-1.d: my\\ tree/lib.rs my\\ tree/a.rs\n\n/t/libk-1.rlib: my\\ tree/lib.rs\n\nmy\\ tree/lib.rs:\n\n\
        # env-dep:CARGO_PKG_NAME=k\n# env-dep:UNSET\n";
    let environment = vec![("CARGO_PKG_NAME".to_owned(), "k".to_owned())];
    assert_eq!(parse_notes(notes), Some(("my tree/lib.rs".into(), environment)));
    for notes in ["", "/t/k-1.d:", "\n/t/k-1.d: lib.rs\n"] {
        assert_eq!(parse_notes(notes), None, "{notes:?}");
    }
}
