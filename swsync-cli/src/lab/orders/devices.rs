//! The rig: a pipeline for each device, in a process that can be killed.

use std::fs::OpenOptions;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use swsync_core::name::Name;
use swsync_rig::clock::SIMULATED_CLOCK;
use swsync_rig::control::{RigConfig, Session};

use super::{OrdersArgs, Source, oracle};
use crate::chance::Chance;

/// How long the first device may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Encoders of H.264 by preference, fast, and with few key frames that nobody asked for. Fine enough that LEDs can be read.
const VIDEO_ENCODERS: [(&str, &str); 2] = [
    (
        "x264enc",
        "x264enc tune=zerolatency speed-preset=ultrafast pass=quant quantizer=16 key-int-max=60 ! \
         video/x-h264,profile=constrained-baseline",
    ),
    ("openh264enc", "openh264enc rate-control=quality bitrate=4000000 gop-size=60"),
];

/// Devices, all of which end when this is dropped.
pub struct Devices {
    out: PathBuf,
    seed: u64,
    source: Source,
    /// What stands between camera and sink.
    encoder: String,
    rig: String,
    control: String,
    time: String,
    children: Vec<Option<Child>>,
}

impl Devices {
    /// Starts them, the first as the leader.
    pub fn start(args: &OrdersArgs, out: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        // Both are free now, and taken at once.
        let control = swsync_rig::free_loopback()?;
        let time = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let mut devices = Self {
            out: out.to_owned(),
            seed: args.seed,
            source: args.source,
            encoder: encoder(args)?,
            rig: format!("orders-{}", std::process::id()),
            control: format!("tcp/{control}"),
            time: time.to_string(),
            children: (0..args.devices).map(|_| None).collect(),
        };
        for index in 0..devices.children.len() {
            devices.restart(index)?;
        }
        Ok(devices)
    }

    /// Where files go.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Starts a device that does not run.
    pub fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        let log = self.out.join(format!("device{index}.log"));
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let (rig, control, time) = (&self.rig, &self.control, &self.time);
        let port = time.rsplit(':').next().unwrap_or_default();
        let (clock, reach) = match index {
            0 => (format!("role=leader bind-address=127.0.0.1 port={port}"), format!("listen={control}")),
            _ => {
                (format!("role=client leader={time} sync-timeout=60000000000"), format!("connect={control}"))
            }
        };
        let chance = Chance::of(self.seed, u16::try_from(index)?);
        let camera = match self.source {
            Source::Simulated => format!("swsyncsrc {}", chance.camera()),
            Source::Test => "videotestsrc is-live=true pattern=ball".into(),
        };
        let (rate, encoder) = (oracle::RATE, &self.encoder);
        let line = format!(
            "swsyncclock rig={rig} {reach} {clock} {camera} ! video/x-raw,width=160,height=120,framerate={rate}/1 ! \
             {encoder} ! swsyncsink rig={rig} {reach} device-id=device{index} ring-time=5000000000"
        );
        let mut command = Command::new("gst-launch-1.0");
        // The leader has the host's clock, so that rig time is known here.
        if index > 0 {
            command.env(SIMULATED_CLOCK, chance.clock());
        }
        let child = command
            .args(line.split_whitespace())
            .arg(format!("location={}", self.out.join("takes").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start gst-launch-1.0: is GStreamer installed?")?;
        self.children[index] = Some(child);
        Ok(())
    }

    /// Kills a device: no goodbyes.
    pub fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        if let Some(mut child) = self.children[index].take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Fails if a device has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        for (index, child) in self.children.iter_mut().enumerate() {
            if let Some(status) = child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("device{index} has ended ({status}); see {}/device{index}.log", self.out.display());
            }
        }
        Ok(())
    }

    /// A place in the rig's network, to order from.
    pub fn session(&self) -> anyhow::Result<Arc<Session>> {
        let config = RigConfig {
            rig: Name::new(&*self.rig)?,
            listen: Vec::new(),
            connect: vec![self.control.clone()],
        };
        Ok(Session::visit(&config, PATIENCE)?)
    }
}

/// What stands between the cameras and the sinks.
fn encoder(args: &OrdersArgs) -> anyhow::Result<String> {
    let encoder = if args.video {
        gst::init()?;
        let found = VIDEO_ENCODERS.iter().find(|(name, _)| gst::ElementFactory::find(name).is_some());
        let (_, encoder) = found.context(
            "no encoder of H.264 is installed: on Debian, install gstreamer1.0-plugins-ugly (x264enc) or \
             gstreamer1.0-plugins-bad (openh264enc)",
        )?;
        *encoder
    } else {
        "jpegenc"
    };
    // Lost before they are coded: what is coded builds on what came before.
    Ok(format!("identity drop-probability={} ! queue ! {encoder}", args.drop))
}

impl Drop for Devices {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // Fails if it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
