//! `swsync config`: which rig the commands mean, and why.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, json};
use swsync_client::settings::{RigSettings, Setting};

use crate::output;
use crate::rig::RigArgs;
use crate::table::{Align, Column, NOTHING, Table};

/// Show which rig is meant, how it is reached, and where each setting comes from. Does not use the network.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ConfigArgs {
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
  a file: SWSYNC_CONFIG, else $XDG_CONFIG_HOME/swsync/rig.toml (~/.config), else /etc/swsync/rig.toml

Example of a file:
  rig = \"stage\"
  connect = [\"tcp/pi0.local:7447\", \"tcp/pi1.local:7447\"]
  key-file = \"rig.key\"        # beside this file
  path-offset = \"-41.5us\"    # of this device's clock, as `swsync measure` finds it

Exit codes:
  0  the settings can be used
  2  they cannot; the error says which and why";

/// Runs the command.
///
/// # Errors
/// The settings cannot be used.
pub fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let settings = args.rig.settings()?;
    if args.json {
        output::line(&json(&settings).to_string());
    } else {
        lines(&settings).iter().for_each(|line| output::line(line));
    }
    settings.visitor_config()?;
    settings.device()?;
    settings.path_offset()?;
    Ok(ExitCode::SUCCESS)
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

fn json(settings: &RigSettings) -> serde_json::Value {
    let entry = |setting: Setting| {
        let from = settings.origin(setting).to_string();
        (setting.to_string(), json!({ "value": settings.shown(setting), "from": from }))
    };
    serde_json::Value::Object(Setting::ALL.into_iter().map(entry).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use swsync_client::settings::Origin;

    use super::*;

    #[test]
    fn every_setting_has_a_row_with_its_origin_and_no_secret() {
        let mut settings = RigSettings::default();
        settings.add(Setting::Rig, "stage", Origin::Environment("SWSYNC_RIG"));
        settings.add(Setting::Connect, "tcp/pi0:1#key=s3cret", Origin::File("/etc/swsync/rig.toml".into()));
        let lines = lines(&settings);
        assert_eq!(lines.len(), 1 + Setting::ALL.len());
        assert!(
            lines[1].starts_with("rig          stage ") && lines[1].ends_with("variable SWSYNC_RIG"),
            "{lines:?}"
        );
        assert!(
            lines[2].contains("tcp/pi0:1 ") && lines[2].ends_with("file /etc/swsync/rig.toml"),
            "{lines:?}"
        );
        assert!(lines[3].starts_with("listen       -  ") && lines[3].ends_with("default"), "{lines:?}");
        let json = json(&settings);
        assert_eq!(json["rig"], json!({ "value": "stage", "from": "environment variable SWSYNC_RIG" }));
        assert_eq!(json["key-file"]["value"], serde_json::Value::Null);
        assert!(!format!("{lines:?}{json}").contains("s3cret"));
    }
}
