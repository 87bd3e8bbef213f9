//! Programs that are asked, each for a limited time.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a program is looked after.
const TICK: Duration = Duration::from_millis(20);
/// Most bytes that are kept of what a program writes.
const MOST: u64 = 1 << 20;

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether it ended with 0.
    pub success: bool,
    pub out: String,
    pub err: String,
}

/// Runs `program` with `arguments`, for `limit` at most.
///
/// # Errors
/// It is not there, or does not end in time, in words.
pub fn ask(program: &str, arguments: &[&str], limit: Duration) -> Result<Said, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{program} is not installed"),
        _ => format!("{program} cannot be run: {error}"),
    })?;
    let out = child.stdout.take().map(collect);
    let err = child.stderr.take().map(collect);
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(TICK),
            Ok(None) => {
                let _ = child.kill(); // fails if it has just ended
                let _ = child.wait();
                return Err(format!("{program} did not end within {} s", limit.as_secs()));
            }
            Err(error) => return Err(format!("{program} cannot be waited for: {error}")),
        }
    };
    let text =
        |reader: Option<JoinHandle<String>>| reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    Ok(Said { success: status.success(), out: text(out), err: text(err) })
}

/// Reads what a program writes, so that it never waits for a reader.
fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What cannot be read is missing in what it said.
        let _ = from.by_ref().take(MOST).read_to_end(&mut bytes);
        let _ = std::io::copy(&mut from, &mut std::io::sink());
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_heard_and_one_that_hangs_is_ended() {
        let said = ask("sh", &["-c", "echo out; echo err >&2; exit 3"], Duration::from_secs(30)).unwrap();
        assert_eq!((said.success, said.out.as_str(), said.err.as_str()), (false, "out\n", "err\n"));
        let hung = ask("sleep", &["60"], Duration::from_millis(50)).unwrap_err();
        assert!(hung.contains("did not end"), "{hung}");
        assert_eq!(
            ask("no-such-program", &[], Duration::ZERO).unwrap_err(),
            "no-such-program is not installed"
        );
    }
}
