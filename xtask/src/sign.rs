//! The development key, with which modules are signed.
//!
//! It is in PKCS#8 and PEM, so one made with `openssl genpkey -algorithm ed25519` can take its place.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use tempfile::NamedTempFile;

/// Where the key is kept in the tree, outside of version control.
const PATH: &str = "keys/development.key";

/// A key, and the version counter of all that is signed with it in this run.
pub struct Key {
    secret: SigningKey,
    version: u64,
}

impl Key {
    /// The tree's key, which is made if there is none. The version counter is the time in seconds since 1970, or
    /// `SOURCE_DATE_EPOCH` for builds that are to give the same bytes again.
    ///
    /// # Errors
    ///
    /// When the key's file can't be read or made, or holds anything but a key. It is never overwritten.
    pub fn development(root: &Path) -> Result<Self> {
        Ok(Self { secret: secret(root)?, version: version_counter()? })
    }

    /// The key in a file of any place, with the same version counter.
    ///
    /// # Errors
    ///
    /// When it can't be read, or holds anything but a key.
    pub fn from_file(path: &Path) -> Result<Self> {
        Ok(Self { secret: read(path)?, version: version_counter()? })
    }

    /// What the kernel checks modules with.
    pub fn public(&self) -> [u8; 32] {
        self.secret.verifying_key().to_bytes()
    }

    /// The object file with its signature. One that it has already is replaced.
    pub fn sign(&self, object: &[u8]) -> Vec<u8> {
        module_signature::sign(object, self.version, &self.secret)
    }
}

fn secret(root: &Path) -> Result<SigningKey> {
    let path = root.join(PATH);
    if !path.exists() {
        make(&path).with_context(|| format!("cannot make {PATH}"))?;
    }
    read(&path).context("without the file, a new key is made")
}

fn read(path: &Path) -> Result<SigningKey> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    SigningKey::from_pkcs8_pem(&text).with_context(|| {
        format!(
            "{} is damaged or of another kind: expected a key as `openssl genpkey -algorithm ed25519` makes it",
            path.display()
        )
    })
}

/// Makes a key, unless another process does at the same time. Nobody ever sees half of it.
fn make(path: &Path) -> Result<()> {
    let folder = path.parent().context("it has no folder")?;
    let mut secret_key = [0; 32];
    getrandom::fill(&mut secret_key)?;
    // Without the public key, which would make it a version 2 file, which OpenSSL 3.0 doesn't read.
    let text = KeypairBytes { secret_key, public_key: None }.to_pkcs8_pem(LineEnding::LF)?;

    fs::create_dir_all(folder)?;
    // Only its owner may read such a file.
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    match file.persist_noclobber(path) {
        Ok(_) => eprintln!("    Creating {PATH}, a key to sign modules with on this machine"),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn version_counter() -> Result<u64> {
    let epoch = std::env::var_os("SOURCE_DATE_EPOCH").map(|text| text.to_string_lossy().into_owned());
    version(epoch.as_deref())
}

fn version(source_date_epoch: Option<&str>) -> Result<u64> {
    match source_date_epoch {
        Some(text) => text
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH should be a number of seconds since 1970, found `{text}`")),
        None => {
            Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock shows a time before 1970")?.as_secs())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Barrier;

    use module_signature::{PublicKey, split, verify};

    use super::*;

    /// What OpenSSL 3.0 writes for the first secret key in RFC 8032, section 7.1; the public key from there.
    const BY_OPENSSL: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn tree_with_key(text: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        crate::files::write(&root.path().join(PATH), text.as_bytes()).unwrap();
        root
    }

    #[test]
    fn the_key_is_made_once_and_for_its_owner_only() {
        let root = tempfile::tempdir().unwrap();
        let first = Key::development(root.path()).unwrap().public();
        assert_eq!(Key::development(root.path()).unwrap().public(), first);
        let metadata = fs::metadata(root.path().join(PATH)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Key::development(other.path()).unwrap().public(), first);
    }

    #[test]
    fn all_who_make_the_key_at_once_get_the_same() {
        const THREADS: usize = 8;
        for _ in 0..50 {
            let root = tempfile::tempdir().unwrap();
            let all_are_there = Barrier::new(THREADS);
            let make = || {
                all_are_there.wait();
                Key::development(root.path()).unwrap().public()
            };
            let keys: BTreeSet<[u8; 32]> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(make)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(keys.len(), 1);
            assert_eq!(fs::read_dir(root.path().join("keys")).unwrap().count(), 1, "a temporary file is left");
        }
    }

    #[test]
    fn a_key_by_openssl_is_read_and_ours_is_written_like_it() {
        let root = tree_with_key(BY_OPENSSL);
        let public = Key::development(root.path()).unwrap().public();
        assert_eq!(public.map(|byte| format!("{byte:02x}")).concat(), PUBLIC);

        let root = tempfile::tempdir().unwrap();
        Key::development(root.path()).unwrap();
        let made = fs::read_to_string(root.path().join(PATH)).unwrap();
        let constant = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI";
        assert_eq!(made[..constant.len()], BY_OPENSSL[..constant.len()]);
        assert_eq!(made.len(), BY_OPENSSL.len());
    }

    #[test]
    fn a_file_that_holds_no_ed25519_key_is_an_error_and_stays() {
        for text in ["", "no key", &BY_OPENSSL[..60], &BY_OPENSSL.replace("K2Vw", "K2Vu")] {
            let root = tree_with_key(text);
            let error = format!("{:#}", Key::development(root.path()).err().unwrap());
            assert!(error.contains("keys/development.key is damaged"), "{error}");
            assert_eq!(fs::read_to_string(root.path().join(PATH)).unwrap(), text);
        }
    }

    #[test]
    fn what_is_signed_is_taken_with_the_public_key_and_counts_seconds() {
        let root = tree_with_key(BY_OPENSSL);
        let key = Key { version: version(Some("1700000000")).unwrap(), ..Key::development(root.path()).unwrap() };
        let signed = key.sign(b"object");
        assert_eq!(split(&signed).0, b"object");
        let checked = verify(&signed, &PublicKey::new(&key.public()).unwrap()).unwrap();
        assert_eq!((checked.object, checked.version), (b"object".as_slice(), 1_700_000_000));

        assert!(version(None).unwrap() > 1_700_000_000);
        assert_eq!(
            version(Some("yesterday")).unwrap_err().to_string(),
            "SOURCE_DATE_EPOCH should be a number of seconds since 1970, found `yesterday`"
        );
    }
}
