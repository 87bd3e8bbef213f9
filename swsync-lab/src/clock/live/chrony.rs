//! A real chronyd, in a temporary folder and without control of the host's clock.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, getuid, kill_process};
use swsync_core::ntp::{self, LEAP_UNSYNCHRONIZED, NtpTimestamp, Packet};
use swsync_core::time::{Rig, Timestamp};
use swsync_time::RigClock;
use tempfile::TempDir;

use super::following::{FollowingClock, MeasuredError, difference};

/// Debian installs it to /usr/sbin, which is not in every user's path.
const PROGRAMS: [&str; 2] = ["chronyd", "/usr/sbin/chronyd"];
/// Longest wait for an answer over loopback.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(20);

/// A chronyd that follows the leader, and serves its time on loopback.
pub struct Chronyd {
    child: Child,
    poll: i8,
    socket: UdpSocket,
    leader: Arc<RigClock>,
    folder: TempDir,
}

impl Chronyd {
    /// Follows the leader at `address`, whose clock is `leader`, with a request every 2^`poll` s. chronyd ends after `longest`, in
    /// case this process is killed.
    ///
    /// # Errors
    /// chronyd is not installed or cannot be started.
    pub fn start(
        address: SocketAddr,
        poll: i8,
        leader: &Arc<RigClock>,
        longest: Duration,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for chronyd")?;
        let (serving, asking) = (free_port()?, free_port()?);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = at("chrony.conf");
        // A fixed source port: the relay takes each source port for another client.
        let text = format!(
            "server {} port {} minpoll {poll} maxpoll {poll} iburst\n\
             acquisitionport {asking}\n\
             port {serving}\nbindaddress 127.0.0.1\nallow 127.0.0.0/8\n\
             cmdport 0\nbindcmdaddress /\npidfile {}\n",
            address.ip(),
            address.port(),
            at("chronyd.pid"),
        );
        std::fs::write(&config, text).context("cannot write chronyd's configuration")?;
        let child = spawn(&config, longest, File::create(at("log"))?)?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot open a UDP socket")?;
        socket.connect((Ipv4Addr::LOCALHOST, serving))?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { child, poll, socket, leader: leader.clone(), folder })
    }

    /// The leader's time according to chronyd, in the middle between receiving the request and sending the answer.
    fn ask(&self) -> Option<Timestamp<Rig>> {
        let cookie = NtpTimestamp(rand::random());
        let request = Packet { mode: ntp::MODE_CLIENT, transmit: cookie, ..Packet::default() };
        self.socket.send(&ntp::encode(&request)).ok()?;
        let mut buffer = [0; 1024];
        // Skips late answers to earlier requests.
        for _ in 0..3 {
            let length = self.socket.recv(&mut buffer).ok()?;
            let (answer, _) = ntp::decode(&buffer[..length]).ok()?;
            if answer.origin == cookie && answer.leap != LEAP_UNSYNCHRONIZED {
                let [receive, transmit] =
                    [answer.receive, answer.transmit].map(|stamp| stamp.to_rig(self.leader.now()));
                return Some(receive + (transmit - receive) / 2);
            }
        }
        None
    }

    /// If it has ended: why.
    fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        Some(format!("chronyd ended ({status}): {}", log.lines().last().unwrap_or("it said nothing")))
    }
}

/// A port that is free now.
fn free_port() -> anyhow::Result<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot open a UDP socket")?;
    Ok(socket.local_addr()?.port())
}

/// Starts chronyd: in the foreground, as this user, and without touching the host's clock.
fn spawn(config: &str, longest: Duration, log: File) -> anyhow::Result<Child> {
    for program in PROGRAMS {
        let mut command = Command::new(program);
        command.args(["-d", "-x", "-U", "-t", &longest.as_secs().to_string(), "-f", config]);
        if getuid().is_root() {
            command.args(["-u", "root"]); // the folder is this user's
        }
        // In its own process group, so that Ctrl-C reaches only this process, which then ends chronyd.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone()?);
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("cannot start chronyd"),
        }
    }
    bail!("not installed: `apt install chrony` (it need not run as a service)")
}

impl FollowingClock for Chronyd {
    fn name(&self) -> String {
        match self.poll {
            0 => "chrony, 1 s poll".into(),
            poll => format!("chrony, {} Hz", 1 << -poll),
        }
    }

    fn read(&mut self) -> Option<MeasuredError> {
        let error = difference(|| self.leader.now(), || self.ask())?;
        Some(MeasuredError { error, uncertainty: None })
    }

    fn problem(&mut self) -> Option<String> {
        self.ended()
    }
}

impl Drop for Chronyd {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM); // it may have ended
        let _ = self.child.wait();
    }
}
