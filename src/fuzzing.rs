//! What is tried with bytes that nobody chose: by libFuzzer for as long as one likes (`make fuzz`),
//! and here, for a moment, with the seeds and what comes of changing them.

pub use crate::client::session::fuzz_target::run as session;
pub use crate::history::disk::fuzz_target::run as disk;
pub use crate::http::fuzz_target::run as head;
pub use crate::wire::fuzz_target::run as json;

/// Events in the room.
pub fn hub(bytes: &[u8]) {
    crate::room::hub::fuzz_target::run(bytes);
}

/// Sends to one client.
pub fn outbox(bytes: &[u8]) {
    crate::outbox::fuzz_target::run(bytes);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::testing::Rng;

    /// Inputs that are tried beside the seeds.
    const CHANGED: u64 = 10_000;

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut files: Vec<_> =
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// Some bytes fewer, others, twice, or from another seed.
    fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Rng) {
        let at = dice.roll(bytes.len() + 1);
        let end = (at + 1 + dice.roll(8)).min(bytes.len());
        match dice.roll(6) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                bytes.splice(at..end, dice.bytes(end - at));
            }
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => {
                let other = &seeds[dice.roll(seeds.len())];
                bytes.splice(at..end, other[dice.roll(other.len() + 1)..].iter().copied());
            }
            4 => bytes.truncate(at),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.roll(8);
                }
            }
        }
    }

    fn try_out(name: &str, target: fn(&[u8])) {
        let seeds = seeds(name);
        seeds.iter().for_each(|seed| target(seed));
        for number in 0..CHANGED {
            let mut dice = Rng::new(number);
            let mut bytes = seeds[dice.roll(seeds.len())].clone();
            for _ in 0..=dice.roll(4) {
                change(&mut bytes, &seeds, &mut dice);
            }
            bytes.truncate(20_000);
            if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                panic!("{name}: number {number} fails: {}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn disks() {
        try_out("disk", disk);
    }

    #[test]
    fn heads() {
        try_out("head", head);
    }

    #[test]
    fn objects() {
        try_out("json", json);
    }

    #[test]
    fn sessions() {
        try_out("session", session);
    }

    #[test]
    fn hubs() {
        try_out("hub", hub);
    }

    #[test]
    fn outboxes() {
        try_out("outbox", outbox);
    }
}
