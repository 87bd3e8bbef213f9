//! Tests of the GstClock while the rig's clock is slewed and stepped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use swsync_core::estimate::ClockEstimate;
use swsync_core::servo::Servo;
use swsync_core::time::{Offset, Skew};
use swsync_core::time_service::{ClockUpdate, Upstream};
use swsync_time::DeviceClock;

use super::*;

/// Only ever waited out by a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: gst::ClockTime = gst::ClockTime::from_seconds(3600);
const SOON: gst::ClockTime = gst::ClockTime::from_mseconds(30);

/// A clock that follows the estimates that a test gives it.
struct Driven {
    rig: Arc<RigClock>,
    servo: Servo,
    clock: SwsyncClock,
}

impl Driven {
    fn new() -> Self {
        gst::init().unwrap();
        let rig = Arc::new(RigClock::new(Arc::new(DeviceClock::real())));
        let servo = Servo::new(Skew::from_ppm(500.0), Span::from_millis(10));
        let clock = SwsyncClock::new("test", rig.clone());
        let mut driven = Self { rig, servo, clock };
        driven.correct(Span::from_secs(1_800_000_000), 0.0);
        driven.servo.rely();
        driven.clock.start();
        driven
    }

    /// Gives an estimate: rig time is `error` ahead of the clock's reading, and runs at `ppm`.
    fn correct(&mut self, error: Span, ppm: f64) {
        let now = self.rig.device().now();
        let reading = self.servo.map().map_or(Span::ZERO, |map| map.offset_at(now).as_span());
        let estimate = ClockEstimate {
            at: now,
            offset: Offset::from_span(reading + error),
            skew: Skew::from_ppm(ppm),
            uncertainty: Span::from_micros(10),
            skew_uncertainty: Skew::from_ppm(1.0),
            least_delay: Span::from_micros(100),
        };
        let adjustment = self.servo.update(now, &estimate);
        self.rig.follow(ClockUpdate {
            map: *self.servo.map().expect("updated"),
            estimate,
            adjustment: Some(adjustment),
            quality: SyncState::Synced,
            round_trip: Span::from_micros(100),
            upstream: Upstream {
                stratum: 1,
                reference_id: *b"TEST",
                root_delay: Span::ZERO,
                root_dispersion: Span::ZERO,
                field: None,
            },
        });
        self.clock.recheck();
    }
}

