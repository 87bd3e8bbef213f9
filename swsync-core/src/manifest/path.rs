//! Checks file names that come from a manifest or a peer.

/// Longest path, in bytes.
pub const MAX_PATH: usize = 1024;

/// Longest part of a path, in bytes: the limit of Linux file systems.
const MAX_PART: usize = 255;

/// Why a text is not the path of a file of a take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is no path below a take's folder: {why}")]
pub struct PathError {
    path: String,
    why: &'static str,
}

/// Checks that `path` stays below the folder that it is relative to: all its parts are plain names, so that neither a
/// manifest nor a peer can reach other files.
///
/// # Errors
/// [`PathError`] says what is wrong with it.
pub fn check_path(path: &str) -> Result<(), PathError> {
    let why = if path.is_empty() {
        "it is empty"
    } else if path.starts_with('/') {
        "it begins at the root"
    } else if path.len() > MAX_PATH || path.split('/').any(|part| part.len() > MAX_PART) {
        "it is too long"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "its parts must be names"
    } else if path.contains(char::is_control) || path.contains('\\') {
        "it holds control characters or backslashes"
    } else {
        return Ok(());
    };
    Err(PathError { path: path.chars().take(100).collect(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_folder_are_accepted() {
        for good in ["0000.mp4", "a/b.jpg", "..a", "a..", ".hidden", "Größe.jpg", "a b"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", "/etc/passwd", "..", "../a", "a/../b", "a/..", ".", "./a", "a//b", "a/", "a\0", &long]
        {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        for bad in ["a\nb", "a\u{1b}[2J", "..\\a", &"a/".repeat(600)] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}
