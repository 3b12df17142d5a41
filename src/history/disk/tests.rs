//! What is read after whatever may happen to the files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::files::{Files, SystemFiles};
use super::writer::{Stop, Writer};
use super::{Restored, restore};
use crate::config::budget::{History, LogBounds};
use crate::config::{HistorySync, WRITE_DELAY};
use crate::history::Log;
use crate::history::chunk::{Author, Chunk, Entry, Kind};
use crate::history::pool::Pool;
use crate::metrics::Metrics;
use crate::room::resume::{Kept, Resume, Since, resume};
use crate::testing::{Rng, TestFolder};
use crate::wire::cursor::{Cursor, Epoch};
use crate::wire::tag::Tag;

const ROOM: &str = "lobby";
const LIMIT: u64 = 1 << 20;
const RETRY: Duration = Duration::from_secs(60);
const SYNC: HistorySync = HistorySync::Every(Duration::from_secs(10));

fn bounds(size: usize) -> LogBounds {
    let bounds = LogBounds::new(size, 1000);
    LogBounds { history: History { messages: 10_000, age: u64::MAX, bytes: size as u64 }, ..bounds }
}

fn tag(n: usize) -> Tag {
    let mut tag = *b"aaaaaaaa";
    tag[0] += n as u8;
    Tag(tag)
}

/// One run of a server with one room.
struct Run<F: Files> {
    log: Arc<Log>,
    writer: Writer<F>,
    metrics: Arc<Metrics>,
    stop: Stop,
    now: Instant,
}

impl<F: Files> Run<F> {
    fn start(files: F, dir: &Path, epoch: u64, limit: u64, bounds: LogBounds) -> Self {
        Run::syncing(SYNC, files, dir, epoch, limit, bounds)
    }

    fn syncing(
        sync: HistorySync,
        files: F,
        dir: &Path,
        epoch: u64,
        limit: u64,
        bounds: LogBounds,
    ) -> Self {
        let metrics = Arc::new(Metrics::new(1));
        let (mut writer, stop, wake) = Writer::new(sync, RETRY, metrics.clone());
        let Restored { earlier, before, progress, folder } =
            restore(files, dir.join(ROOM), limit, bounds, wake, 0);
        let (epoch, pool) = (Epoch::from_random(epoch), Pool::of_one(bounds));
        let log = Log::continuing(epoch, &pool, || {}, &earlier, before, progress.clone());
        let now = Instant::now();
        writer.add(ROOM, log.clone(), progress, folder);
        Run { log, writer, metrics, stop, now }
    }

    /// Client 0, 1, … says something, which it gives the number `n`.
    fn say(&self, client: usize, n: u64, text: &str) {
        say(&self.log, self.now, client, n, text);
    }

    /// The number that the next message gets.
    fn next(&self) -> u64 {
        self.log.ring.head() + 1
    }

    /// Time passes, and the writer does what is due.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.writer.step(self.now);
    }

    fn stop(mut self) {
        self.writer.finish(self.now, true);
    }

    fn counted(&self, name: &str) -> u64 {
        let text = self.metrics.text(0, &crate::metrics::process::Process::ask());
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect("it is counted").parse().expect("a number")
    }

    /// Where somebody goes on who was here.
    fn resume(&self, cursor: Cursor) -> Resume {
        let Log { epoch, ring, before, .. } = &*self.log;
        let (head, first) = (ring.head(), ring.first(0));
        let kept = Kept { epoch: *epoch, head, first, past: &before.past, hole: before.hole };
        resume(&kept, Since::At(cursor), 0)
    }
}

fn say(log: &Log, now: Instant, client: usize, n: u64, text: &str) {
    let mut batch = Chunk::new(log.ring.end());
    let seq = log.ring.head() + 1;
    let author = Author { num: 0, tag: Some(tag(client)), name: "Ana" };
    batch.push(Entry { kind: Kind::Message { seq, n }, at: seq, author, text });
    batch.push(Entry { kind: Kind::Renamed, at: seq, author, text: "" });
    log.append(&batch, 0, None, now);
}