#[test]
fn time_never_goes_back_for_any_reader() {
    let mut driven = Driven::new();
    let newest = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let readings = [const { AtomicU64::new(0) }; 4];
    let read = |reader: usize, now: &dyn Fn() -> u64| {
        while !done.load(Ordering::Relaxed) {
            let seen = newest.load(Ordering::SeqCst);
            let now = now();
            assert!(now >= seen, "{} ns backwards", seen - now);
            newest.fetch_max(now, Ordering::SeqCst);
            readings[reader].fetch_add(1, Ordering::Relaxed);
        }
    };
    let (rig, clock) = (driven.rig.clone(), driven.clock.clone());
    let read_rig = || u64::try_from(rig.now().as_nanos()).unwrap();
    let read_gst = || clock.time().nseconds();
    std::thread::scope(|scope| {
        let sources: [&(dyn Fn() -> u64 + Sync); 4] = [&read_rig, &read_gst, &read_rig, &read_gst];
        let readers: Vec<_> = sources
            .into_iter()
            .enumerate()
            .map(|(reader, source)| scope.spawn(move || read(reader, source)))
            .collect();
        // Slews and steps, both ways, the steps up to 50 ms; until all readers have read often, or one has failed.
        let all_have_read = || readings.iter().all(|count| count.load(Ordering::Relaxed) > 1_000);
        for n in 0_i64.. {
            if n >= 3_000 && all_have_read() || readers.iter().any(|reader| reader.is_finished()) {
                break;
            }
            let error = (n * 7_919 % 1_001 - 500) * if n % 50 == 0 { 100_000 } else { 1_000 };
            driven.correct(Span::from_nanos(error), f64::from(i32::try_from(n % 801).unwrap() - 400));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(driven.servo.steps() > 30, "{}", driven.servo.steps());
}

#[test]
fn a_clock_reads_local_time_until_it_is_started() {
    gst::init().unwrap();
    let rig = Arc::new(RigClock::new(Arc::new(DeviceClock::real())));
    let clock = SwsyncClock::new("test", rig.clone());
    assert!(!clock.is_synced());
    // CLOCK_MONOTONIC counts from the machine's start.
    assert!(clock.time() < HOUR * 24 * 365 * 20);
    rig.lead(7);
    clock.start();
    assert!(clock.is_synced() && clock.time() > HOUR * 24 * 365 * 40);
}

/// The results of a wait for `at` in a thread of its own.
fn wait_for(clock: &SwsyncClock, at: gst::ClockTime) -> mpsc::Receiver<(bool, bool)> {
    let (tx, rx) = mpsc::channel();
    let clock = clock.clone();
    std::thread::spawn(move || {
        let (result, _) = clock.new_single_shot_id(at).wait();
        // The test may have failed already.
        let _ = tx.send((result == Ok(gst::ClockSuccess::Ok), clock.time() >= at));
    });
    rx
}

/// As [`wait_for`], asynchronously. The first result is whether the callback got the right time.
fn wait_async_for(clock: &SwsyncClock, at: gst::ClockTime) -> mpsc::Receiver<(bool, bool)> {
    let (tx, rx) = mpsc::channel();
    clock
        .new_single_shot_id(at)
        .wait_async(move |clock, time, _| {
            let _ = tx.send((time == Some(at), clock.time() >= at));
        })
        .unwrap();
    rx
}

#[test]
fn waits_end_when_a_step_passes_their_time() {
    let mut driven = Driven::new();
    let at = driven.clock.time() + HOUR;
    let waits = [wait_for(&driven.clock, at), wait_async_for(&driven.clock, at)];
    // Even if the thread does not wait yet, it must not take the hour.
    driven.correct(Span::from_secs(2 * 3600), 0.0);
    for wait in waits {
        let (_, in_time) = wait.recv_timeout(PATIENCE).unwrap();
        assert!(in_time);
    }
}

#[test]
fn an_ended_clock_runs_on_and_is_not_synced() {
    for by in [-3_600, 3_600] {
        let mut driven = Driven::new();
        let old = driven.clock.clone();
        let at = old.time() + SOON;
        let waits = [wait_for(&old, at), wait_async_for(&old, at)];
        old.end();
        driven.correct(Span::from_secs(by), 0.0);
        for wait in waits {
            let (_, in_time) = wait.recv_timeout(PATIENCE).unwrap();
            assert!(in_time);
        }
        assert!(old.time() < at + HOUR / 2);
        assert!(!old.is_synced());
        let status = status_of(old.upcast_ref());
        assert_eq!((status.quality, status.uncertainty_ns), (SyncState::Unsynced, None));
        // Another clock has the new time.
        let new = SwsyncClock::new("new", driven.rig.clone());
        new.start();
        let apart = rig_time(new.time()) - rig_time(old.time());
        assert!((apart - Span::from_secs(by)).abs() < Span::from_secs(10), "{apart:?}");
        assert_eq!(status_of(new.upcast_ref()).quality, SyncState::Synced);
    }
}

#[test]
fn waits_never_end_early() {
    let mut driven = Driven::new();
    for error in [-50, -3, 0, 3] {
        let at = driven.clock.time() + SOON;
        let waits = [wait_for(&driven.clock, at), wait_async_for(&driven.clock, at)];
        // Slewed by 3 ms either way, and stopped for 50 ms.
        driven.correct(Span::from_millis(error), -400.0);
        for wait in waits {
            let (_, in_time) = wait.recv_timeout(PATIENCE).unwrap();
            assert!(in_time, "{error} ms");
        }
    }
}

#[test]
fn a_wait_for_the_past_is_early() {
    let driven = Driven::new();
    let past = driven.clock.time().saturating_sub(SOON);
    let (result, jitter) = driven.clock.new_single_shot_id(past).wait();
    assert_eq!(result, Err(gst::ClockError::Early));
    assert!(jitter >= i64::try_from(SOON.nseconds()).unwrap(), "{jitter}");
    // An asynchronous wait fires at once.
    assert_eq!(wait_async_for(&driven.clock, past).recv_timeout(PATIENCE), Ok((true, true)));
}

#[test]
fn asynchronous_waits_fire_in_the_order_of_their_times() {
    let driven = Driven::new();
    let begin = driven.clock.time() + SOON;
    let (tx, rx) = mpsc::channel();
    for n in [2_u64, 0, 3, 1] {
        let tx = tx.clone();
        let id = driven.clock.new_single_shot_id(begin + gst::ClockTime::from_mseconds(n));
        id.wait_async(move |_, _, _| tx.send(n).unwrap()).unwrap();
    }
    let order: Vec<_> = (0..4).map(|_| rx.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn periodic_waits_keep_their_rhythm() {
    let driven = Driven::new();
    let (begin, interval) = (driven.clock.time() + SOON, gst::ClockTime::from_mseconds(7));
    let id = driven.clock.new_periodic_id(begin, interval);
    for n in 0..5 {
        // EARLY is right if the machine was too busy.
        let result = id.wait().0;
        assert!(matches!(result, Ok(_) | Err(gst::ClockError::Early)), "{result:?}");
        assert!(driven.clock.time() >= begin + interval * n);
    }
    let (tx, rx) = mpsc::channel();
    let begin = driven.clock.time() + SOON;
    let id = driven.clock.new_periodic_id(begin, interval);
    id.wait_async(move |clock, at, _| {
        // The test may be over.
        let _ = tx.send((at.unwrap(), clock.time()));
    })
    .unwrap();
    for n in 0..5 {
        let (at, now) = rx.recv_timeout(PATIENCE).unwrap();
        assert_eq!(at, begin + interval * n);
        assert!(now >= at);
    }
    id.unschedule();
    drop(id);
    // Until its callback, and the sender with it, is dropped.
    let last = std::iter::from_fn(|| Some(rx.recv_timeout(PATIENCE))).find_map(Result::err);
    assert_eq!(last, Some(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn unscheduled_waits_do_not_fire() {
    let driven = Driven::new();
    let at = driven.clock.time() + HOUR;
    let id = driven.clock.new_single_shot_id(at);
    let waiter = std::thread::spawn({
        let id = id.clone();
        move || id.wait().0
    });
    id.unschedule();
    assert_eq!(waiter.join().unwrap(), Err(gst::ClockError::Unscheduled));
    let (tx, rx) = mpsc::channel::<()>();
    let id = driven.clock.new_single_shot_id(at);
    id.wait_async(move |_, _, _| tx.send(()).unwrap()).unwrap();
    id.unschedule();
    drop(id);
    assert_eq!(rx.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn waits_end_when_the_clock_is_dropped() {
    let driven = Driven::new();
    let rx = wait_async_for(&driven.clock, driven.clock.time() + HOUR);
    let weak = driven.clock.downgrade();
    drop(driven);
    assert_eq!(rx.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    assert!(weak.upgrade().is_none());
}
