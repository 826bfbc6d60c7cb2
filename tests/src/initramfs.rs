//! Archives to boot with.

use initramfs::{Archive, INDEX_PATH, Writer};

use crate::{built, read, signed};

/// The files of an archive: those of the shipped one, and what a test makes of them.
#[derive(Clone)]
pub struct Initramfs {
    files: Vec<(String, Vec<u8>)>,
}

impl Initramfs {
    /// What `./x build` packed.
    ///
    /// # Panics
    /// When that can't be read.
    pub fn shipped() -> Self {
        let bytes = read(&built("initramfs.cpio"));
        let entries = Archive::new(&bytes).entries().map(|entry| entry.expect("out/initramfs.cpio is whole"));
        let files = entries.filter(|entry| entry.is_file()).map(|entry| (entry.name.to_owned(), entry.data.to_vec()));
        Self { files: files.collect() }
    }

    /// The module of that name.
    ///
    /// # Panics
    /// When there is none.
    pub fn module(&self, name: &str) -> &[u8] {
        self.file(&format!("modules/{name}.o"))
    }

    /// Adds a module, signed anew, or replaces the one of that name. Nothing loads it but `insmod`, unless the index says
    /// so.
    #[must_use]
    pub fn with_module(self, name: &str, object: impl AsRef<[u8]>) -> Self {
        self.with_file(&format!("modules/{name}.o"), signed(object.as_ref()))
    }

    /// Appends lines to the index: what is claimed, and the module that claims it.
    #[must_use]
    pub fn with_claims(self, lines: &str) -> Self {
        let index = [self.file(INDEX_PATH), lines.as_bytes()].concat();
        self.with_file(INDEX_PATH, index)
    }

    /// Adds a file, or replaces the one with that path.
    #[must_use]
    pub fn with_file(mut self, path: &str, contents: Vec<u8>) -> Self {
        match self.files.iter_mut().find(|(other, _)| other == path) {
            Some((_, old)) => *old = contents,
            None => self.files.push((path.to_owned(), contents)),
        }
        self
    }

    /// Leaves out the file with that path.
    #[must_use]
    pub fn without_file(mut self, path: &str) -> Self {
        self.files.retain(|(other, _)| other != path);
        self
    }

    /// The archive's bytes.
    ///
    /// # Panics
    /// When a file can't be put into an archive.
    pub fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        for (path, contents) in &self.files {
            writer.file(path, contents).expect("names and sizes are sensible");
        }
        writer.finish()
    }

    fn file(&self, path: &str) -> &[u8] {
        let file = self.files.iter().find(|(other, _)| other == path);
        file.map(|(_, contents)| contents.as_slice()).unwrap_or_else(|| panic!("the archive has no {path}"))
    }
}
