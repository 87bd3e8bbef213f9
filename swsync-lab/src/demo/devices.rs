//! The demo's devices: processes, the clients each behind a relay, that end with the demo.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::relay::{Relay, RelayConfig};
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use swsync_core::name::Name;
use swsync_rig::settings::{CONFIG_VARIABLE, Setting};
use swsync_rig::{RigConfig, Session};
use swsync_sim::link::{Floors, LinkModel};
use swsync_time::SIMULATED_CLOCK;

use super::args::{Camera, DemoArgs};
use crate::simulated_device::SimulatedDevice;

/// How long a device may take to end after SIGINT: EOS, closing files, leaving the rig.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The rig's devices and relays. They end on drop.
pub struct DemoRig {
    devices: Vec<Device>,
    relays: Vec<Relay>,
    config: RigConfig,
}

/// A device's process.
struct Device {
    name: String,
    child: Child,
    log: PathBuf,
}

impl DemoRig {
    /// Starts the leader, and the clients behind their relays.
    pub fn start(args: &DemoArgs, out: &Path) -> anyhow::Result<Self> {
        let scripts = pipelines()?;
        if args.camera == Camera::Libcamera {
            let cameras = swsync_media::cameras::ids()?;
            check_enough(args.cameras, &cameras)?;
        }
        let logs = out.join("logs");
        std::fs::create_dir_all(&logs)?;
        // Both ports are free now. In the demo's own network namespace no other process can take them.
        let time: SocketAddr = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let control = format!("tcp/{}", swsync_rig::free_loopback()?);
        let config = RigConfig::new(
            Name::new(format!("demo-{}", std::process::id()))?,
            Vec::new(),
            vec![control.clone()],
        );
        let mut rig = Self { devices: Vec::new(), relays: Vec::new(), config };
        let launch = Launch { args, out, logs: &logs, rig: rig.config.rig.clone() };
        let mut leader = launch.command(0, scripts.join("leader.sh"));
        leader.env("SWSYNC_CLOCK", format!("bind-address=127.0.0.1 port={}", time.port()));
        launch.spawn(&mut rig, leader, "leader", &format!("listen={control}"))?;
        let floors = |device: u16| Floors::wifi(args.seed, device.into());
        for index in 1..args.cameras {
            let relay = Relay::spawn(&RelayConfig {
                listen: "127.0.0.1:0".parse()?,
                forward_to: time,
                link: LinkModel::wifi().between(floors(0), floors(index)),
                seed: args.seed.wrapping_mul(1_000).wrapping_add(u64::from(index)),
            })
            .context("cannot start a relay")?;
            let name = format!("client{index}");
            let mut client = launch.command(index, scripts.join("client.sh"));
            client.arg(relay.local_addr().to_string());
            client.env("SWSYNC_CLOCK", "sync-timeout=60000000000");
            launch.spawn(&mut rig, client, &name, &format!("connect={control}"))?;
            rig.relays.push(relay);
        }
        Ok(rig)
    }

    /// A session in the rig, to give orders. Waits for the leader to answer, until `deadline` at least.
    pub fn session(&mut self, deadline: Instant) -> anyhow::Result<Arc<Session>> {
        loop {
            self.check()?;
            match Session::visit(&self.config, Duration::from_secs(2)) {
                Ok(session) => return Ok(session),
                Err(_) if Instant::now() < deadline => {}
                Err(error) => {
                    return Err(anyhow::Error::new(error)
                        .context("the leader runs, and did not answer in time; --timeout waits longer"));
                }
            }
        }
    }

    /// Starts to serve the rig's page at `listen`. It ends with the demo.
    pub fn dashboard(&self, listen: SocketAddr) -> anyhow::Result<Child> {
        let program = swsync_cli::handover::find("swsync-dashboard");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(&program).arg("dashboard");
        command.args(["--listen", &listen.to_string(), "--rig", self.config.rig.as_str()]);
        command.args(["--connect", &self.config.connect.join(",")]).env(CONFIG_VARIABLE, "/dev/null");
        for setting in Setting::ALL {
            command.env_remove(setting.variable());
        }
        command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {}", program.display()))
    }

