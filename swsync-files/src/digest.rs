//! SHA-256 of files, in hexadecimal.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::Digest as _;

/// Bytes that are read at once.
const BLOCK: usize = 256 << 10;

/// A SHA-256 in progress.
#[derive(Debug, Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum in hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Adds all that `reader` holds, and returns its length.
    ///
    /// # Errors
    /// The error of `reader`.
    pub fn read(&mut self, reader: &mut impl Read) -> io::Result<u64> {
        self.read_unless(reader, &AtomicBool::new(false))
    }

    /// As [`read`](Self::read), but ends with an error once `stop` is set: a long file takes a device half a minute.
    fn read_unless(&mut self, reader: &mut impl Read, stop: &AtomicBool) -> io::Result<u64> {
        let mut block = vec![0; BLOCK];
        let mut length = 0;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the device is being stopped"));
            }
            match reader.read(&mut block) {
                Ok(0) => return Ok(length),
                Ok(read) => {
                    self.update(&block[..read]);
                    length += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The SHA-256 of `bytes`.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> String {
    let mut sum = Sha256::default();
    sum.update(bytes);
    sum.finish()
}

/// Length and SHA-256 of the file `path`.
///
/// # Errors
/// The error of the system.
pub fn of_file(path: &Path) -> io::Result<(u64, String)> {
    of_file_unless(path, &AtomicBool::new(false))
}

/// As [`of_file`], but ends with an error once `stop` is set.
///
/// # Errors
/// The error of the system, or that it was stopped.
pub fn of_file_unless(path: &Path, stop: &AtomicBool) -> io::Result<(u64, String)> {
    let mut sum = Sha256::default();
    let length = sum.read_unless(&mut File::open(path)?, stop)?;
    Ok((length, sum.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standard() {
        // FIPS 180-4's examples.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc"), abc);
        assert!(of_bytes(b"").starts_with("e3b0c44298fc1c14"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let long: Vec<u8> = (0..=250).cycle().take(BLOCK * 2 + 5).collect();
        std::fs::write(&path, &long).unwrap();
        assert_eq!(of_file(&path).unwrap(), (long.len() as u64, of_bytes(&long)));
        assert!(of_file_unless(&path, &AtomicBool::new(true)).is_err());
    }
}
