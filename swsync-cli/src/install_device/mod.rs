//! `swsync install-device`: writes the configuration of a camera's service, and starts it.

mod answers;
mod key;
mod pipeline;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use swsync_client::settings::{self, Setting};
use swsync_core::name::Name;

use crate::error_report::failure;
use crate::output;
use answers::Answers;
use pipeline::{Encoder, Pipeline};

/// Make this computer a camera of a rig: a service that starts with it.
///
/// Asks what it must, and writes /etc/swsync/config.toml (which rig) and /etc/swsync/device.d/NAME.conf (which pipeline). A second
/// camera of one computer takes another NAME.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct InstallDeviceArgs {
    /// Name of the service: swsync-device@NAME.
    #[arg(default_value = "camera")]
    name: Name,
    /// Take the default for everything that is not given, and ask nothing.
    #[arg(long, short)]
    yes: bool,
    /// Name of the rig. [default: swsync]
    #[arg(long, value_name = "NAME")]
    rig: Option<Name>,
    /// File of the rig's key. It is copied to /etc/swsync/rig.key, which only root and the service can read.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A device of the rig to connect to, where the network has no multicast: tcp/HOST:PORT.
    #[arg(long, value_name = "ENDPOINT")]
    connect: Option<String>,
    /// Id of the device. [default: the host's name, told apart by the board's serial number if it is `raspberrypi` or the like; with
    /// NAME behind it for a further camera]
    #[arg(long, value_name = "ID")]
    device_id: Option<Name>,
    /// The camera, as `swsync cameras` names it. [default: the first]
    #[arg(long, value_name = "CAMERA", value_parser = pipeline::quotable)]
    camera: Option<String>,
    /// Size of the frames. [default: 1920x1080]
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = pipeline::size)]
    size: Option<(u32, u32)>,
    /// Frames per second; the same on all devices. [default: 30]
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1..=1000))]
    fps: Option<u32>,
    /// How frames are saved. [default: jpeg]
    #[arg(long, value_enum)]
    encoder: Option<Encoder>,
    /// Where takes go. [default: /var/lib/swsync/takes]
    #[arg(long, value_name = "FOLDER")]
    location: Option<PathBuf>,
    /// A simulated camera, to try things with.
    #[arg(long, conflicts_with = "camera")]
    simulated: bool,
    /// Overwrite a configuration of this name.
    #[arg(long)]
    force: bool,
    /// Write the configuration, but neither enable nor start the service.
    #[arg(long)]
    no_start: bool,
    /// Write below this folder: the root of a card's file system, for instance.
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
}

const AFTER_HELP: &str = "\
Examples:
  sudo swsync install-device                          # asks
  sudo swsync install-device --yes --rig stage        # a script, on each of a hundred boards
  sudo swsync install-device left --camera /base/...  # the first of two cameras
  swsync install-device --yes --rig stage --root /media/rootfs --no-start    # onto a card

Exit codes:
  0  the configuration is written, and the service was started unless --no-start
  1  it is there already, could not be written, nobody answers the questions, or the service does not start
  2  wrong arguments";

/// Runs the command.
///
/// # Errors
/// A file cannot be written, there is one already, or the service does not start.
pub fn run(args: &InstallDeviceArgs) -> anyhow::Result<ExitCode> {
    let file = below(&args.root, &format!("etc/swsync/device.d/{}.conf", args.name));
    if file.exists() && !args.force {
        let remedy = "give --force to overwrite it, or another NAME for a second camera";
        return Err(failure(format!("{} is there already", file.display()), remedy));
    }
    let mut answers = Answers::new(args.yes)?;
    let is_further = is_further_camera(&file);
    let (settings, id) = settings(args, is_further, &mut answers)?;
    let pipeline = Pipeline {
        device_id: is_further.then_some(id),
        camera: args.camera.clone(),
        simulated: args.simulated,
        size: answers.value(
            "size of the frames",
            args.size.map(pipeline::size_text),
            "1920x1080",
            pipeline::size,
        )?,
        fps: answers.value("frames per second", args.fps.map(|it| it.to_string()), "30", pipeline::rate)?,
        encoder: answers.value(
            "save frames as jpeg, h264-pi4 (its encoder) or h264 (in software)",
            args.encoder.and_then(|it| Some(it.to_possible_value()?.get_name().to_owned())),
            "jpeg",
            |text| Encoder::from_str(text, true),
        )?,
        location: answers.value(
            "folder for takes",
            args.location.as_ref().map(|it| it.display().to_string()),
            "/var/lib/swsync/takes",
            pipeline::location,
        )?,
    };
    let config = below(&args.root, "etc/swsync/config.toml");
    if let Some(path) = &args.key_file {
        key::install(path, &args.root)?;
    }
    if !settings.is_empty() {
        settings::keep(&config, &settings)?;
        output::line(&format!("{}: {}", config.display(), named(&settings)));
    }
    swsync_files::write_whole(&file, pipeline.configuration().as_bytes())
        .with_context(|| format!("{} cannot be written (is this run with sudo?)", file.display()))?;
    output::line(&format!("{}: the pipeline", file.display()));
    let unit = format!("swsync-device@{}", args.name);
    if args.no_start {
        output::line(&format!("next: sudo systemctl enable --now {unit}"));
        return Ok(ExitCode::SUCCESS);
    }
    start(&unit, &args.name)
}

