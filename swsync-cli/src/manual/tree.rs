//! The arguments of a program as data, so that one program can describe another's.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueHint};
use serde::{Deserialize, Serialize};

/// A command, its arguments and its subcommands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandTree {
    name: String,
    about: Option<String>,
    long_about: Option<String>,
    after_help: Option<String>,
    is_hidden: bool,
    needs_subcommand: bool,
    arguments: Vec<Argument>,
    subcommands: Vec<Self>,
}

/// An option, a flag or a positional argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Argument {
    id: String,
    short: Option<char>,
    long: Option<String>,
    help: Option<String>,
    long_help: Option<String>,
    heading: Option<String>,
    value_names: Vec<String>,
    defaults: Vec<String>,
    possible: Vec<String>,
    /// How many values it takes at least and at most. `None`: a flag.
    values: Option<(usize, usize)>,
    needs_equals: bool,
    is_repeatable: bool,
    is_required: bool,
    is_hidden: bool,
    is_global: bool,
    is_path: bool,
}

fn text(text: Option<&clap::builder::StyledStr>) -> Option<String> {
    text.map(ToString::to_string)
}

impl From<&Command> for CommandTree {
    fn from(command: &Command) -> Self {
        Self {
            name: command.get_name().to_owned(),
            about: text(command.get_about()),
            long_about: text(command.get_long_about()),
            after_help: text(command.get_after_long_help().or_else(|| command.get_after_help())),
            is_hidden: command.is_hide_set(),
            needs_subcommand: command.is_subcommand_required_set(),
            arguments: command.get_arguments().map(Argument::from).collect(),
            subcommands: command.get_subcommands().map(Self::from).collect(),
        }
    }
}

impl From<&Arg> for Argument {
    fn from(arg: &Arg) -> Self {
        let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        let given = arg.get_num_args().map(|range| (range.min_values(), range.max_values()));
        let positional_list = arg.is_positional() && matches!(arg.get_action(), ArgAction::Append);
        let usual = if positional_list { (1, usize::MAX) } else { (1, 1) };
        // clap has some for flags too.
        let (mut possible, mut value_names) = (Vec::new(), Vec::new());
        if takes_value {
            possible.extend(arg.get_possible_values().iter().map(|value| value.get_name().to_owned()));
            value_names.extend(arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string));
        }
        Self {
            id: arg.get_id().to_string(),
            short: arg.get_short(),
            long: arg.get_long().map(str::to_owned),
            help: text(arg.get_help()),
            long_help: text(arg.get_long_help()),
            heading: arg.get_help_heading().map(str::to_owned),
            value_names,
            defaults: arg.get_default_values().iter().map(|value| value.to_string_lossy().into()).collect(),
            possible,
            values: takes_value.then_some(given.unwrap_or(usual)),
            needs_equals: arg.is_require_equals_set(),
            is_repeatable: matches!(arg.get_action(), ArgAction::Append | ArgAction::Count),
            is_required: arg.is_required_set(),
            is_hidden: arg.is_hide_set(),
            is_global: arg.is_global_set(),
            is_path: !matches!(arg.get_value_hint(), ValueHint::Unknown | ValueHint::Other),
        }
    }
}

impl CommandTree {
    /// The subcommand of this name.
    pub fn subcommand(&self, name: &str) -> Option<&Self> {
        self.subcommands.iter().find(|subcommand| subcommand.name == name)
    }

    /// Puts `described` in place of the subcommand `name`, under that name, and with its one line of help.
    pub fn describe_subcommand(&mut self, name: &str, described: Self) {
        for subcommand in self.subcommands.iter_mut().filter(|subcommand| subcommand.name == name) {
            let about = subcommand.about.take().or_else(|| described.about.clone());
            *subcommand = Self { name: name.to_owned(), about, ..described.clone() };
        }
    }

    /// Removes hidden arguments and subcommands: generators of completions do not look whether something is hidden.
    pub fn remove_hidden(&mut self) {
        self.arguments.retain(|argument| !argument.is_hidden);
        self.subcommands.retain(|subcommand| !subcommand.is_hidden);
        self.subcommands.iter_mut().for_each(Self::remove_hidden);
    }

