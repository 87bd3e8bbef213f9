//! Benchmarks of core, per packet and per frame.
//!
//! `./x bench -p swsync-core`

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, criterion_group, criterion_main};
use swsync_core::align::{Aligner, AlignerConfig, SensorTiming};
use swsync_core::estimate::{EstimatorConfig, EstimatorKind, Exchange};
use swsync_core::grid::FrameGrid;
use swsync_core::ntp::{self, Key, Packet, RigField, Trailer};
use swsync_core::time::{Span, Timestamp};
use swsync_core::time_service::{Identity, Server, ServerConfig, ServerStatus};

fn codec(c: &mut Criterion) {
    let packet = Packet { mode: ntp::MODE_SERVER, rig: Some(RigField::default()), ..Packet::default() };
    let bytes = ntp::encode(&packet);
    c.bench_function("ntp/encode", |b| b.iter(|| ntp::encode(black_box(&packet))));
    c.bench_function("ntp/decode", |b| b.iter(|| ntp::decode(black_box(&bytes)).is_ok()));
    let key = Key::new(1, &[0x5a; 16]).expect("16 bytes are a key");
    c.bench_function("ntp/encode+mac", |b| b.iter(|| ntp::encode(black_box(&packet)).sealed(&key)));
    let sealed = ntp::encode(&packet).sealed(&key);
    c.bench_function("ntp/decode+mac", |b| {
        b.iter(|| match ntp::decode(black_box(&sealed)) {
            Ok((_, Trailer::Mac(mac))) => mac.verifies(&key),
            other => unreachable!("a sealed packet has a MAC: {other:?}"),
        });
    });
}

/// The client's work per exchange: encode a request, decode its response, estimate.
fn per_packet(c: &mut Criterion) {
    let request = Packet { mode: ntp::MODE_CLIENT, rig: Some(RigField::default()), ..Packet::default() };
    let response = ntp::encode(&Packet { mode: ntp::MODE_SERVER, ..request });
    for (name, kind) in [("packet/min", EstimatorKind::Min), ("packet/track", EstimatorKind::Track)] {
        let mut estimator = EstimatorConfig { kind, ..EstimatorConfig::default() }.build();
        let mut i = 0;
        c.bench_function(name, |b| {
            b.iter(|| {
                i += 1;
                black_box(ntp::encode(black_box(&request)));
                black_box(ntp::decode(black_box(&response)).is_ok());
                estimator.handle_exchange(black_box(&exchange(i)))
            });
        });
    }
}

/// The server's work per request.
fn server(c: &mut Criterion) {
    let key = Key::new(1, &[0x5a; 16]).expect("16 bytes are a key");
    let identity = Identity { rig: 1, device: 2, timescale: 3 };
    let status = ServerStatus::leading(&identity, Timestamp::ZERO);
    let request =
        ntp::encode(&Packet { mode: ntp::MODE_CLIENT, rig: Some(RigField::default()), ..Packet::default() });
    let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (name, keys, request) in
        [("server/request", None, request), ("server/request+mac", Some(key.clone()), request.sealed(&key))]
    {
        let mut server =
            Server::new(ServerConfig { keys: keys.into_iter().collect(), ..ServerConfig::default() });
        let mut now = Timestamp::ZERO;
        c.bench_function(name, |b| {
            b.iter(|| {
                now += Span::from_millis(125); // within the rate limit
                server.handle_request(black_box(&request), from, now, now, &status)
            });
        });
    }
}

/// The `i`-th exchange of a series with 40 ms spacing and irregular delays of 0.9 to 2.9 ms.
fn exchange(i: i64) -> Exchange {
    let t1 = Timestamp::ZERO + Span::from_millis(40 * i);
    let delay = |salt: i64| Span::from_micros(900 + (i * 7919 + salt) % 2003);
    let rig = |t: Timestamp<_>| Timestamp::from_nanos(t.as_nanos() + 5_000_000_000);
    let there = t1 + delay(1);
    Exchange { t1, t2: rig(there), t3: rig(there), t4: there + delay(977) }
}

fn estimators(c: &mut Criterion) {
    for (name, kind) in [
        ("estimate/mean", EstimatorKind::Mean),
        ("estimate/min", EstimatorKind::Min),
        ("estimate/track", EstimatorKind::Track),
    ] {
        let mut estimator = EstimatorConfig { kind, ..EstimatorConfig::default() }.build();
        let mut i = 0;
        c.bench_function(name, |b| {
            b.iter(|| {
                i += 1;
                estimator.handle_exchange(black_box(&exchange(i)))
            });
        });
    }
}

fn aligner(c: &mut Criterion) {
    let grid = FrameGrid::new(30, 1).expect("30 fps is a rate");
    let sensor = SensorTiming {
        line_time_ns: 18_904.0,
        min_lines: 1112,
        max_lines: 65_535,
        nominal_lines: 1763,
        latency: 3,
        line_step: 1,
        exposure_margin: 4,
    };
    let mut aligner = Aligner::new(AlignerConfig::new(grid, sensor, Span::from_micros(20), 3));
    let mut sequence = 0;
    c.bench_function("align/frame", |b| {
        b.iter(|| {
            sequence += 1;
            aligner.handle_frame(sequence, black_box(grid.instant(sequence) + Span::from_micros(5)))
        });
    });
}

criterion_group!(benches, codec, estimators, per_packet, server, aligner);
criterion_main!(benches);
