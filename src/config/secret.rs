//! The secret of an embedded installation: made at first start, in `<data dir>/secret`, readable by its owner alone.

use super::{ConfigError, Settings};
use crate::domain::{
    keyring::Keyring,
    rng::{self, Rng},
    secret::SecretText,
};
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};
use zeroize::Zeroizing;

impl Settings {
    /// Makes the data directory, mode 0700, if it isn't there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn make_data_dir(&self) -> Result<(), ConfigError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.data_dir).map_err(|e| self.file_error(&self.data_dir, &e))
    }

    /// The keys of the configured secret, or of the one in the data directory, which is made (by one of two that start at once) if missing.
    ///
    /// # Errors
    /// The file can't be read or made, or holds no secret.
    pub fn keyring(&self, rng: &dyn Rng) -> Result<Keyring, ConfigError> {
        let secret = match &self.secret {
            Some(secret) => secret.clone(),
            None => self.embedded_secret(rng)?,
        };
        Keyring::parse(&secret).map_err(|e| ConfigError(format!("{}: {e}", self.data_dir.join("secret").display())))
    }

    fn embedded_secret(&self, rng: &dyn Rng) -> Result<SecretText, ConfigError> {
        self.make_data_dir()?;
        let path = self.data_dir.join("secret");
        if !path.exists() {
            create(&self.data_dir, &path, rng).map_err(|e| self.file_error(&path, &e))?;
        }
        let text = fs::read_to_string(&path).map_err(|e| self.file_error(&path, &e))?;
        Ok(SecretText::new(text.trim_end()))
    }

    fn file_error(&self, path: &Path, e: &std::io::Error) -> ConfigError {
        self.error("data_dir", format_args!("{}: {e}", path.display()))
    }
}

/// Writes a whole file beside it, then links it into place: whoever comes second finds the first one's, never half of one.
fn create(dir: &Path, path: &Path, rng: &dyn Rng) -> std::io::Result<()> {
    let secret = Zeroizing::new(rng::bytes::<32>(rng));
    let text = Zeroizing::new(hex(&*secret) + "\n");
    let unique = hex(&rng::bytes::<8>(rng));
    let draft = dir.join(format!(".secret-{unique}"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&draft)?;
    linked?;
    // The name must last as well: what is sealed under a secret that is lost can't be opened.
    fs::File::open(dir)?.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Sources, domain::rng::SystemRng};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn eight_starts_at_once_agree_and_the_file_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/data");
        let sources = Sources { env: [("QEETID_DATA_DIR".into(), data.clone().into())].into(), ..Default::default() };
        let settings = Settings::load(sources).unwrap();
        let ids: Vec<_> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..8).map(|_| s.spawn(|| settings.keyring(&SystemRng).unwrap().current())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&data.join("secret"))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no drafts are left");
    }

    #[test]
    fn a_broken_secret_file_is_an_error_not_a_new_secret() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "short").unwrap();
        let sources = Sources { env: [("QEETID_DATA_DIR".into(), dir.path().into())].into(), ..Default::default() };
        let error = Settings::load(sources).unwrap().keyring(&SystemRng).unwrap_err();
        assert!(error.0.contains("secret") && error.0.contains("base64"), "{error}");
    }
}
