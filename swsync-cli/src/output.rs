//! Standard output that may be closed by whoever reads it, as `head` does.

use std::io::Write as _;

/// Prints `text` and a newline, at once: a row is news. Ends the process quietly if nobody reads it.
pub fn line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            eprintln!("swsync: cannot write to standard output: {error}");
        }
        std::process::exit(i32::from(crate::exit::INCOMPLETE));
    }
}
