use super::*;
use proptest::prelude::*;

fn at(nanos: i64) -> Timestamp<Host> {
    Timestamp::from_nanos(nanos)
}

fn start(model: SensorModel) -> Sensor {
    Sensor::new(model, 1, Skew::ZERO, at(5_000_000_000), Controls::default())
}

fn faultless() -> Sensor {
    start(SensorModel::imx219().without_faults())
}

fn duration(micros: i64) -> Controls {
    Controls { frame_duration: Some(Span::from_micros(micros)), exposure: None }
}

/// Lines from each of `n` frames to the next.
fn lengths(sensor: &mut Sensor, n: usize) -> Vec<u32> {
    (0..n).map(|_| sensor.next_frame().frame_length_lines).collect()
}

#[test]
fn the_start_up_delay_is_random() {
    let delays: Vec<i64> = (0..200)
        .map(|seed| {
            let mut sensor = Sensor::new(SensorModel::imx708(), seed, Skew::ZERO, at(0), Controls::default());
            sensor.next_frame().readout_start.as_nanos()
        })
        .collect();
    assert!(delays.iter().all(|ns| (600_000_000..833_400_000).contains(ns)));
    assert!(delays.iter().max() > Some(&790_000_000) && delays.iter().min() < Some(&610_000_000));
}

#[test]
fn a_free_running_frame_follows_the_registers() {
    let mut sensor = faultless();
    let (first, second) = (sensor.next_frame(), sensor.next_frame());
    assert_eq!((first.sequence, second.sequence), (0, 1));
    // 1763 lines of 18.9035 us
    assert_eq!(second.readout_start - first.readout_start, Span::from_nanos(33_326_885));
    assert_eq!(first.reported_frame_duration, Span::from_micros(33_326));
    // 100 us are 5.29 lines, so 5: 94.5 us, of which metadata says 94
    assert_eq!(first.exposure_lines, 5);
    assert_eq!(first.exposure, Span::from_nanos(94_518));
    assert_eq!(first.reported_exposure, Span::from_micros(94));
    assert_eq!(first.exposure_start_first_row + first.exposure, first.readout_start);
    assert_eq!(first.timestamp, first.readout_start);
    // readout of 1080 lines takes 20.4 ms, the ISP 5 ms or more
    assert!(first.delivered_at - first.readout_start > Span::from_micros(25_400));
    let rows = first.shutter(480);
    assert!((rows.timing.row_time_ns - 18_903.5 * 2.25).abs() < 1.0);
}

#[test]
fn fractions_of_nanoseconds_are_not_lost() {
    let mut sensor = faultless();
    let first = sensor.next_frame();
    let last = (0..30_000).map(|_| sensor.next_frame()).last().unwrap();
    let expected = Span::from_nanos_f64(30_000.0 * 1763.0 * 3448.0 / 0.1824);
    assert!((last.readout_start - first.readout_start - expected).abs() <= Span::from_nanos(2));
}

#[test]
fn a_fast_crystal_makes_short_lines() {
    let model = SensorModel::imx219().without_faults();
    let mut sensor = Sensor::new(model, 1, Skew::from_ppm(30.0), at(0), Controls::default());
    let (first, second) = (sensor.next_frame(), sensor.next_frame());
    assert_eq!(second.readout_start - first.readout_start, Span::from_nanos(33_325_886));
    assert_eq!(first.reported_frame_duration, Span::from_micros(33_326)); // metadata knows no skew
}

#[test]
fn vblank_changes_the_interval_two_frames_after_its_event() {
    let mut sensor = faultless();
    let first = sensor.next_frame();
    // Between the events of frames 0 and 1: written at 1, so FS(3) -> FS(4) is longer.
    sensor.queue_controls(first.delivered_at, duration(40_000));
    assert_eq!(lengths(&mut sensor, 4), [1763, 1763, 2116, 2116]); // frames 1 to 4; 2116 = trunc(40 ms)
}

