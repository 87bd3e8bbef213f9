//! Mistakes of users: a pipeline that cannot start names the cause and the remedy at once.

use std::path::Path;

use crate::process::free_port;
use crate::rig::TestBed;

/// Exit code of `gst-launch-1.0` if a pipeline does not start.
const FAILED: i32 = 255;

#[test]
fn a_leader_that_does_not_answer_is_named() {
    let bed = TestBed::shared();
    let nobody = format!("127.0.0.1:{}", free_port());
    let client = bed.client("client").simulated(1).follow(&nobody).clock("sync-timeout=1000000000");
    client.start().wait().assert_failed(FAILED, &["Not synchronized within 1s", &nobody, "sync-timeout"]);
}

#[test]
fn a_leader_name_that_does_not_resolve_is_named() {
    let bed = TestBed::shared();
    let client = bed.client("client").simulated(1).follow("nobody.invalid").clock("sync-timeout=1000000000");
    client.start().wait().assert_failed(FAILED, &["nobody.invalid"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let bed = TestBed::shared();
    let taken = std::net::UdpSocket::bind(bed.time_address()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    bed.leader().simulated(1).start().wait().assert_failed(FAILED, &[&address, "Choose another `port`"]);
}

#[test]
fn a_location_that_cannot_be_written_is_named() {
    let bed = TestBed::shared();
    // A path below a file: not even root can write there.
    let leader = bed.leader().simulated(1).location(Path::new("/dev/null/x"));
    leader.start().wait().assert_failed(FAILED, &["cannot write to /dev/null/x", "`location`"]);
}

#[test]
fn a_camera_that_does_not_exist_is_named() {
    let bed = TestBed::shared();
    let leader = bed.leader().camera("backend=libcamera camera-name=nope");
    leader.start().wait().assert_failed(FAILED, &["nope"]);
}

#[test]
fn an_invalid_simulated_clock_is_named() {
    let bed = TestBed::shared();
    let leader = bed.leader().simulated(1).env("SWSYNC_SIMULATED_CLOCK", "offset=soon");
    leader.start().wait().assert_failed(FAILED, &["SWSYNC_SIMULATED_CLOCK"]);
}
