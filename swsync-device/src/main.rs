//! The program `swsync-device`: the pipeline of a camera device, as a service.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use anyhow::Context as _;
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use swsync_device::config;
use swsync_device::device::{Device, Stop};

/// Runs the pipeline of a camera device until SIGTERM or SIGINT, which end its files well.
///
/// Under systemd (swsync-device@NAME.service) it is ready once frames flow, and the watchdog is fed by frames that go on flowing.
#[derive(Debug, Parser)]
#[command(name = "swsync-device", version)]
struct Args {
    /// NAME stands for /etc/swsync/device.d/NAME.conf; anything with a `/` in it is the path of a file.
    name: String,
    /// Reads the configuration and makes the pipeline, but does not start it.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match prepare(&args) {
        Err(error) => {
            eprintln!("swsync-device: {error:#}");
            ExitCode::from(2)
        }
        Ok(_) if args.check => ExitCode::SUCCESS,
        Ok(device) => match run(&device) {
            Err(error) => {
                eprintln!("swsync-device: {error:#}");
                ExitCode::FAILURE
            }
            Ok(()) => ExitCode::SUCCESS,
        },
    }
}

fn prepare(args: &Args) -> anyhow::Result<Device> {
    let config = config::read(&config::file(&args.name))?;
    gst::init().context("GStreamer does not start")?;
    Device::new(&config)
}

fn run(device: &Device) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, stops) = mpsc::channel();
    thread::Builder::new().name("signals".into()).spawn(move || {
        // Ends with the process, or when nobody listens any more.
        signals.forever().try_for_each(|_| sender.send(Stop))
    })?;
    device.run(&stops)
}