#[test]
fn an_imx477_acts_one_frame_later() {
    let mut sensor = start(SensorModel::imx477().without_faults());
    let first = sensor.next_frame();
    let asked = Controls { exposure: Some(Span::from_millis(1)), ..duration(40_000) };
    sensor.queue_controls(first.delivered_at, asked);
    let frames: Vec<_> = (0..5).map(|_| sensor.next_frame()).collect();
    let lengths: Vec<_> = frames.iter().map(|frame| frame.frame_length_lines).collect();
    let exposures: Vec<_> = frames.iter().map(|frame| frame.exposure_lines).collect();
    assert_eq!(lengths, [2197, 2197, 2197, 2637, 2637]); // frames 1 to 5
    assert_eq!(exposures, [6, 6, 6, 65, 65]);
}

#[test]
fn one_long_frame_shifts_all_later_ones() {
    let mut sensor = faultless();
    let mut frame = sensor.next_frame();
    let before = frame.readout_start;
    for asked in [40_000, 33_327] {
        sensor.queue_controls(frame.delivered_at, duration(asked));
        frame = sensor.next_frame();
    }
    let after = (0..8).map(|_| sensor.next_frame()).last().unwrap();
    assert_eq!(after.sequence, 10);
    let lines = Span::from_nanos_f64((10.0 * 1763.0 + 353.0) * sensor.line_time_ns);
    assert!((after.readout_start - before - lines).abs() <= Span::from_nanos(1));
}

#[test]
fn a_late_push_makes_all_later_ones_late() {
    let mut sensor = faultless();
    let first = sensor.next_frame();
    sensor.queue_controls(first.delivered_at, duration(34_000)); // index 1
    sensor.queue_controls(first.delivered_at, duration(35_000)); // index 2
    let second = sensor.next_frame();
    sensor.queue_controls(second.delivered_at, duration(36_000)); // index 3, not 2
    assert_eq!(lengths(&mut sensor, 4), [1763, 1798, 1851, 1904]); // frames 2 to 5
}

#[test]
fn the_time_of_queueing_counts_not_the_order_of_calls() {
    let (mut early, mut late) = (faultless(), faultless());
    let now = early.next_frame().delivered_at;
    late.next_frame();
    early.queue_controls(now, duration(40_000));
    early.next_frame();
    late.next_frame(); // fetched before its delivery; the controls are queued during the wait
    late.queue_controls(now, duration(40_000));
    assert_eq!(lengths(&mut early, 5), lengths(&mut late, 5));
}

#[test]
fn frames_that_were_not_fetched_are_kept() {
    let mut sensor = faultless();
    let mut other = faultless();
    sensor.queue_controls(at(8_000_000_000), Controls::default());
    for _ in 0..100 {
        assert_eq!(sensor.next_delivery(), other.next_delivery());
        assert_eq!(sensor.next_frame(), other.next_frame());
    }
}

#[test]
fn requests_are_clamped() {
    let mut sensor = faultless();
    let first = sensor.next_frame();
    sensor.queue_controls(first.delivered_at, duration(1));
    sensor.next_frame();
    let second = sensor.next_frame();
    sensor.queue_controls(
        second.delivered_at,
        Controls { exposure: Some(Span::from_secs(1)), ..duration(9_000_000) },
    );
    let frames: Vec<_> = (0..6).map(|_| sensor.next_frame()).collect();
    let lengths: Vec<_> = frames.iter().map(|frame| frame.frame_length_lines).collect();
    assert_eq!(lengths, [1112, 1112, 65_535, 65_535, 65_535, 65_535]);
    // The first long exposure lies in the short interval before it, and is cut to fit there.
    let exposures: Vec<_> = frames.iter().map(|frame| frame.exposure_lines).collect();
    assert_eq!(exposures[1..4], [5, 1108, 52_900]);
}

