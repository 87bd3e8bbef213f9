//! `swsync config show`: which rig the commands mean, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use swsync_client::settings::{RigSettings, Setting};

use crate::exit::{self, ErrorReport};
use crate::output::{self, warn};
use crate::rig::RigArgs;
use crate::table::{Align, Column, NOTHING, Table};

/// Show which rig is meant, how it is reached, and where each setting comes from. Does not use the network.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ConfigArgs {
    #[command(subcommand)]
    action: Option<Action>,
    /// `swsync config` alone is `swsync config show`.
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    Show(ShowArgs),
}

/// Show which rig is meant, how it is reached, and where each setting comes from. Does not use the network.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
struct ShowArgs {
    #[command(flatten)]
    rig: RigArgs,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Pipelines find the same settings, but for their own properties. A setting comes from the first of these that has it:
  arguments of the command; properties of swsync's elements; GstContext swsync.rig of an application
  SWSYNC_RIG, SWSYNC_CONNECT, SWSYNC_LISTEN, SWSYNC_KEY_FILE, SWSYNC_DEVICE_ID,
  SWSYNC_PATH_OFFSET
  a file: the one that SWSYNC_CONFIG names, else $XDG_CONFIG_HOME/swsync/config.toml (~/.config), else
  /etc/swsync/config.toml; under its older name, rig.toml, it is still read

Example of a file:
  rig = \"stage\"
  connect = [\"tcp/pi0.local:7447\", \"tcp/pi1.local:7447\"]
  key-file = \"rig.key\"        # beside this file
  path-offset = \"-41.5us\"    # of this device's clock, as `swsync measure` finds it

Exit codes:
  0  the settings can be used
  2  they cannot; the error says which and why";

/// The document of `swsync config show --json`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct ConfigDocument {
    rig: ShownSetting,
    connect: ShownSetting,
    listen: ShownSetting,
    key_file: ShownSetting,
    device_id: ShownSetting,
    path_offset: ShownSetting,
    /// The configuration file that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// What should be changed, for a person.
    notices: Vec<String>,
    /// Why the settings cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReport>,
}

/// A setting and where it comes from.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShownSetting {
    /// Its value, without what may be secret.
    value: Option<String>,
    /// Where it comes from, in words.
    from: String,
}

/// Runs the command.
///
/// # Errors
/// The settings cannot be used.
pub fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let ShowArgs { rig, json } = match &args.action {
        Some(Action::Show(show)) => show,
        None => &args.show,
    };
    let settings = rig.settings()?;
    let checked = check(&settings);
    if *json {
        output::json(&ConfigDocument::new(&settings, checked.as_ref().err().map(ErrorReport::of)));
    } else {
        lines(&settings).iter().for_each(|line| output::line(line));
    }
    notices(&settings).iter().for_each(|notice| warn(notice));
    Ok(match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::tell(&error),
    })
}

/// Whether commands and devices can use these settings.
fn check(settings: &RigSettings) -> anyhow::Result<()> {
    settings.visitor_config()?;
    settings.device()?;
    settings.path_offset()?;
    Ok(())
}

fn notices(settings: &RigSettings) -> Vec<String> {
    let renaming = settings.renaming();
    let notice = renaming.map(|(old, new)| {
        format!("the configuration file has its older name: mv {} {}", old.display(), new.display())
    });
    notice.into_iter().collect()
}

fn lines(settings: &RigSettings) -> Vec<String> {
    let column = |heading, width| Column { heading, width, align: Align::Left };
    let table = Table::new([column("setting", 11), column("value", 24), column("from", 7)]);
    let row = |setting: Setting| {
        let value = settings.shown(setting).unwrap_or_else(|| NOTHING.into());
        table.row(&[setting.to_string(), value, settings.origin(setting).to_string()])
    };
    [table.headings()].into_iter().chain(Setting::ALL.map(row)).collect()
}

impl ConfigDocument {
    fn new(settings: &RigSettings, error: Option<ErrorReport>) -> Self {
        let shown = |setting| ShownSetting {
            value: settings.shown(setting),
            from: settings.origin(setting).to_string(),
        };
        Self {
            rig: shown(Setting::Rig),
            connect: shown(Setting::Connect),
            listen: shown(Setting::Listen),
            key_file: shown(Setting::KeyFile),
            device_id: shown(Setting::DeviceId),
            path_offset: shown(Setting::PathOffset),
            file: settings.file().map(Into::into),
            notices: notices(settings),
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use swsync_client::settings::Origin;

    use super::*;

    #[test]
    fn every_setting_has_a_row_with_its_origin_and_no_secret() {
        let mut settings = RigSettings::default();
        settings.add(Setting::Rig, "stage", Origin::Environment("SWSYNC_RIG"));
        settings.add(
            Setting::Connect,
            "tcp/pi0:1#key=s3cret",
            Origin::File("/etc/swsync/config.toml".into()),
        );
        let lines = lines(&settings);
        assert_eq!(lines.len(), 1 + Setting::ALL.len());
        assert!(
            lines[1].starts_with("rig          stage ") && lines[1].ends_with("variable SWSYNC_RIG"),
            "{lines:?}"
        );
        assert!(
            lines[2].contains("tcp/pi0:1 ") && lines[2].ends_with("file /etc/swsync/config.toml"),
            "{lines:?}"
        );
        assert!(lines[3].starts_with("listen       -  ") && lines[3].ends_with("default"), "{lines:?}");
        let json = serde_json::to_value(ConfigDocument::new(&settings, None)).unwrap();
        assert_eq!(json["rig"], json!({ "value": "stage", "from": "environment variable SWSYNC_RIG" }));
        assert_eq!(json["key-file"]["value"], serde_json::Value::Null);
        assert!(Setting::ALL.iter().all(|setting| json[setting.name()]["from"].is_string()), "{json}");
        assert!(!format!("{lines:?}{json}").contains("s3cret"));
    }
}