/// The numbers and texts that a log has.
fn texts(log: &Log) -> Vec<(u64, String)> {
    let (end, mut entry, mut all) = (log.ring.end().entry, 0, Vec::new());
    while entry < end {
        let Some(chunk) = log.ring.chunk(entry) else {
            entry += 1;
            continue;
        };
        let messages = chunk.entries((entry - chunk.start().entry) as usize);
        all.extend(messages.filter_map(|it| it.kind.seq().map(|seq| (seq, it.text.to_owned()))));
        entry = chunk.end().entry;
    }
    all
}

/// The files of the room with their lengths.
fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(dir.join(ROOM)).expect("a folder").map(|entry| entry.expect("one"));
    let mut files: Vec<_> =
        entries.map(|entry| (entry.path(), entry.metadata().expect("a file").len())).collect();
    files.sort();
    files
}

fn start(dir: &Path, epoch: u64) -> Run<SystemFiles> {
    Run::start(SystemFiles, dir, epoch, LIMIT, bounds(1 << 18))
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to.join(ROOM)).expect("a folder");
    for (file, _) in files(from) {
        let name = file.file_name().expect("a name");
        fs::copy(&file, to.join(ROOM).join(name)).expect("a copy");
    }
}

#[test]
fn a_clean_restart_loses_nothing() {
    let folder = TestFolder::new();
    let mut run = start(folder.path(), 1);
    for n in 1..=200 {
        run.say(n as usize % 3, n, &format!("{n} \0\n\u{2028} 你好"));
        run.pass(Duration::from_millis(100));
    }
    let said = texts(&run.log);
    run.stop();
    let run = start(folder.path(), 2);
    let (expected, found): (Vec<_>, _) = (
        // As on the wire, a control character is replaced.
        said.into_iter().map(|(seq, text)| (seq, text.replace('\0', "\u{fffd}"))).collect(),
        texts(&run.log),
    );
    assert_eq!(found, expected);
    assert_eq!(run.log.ring.head(), 200);
    let mut accepted = run.log.before.take_accepted();
    accepted.sort_unstable();
    assert_eq!(accepted, [(tag(0), 198), (tag(1), 199), (tag(2), 200)]);
    let cursor = |epoch, seq| Cursor { epoch: Epoch::from_random(epoch), seq };
    let given =
        |epoch, seq| (run.resume(cursor(epoch, seq)).start, run.resume(cursor(epoch, seq)).missed);
    assert_eq!(given(1, 150), (151, Some(0)));
    assert_eq!(given(1, 200), (201, Some(0)));
    assert_eq!(given(1, 201), (201, None), "it was never assigned");
    assert_eq!(given(3, 150), (1, None));
    assert_eq!(run.next(), 201);
}

/// What is no history, and no reader lacks, stays in the log until it is on the disk.
#[test]
fn what_is_not_replayed_is_written_all_the_same() {
    let folder = TestFolder::new();
    let history = History { messages: 0, age: 0, bytes: 0 };
    let bounds = LogBounds { history, ..bounds(1 << 18) };
    let mut run = Run::start(SystemFiles, folder.path(), 1, LIMIT, bounds);
    // More than a chunk of the log.
    (1..=100).for_each(|n| run.say(0, n, &"x".repeat(1000)));
    run.pass(WRITE_DELAY);
    assert_eq!(run.counted("roomd_history_missing_total"), 0);
    run.say(0, 101, "x");
    assert!(texts(&run.log).len() < 100, "nobody needs them any more");
    run.stop();
    let run = start(folder.path(), 2);
    let numbers: Vec<_> = texts(&run.log).into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(numbers, (1..=101).collect::<Vec<_>>());
}