#[test]
fn a_cut_exposure_returns_with_a_longer_frame() {
    let mut sensor = faultless();
    let mut push = |asked: Controls| {
        let now = sensor.next_frame().delivered_at;
        sensor.queue_controls(now, asked);
        (0..5).map(|_| sensor.next_frame().exposure_lines).last().unwrap()
    };
    assert_eq!(push(Controls { exposure: Some(Span::from_millis(36)), frame_duration: None }), 1759);
    assert_eq!(push(duration(40_000)), 1904);
}

#[test]
fn a_long_exposure_can_extend_the_previous_frame() {
    let model =
        SensorModel { long_exposure: LongExposure::ExtendFrame, ..SensorModel::imx219().without_faults() };
    let mut sensor = start(model);
    let first = sensor.next_frame();
    for exposure in [40_000, 100] {
        let asked = Controls { exposure: Some(Span::from_micros(exposure)), frame_duration: None };
        let now = sensor.next_frame().delivered_at;
        sensor.queue_controls(now, asked);
    }
    let frames: Vec<_> = (0..4).map(|_| sensor.next_frame()).collect();
    let lengths: Vec<_> = frames.iter().map(|frame| frame.frame_length_lines).collect();
    // Queued after frame 1: written at 2, exposing frame 4, so FS(3) -> FS(4) holds 2116 lines and 4.
    assert_eq!(frames[1].sequence, 4);
    assert_eq!(frames[1].exposure_lines, 2116);
    assert_eq!(lengths, [2120, 1763, 1763, 1763]);
    assert!(frames[1].exposure_start_first_row > frames[0].readout_start);
    assert_eq!(first.sequence, 0);
}

#[test]
fn faults_have_the_configured_frequency() {
    let mut sensor = start(SensorModel::imx219());
    let n = 50_000;
    let frames: Vec<_> = (0..n).map(|_| sensor.next_frame()).collect();
    let drops = i64::from(frames[n - 1].sequence) + 1 - 50_000;
    assert!((25..80).contains(&drops), "{drops}");
    let mut errors: Vec<i64> = frames.iter().map(|frame| frame.stamp_error.as_nanos()).collect();
    errors.sort_unstable();
    assert!(errors[n / 2].abs() < 200, "median {} ns", errors[n / 2]);
    let late = |limit: i64| errors.iter().filter(|&&error| error > limit).count();
    assert!((900..1250).contains(&late(25_000)), "{}", late(25_000)); // 2.1 % less the first 5 of 180 us
    assert!((30..75).contains(&late(210_000)), "{}", late(210_000));
    assert!(errors[0] > -25_000 && errors[n - 1] < 1_030_000);
}

#[test]
fn missed_writes_are_lost_or_late() {
    let (mut lost, mut late) = (0, 0);
    for seed in 0..20_000 {
        // Use a constant ISP latency: otherwise 2 % of the sets come after the next frame's start.
        let model = SensorModel {
            missed_write_probability: 0.2,
            isp_mean_excess: Span::ZERO,
            ..SensorModel::imx219().without_faults()
        };
        let mut sensor = Sensor::new(model, seed, Skew::ZERO, at(0), Controls::default());
        let now = sensor.next_frame().delivered_at;
        sensor.queue_controls(now, duration(40_000));
        match lengths(&mut sensor, 4)[..] {
            [1763, 1763, 2116, 2116] => {}
            [1763, 1763, 1763, 2116] => late += 1,
            [1763, 1763, 1763, 1763] => lost += 1,
            ref other => panic!("{other:?}"),
        }
    }
    assert!((1850..2150).contains(&lost) && (1850..2150).contains(&late), "{lost} lost, {late} late");
}

#[test]
fn android_stamps_the_start_of_exposure() {
    let model = SensorModel {
        timestamp_point: TimestampPoint::FirstRowExposure,
        ..SensorModel::imx219().without_faults()
    };
    let frame = start(model).next_frame();
    assert_eq!(frame.timestamp, frame.exposure_start_first_row);
}

