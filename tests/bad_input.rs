//! What users get wrong: said clearly, and at once. Devices that are there suffer from it in `shots`.

use std::path::Path;

use crate::process::free_port;
use crate::rig::Lab;

/// What `gst-launch-1.0` exits with where a pipeline does not start.
const FAILED: i32 = 255;

#[test]
fn a_leader_that_is_not_there_is_named() {
    let lab = Lab::shared();
    let nobody = format!("127.0.0.1:{}", free_port());
    let client = lab.client("client").simulated(1).follow(&nobody).clock("sync-timeout=1000000000");
    client.start().wait().assert_failed(FAILED, &["Not synchronized within 1s", &nobody, "sync-timeout"]);
}

#[test]
fn a_leader_that_has_no_address_is_named() {
    let lab = Lab::shared();
    let client = lab.client("client").simulated(1).follow("nobody.invalid").clock("sync-timeout=1000000000");
    client.start().wait().assert_failed(FAILED, &["nobody.invalid"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let lab = Lab::shared();
    let taken = std::net::UdpSocket::bind(lab.time_address()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    lab.leader().simulated(1).start().wait().assert_failed(FAILED, &[&address, "Choose another `port`"]);
}

#[test]
fn a_location_that_cannot_be_written_is_named() {
    let lab = Lab::shared();
    // Below a file, where not even root can write.
    let leader = lab.leader().simulated(1).location(Path::new("/dev/null/x"));
    leader.start().wait().assert_failed(FAILED, &["cannot write to /dev/null/x", "`location`"]);
}

#[test]
fn a_camera_that_is_not_there_is_named() {
    let lab = Lab::shared();
    let leader = lab.leader().camera("backend=libcamera camera-name=nope");
    leader.start().wait().assert_failed(FAILED, &["nope"]);
}

#[test]
fn a_broken_simulated_clock_is_named() {
    let lab = Lab::shared();
    let leader = lab.leader().simulated(1).env("SWSYNC_SIMULATED_CLOCK", "offset=soon");
    leader.start().wait().assert_failed(FAILED, &["SWSYNC_SIMULATED_CLOCK"]);
}
