//! The properties hold for all seeds and for mutations of them: what a machine without a fuzzer can check.
//!
//! `SWSYNC_WRITE_SEEDS=1 cargo test -p swsync-fuzz-properties` writes the seeds anew. Seeds that begin with `regression-` are what
//! a fuzzer once found; they stay.

mod real;

use std::fs;
use std::path::{Path, PathBuf};

use swsync_fuzz_properties::{PROPERTIES, property};

/// Mutations of each seed. Chosen: the test takes some seconds in a debug build.
const MUTATIONS: u64 = 1_000;

/// Put in place of a number, or anywhere: what parsers stumble over.
const TOKENS: [&[u8]; 16] = [
    b"-1",
    b"0",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e39",
    b"1e999",
    b"-0.0",
    b"null",
    b"\"\"",
    b"\"\\u001b[2J\\n\"",
    b"[[[[[[[[[[[[[[[[[[[[",
    b"[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]",
    b"{\"\":{\"\":{\"\":{}}}}",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
];

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target)
}

/// The committed seeds of a target, by name.
fn committed(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries =
        fs::read_dir(folder(target)).unwrap_or_else(|error| panic!("no seeds of {target}: {error}"));
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn the_seeds_are_what_swsync_writes() {
    let real = real::seeds();
    for (target, _) in PROPERTIES {
        assert!(real.iter().any(|seed| seed.target == target), "{target} has no seed");
    }
    for seed in real {
        let path = folder(seed.target).join(seed.name);
        if std::env::var_os("SWSYNC_WRITE_SEEDS").is_some() {
            fs::create_dir_all(folder(seed.target)).unwrap();
            fs::write(&path, &seed.bytes).unwrap();
        }
        let on_disk = fs::read(&path).unwrap_or_default();
        assert!(
            on_disk == seed.bytes,
            "{} is not what swsync writes now: SWSYNC_WRITE_SEEDS=1 cargo test -p swsync-fuzz-properties writes it anew",
            path.display()
        );
    }
}

#[test]
fn the_properties_hold_for_the_seeds() {
    for (target, property) in PROPERTIES {
        for (name, bytes) in committed(target) {
            println!("{target}/{name}");
            property(&bytes);
        }
    }
}

#[test]
fn the_properties_hold_for_mutated_seeds() {
    let mut random = Random(0x5eed);
    for (target, property) in PROPERTIES {
        let seeds = committed(target);
        for (name, bytes) in &seeds {
            for turn in 0..MUTATIONS {
                let other = &seeds[random.below(seeds.len())].1;
                let mutated = mutated(bytes, other, &mut random);
                let held = std::panic::catch_unwind(|| property(&mutated));
                assert!(held.is_ok(), "{target}/{name}, mutation {turn}: {}", mutated.escape_ascii());
            }
        }
    }
}

#[test]
fn a_property_can_fail() {
    // A packet that claims to be longer than it is would be answered with more bytes; here the property itself is bent.
    let held = std::panic::catch_unwind(|| {
        swsync_fuzz_properties::memory::within(b"[]", 1, |_| vec![0_u8; 1 << 20].len());
    });
    assert!(held.is_err());
    assert!(std::panic::catch_unwind(|| property("no such target")).is_err());
}

/// A few changes to `bytes`.
fn mutated(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => replace_number(&mut bytes, at, TOKENS[random.below(TOKENS.len())]),
            3 => drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
            4 => {
                let end = (at + random.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            5 => {
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            _ => {
                let end = (at + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

/// Puts `token` in place of the first number from `at` on.
fn replace_number(bytes: &mut Vec<u8>, at: usize, token: &[u8]) {
    let Some(from) = bytes[at..].iter().position(u8::is_ascii_digit).map(|from| at + from) else { return };
    let length = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(from..from + length, token.iter().copied());
}

/// SplitMix64 (Steele et al. 2014): the same mutations each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ z >> 31) % end.max(1) as u64).expect("below a usize")
    }
}
