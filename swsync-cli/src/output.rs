//! Lines on standard output and standard error, either of which may be closed by its reader, as `head` does.

use std::io::{IsTerminal as _, Write as _};

use crate::table::clean;

/// Prints `text` and a newline at once. Ends the process quietly if standard output is closed.
pub fn line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            tell(&format!("cannot write to standard output: {error}"));
        }
        std::process::exit(i32::from(crate::exit::INCOMPLETE));
    }
}

/// Prints `document` as JSON, in one line.
///
/// # Panics
/// It has a map whose keys are no texts: no document of ours has.
pub fn json(document: &impl serde::Serialize) {
    line(&serde_json::to_string(document).expect("documents are maps of texts and numbers"));
}

/// Prints a warning on standard error.
pub fn warn(text: &str) {
    tell(&format!("warning: {text}"));
}

/// Prints a message on standard error. Does nothing if that is closed.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "swsync: {}", clean(text));
}

/// Shows `text` in the current line of standard error, in place of the text before, if that is a terminal. An empty text clears
/// the line.
pub fn status_line(text: &str) {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
    }
}