proptest! {
    #[test]
    fn time_and_sequence_only_go_forward(
        seed: u64,
        asks in prop::collection::vec((0_i64..80_000, 0_i64..50_000, any::<bool>(), any::<bool>(), 0_i64..60_000), 1..40),
    ) {
        for (model, long_exposure) in SensorModel::presets().into_iter().zip([LongExposure::Cut, LongExposure::ExtendFrame, LongExposure::Cut]) {
            let model = SensorModel { long_exposure, drop_probability: 0.1, missed_write_probability: 0.1, ..model };
            let margin = model.exposure_margin;
            let mut sensor = Sensor::new(model, seed, Skew::from_ppm(20.0), at(0), Controls::default());
            let mut last: Option<SensorFrame> = None;
            for &(duration, exposure, with_duration, with_exposure, wait) in &asks {
                let peek = sensor.next_delivery();
                let frame = sensor.next_frame();
                prop_assert_eq!(peek, frame.delivered_at);
                prop_assert!(frame.delivered_at > frame.readout_start);
                if let Some(last) = last {
                    prop_assert!(frame.sequence > last.sequence);
                    prop_assert!(frame.readout_start > last.readout_start);
                    prop_assert!(frame.delivered_at >= last.delivered_at);
                    if frame.sequence == last.sequence + 1 {
                        // the reported frame length is the true one, and exposures fit
                        let lines = (frame.readout_start - last.readout_start).as_nanos_f64() / frame.line_time_ns;
                        prop_assert!((lines - f64::from(last.frame_length_lines)).abs() < 1e-3);
                        prop_assert!(frame.exposure_lines + margin <= last.frame_length_lines);
                    }
                }
                last = Some(frame);
                sensor.queue_controls(frame.delivered_at + Span::from_micros(wait), Controls {
                    frame_duration: with_duration.then(|| Span::from_micros(duration)),
                    exposure: with_exposure.then(|| Span::from_micros(exposure)),
                });
            }
        }
    }
}

/// Constant errors of one camera move its stamps and its exposures, and nothing else.
#[test]
fn a_camera_has_constant_errors_of_its_own() {
    let biased = |stamp_bias, exposure_reference| SensorModel {
        stamp_bias,
        exposure_reference,
        ..SensorModel::imx477()
    };
    let frames = |model| {
        let mut sensor = Sensor::new(model, 9, Skew::ZERO, Timestamp::ZERO, Controls::default());
        (0..50).map(|_| sensor.next_frame()).collect::<Vec<_>>()
    };
    let (bias, reference) = (Span::from_micros(11), Span::from_micros(-7));
    for (plain, own) in frames(biased(Span::ZERO, Span::ZERO)).iter().zip(frames(biased(bias, reference))) {
        let expected = SensorFrame {
            timestamp: plain.timestamp + bias,
            stamp_error: plain.stamp_error + bias,
            exposure_start_first_row: plain.exposure_start_first_row + reference,
            ..*plain
        };
        assert_eq!(own, expected);
    }
    let drawn: Vec<_> = (0..1_000).map(|camera| SensorModel::imx219().of_camera(5, camera)).collect();
    let range = |of: fn(&SensorModel) -> Span| {
        let spans = || drawn.iter().map(|model| of(model).as_micros_f64());
        (spans().fold(f64::MAX, f64::min), spans().fold(f64::MIN, f64::max))
    };
    let (stamp, reference) = (range(|model| model.stamp_bias), range(|model| model.exposure_reference));
    assert!(stamp.0 >= 0.0 && stamp.0 < 0.2 && stamp.1 > 14.8 && stamp.1 <= 15.0, "{stamp:?}");
    assert!(
        reference.0 >= -10.0 && reference.0 < -9.8 && reference.1 > 9.8 && reference.1 <= 10.0,
        "{reference:?}"
    );
    assert_ne!(SensorModel::imx219().of_camera(5, 3), SensorModel::imx219().of_camera(6, 3));
}
