//! What several unit tests need, and the fuzz targets.

/// A generator of numbers that look random and are the same for the same seed (xorshift64*).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    /// So many bytes.
    #[cfg(test)]
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll(256) as u8).collect()
    }
}

/// Choices that are made by bytes: a fuzzer's, a seed's, or random ones.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Choices(bytes)
    }

    /// Whether there is nothing left to decide.
    pub fn are_over(&self) -> bool {
        self.0.is_empty()
    }

    /// A number below `sides`, at most 65536 of them; the first one when no bytes are left.
    pub fn roll(&mut self, sides: usize) -> usize {
        let wanted = if sides <= 256 { 1 } else { 2 };
        let (taken, rest) = self.0.split_at(wanted.min(self.0.len()));
        self.0 = rest;
        taken.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) % sides
    }
}

/// A folder of a test's own, which goes with it.
#[cfg(test)]
pub struct TestFolder(std::path::PathBuf);

#[cfg(test)]
impl TestFolder {
    pub fn new() -> Self {
        static LAST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // In memory where that can be had: some tests make thousands of files.
        let memory = std::path::PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let path = parent.join(format!("roomd-test-{}-{n}", std::process::id()));
        std::fs::create_dir(&path).expect("a folder");
        TestFolder(path)
    }

    pub fn path(&self) -> &std::path::Path {
        &self.0
    }
}

#[cfg(test)]
impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
