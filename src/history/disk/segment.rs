//! The files of one room: segments, named by the number of their first message, of which the oldest is
//! deleted when there are too many bytes. Nothing is rewritten.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::history::disk::files::Files;
use crate::history::disk::format::LAST;

/// A segment is full at so many bytes, or at a quarter of what the room may take.
const SEGMENT: u64 = 256 * 1024;

/// Files take whole blocks, so that many short ones count as what they take.
const BLOCK: u64 = 4096;

/// A file of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The number of its first message.
    pub number: u64,
    /// Nothing of it can be used.
    pub is_bad: bool,
    /// Bytes of it that can be used; of a bad one, all.
    pub len: u64,
}

/// The folder of a room, with a segment that is written to.
pub struct Folder<F: Files> {
    files: F,
    path: PathBuf,
    /// The oldest first.
    segments: VecDeque<Segment>,
    /// The last of them.
    open: Option<Open<F::File>>,
    /// Bytes that they may take together.
    limit: u64,
}

struct Open<T> {
    file: T,
    /// Something in it would not survive a power cut.
    is_dirty: bool,
    /// Its name would not.
    is_new: bool,
}

impl Segment {
    /// The file's name.
    pub fn name(self) -> String {
        format!("{:016}.{}", self.number, if self.is_bad { "bad" } else { "log" })
    }

    fn parse(name: &OsStr, len: u64) -> Option<Segment> {
        let (digits, kind) = name.to_str()?.split_once('.')?;
        let is_number = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_good = |number: &u64| is_number && *number <= LAST;
        let number = digits.parse().ok().filter(is_good)?;
        let is_bad = match kind {
            "log" => false,
            "bad" => true,
            _ => return None,
        };
        Some(Segment { number, is_bad, len })
    }

    /// Bytes of the disk.
    fn charge(self) -> u64 {
        self.len.next_multiple_of(BLOCK).max(BLOCK)
    }
}

/// The files of a room, the oldest first. None if there is no such folder. Other files are ignored.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(path: &Path) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry?;
        let len = entry.metadata().map_or(0, |metadata| metadata.len());
        segments.extend(Segment::parse(&entry.file_name(), len));
    }
    segments.sort_unstable_by_key(|segment| (segment.number, !segment.is_bad));
    Ok(segments)
}

impl<F: Files> Folder<F> {
    /// A room's folder that has these segments.
    pub fn new(files: F, path: PathBuf, segments: Vec<Segment>, limit: u64) -> Self {
        Folder { files, path, segments: segments.into(), open: None, limit }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A longer line is not kept: it would take the place of everything else.
    pub fn longest(&self) -> u64 {
        self.limit / 2
    }

    /// Bytes of a segment.
    fn full(&self) -> u64 {
        SEGMENT.min(self.limit / 4)
    }

    /// Whether so many bytes more belong into a segment that begins with them.
    pub fn needs_new(&self, bytes: usize) -> bool {
        let Some(last) = self.segments.back().filter(|_| self.open.is_some()) else { return true };
        last.len > 0 && last.len + bytes as u64 > self.full()
    }

    /// Gives the files of which nothing can be used the name for that.
    ///
    /// # Errors
    /// The first one; the others have been renamed.
    pub fn set_aside(&mut self, unusable: &[u64]) -> io::Result<()> {
        let mut result = Ok(());
        for segment in self.segments.iter_mut().filter(|it| !it.is_bad) {
            if unusable.contains(&segment.number) {
                let bad = Segment { is_bad: true, ..*segment };
                let names = [*segment, bad].map(|it| self.path.join(it.name()));
                match self.files.rename(&names[0], &names[1]) {
                    Ok(()) => *segment = bad,
                    Err(error) => result = result.and(Err(error)),
                }
            }
        }
        result
    }

    /// Begins or goes on with the segment whose first message has this number. What is in there behind
    /// its usable bytes is cut off.
    ///
    /// # Errors
    /// When the system does not have it so.
    pub fn begin(&mut self, number: u64) -> io::Result<()> {
        self.open = None;
        if self.files.create_folder(&self.path)? {
            if let Some(parent) = self.path.parent() {
                self.files.sync_folder(parent)?;
            }
        }
        let known = self.segments.back().copied();
        let known = known.filter(|last| !last.is_bad && last.number == number);
        // If it is full although no message is in it, the server was started a thousand times.
        let usable = known.map_or(0, |known| known.len);
        let usable = if usable < self.full() { usable } else { 0 };
        let segment = Segment { number, is_bad: false, len: usable };
        let (file, len) = self.files.open(&self.path.join(segment.name()))?;
        let usable = if len < usable { 0 } else { usable };
        if len > usable {
            self.files.cut(&file, usable)?;
        }
        if known.is_some() {
            self.segments.pop_back();
        }
        self.segments.push_back(Segment { len: usable, ..segment });
        self.open = Some(Open { file, is_dirty: true, is_new: true });
        Ok(())
    }

    /// Cuts the last segment off behind its usable bytes, if it has more.
    ///
    /// # Errors
    /// When the system does not have it so.
    pub fn cut(&mut self) -> io::Result<()> {
        let Some(last) = self.segments.back().filter(|last| !last.is_bad) else { return Ok(()) };
        let (file, len) = self.files.open(&self.path.join(last.name()))?;
        if len > last.len { self.files.cut(&file, last.len) } else { Ok(()) }
    }

    /// Appends to the segment that was begun, and deletes the oldest ones for it.
    ///
    /// # Errors
    /// When not everything was written, or the file was deleted. Then the segment is not used any more.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.make_room(bytes.len() as u64);
        let result = self.try_append(bytes);
        if result.is_err() {
            self.give_up();
        }
        result
    }

    fn try_append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let no_segment = || io::Error::other("no segment was begun");
        let open = self.open.as_mut().ok_or_else(no_segment)?;
        if !self.files.has_name(&open.file)? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was deleted"));
        }
        self.files.append(&open.file, bytes)?;
        open.is_dirty = true;
        if let Some(last) = self.segments.back_mut() {
            last.len += bytes.len() as u64;
        }
        Ok(())
    }

    /// Has what was appended survive a power cut. Whether there was something.
    ///
    /// # Errors
    /// When the system cannot promise it. Then the segment is not used any more.
    pub fn sync(&mut self) -> io::Result<bool> {
        let Some(open) = self.open.as_mut().filter(|open| open.is_dirty) else { return Ok(false) };
        let mut result = self.files.sync(&open.file);
        if open.is_new && result.is_ok() {
            result = self.files.sync_folder(&self.path);
        }
        (open.is_dirty, open.is_new) = (false, false);
        if result.is_err() {
            self.give_up();
        }
        result.map(|()| true)
    }

    /// Whether a segment was begun.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What is written next begins another segment. Half a line at the end of this one is cut off if
    /// that can be done.
    fn give_up(&mut self) {
        let Some(open) = self.open.take() else { return };
        if let Some(last) = self.segments.back() {
            let _ = self.files.cut(&open.file, last.len);
        }
    }

    /// Deletes the oldest segments, but for the one that is written to, until so many bytes more fit.
    fn make_room(&mut self, bytes: u64) {
        while self.segments.len() > 1 {
            let taken: u64 = self.segments.iter().map(|segment| segment.charge()).sum();
            if taken + bytes.next_multiple_of(BLOCK) <= self.limit {
                return;
            }
            if let Some(oldest) = self.segments.pop_front() {
                // One that cannot be deleted is a matter of the person who protected it.
                let _ = self.files.remove(&self.path.join(oldest.name()));
            }
        }
    }
}
