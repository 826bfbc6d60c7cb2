//! The initramfs: modules, and the index of what they claim.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::{Context, Result};
use initramfs::{Archive, INDEX_PATH, SERVICE, Writer, service_on};

use crate::contract::information_of;

/// Files by their paths.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The path of a module.
pub fn path(module: &str) -> String {
    format!("modules/{module}.o")
}

/// The files of an archive.
///
/// # Errors
///
/// When it is damaged.
pub fn files(archive: &[u8]) -> Result<Files> {
    let mut files = Files::new();
    for entry in Archive::new(archive).entries() {
        let entry = entry.map_err(|error| anyhow::anyhow!("the archive is damaged: {error}"))?;
        if entry.is_file() {
            files.insert(entry.name.to_owned(), entry.data.to_vec());
        }
    }
    Ok(files)
}

/// Packs files, with a new index of what the modules among them claim.
///
/// # Errors
///
/// When a module can't be read, or a file has no place in an archive.
pub fn pack(files: &Files) -> Result<Vec<u8>> {
    let mut claims = Vec::new();
    for (path, object) in files {
        if let Some(name) = path.strip_prefix("modules/").and_then(|file| file.strip_suffix(".o")) {
            let claimed = claims_of(object).with_context(|| format!("cannot read {path}"))?;
            claims.extend(claimed.map(|claim| (claim, name)));
        }
    }
    let index = initramfs::write_index(claims.iter().map(|(claim, name)| (claim.as_ref(), *name)));
    let mut archive = Writer::default();
    archive.file(INDEX_PATH, index.as_bytes())?;
    for (path, contents) in files.iter().filter(|(path, _)| *path != INDEX_PATH) {
        archive.file(path, contents)?;
    }
    Ok(archive.finish())
}

/// What a module claims, by its `.modinfo`: `compatible` strings, or to be a service.
fn claims_of(object: &[u8]) -> Result<impl Iterator<Item = Cow<'_, str>>> {
    Ok(information_of(object)?.filter_map(|(key, value)| match key {
        "compatible" => Some(Cow::Borrowed(value)),
        "service" if value.is_empty() => Some(Cow::Borrowed(SERVICE)),
        "service" => Some(Cow::Owned(service_on(value))),
        _ => None,
    }))
}
