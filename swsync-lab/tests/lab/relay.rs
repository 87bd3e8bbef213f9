//! `swsync lab relay`.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Duration;

use swsync_cli::testing::Ran;

use crate::swsync_lab;

/// Generous: only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn a_relay_passes_datagrams_on() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(TIMEOUT)).unwrap();
    let to = server.local_addr().unwrap().to_string();
    let mut child = swsync_lab(&["relay", "--listen", "127.0.0.1:0", "--to", &to, "--link", "ideal"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.strip_prefix("relaying from ").unwrap().split(' ').next().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"hello", address).unwrap();
    let mut buffer = [0; 9];
    assert_eq!(server.recv_from(&mut buffer).unwrap().0, 5);

    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    let last = lines.next().unwrap().unwrap();
    assert!(last.starts_with("1 datagrams passed on ("), "{last}");

    let ran = Ran::of(&mut swsync_lab(&["relay", "--listen", "127.0.0.1:0", "--to", &to, "--link", "wlan"]));
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.stderr.contains("wifi-busy"), "{ran:#?}");
}