    /// The command, for completions and manual pages. It describes arguments, and parses none.
    ///
    /// Its texts live as long as the process, as clap wants them.
    pub fn into_command(self) -> Command {
        let mut command =
            Command::new(keep(self.name)).hide(self.is_hidden).subcommand_required(self.needs_subcommand);
        command = command.args(self.arguments.into_iter().map(Argument::into_arg));
        command = command.subcommands(self.subcommands.into_iter().map(Self::into_command));
        if let Some(about) = self.about {
            command = command.about(keep(about));
        }
        if let Some(about) = self.long_about {
            command = command.long_about(keep(about));
        }
        if let Some(help) = self.after_help {
            command = command.after_help(keep(help));
        }
        command
    }
}

impl Argument {
    fn into_arg(self) -> Arg {
        let action = match (self.values, self.is_repeatable) {
            (Some(_), true) => ArgAction::Append,
            (Some(_), false) => ArgAction::Set,
            (None, true) => ArgAction::Count,
            (None, false) => ArgAction::SetTrue,
        };
        let mut arg = Arg::new(keep(self.id)).action(action).required(self.is_required).hide(self.is_hidden);
        arg = arg.global(self.is_global).require_equals(self.needs_equals);
        if let Some(short) = self.short {
            arg = arg.short(short);
        }
        if let Some(long) = self.long {
            arg = arg.long(keep(long));
        }
        if let Some(help) = self.help {
            arg = arg.help(keep(help));
        }
        if let Some(help) = self.long_help {
            arg = arg.long_help(keep(help));
        }
        if let Some(heading) = self.heading {
            arg = arg.help_heading(keep(heading));
        }
        let Some((least, most)) = self.values else { return arg };
        arg = arg.num_args(least..=most);
        if !self.value_names.is_empty() {
            arg = arg.value_names(self.value_names.into_iter().map(keep));
        }
        if !self.possible.is_empty() {
            arg = arg.value_parser(PossibleValuesParser::new(self.possible.into_iter().map(keep)));
        }
        if !self.is_required {
            arg = arg.default_values(self.defaults.into_iter().map(keep));
        }
        if self.is_path { arg.value_hint(ValueHint::AnyPath) } else { arg }
    }
}

fn keep(text: String) -> &'static str {
    text.leak()
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Subcommand as _};

    use super::*;

    #[derive(Debug, clap::Args)]
    struct Example {
        /// Where.
        #[arg(value_name = "TAKE", required = true)]
        takes: Vec<std::path::PathBuf>,
        /// How long.
        ///
        /// And why.
        #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "5s")]
        arm: Option<String>,
        /// How.
        #[arg(short, long, default_value = "fast", value_parser = ["fast", "safe"], help_heading = "Rig")]
        kind: String,
        #[arg(long, hide = true)]
        secret: bool,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Commands {
        /// Export.
        Export(Example),
    }

    #[test]
    fn a_command_is_described_and_made_again() {
        let command =
            Commands::augment_subcommands(Example::augment_args(Command::new("x")).after_help("More."));
        let tree = CommandTree::from(&command);
        let text = serde_json::to_string(&tree).unwrap();
        let again = serde_json::from_str::<CommandTree>(&text).unwrap().into_command();
        assert_eq!(CommandTree::from(&again), tree);
        let help = |command: Command| command.color(clap::ColorChoice::Never).render_long_help().to_string();
        assert_eq!(help(again), help(command), "a person sees no difference");

        let mut whole =
            CommandTree::from(&Command::new("whole").subcommand(Command::new("x").about("Short")));
        whole.describe_subcommand("x", tree);
        whole.remove_hidden();
        let x = whole.subcommand("x").unwrap();
        assert_eq!((x.about.as_deref(), x.arguments.len()), (Some("Short"), 3), "without what is hidden");
        assert!(x.subcommand("export").is_some());
    }
}
