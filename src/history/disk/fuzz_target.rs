//! Files of a room with whatever bytes: the room has messages without a gap, is the same when its files were
//! mended and are read again, and goes on with numbers that nobody had.

use std::io;
use std::path::Path;

use crate::config::budget::{History, LogBounds};
use crate::history::before::{Accepted, Past};
use crate::history::chunk::{Author, Entry, Kind};
use crate::history::disk::format::{self, LAST};
use crate::history::disk::load::{Loaded, load_files};
use crate::history::disk::segment::Segment;
use crate::wire::cursor::Epoch;

/// When the files are read, in milliseconds since 1970.
const NOW: u64 = 1_700_000_000_000;

/// A file of the room.
#[derive(Clone, Debug)]
struct File {
    segment: Segment,
    bytes: Vec<u8>,
    /// The disk gives its bytes.
    is_readable: bool,
}

/// What is read of a room.
#[derive(Debug, PartialEq)]
struct Read {
    /// The number of the last message.
    head: u64,
    messages: Vec<(u64, u64, String, String)>,
    past: Vec<Past>,
    hole: u64,
    accepted: Accepted,
}

/// Reads `bytes` as the files of a room: a line `=NUMBER` begins one, `=NUMBER bad` one that was set aside, and
/// `=NUMBER lost` one that cannot be read.
pub fn run(bytes: &[u8]) {
    let mut files = files(bytes);
    let loaded = load(&files);
    let highest = files.last().map_or(0, |last| last.segment.number);
    for (file, segment) in files.iter().zip(&loaded.segments) {
        let usable = segment.len as usize;
        assert!(usable <= file.bytes.len());
        let is_cut = usable < file.bytes.len() && !loaded.unusable.contains(&segment.number);
        assert!(!is_cut || usable == 0 || file.bytes[usable - 1] == b'\n', "a line is cut");
    }
    mend(&mut files, &loaded);
    let read = Read::of(loaded);
    assert!(read.head + 1 >= highest, "the name of a file is a number that was given");
    assert_eq!(Read::of(load(&files)), read, "it is the same once the files were mended");
    // Behind the greatest number that is read, there is no place for more.
    if read.head < LAST - 1 {
        goes_on(&mut files, &read);
    }
}

/// What is said next has the next number, and is there at the next start.
fn goes_on(files: &mut Vec<File>, read: &Read) {
    let next = read.head + 1;
    let epoch = Epoch::from_random(u64::MAX);
    let mut bytes = Vec::new();
    format::run(&mut bytes, epoch, next, NOW);
    let author = Author { num: 7, ..Author::default() };
    let kind = Kind::Message { seq: next, n: 0 };
    format::message(&mut bytes, &Entry { kind, at: NOW, author, text: "next" });
    format::end(&mut bytes, next + 1);
    let last = files.last_mut().filter(|last| !last.segment.is_bad);
    match last.filter(|last| last.segment.number == next) {
        Some(last) => last.bytes.extend(bytes),
        None => files.push(File::new(next, false, true, bytes)),
    }
    let again = Read::of(load(files));
    assert_eq!(again.head, next);
    assert_eq!(again.messages.last(), Some(&(next, NOW, "#7".into(), "next".into())));
    let past = Past { epoch: Some(epoch), last: next, is_clean: true };
    assert_eq!(again.past.last(), Some(&past));
    assert_eq!(again.hole, read.hole, "there is no other hole");
}

impl File {
    fn new(number: u64, is_bad: bool, is_readable: bool, bytes: Vec<u8>) -> Self {
        File { segment: Segment { number, is_bad, len: 0 }, bytes, is_readable }
    }
}

fn files(bytes: &[u8]) -> Vec<File> {
    let mut files = vec![File::new(1, false, true, Vec::new())];
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match begun(line) {
            Some(file) => files.push(file),
            None => files.iter_mut().last().expect("one").bytes.extend(line),
        }
    }
    files.sort_by_key(|file| file.segment.number);
    files.dedup_by_key(|file| file.segment.number);
    files
}

fn begun(line: &[u8]) -> Option<File> {
    let line = std::str::from_utf8(line.strip_prefix(b"=")?).ok()?.trim_end();
    let (number, kind) = line.split_once(' ').unwrap_or((line, ""));
    let number = number.parse().ok().filter(|number| *number <= LAST)?;
    Some(File::new(number, kind == "bad", kind != "lost", Vec::new()))
}

/// Has them read, as they would be from a folder.
fn load(files: &[File]) -> Loaded {
    let history = History { messages: 100, age: 1_000_000, bytes: u64::MAX };
    let bounds = LogBounds { history, ..LogBounds::new(8 * 1024, 1000) };
    let segments =
        files.iter().map(|file| Segment { len: file.bytes.len() as u64, ..file.segment });
    let mut of = files.iter();
    let read = |_: &Path| match of.next() {
        Some(file) if file.is_readable => Ok(file.bytes.clone()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    };
    load_files(Path::new(""), segments.collect(), read, bounds, NOW)
}

/// What a start does with the files: those of which nothing can be used are set aside, and the last one is cut
/// off behind what can.
fn mend(files: &mut [File], loaded: &Loaded) {
    for file in files.iter_mut() {
        file.segment.is_bad |= loaded.unusable.contains(&file.segment.number);
    }
    if let Some((last, segment)) = files.last_mut().zip(loaded.segments.last()) {
        if !last.segment.is_bad {
            last.bytes.truncate(segment.len as usize);
        }
    }
}

impl Read {
    fn of(loaded: Loaded) -> Self {
        let Loaded { ring, before, .. } = loaded;
        let messages: Vec<_> = (ring.chunks().iter())
            .flat_map(|chunk| {
                let entries = chunk.entries(0).filter_map(|it| {
                    let by = it.author.by().to_string();
                    Some((it.kind.seq()?, it.at, by, it.text.to_owned()))
                });
                entries.collect::<Vec<_>>()
            })
            .collect();
        let head = ring.head();
        let first = head + 1 - messages.len() as u64;
        assert!(messages.iter().map(|it| it.0).eq(first..=head), "a gap, or a number twice");
        assert!(messages.is_empty() || before.hole < first, "a hole between messages");
        let accepted = before.take_accepted();
        Read { head, messages, past: before.past, hole: before.hole, accepted }
    }
}