    /// Fails if a device has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.check_except(&mut BTreeSet::new())
    }

    /// Fails if a device has ended that is not among `known`, to which it then belongs.
    pub fn check_except(&mut self, known: &mut BTreeSet<String>) -> anyhow::Result<()> {
        for device in &mut self.devices {
            if !known.contains(&device.name)
                && let Some(status) = device.child.try_wait()?
            {
                known.insert(device.name.clone());
                bail!(
                    "{} has ended ({status}); its log {} ends:\n{}",
                    device.name,
                    device.log.display(),
                    tail(&device.log)
                );
            }
        }
        Ok(())
    }

    /// Interrupts all devices and waits until they have ended.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        for device in &self.devices {
            device.signal(Signal::INT);
        }
        let begun = Instant::now();
        for device in &mut self.devices {
            while begun.elapsed() < END_TIMEOUT && !device.has_ended() {
                std::thread::sleep(Duration::from_millis(20));
            }
            if !device.has_ended() {
                device.signal(Signal::KILL);
            }
            let _: std::io::Result<ExitStatus> = device.child.wait(); // its log has the reason, if it failed
        }
        self.devices.clear();
    }
}

impl Drop for DemoRig {
    fn drop(&mut self) {
        self.end();
    }
}

impl Device {
    fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // The process may have ended, but its id stays valid until it is waited for.
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
            eprintln!("{}: {error}", self.name);
        }
    }
}

/// The parameters of all devices of a demo.
struct Launch<'a> {
    args: &'a DemoArgs,
    out: &'a Path,
    logs: &'a Path,
    rig: Name,
}

impl Launch<'_> {
    /// The command of a device, without its network addresses.
    fn command(&self, index: u16, script: PathBuf) -> Command {
        let simulated = SimulatedDevice::of(self.args.seed, index);
        // The device ends with the demo, even if that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT", "--"]).arg(script);
        command.env("GST_DEBUG_NO_COLOR", "1").env_remove("SWSYNC_FORMAT");
        // A demo is a rig of its own.
        command.env(CONFIG_VARIABLE, "/dev/null");
        for setting in Setting::ALL {
            command.env_remove(setting.variable());
        }
        if std::env::var_os("GST_DEBUG").is_none() {
            command.env("GST_DEBUG", "swsync*:4,2");
        }
        let camera = match self.args.camera {
            Camera::Simulated => {
                command.env(SIMULATED_CLOCK, simulated.clock());
                simulated.camera()
            }
            // Each device has its own, by its index in libcamera's list: a camera has one user at a time.
            Camera::Libcamera => format!("backend=libcamera camera-name={index}"),
        };
        command.env("SWSYNC_CAMERA", camera);
        command
    }

    fn spawn(
        &self,
        rig: &mut DemoRig,
        mut command: Command,
        name: &str,
        network: &str,
    ) -> anyhow::Result<()> {
        let log = self.logs.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let sink = format!("device-id={name} rig={} location=\"{}\" {network}", self.rig, self.out.display());
        let child = command
            .env("SWSYNC_SINK", sink)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        rig.devices.push(Device { name: name.into(), child, log });
        Ok(())
    }
}

/// The folder with the pipelines' scripts, in the checkout or as installed.
fn pipelines() -> anyhow::Result<PathBuf> {
    let root = std::env::var_os("SWSYNC_ROOT").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let folder = root.join("pipelines");
    if !folder.join("leader.sh").is_file() {
        bail!(
            "there is no {}: run `./x demo`, or set SWSYNC_ROOT to swsync's folder",
            Path::new(&folder).join("leader.sh").display()
        );
    }
    Ok(folder)
}

/// Fails if there are more devices than `cameras`.
fn check_enough(devices: u16, cameras: &[String]) -> anyhow::Result<()> {
    if usize::from(devices) <= cameras.len() {
        return Ok(());
    }
    if cameras.is_empty() {
        bail!("libcamera finds no camera (`cam -l`); without --camera libcamera the demo simulates them");
    }
    let count = cameras.len();
    bail!(
        "{devices} devices take as many cameras, and libcamera finds {count}: {}. Use --cameras {count}, or fewer",
        cameras.join(", ")
    )
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| error.to_string());
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_is_slow_has_as_long_as_asked_for() {
        let port = swsync_rig::free_loopback().unwrap();
        let config = RigConfig::new(Name::new("slow").unwrap(), Vec::new(), vec![format!("tcp/{port}")]);
        let mut rig = DemoRig { devices: Vec::new(), relays: Vec::new(), config };
        let begun = Instant::now();
        let error = rig.session(begun + Duration::from_secs(3)).map(|_| ()).unwrap_err();
        assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
        assert!(format!("{error:#}").contains("--timeout waits longer: nothing answers at"), "{error:#}");
    }

    #[test]
    fn each_device_needs_a_camera_of_its_own() {
        let cameras = ["A".to_owned(), "B".to_owned()];
        assert!(check_enough(2, &cameras).is_ok());
        let few = check_enough(5, &cameras).unwrap_err().to_string();
        assert!(few.contains("finds 2: A, B") && few.contains("--cameras 2"), "{few}");
        assert!(check_enough(1, &[]).unwrap_err().to_string().contains("no camera"));
    }
}
