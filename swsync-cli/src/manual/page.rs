//! A manual page of one command. clap_mangen makes its sections; what clap prints below the options keeps its lines here, because it
//! has tables and examples.

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The page's text, in troff.
pub fn render(command: &clap::Command) -> Vec<u8> {
    let mut command = command.clone();
    let usage = command.render_usage().to_string();
    let after = command.get_after_long_help().or_else(|| command.get_after_help()).map(ToString::to_string);
    let command = command.override_usage(usage.trim_start_matches("Usage: ").to_owned());
    let has_options = command.get_arguments().any(|argument| !argument.is_hide_set());
    let has_commands = command.get_subcommands().any(|subcommand| !subcommand.is_hide_set());
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = Man::new(command).manual("swsync").source(concat!("swsync ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    let written = man
        .render_title(&mut page)
        .and_then(|()| man.render_name_section(&mut page))
        .and_then(|()| man.render_synopsis_section(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| if has_options { man.render_options_section(&mut page) } else { Ok(()) })
        .and_then(|()| if has_commands { man.render_subcommands_section(&mut page) } else { Ok(()) })
        .and_then(|()| after_help(after.as_deref().unwrap_or_default()).to_writer(&mut page))
        .and_then(|()| see_also(&name).to_writer(&mut page));
    written.expect("a vector takes every write");
    page
}

/// What follows the options: a paragraph that begins with `Heading:` is a section of its own, and lines stay as they are.
fn after_help(text: &str) -> Roff {
    let mut roff = Roff::new();
    let mut has_section = false;
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let mut lines = paragraph.lines().peekable();
        let heading =
            lines.peek().and_then(|line| line.strip_suffix(':')).filter(|line| !line.starts_with(' '));
        match heading {
            Some(heading) => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                lines.next();
            }
            None if has_section => {
                roff.control("PP", []);
            }
            None => {
                roff.control("SH", ["NOTES"]);
            }
        }
        has_section = true;
        let is_text = heading.is_none() && lines.clone().all(|line| !line.starts_with(' '));
        if is_text {
            roff.text([roman(lines.collect::<Vec<_>>().join(" "))]);
            continue;
        }
        roff.control("nf", []);
        for line in lines {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff
}

/// The pages of the commands above this one.
fn see_also(name: &str) -> Roff {
    let mut roff = Roff::new();
    if name == "swsync" {
        return roff;
    }
    roff.control("SH", ["SEE ALSO"]);
    let above = name.match_indices('-').map(|(at, _)| &name[..at]).take(if name.starts_with("swsync-lab-") {
        2
    } else {
        1
    });
    for (index, page) in above.enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        roff.text([roman(comma), bold(page), roman("(1)")]);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_and_tables_keep_their_lines() {
        let text = after_help("Examples:\n  swsync x --y\n  swsync z\n\ndocs/a.md says\nmore.").render();
        let lines: Vec<_> = text.lines().collect();
        let begin = lines.iter().position(|line| line.starts_with(".SH")).unwrap();
        assert_eq!(lines[begin], ".SH EXAMPLES");
        assert_eq!(lines[begin + 1..begin + 5], [".nf", "  swsync x \\-\\-y", "  swsync z", ".fi"]);
        assert_eq!(lines.last(), Some(&"docs/a.md says more."));
    }
}
