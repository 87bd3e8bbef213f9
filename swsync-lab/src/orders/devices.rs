//! The rig: a pipeline per device, in a process that can be killed.

use std::fs::OpenOptions;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use swsync_core::name::Name;
use swsync_core::status::Status;
use swsync_rig::{RigConfig, Session};
use swsync_time::SIMULATED_CLOCK;

use super::args::Source;
use super::oracle;
use crate::simulated_device::SimulatedDevice;
use swsync_cli::rig_time::ReportedRigTime;

/// How long the first device may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long devices may take to be ready.
const READY: Duration = Duration::from_secs(90);
/// How long a device has to answer.
const ASK: Duration = Duration::from_secs(3);

/// H.264 encoders by preference: fast, with few key frames beyond those asked for, and in such quality that LEDs can be read.
const VIDEO_ENCODERS: [(&str, &str); 2] = [
    (
        "x264enc",
        "x264enc tune=zerolatency speed-preset=ultrafast pass=quant quantizer=16 key-int-max=60 ! \
         video/x-h264,profile=constrained-baseline",
    ),
    ("openh264enc", "openh264enc rate-control=quality bitrate=4000000 gop-size=60"),
];

/// The encoder for B-frames, which it outputs after the frames that they refer to.
const B_FRAME_ENCODER: (&str, &str) = (
    "x264enc",
    "x264enc bframes=2 b-adapt=false rc-lookahead=2 sync-lookahead=0 sliced-threads=true speed-preset=ultrafast \
     pass=quant quantizer=16 key-int-max=60 ! h264parse",
);

/// The devices to start.
#[derive(Debug, Clone, Copy, Default)]
pub struct RigSetup {
    /// How many, the leader among them.
    pub count: u16,
    /// Where their frames come from.
    pub source: Source,
    /// Whether they encode video, rather than pictures.
    pub video: bool,
    /// Whether video has frames that are coded from later ones.
    pub b_frames: bool,
    /// How many files of an order are kept, if not all.
    pub max_files: Option<u32>,
    /// Probability with which each frame is lost before it is encoded.
    pub drop: f64,
    /// Clocks and cameras follow from it.
    pub seed: u64,
}

/// The devices' processes. They are killed on drop.
pub struct Devices {
    out: PathBuf,
    setup: RigSetup,
    /// The elements between camera and sink.
    encoder: String,
    rig: String,
    control: String,
    time: String,
    children: Vec<Option<Child>>,
}

impl Devices {
    /// Starts all devices, the first as the leader.
    pub fn start(setup: RigSetup, out: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        // Both ports are free now, and taken at once.
        let control = swsync_rig::free_loopback()?;
        let time = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let mut devices = Self {
            out: out.to_owned(),
            setup,
            encoder: encoder(&setup)?,
            rig: format!("orders-{}", std::process::id()),
            control: format!("tcp/{control}"),
            time: time.to_string(),
            children: (0..setup.count).map(|_| None).collect(),
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

    /// The arguments of a command for this rig.
    pub fn rig_arguments(&self) -> [&str; 4] {
        ["--rig", &self.rig, "--connect", &self.control]
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
        let simulated = SimulatedDevice::of(self.setup.seed, u16::try_from(index)?);
        let camera = match self.setup.source {
            Source::Simulated => format!("swsyncsrc {}", simulated.camera()),
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
            command.env(SIMULATED_CLOCK, simulated.clock());
        }
        let child = command
            .args(line.split_whitespace())
            .arg(format!("location={}", self.out.join("takes").display()))
            .args(self.setup.max_files.map(|max| format!("max-files={max}")))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start gst-launch-1.0: is GStreamer installed?")?;
        self.children[index] = Some(child);
        Ok(())
    }

    /// Kills a device with SIGKILL.
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

    /// A session in the rig, to give orders.
    pub fn session(&self) -> anyhow::Result<Arc<Session>> {
        let config = RigConfig::new(Name::new(&*self.rig)?, Vec::new(), vec![self.control.clone()]);
        Ok(Session::visit(&config, START_TIMEOUT)?)
    }

    /// Waits until every device is ready for orders. Returns rig time.
    pub fn wait_until_ready(&mut self, session: &Session) -> anyhow::Result<ReportedRigTime> {
        let RigSetup { count, source, .. } = self.setup;
        let deadline = Instant::now() + READY;
        loop {
            self.check()?;
            let reports = session.statuses(ASK);
            let is_ready = |status: &Status| match source {
                Source::Simulated => swsync_core::status::Readiness::judge(status, None).is_ready(),
                Source::Test => status.frames.is_some(),
            };
            let ready = reports.iter().filter(|report| is_ready(&report.status)).count();
            if let (true, Some(clock)) = (ready == usize::from(count), ReportedRigTime::best(&reports)) {
                return Ok(clock);
            }
            if Instant::now() >= deadline {
                let out = self.out.display();
                bail!("{ready} of {count} devices are ready after {READY:?}; logs are in {out}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// The elements between the cameras and the sinks.
fn encoder(setup: &RigSetup) -> anyhow::Result<String> {
    let encoder = if setup.video {
        gst::init()?;
        let encoders: &[_] = if setup.b_frames { &[B_FRAME_ENCODER] } else { &VIDEO_ENCODERS };
        let found = encoders.iter().find(|(name, _)| gst::ElementFactory::find(name).is_some());
        let (_, encoder) = found.context(
            "no encoder of H.264 is installed: on Debian, install gstreamer1.0-plugins-ugly (x264enc) or \
             gstreamer1.0-plugins-bad (openh264enc)",
        )?;
        *encoder
    } else {
        "jpegenc"
    };
    // Frames are dropped before the encoder: a coded frame without its references could not be decoded.
    Ok(format!("identity drop-probability={} ! queue ! {encoder}", setup.drop))
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