/// If something may be on its way to the log when the server ends, the files do not say that this is all.
#[test]
fn an_end_that_may_not_be_all() {
    let folder = TestFolder::new();
    let mut run = start(folder.path(), 1);
    run.say(0, 1, "one");
    run.writer.finish(run.now, false);
    let run = start(folder.path(), 2);
    assert_eq!(texts(&run.log), [(1, "one".into())]);
    assert_eq!(run.resume(Cursor { epoch: Epoch::from_random(1), seq: 1 }).missed, None);
}

/// Two runs in which nothing was said begin at the same number.
#[test]
fn runs_that_begin_at_the_same_number_share_a_file() {
    let folder = TestFolder::new();
    for epoch in 1..=3 {
        start(folder.path(), epoch).stop();
    }
    let all = files(folder.path());
    assert_eq!(all.len(), 1);
    let text = fs::read_to_string(&all[0].0).expect("text");
    let types: Vec<_> = text.lines().map(|line| &line[..10]).collect();
    assert_eq!(types, [r#"{"t":"run""#, r#"{"t":"end""#].repeat(3));
    let run = start(folder.path(), 4);
    assert_eq!(run.log.before.past.len(), 3);
    assert!(run.log.before.past.iter().all(|past| past.is_clean && past.last == 0));
}

/// Wherever a file ends: what is whole is there, what is not is cut off, and numbers go on.
#[test]
fn a_file_that_is_cut_at_every_byte() {
    let (folder, other) = (TestFolder::new(), TestFolder::new());
    let mut run = start(folder.path(), 1);
    (1..=5).for_each(|n| run.say(0, n, "before"));
    run.pass(WRITE_DELAY);
    run.pass(WRITE_DELAY);
    run.stop();
    let mut run = start(folder.path(), 2);
    for n in 6..=60 {
        run.say(0, n, &format!("{n} {}", "ü".repeat(n as usize % 20)));
    }
    run.pass(WRITE_DELAY);
    let said = texts(&run.log);
    run.stop();
    let (file, len) = files(folder.path()).pop().expect("a file");
    let name = file.file_name().expect("a name");
    let bytes = fs::read(&file).expect("it is read");
    assert!(len > 4096);
    // This is about what is in the files, not about when.
    let (off, bounds) = (HistorySync::Off, bounds(1 << 18));
    let start = |epoch| Run::syncing(off, SystemFiles, other.path(), epoch, LIMIT, bounds);
    copy(folder.path(), other.path());
    let torn = other.path().join(ROOM).join(name);
    for cut in (0..=len).rev().take(4096 + 1) {
        fs::write(&torn, &bytes[..cut as usize]).expect("it is cut");
        let run = start(3);
        let whole = &bytes
            [..bytes[..cut as usize].iter().rposition(|it| *it == b'\n').map_or(0, |at| at + 1)];
        let messages = whole.windows(8).filter(|it| it == b"\"t\":\"msg").count();
        assert_eq!(texts(&run.log), said[..5 + messages], "cut at {cut}");
        assert_eq!(fs::read(&torn).expect("it is there"), whole, "cut at {cut}");
        assert_eq!(run.next(), messages as u64 + 6, "cut at {cut}");
        run.say(0, 99, "next");
        run.stop();
        if cut % 16 == 0 {
            assert_eq!(texts(&start(4).log).len(), messages + 6, "cut at {cut}");
        }
        for (file, _) in files(other.path()).into_iter().filter(|(file, _)| *file > torn) {
            fs::remove_file(file).expect("it is there");
        }
    }
}

#[test]
fn files_of_which_nothing_can_be_used_are_set_aside() {
    for (content, next) in [
        ("\0\0\0", 11),
        ("{\"t\":\"run\",\"v\":1,\"ep", 11),
        ("nothing\nof this\nis JSON\n", 14),
        // A format of the future.
        (
            "{\"t\":\"run\",\"v\":2,\"epoch\":\"a\",\"next\":11,\"at\":1}\n{\"t\":\"msg\",\"seq\":11}\n",
            13,
        ),
    ] {
        let folder = TestFolder::new();
        let run = start(folder.path(), 1);
        (1..=10).for_each(|n| run.say(0, n, "text"));
        run.stop();
        let bad = folder.path().join(ROOM).join("0000000000000011.log");
        fs::write(&bad, content).expect("it is written");
        for epoch in 2..=3 {
            let run = start(folder.path(), epoch);
            assert_eq!(run.next(), next + epoch - 2, "{content:?}");
            run.say(0, 11, "next");
            assert!(!bad.exists() || next == 11);
            let aside = fs::read_to_string(bad.with_extension("bad")).expect("it is aside");
            assert_eq!(aside, content);
            // Whoever was here may have missed something.
            let cursor = Cursor { epoch: Epoch::from_random(1), seq: 10 };
            assert_eq!(run.resume(cursor).missed, None);
            run.stop();
        }
    }
}

/// Damage in the middle costs the damaged lines, and what is before them in the log; and the reader whose
/// cursor is before them is told.
#[test]
fn a_line_that_cannot_be_read_is_a_hole() {
    for damage in ["\0", "}", "9", "\n"] {
        let folder = TestFolder::new();
        let run = start(folder.path(), 1);
        (1..=20).for_each(|n| run.say(0, n, "text"));
        run.stop();
        let (file, _) = files(folder.path()).remove(0);
        let text = fs::read_to_string(&file).expect("text");
        let damaged = text.replace("\"seq\":7,", &format!("\"seq\":7{damage},"));
        fs::write(&file, damaged).expect("it is written");
        let run = start(folder.path(), 2);
        let numbers: Vec<_> = texts(&run.log).into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(numbers, (8..=20).collect::<Vec<_>>(), "{damage:?}");
        let missed = |seq| run.resume(Cursor { epoch: Epoch::from_random(1), seq }).missed;
        assert_eq!((missed(5), missed(6), missed(7)), (None, None, Some(0)));
    }
}

/// Whatever bytes are in the files: the server starts, the log has messages that were said, without a gap,
/// and what is said next has a number of its own and is there at the next start.
#[test]
fn random_damage() {
    let (folder, other) = (TestFolder::new(), TestFolder::new());
    let (off, bounds) = (HistorySync::Off, bounds(1 << 18));
    let start = |path: &Path, epoch| Run::syncing(off, SystemFiles, path, epoch, 64 * 1024, bounds);
    for epoch in 1..=3 {
        let mut run = start(folder.path(), epoch);
        for _ in 0..50 {
            let next = run.next();
            run.say(0, next, &format!("text {next} {}", "x".repeat(next as usize % 90)));
            run.pass(Duration::from_millis(30));
        }
        run.pass(WRITE_DELAY);
        if epoch != 2 {
            run.stop();
        }
    }
    for seed in 0..400 {
        let mut dice = Rng::new(seed);
        copy(folder.path(), other.path());
        let all = files(other.path());
        for _ in 0..=dice.roll(4) {
            let (file, _) = &all[dice.roll(all.len())];
            let mut bytes = fs::read(file).expect("it is read");
            let at = dice.roll(bytes.len().max(1)).min(bytes.len());
            let end = bytes.len().min(at + 1 + dice.roll(400));
            match dice.roll(8) {
                0 => bytes.truncate(at),
                1 => bytes[at..end].fill(0),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                4 => drop(bytes.splice(at..at, dice.bytes(20))),
                5 => bytes = fs::read(&all[dice.roll(all.len())].0).expect("it is read"),
                // A digit is what does most harm.
                _ if at < end => {
                    let digit = bytes[at..].iter().position(u8::is_ascii_digit);
                    let place = at + digit.unwrap_or(0);
                    bytes[place] = b'0' + dice.roll(10) as u8;
                }
                _ => {}
            }
            fs::write(file, bytes).expect("it is written");
        }
        let mut run = start(other.path(), 4);
        let numbers: Vec<_> = texts(&run.log).into_iter().map(|(seq, _)| seq).collect();
        let expected: Vec<_> = (run.next() - numbers.len() as u64..run.next()).collect();
        assert_eq!(numbers, expected, "seed {seed}");
        let next = run.next();
        run.say(0, 10_000, "after the damage");
        run.pass(WRITE_DELAY);
        run.stop();
        let run = start(other.path(), 5);
        let last = texts(&run.log).pop();
        assert_eq!(last, Some((next, "after the damage".into())), "seed {seed}");
        assert_eq!(run.next(), next + 1, "seed {seed}");
    }
}

/// The oldest segment goes, nothing is rewritten, and the bound holds whatever is written.
#[test]
fn the_folder_is_bounded() {
    let folder = TestFolder::new();
    let limit = 64 * 1024;
    let mut run = Run::start(SystemFiles, folder.path(), 1, limit, bounds(1 << 20));
    let mut dice = Rng::new(1);
    for n in 1..=1000 {
        run.say(0, n, &"x".repeat(dice.roll(700)));
        if n == 500 {
            run.say(0, n, &"x".repeat(40_000));
            // As a line it has twice as many bytes.
            run.say(0, n, &"\"".repeat(20_000));
        }
        run.pass(WRITE_DELAY);
        let blocks = files(folder.path()).into_iter().map(|(_, len)| len.next_multiple_of(4096));
        assert!(blocks.sum::<u64>() <= limit);
    }
    assert_eq!(run.counted("roomd_history_missing_total"), 2, "the lines that were too long");
    let said = texts(&run.log);
    run.stop();
    let run = Run::start(SystemFiles, folder.path(), 2, limit, bounds(1 << 20));
    let found = texts(&run.log);
    assert!(found.len() > 30 && said.ends_with(&found));
    let cursor = Cursor { epoch: Epoch::from_random(1), seq: found[0].0 - 8 };
    assert_eq!(run.resume(cursor).missed, Some(7), "what was trimmed is counted");
}

/// A writer that is further behind than the log goes tells what is missing.
#[test]
fn what_falls_off_the_log_is_a_hole() {
    let folder = TestFolder::new();
    let mut run = Run::start(SystemFiles, folder.path(), 1, LIMIT, bounds(100_000));
    (1..=3).for_each(|n| run.say(0, n, "kept"));
    run.pass(WRITE_DELAY);
    run.pass(WRITE_DELAY);
    (4..=500).for_each(|n| run.say(0, n, &"x".repeat(900)));
    run.pass(WRITE_DELAY);
    let (file, _) = files(folder.path()).pop().expect("a file");
    let text = fs::read_to_string(file).expect("text");
    let holes: Vec<_> = text.lines().filter(|line| line.contains("\"hole\"")).collect();
    let first = texts(&run.log)[0].0;
    assert_eq!(holes, [format!(r#"{{"t":"hole","from":4,"to":{}}}"#, first - 1)]);
    assert_eq!(run.counted("roomd_history_missing_total"), first - 4);
    run.stop();
    let run = Run::start(SystemFiles, folder.path(), 2, LIMIT, bounds(100_000));
    assert_eq!(texts(&run.log).last().map(|(seq, _)| *seq), Some(500));
    let missed = |seq| run.resume(Cursor { epoch: Epoch::from_random(1), seq }).missed;
    assert_eq!(missed(3), None);
    assert_eq!(missed(499), Some(0));
}

/// What is pending is written after a second, or once there is a block of it; and the disk is asked to
/// keep it ten seconds after it was said.
#[test]
fn writes_and_syncs_are_few() {
    let folder = TestFolder::new();
    let mut run = start(folder.path(), 1);
    let counts = |run: &Run<_>| {
        ["writes", "syncs"].map(|it| run.counted(&format!("roomd_history_{it}_total")))
    };
    assert_eq!(counts(&run), [1, 1], "a run begins");
    for second in 0..30 {
        run.say(0, second + 1, "one a second");
        run.pass(Duration::ZERO);
        run.pass(WRITE_DELAY);
    }
    assert_eq!(counts(&run), [31, 4]);
    for n in 0..1000 {
        run.say(0, n + 31, "a hundred a second");
        run.pass(Duration::from_millis(10));
    }
    run.pass(Duration::from_secs(10));
    let [writes, syncs] = counts(&run);
    assert_eq!(syncs, 5);
    assert!((20..40).contains(&(writes - 31)), "{writes}");
}

/// A disk that forgets what it was not asked to keep, and fails when it is told to.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Model>>);

#[derive(Default)]
struct Model {
    files: BTreeMap<PathBuf, Content>,
    /// Deleted, but the folder may not know yet.
    deleted: BTreeMap<PathBuf, Content>,
    fails: bool,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    kept: Vec<u8>,
    has_name: bool,
}

impl Model {
    fn file(&mut self, path: &Path) -> &mut Content {
        self.files.entry(path.into()).or_default()
    }

    /// The power is cut: of what the disk was not asked to keep, something is there, or NULs in its place.
    fn cut_power(&mut self, dice: &mut Rng) {
        let mut files: Vec<_> = std::mem::take(&mut self.files).into_iter().collect();
        files.extend(std::mem::take(&mut self.deleted));
        for (path, Content { now, kept, has_name }) in files {
            if self.files.contains_key(&path) || !has_name && dice.roll(2) == 0 {
                continue;
            }
            let mut survived = kept.clone();
            match now.strip_prefix(&*kept) {
                Some(tail) => {
                    let part = &tail[..dice.roll(tail.len() + 1)];
                    match dice.roll(2) {
                        0 => survived.extend_from_slice(part),
                        _ => survived.resize(kept.len() + part.len(), 0),
                    }
                }
                None => survived = if dice.roll(2) == 0 { kept } else { now },
            }
            let content = Content { now: survived.clone(), kept: survived, has_name: true };
            self.files.insert(path, content);
        }
    }

    /// Puts the files where they can be read.
    fn show(&self, dir: &Path) {
        let _ = fs::remove_dir_all(dir.join(ROOM));
        fs::create_dir(dir.join(ROOM)).expect("a folder");
        for (path, content) in &self.files {
            fs::write(path, &content.now).expect("it is written");
        }
    }
}

impl Disk {
    fn model<T>(&self, act: impl FnOnce(&mut Model) -> T) -> io::Result<T> {
        let mut model = self.0.lock().expect("no panic");
        match model.fails {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(act(&mut model)),
        }
    }
}

impl Files for Disk {
    type File = PathBuf;

    fn create_folder(&self, _: &Path) -> io::Result<bool> {
        self.model(|_| false)
    }

    fn open(&self, path: &Path) -> io::Result<(PathBuf, u64)> {
        self.model(|model| (path.into(), model.file(path).now.len() as u64))
    }

    fn cut(&self, file: &PathBuf, len: u64) -> io::Result<()> {
        // A full disk does that, too.
        self.0.lock().expect("no panic").file(file).now.truncate(len as usize);
        Ok(())
    }

    fn append(&self, file: &PathBuf, bytes: &[u8]) -> io::Result<()> {
        // A full disk takes what fits.
        let mut model = self.0.lock().expect("no panic");
        let taken = if model.fails { bytes.len() / 2 } else { bytes.len() };
        model.file(file).now.extend_from_slice(&bytes[..taken]);
        drop(model);
        self.model(|_| ())
    }

    fn has_name(&self, file: &PathBuf) -> io::Result<bool> {
        Ok(self.0.lock().expect("no panic").files.contains_key(file))
    }

    fn sync(&self, file: &PathBuf) -> io::Result<()> {
        self.model(|model| {
            let content = model.file(file);
            content.kept = content.now.clone();
        })
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.model(|model| {
            model.deleted.clear();
            model.files.values_mut().for_each(|content| content.has_name = true);
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.model(|model| {
            let content = model.files.remove(from).unwrap_or_default();
            model.files.insert(to.into(), content);
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.model(|model| {
            if let Some(content) = model.files.remove(path) {
                model.deleted.insert(path.into(), content);
            }
        })
    }
}

/// A disk that hangs, once it is told to, for as long as somebody holds the lock.
#[derive(Clone)]
struct Stuck(Disk, Arc<Mutex<()>>);

impl Files for Stuck {
    type File = PathBuf;

    fn create_folder(&self, path: &Path) -> io::Result<bool> {
        self.0.create_folder(path)
    }

    fn open(&self, path: &Path) -> io::Result<(PathBuf, u64)> {
        self.0.open(path)
    }

    fn cut(&self, file: &PathBuf, len: u64) -> io::Result<()> {
        self.0.cut(file, len)
    }

    fn append(&self, file: &PathBuf, bytes: &[u8]) -> io::Result<()> {
        drop(self.1.lock());
        self.0.append(file, bytes)
    }

    fn has_name(&self, file: &PathBuf) -> io::Result<bool> {
        self.0.has_name(file)
    }

    fn sync(&self, file: &PathBuf) -> io::Result<()> {
        drop(self.1.lock());
        self.0.sync(file)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.0.sync_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
}

/// The room does not wait for a disk that hangs. What the log still has is written afterwards, and a hole
/// for the rest.
#[test]
fn a_disk_that_hangs() {
    let (folder, disk) = (TestFolder::new(), Disk::default());
    let gate = Arc::new(Mutex::new(()));
    let files = Stuck(disk.clone(), gate.clone());
    let Run { log, writer, metrics, stop, now } =
        Run::start(files, folder.path(), 1, LIMIT, bounds(100_000));
    let held = gate.lock().expect("no panic");
    let thread = std::thread::spawn(move || writer.run());
    let say = |n: u64| say(&log, now, 0, n, &"x".repeat(900));
    (1..=500).for_each(say);
    drop(held);
    stop.stop(true);
    thread.join().expect("no panic");
    assert_eq!(log.ring.head(), 500);
    disk.0.lock().expect("no panic").show(folder.path());
    let run = Run::start(disk, folder.path(), 2, LIMIT, bounds(100_000));
    assert_eq!(run.next(), 501);
    assert!(metrics.history.fault().is_none() && run.log.before.hole > 0);
    assert_eq!(texts(&run.log), texts(&log));
}

/// Somebody who has seen the messages of a run up to a number: they are the first `seen` that were ever
/// said, as far as they are not lost.
struct Reader {
    cursor: Cursor,
    seen: usize,
}

/// Runs that talk, are stopped, killed, or lose power, on a disk that fails now and then; against the list
/// of everything that was ever said. What was there when the disk was last asked is there; what is there
/// was said, in order; no number is given twice in what is there; and readers are told exactly what they
/// missed, or that nobody knows.
#[test]
fn whatever_happens_to_a_disk() {
    for seed in 0..200 {
        let mut dice = Rng::new(seed);
        let (folder, disk) = (TestFolder::new(), Disk::default());
        let bounds = bounds([4_000, 1 << 18][dice.roll(2)]);
        let limit = [64 * 1024, LIMIT][dice.roll(2)];
        // Everything that was ever said: the run, the number, the text.
        let mut said: Vec<(u64, u64, String)> = Vec::new();
        let (mut readers, mut kept, mut is_whole) = (Vec::<Reader>::new(), 0, true);
        for epoch in 1..=dice.roll(8) as u64 + 2 {
            disk.0.lock().expect("no panic").show(folder.path());
            let mut run = Run::start(disk.clone(), folder.path(), epoch, limit, bounds);
            let found = texts(&run.log);
            let head = run.log.ring.head();
            assert!(head >= kept, "seed {seed}: {head} is less than {kept}, which was kept");
            // What is there was said, in this order, and nothing is missing in between.
            let mut place = said.len();
            for (n, (seq, text)) in found.iter().rev().enumerate() {
                assert_eq!(*seq, head - n as u64, "seed {seed}");
                let at = said[..place].iter().rposition(|it| it.1 == *seq && it.2 == *text);
                place = at.unwrap_or_else(|| panic!("seed {seed}: {seq} {text:?} was not said"));
            }
            for reader in &readers {
                let given = run.resume(reader.cursor);
                let Some(missed) = given.missed else {
                    let lost = if is_whole { "nothing is lost" } else { continue };
                    panic!("seed {seed}: {lost}, and {:?} is not told so", reader.cursor);
                };
                // It misses what was said between what it saw and what it is given, and no more was said.
                let next = found.iter().find(|(seq, _)| *seq >= given.start);
                let at = next.map_or(said.len(), |(seq, text)| {
                    let at = said.iter().rposition(|it| it.1 == *seq && it.2 == *text);
                    at.expect("it was said")
                });
                assert_eq!((at - reader.seen) as u64, missed, "seed {seed} {:?}", reader.cursor);
                let rest = found.iter().filter(|(seq, _)| *seq >= given.start).count();
                assert_eq!(rest, said.len() - at, "seed {seed}: some are lost");
            }
            let accepted: BTreeMap<_, _> = run.log.before.take_accepted().into_iter().collect();
            for (seq, text) in &found {
                let (client, n) = text.split_once(' ').expect("a client");
                let n: u64 = n.split(' ').next().expect("a number").parse().expect("a number");
                let client = tag(client.parse().expect("a number"));
                assert!(accepted[&client] >= n, "seed {seed}: number {n} of {seq} is forgotten");
            }
            for _ in 0..dice.roll(60) {
                match dice.roll(12) {
                    0 => {
                        let fails = dice.roll(3) == 0;
                        disk.0.lock().expect("no panic").fails = fails;
                    }
                    1 | 2 => run.pass(WRITE_DELAY),
                    3 => run.pass(Duration::from_secs(11)),
                    4 => run.pass(RETRY),
                    5 => {
                        let seq = run.log.ring.head();
                        let cursor = Cursor { epoch: Epoch::from_random(epoch), seq };
                        readers.push(Reader { cursor, seen: said.len() });
                    }
                    _ => {
                        let client = dice.roll(3);
                        let n = said.len() as u64 + 1;
                        let text = format!("{client} {n} {}", "x".repeat(dice.roll(900)));
                        said.push((epoch, run.next(), text.clone()));
                        run.say(client, n, &text);
                    }
                }
            }
            let is_faulty = disk.0.lock().expect("no panic").fails;
            let missing = run.counted("roomd_history_missing_total") > 0;
            match dice.roll(3) {
                0 => {
                    kept = run.log.ring.head();
                    if is_faulty || run.metrics.history.fault().is_some() {
                        // It may be tried again at the end, and may not.
                        kept = 0;
                    }
                    run.stop();
                    is_whole &= kept > 0 || said.is_empty();
                }
                1 => {
                    // It is killed: what was written is there.
                    (kept, is_whole) = (0, false);
                }
                _ => {
                    (kept, is_whole) = (0, false);
                    run.pass(Duration::from_secs(11));
                    run.pass(Duration::from_secs(11));
                    if !is_faulty && run.metrics.history.fault().is_none() {
                        kept = run.log.ring.head();
                    }
                    disk.0.lock().expect("no panic").cut_power(&mut dice);
                }
            }
            // A room on a disk of 64 KiB forgets old runs.
            is_whole &= !missing && limit == LIMIT;
            disk.0.lock().expect("no panic").fails = false;
        }
    }
}
