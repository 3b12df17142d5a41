//! The folder of the state: one server at a time, and the secret from which tags are made.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A folder that this server has for itself, for as long as this is held.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

/// The bytes of the secret.
pub type SecretBytes = [u8; 32];

impl StateFolder {
    /// Takes the folder, and makes it if it is not there.
    ///
    /// # Errors
    /// A line that names the folder and says what to do.
    pub fn take(path: &Path) -> Result<StateFolder, String> {
        let shown = path.display();
        let refused = |what: &str, error: io::Error| {
            format!(
                "--state-dir {shown}: cannot {what}: {error}; give a folder that roomd's user may \
                 write to"
            )
        };
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(refused("make the folder", error));
            }
            _ => {}
        }
        let lock =
            open_lock(&path.join("lock")).map_err(|error| refused("open the lock", error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(StateFolder { path: path.into(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(format!(
                "--state-dir {shown}: another roomd uses this folder; give each one its own"
            )),
            Err(error) => Err(refused("lock it", error.into())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret that is kept here. If there is none, or it is damaged, `fresh` is from now on.
    ///
    /// # Errors
    /// When this user may not read or write it: a line that names the file and says what to do. With
    /// another fault of the disk, `fresh` is good for this run.
    pub fn secret(&self, fresh: SecretBytes) -> Result<SecretBytes, String> {
        let path = self.path.join("secret");
        let fails = |what: &str, error: io::Error| {
            let shown = path.display();
            if error.kind() == io::ErrorKind::PermissionDenied {
                return Err(format!("cannot {what} {shown}: {error}; it has to be roomd's user's"));
            }
            log::warn!(
                "cannot {what} {shown}: {error}; the next start gives everybody another tag"
            );
            Ok(fresh)
        };
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(33).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return fails("read", error),
        }
        if let Ok(secret) = SecretBytes::try_from(&*bytes) {
            return Ok(secret);
        }
        if !bytes.is_empty() {
            log::warn!("{} is damaged, so everybody gets another tag", path.display());
        }
        self.write_secret(&path, &fresh).map_or_else(|error| fails("write", error), |()| Ok(fresh))
    }

    /// The file is there as a whole or not at all.
    fn write_secret(&self, path: &Path, secret: &SecretBytes) -> io::Result<()> {
        let new = self.path.join("secret.new");
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(secret)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(&self.path)?.sync_all()
    }
}

/// A lock that is there need not be written to.
fn open_lock(path: &Path) -> io::Result<File> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(path),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing::TestFolder;

    #[test]
    fn one_server_at_a_time() {
        let folder = TestFolder::new();
        let path = folder.path().join("state");
        let first = StateFolder::take(&path).expect("it is free");
        let error = StateFolder::take(&path).expect_err("it is taken");
        assert!(error.contains("another roomd") && error.lines().count() == 1, "{error}");
        drop(first);
        StateFolder::take(&path).expect("it is free again");
        let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(path.clone()), mode(path.join("lock"))), (0o700, 0o600));
    }

    #[test]
    fn no_folder_is_one_clear_line() {
        let folder = TestFolder::new();
        fs::write(folder.path().join("file"), "").expect("a file");
        for path in ["file", "file/state", "no/state"] {
            let error = StateFolder::take(&folder.path().join(path)).expect_err(path);
            assert!(error.starts_with("--state-dir /") && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn the_secret_stays() {
        let folder = TestFolder::new();
        let state = StateFolder::take(folder.path()).expect("it is free");
        assert_eq!(state.secret([1; 32]), Ok([1; 32]));
        assert_eq!(state.secret([2; 32]), Ok([1; 32]));
        let path = folder.path().join("secret");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for damaged in [&[7; 31][..], &[7; 33], &[]] {
            fs::write(&path, damaged).expect("it is written");
            assert_eq!(state.secret([3; 32]), Ok([3; 32]));
            assert_eq!(state.secret([4; 32]), Ok([3; 32]), "it is whole again");
        }
        assert!(!folder.path().join("secret.new").exists());
        // Of this, neither is possible: it is no file.
        fs::remove_file(&path).expect("it is there");
        fs::create_dir(&path).expect("a folder");
        assert_eq!(state.secret([5; 32]), Ok([5; 32]));
    }
}
