//! `poses_bounds.npy`: a row of 17 numbers per camera, as LLFF writes it (github.com/Fyusion/LLFF, "Using your own poses").
//!
//! A row is a matrix of 3x5, row by row, and the nearest and farthest depth. The matrix is [R | t | (height, width, focal length)],
//! from camera to world, with the camera's axes down, right, backwards.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

/// Numbers per camera.
const COLUMNS: usize = 17;

/// Indices in a row: height and width are the last column of the matrix.
const HEIGHT: usize = 4;
const WIDTH: usize = 9;

/// A file of poses.
#[derive(Debug, PartialEq)]
pub struct Poses {
    /// Its bytes, to be copied.
    pub bytes: Vec<u8>,
    /// For each camera width and height of the pictures that it was calibrated with, in pixels.
    pub sizes: Vec<(f64, f64)>,
}

/// Reads the poses of `cameras` cameras.
///
/// # Errors
/// It is no NumPy file of such a shape, or has numbers that are not finite.
pub fn read(path: &Path, cameras: usize) -> anyhow::Result<Poses> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(bytes, cameras).with_context(|| format!("{} has no poses of these cameras", path.display()))
}

fn parse(bytes: Vec<u8>, cameras: usize) -> anyhow::Result<Poses> {
    let (header, data) = split(&bytes).context("it is no NumPy file (.npy)")?;
    let kind = field(header, "descr").context("its header does not say of which type its numbers are")?;
    let shape = field(header, "shape").context("its header does not say what its shape is")?;
    let sides: Vec<usize> =
        shape.trim_matches(['(', ')']).split(',').filter_map(|side| side.trim().parse().ok()).collect();
    ensure!(
        sides == [cameras, COLUMNS],
        "its shape is {shape}, and should be ({cameras}, {COLUMNS}): a row for each of the {cameras} cameras, in the order of \
         cameras.json (with --dry-run --json the order is printed)"
    );
    ensure!(field(header, "fortran_order") == Some("False"), "its numbers are stored column by column");
    let numbers: Vec<f64> = match kind.trim_matches(['\'', '"']) {
        "<f8" => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        "<f4" => data.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect(),
        other => bail!("its numbers are of type {other}, and should be <f8 or <f4"),
    };
    ensure!(numbers.len() == cameras * COLUMNS, "it is cut short: it has {} numbers", numbers.len());
    for (row, pose) in numbers.chunks_exact(COLUMNS).enumerate() {
        ensure!(
            pose.iter().all(|number| number.is_finite()),
            "row {row} (from 0) has numbers that are not finite"
        );
    }
    let sizes = numbers.chunks_exact(COLUMNS).map(|pose| (pose[WIDTH], pose[HEIGHT])).collect();
    Ok(Poses { sizes, bytes })
}

/// The header, a Python dictionary, and the data of a NumPy file (numpy.lib.format, versions 1 to 3).
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let ([major, _minor], rest) = rest.split_first_chunk()?;
    let (length, rest) = if *major == 1 {
        let (length, rest) = rest.split_first_chunk()?;
        (usize::from(u16::from_le_bytes(*length)), rest)
    } else {
        let (length, rest) = rest.split_first_chunk()?;
        (usize::try_from(u32::from_le_bytes(*length)).ok()?, rest)
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

/// The value of a field of the header, as it is written.
fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = header.split_once(&format!("'{name}':"))?;
    let value = value.trim_start();
    let end = if value.starts_with('(') { value.find(')')? + 1 } else { value.find([',', '}'])? };
    Some(value[..end].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as NumPy writes it, of numbers 0, 1, 2 and so on.
    fn file(kind: &str, shape: &str, count: u8) -> Vec<u8> {
        let about = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(about.len()).unwrap().to_le_bytes());
        bytes.extend(about.into_bytes());
        for number in 0..count {
            match kind {
                "<f4" => bytes.extend(f32::from(number).to_le_bytes()),
                _ => bytes.extend(f64::from(number).to_le_bytes()),
            }
        }
        bytes
    }

    #[test]
    fn a_row_per_camera_is_read() {
        for kind in ["<f8", "<f4"] {
            let poses = parse(file(kind, "(2, 17)", 34), 2).unwrap();
            assert_eq!(poses.sizes, [(9.0, 4.0), (26.0, 21.0)]);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut endless = file("<f8", "(2, 17)", 33);
        endless.extend(f64::INFINITY.to_le_bytes());
        for (bytes, said) in [
            (file("<f8", "(3, 17)", 51), "its shape is (3, 17), and should be (2, 17): a row for each"),
            (file("<f8", "(34,)", 34), "its shape is (34,)"),
            (file("<f8", "(2, 17)", 33), "it is cut short: it has 33 numbers"),
            (file("<i8", "(2, 17)", 34), "of type <i8"),
            (endless, "row 1 (from 0) has numbers that are not finite"),
            (b"PK".to_vec(), "no NumPy file"),
        ] {
            let error = parse(bytes, 2).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
