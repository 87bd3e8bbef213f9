//! GStreamer's own network clocks follow `swsyncclock`.
//!
//! All clocks are on one device here, so that they can be compared. The bounds are those of a busy
//! machine, not of the clocks.

mod common;

use common::{PATIENCE, Pipeline, leader};
use gst::prelude::*;

/// The most by which two clocks may differ on a busy machine.
const BUSY: i64 = 20_000_000;

/// How far `a` is ahead of `b` in nanoseconds, by the fastest of many readings.
fn ahead(a: &gst::Clock, b: &gst::Clock) -> i64 {
    let nanos = |clock: &gst::Clock| i64::try_from(clock.time().nseconds()).unwrap();
    let readings = (0..200).map(|_| {
        let (before, a, after) = (nanos(b), nanos(a), nanos(b));
        (after - before, a - (before + (after - before) / 2))
    });
    readings.min_by_key(|(width, _)| *width).unwrap().1
}

/// Waits until `clock` is in sync and agrees with the leader's; it counts from `epoch` before 1970.
fn assert_follows(clock: &impl IsA<gst::Clock>, leader: &Pipeline, epoch: gst::ClockTime) {
    clock.wait_for_sync(PATIENCE).expect("it gets in sync");
    let leader = leader.element("c").provide_clock().unwrap();
    let epoch = i64::try_from(epoch.nseconds()).unwrap();
    // It may count as synced after a bad first exchange, and corrects that later.
    common::eventually("the clocks agree", || (ahead(clock.upcast_ref(), &leader) - epoch).abs() < BUSY);
    println!("{} ns from the leader", ahead(clock.upcast_ref(), &leader) - epoch);
}

#[test]
fn gst_ntp_clock_follows_a_leader() {
    let (leader, address) = leader();
    let (ip, port) = (address.ip().to_string(), i32::from(address.port()));
    let clock = gst_net::NtpClock::new(None, &ip, port, gst::ClockTime::ZERO);
    // GstNtpClock counts from NTP's epoch, 1900.
    assert_follows(&clock, &leader, gst::ClockTime::from_seconds(2_208_988_800));
}

#[test]
fn gst_net_client_clock_follows_any_swsyncclock() {
    // A port that is free just now.
    let free = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (leader, address) = leader();
    let port = free();
    let client = Pipeline::launch(&format!(
        "swsyncclock name=c role=client leader={address} burst=20 bind-address=127.0.0.1 net-time-provider={port}"
    ));
    client.reach(gst::State::Playing);
    let clock = gst_net::NetClientClock::new(None, "127.0.0.1", i32::from(port), gst::ClockTime::ZERO);
    assert_follows(&clock, &leader, gst::ClockTime::ZERO);

    let taken = Pipeline::launch(&format!("{} net-time-provider={port}", common::LEADER));
    let error = taken.try_reach(gst::State::Paused).unwrap_err();
    assert!(error.contains(&format!("net-time-provider={port}")), "{error}");
}
