//! Standard output that may be closed by whoever reads it, as `head` does.

use std::io::Write as _;

use crate::table::clean;

/// Prints `text` and a newline, at once: a row is news. Ends the process quietly if nobody reads it.
pub fn line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            tell(&format!("cannot write to standard output: {error}"));
        }
        std::process::exit(i32::from(crate::exit::INCOMPLETE));
    }
}

/// Says what is amiss on standard error, which may be closed: what is being done goes on.
pub fn warn(text: &str) {
    tell(&format!("warning: {text}"));
}

/// Says something on standard error, which may be closed.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "swsync: {}", clean(text));
}
