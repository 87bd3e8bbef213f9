//! Questions to the person at the terminal.

use std::fmt::Display;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::error_report::failure;

/// What is given, asked for, or taken by default.
pub struct Answers {
    asks: bool,
}

impl Answers {
    /// `yes`: defaults are taken, and nothing is asked.
    ///
    /// # Errors
    /// There would be nobody to ask.
    pub fn new(yes: bool) -> anyhow::Result<Self> {
        if !yes && !io::stdin().is_terminal() {
            return Err(failure(
                "standard input is no terminal, so nobody can be asked",
                "--yes takes the defaults for all that is not given",
            ));
        }
        Ok(Self { asks: !yes })
    }

    /// A value: `given`, or what is answered to `question`, or `default`. Asks again as long as the answer is none.
    ///
    /// # Errors
    /// The value that is given, or the default, is none; or standard input has ended.
    pub fn value<T, E: Display>(
        &mut self,
        question: &str,
        given: Option<String>,
        default: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> anyhow::Result<T> {
        let wrong =
            |text: &str, error: E| failure(format!("{question}: `{text}`: {error}"), "give another value");
        if let Some(given) = given {
            return parse(&given).map_err(|error| wrong(&given, error));
        }
        if !self.asks {
            return parse(default).map_err(|error| wrong(default, error));
        }
        loop {
            print!("{question} [{default}]: ");
            io::stdout().flush()?;
            let mut line = String::new();
            if io::stdin().lock().read_line(&mut line)? == 0 {
                return Err(failure(
                    "standard input ended before all was answered",
                    "nothing was written; run the command again",
                ));
            }
            let answer = line.trim();
            match parse(if answer.is_empty() { default } else { answer }) {
                Ok(value) => return Ok(value),
                Err(error) => println!("  `{answer}`: {error}"),
            }
        }
    }
}
