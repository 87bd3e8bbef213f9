//! Reads small files that others may have written, up to a limit.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Largest `take.json` that is read, in bytes: its lists of holes and segments are bounded, and have less than 1 MB.
const MAX_TAKE_JSON: u64 = 16 << 20;

/// Largest file with a note, or with who has collected a take, that is read, in bytes: their texts are bounded.
const MAX_SMALL_JSON: u64 = 64 << 10;

/// Reads a `note.json`, or the file that says who has collected a take.
///
/// # Errors
/// The error of the system. [`io::ErrorKind::InvalidData`] if the file is larger than any that swsync writes.
pub fn read_small_json(path: &Path) -> io::Result<Vec<u8>> {
    read_up_to(path, MAX_SMALL_JSON)
}

/// Reads a `take.json`.
///
/// # Errors
/// The error of the system. [`io::ErrorKind::InvalidData`] if the file is larger than any that swsync writes.
pub fn read_take_json(path: &Path) -> io::Result<Vec<u8>> {
    read_up_to(path, MAX_TAKE_JSON)
}

fn read_up_to(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // One byte more tells whether there is more.
    let length = File::open(path)?.take(most + 1).read_to_end(&mut text)?;
    if u64::try_from(length).is_ok_and(|length| length <= most) {
        return Ok(text);
    }
    let why = format!("the file is larger than {most} bytes, and so none that swsync has written");
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("take.json");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_up_to(&path, 5).unwrap(), b"12345");
        let error = read_up_to(&path, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert_eq!(read_take_json(&path).unwrap(), b"12345");
        assert_eq!(
            read_take_json(folder.path().join("none").as_path()).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
