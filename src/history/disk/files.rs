//! What the writer does with files. The tests have another implementation, which forgets as disks do when
//! the power is cut.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Files of a disk. Everything may block for as long as the disk likes.
pub trait Files {
    /// A file that is open for appending.
    type File;

    /// Makes a folder that only this user can read, unless it is there. Whether it was made.
    fn create_folder(&self, path: &Path) -> io::Result<bool>;
    /// Opens a file that only this user can read, and makes it if it is not there. Its length.
    fn open(&self, path: &Path) -> io::Result<(Self::File, u64)>;
    /// Cuts a file off behind so many bytes.
    fn cut(&self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Appends all of `bytes`, or some of them if that fails.
    fn append(&self, file: &Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Whether the file still has a name: one that was deleted takes everything and keeps nothing.
    fn has_name(&self, file: &Self::File) -> io::Result<bool>;
    /// Waits until what was appended would survive a power cut.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Waits until the names in a folder would survive one.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// Those of the system.
#[derive(Clone, Copy, Debug)]
pub struct SystemFiles;

impl Files for SystemFiles {
    type File = File;

    fn create_folder(&self, path: &Path) -> io::Result<bool> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            result => result.map(|()| true),
        }
    }

    fn open(&self, path: &Path) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let len = file.metadata()?.len();
        Ok((file, len))
    }

    fn cut(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn has_name(&self, file: &File) -> io::Result<bool> {
        Ok(file.metadata()?.nlink() > 0)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