/// Whether the configuration `file` is not this computer's first. Then its device has an id of its own: `device-id` in config.toml is
/// for all of a computer's pipelines.
fn is_further_camera(file: &Path) -> bool {
    if let Ok(before) = std::fs::read_to_string(file) {
        return before.contains(pipeline::DEVICE_ID);
    }
    let entries = file.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    entries.into_iter().flatten().flatten().any(|it| it.path().extension().is_some_and(|it| it == "conf"))
}

/// Those of the rig's settings that are given or answered, and differ from the defaults; and the id of the device.
fn settings(
    args: &InstallDeviceArgs,
    is_further: bool,
    answers: &mut Answers,
) -> anyhow::Result<(Vec<(Setting, String)>, Name)> {
    let text = |name: &Option<Name>| name.as_ref().map(Name::to_string);
    let name = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
    let mut settings = Vec::new();
    // A further camera is in the rig of the first unless told otherwise.
    if !is_further || args.rig.is_some() {
        let rig = answers.value("name of the rig", text(&args.rig), swsync_client::DEFAULT_RIG, name)?;
        if rig.as_str() != swsync_client::DEFAULT_RIG {
            settings.push((Setting::Rig, rig.to_string()));
        }
    }
    if is_further && args.device_id.is_none() && args.root != Path::new("/") {
        return Err(failure(
            format!(
                "the id of a further camera begins with the name of its computer, which is not known below {}",
                args.root.display()
            ),
            "give --device-id",
        ));
    }
    let host = swsync_client::default_device_id();
    let default = if is_further { format!("{host}-{}", args.name) } else { host };
    let id = answers.value("id of this device", text(&args.device_id), &default, name)?;
    // Of a card that is written elsewhere the id is not known yet.
    if !is_further && id.as_str() != default {
        settings.push((Setting::DeviceId, id.to_string()));
    }
    if let Some(connect) = &args.connect {
        settings.push((Setting::Connect, connect.clone()));
    }
    if args.key_file.is_some() {
        settings.push((Setting::KeyFile, "rig.key".to_owned()));
    }
    Ok((settings, id))
}

fn named(settings: &[(Setting, String)]) -> String {
    let items: Vec<_> =
        settings.iter().map(|(setting, value)| format!("{setting} = {}", setting.shown(value))).collect();
    items.join(", ")
}

/// A path of the system, below `root`.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path)
}

/// Has systemd start the service, and with it every time.
fn start(unit: &str, name: &Name) -> anyhow::Result<ExitCode> {
    if !Path::new("/run/systemd/system").exists() {
        output::line(&format!("systemd does not run here. By hand: swsync-device {name}"));
        return Ok(ExitCode::SUCCESS);
    }
    let status = Command::new("systemctl").args(["enable", "--now", "--no-block", unit]).status();
    match status {
        Ok(status) if status.success() => {
            output::line(&format!(
                "{unit} is enabled and starts; journalctl -fu {unit} follows it, swsync status shows it"
            ));
            Ok(ExitCode::SUCCESS)
        }
        Ok(status) => Err(failure(
            format!("systemctl enable --now {unit} ended with {status}"),
            "journalctl -xe says why",
        )),
        Err(error) => {
            Err(failure(format!("systemctl cannot be run: {error}"), format!("start {unit} by hand")))
        }
    }
}
