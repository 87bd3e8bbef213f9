use proptest::prelude::*;

use super::*;
use crate::time::Span;

const PIXEL_3: &str = r#"{"periodNs": 33320000, "goalPhaseNs": 7000000, "alignThresholdNs": 100000,
    "overheadNs": 200000, "minExposureNs": 33370000}"#;

fn micros(us: i64) -> Span {
    Span::from_micros(us)
}

/// The limits that libcamera derives from a mode: whole microseconds, truncated.
fn limits(mode: &SensorMode) -> FrameLimits {
    let truncated = |lines: u32| {
        let ns = Span::from_nanos_f64(f64::from(lines) * mode.line_time_ns).as_nanos();
        micros(ns / 1_000)
    };
    FrameLimits { min: truncated(mode.min_lines), max: truncated(mode.max_lines) }
}

#[test]
fn every_shipped_profile_is_complete() {
    for name in shipped_models() {
        let profile = shipped(name).unwrap();
        assert_eq!(profile.model, name);
        assert_eq!(profile.stamped_at, StampedAt::ReadoutStart, "{name}");
        assert!(!profile.modes.is_empty() && profile.sources.len() >= 4, "{name}");
        let again = CameraProfile::from_json(&profile.to_json()).unwrap();
        assert_eq!(again, profile);
        for mode in &profile.modes {
            assert!(mode.min_lines * 2 > mode.height, "{name} {mode:?}");
            let readout = f64::from(mode.height) * mode.row_time_ns.unwrap_or(mode.line_time_ns);
            let shortest = f64::from(mode.min_lines) * mode.line_time_ns;
            assert!(readout < shortest, "{name} {mode:?}: a frame is read out before the next begins");
        }
    }
    assert_eq!(shipped_models().count(), 6);
}

#[test]
fn shipped_profiles_match_the_drivers() {
    let delays = |model| {
        let Delays { exposure, vblank, gain } = shipped(model).unwrap().delays;
        (exposure, vblank, gain)
    };
    assert_eq!(delays("imx219"), (2, 2, 1));
    assert_eq!((delays("imx477"), delays("imx708")), ((2, 3, 2), (2, 3, 2)));
    assert_eq!((delays("imx296"), delays("ov5647"), delays("ov9281")), ((2, 2, 2), (2, 2, 2), (2, 2, 2)));
    let shutter = |model| shipped(model).unwrap().shutter;
    assert_eq!((shutter("imx296"), shutter("ov9281")), (Shutter::Global, Shutter::Global));
    assert_eq!((shutter("ov5647"), shutter("imx708")), (Shutter::Rolling, Shutter::Rolling));
    let line = |model, width, height| {
        let modes = shipped(model).unwrap().modes;
        modes.iter().find(|m| (m.width, m.height) == (width, height)).unwrap().line_time_ns
    };
    // Pixels a line over pixels a second.
    assert!((line("imx219", 1920, 1080) - 3448.0 / 0.1824).abs() < 1e-3);
    assert!((line("imx477", 2028, 1080) - 12_740.0 / 0.84).abs() < 1e-3);
    assert!((line("imx708", 2304, 1296) - 7_824.0 / 0.5856).abs() < 1e-3);
    assert!((line("imx296", 1456, 1088) - 1_100.0 / 0.074_25).abs() < 1e-3);
    assert!((line("ov5647", 1296, 972) - 1_896.0 / 0.081_666_7).abs() < 1e-3);
    assert!((line("ov9281", 1280, 800) - 1_456.0 / 0.16).abs() < 1e-3);
}

#[test]
fn variants_use_their_base_model_and_unknown_models_libcameras_defaults() {
    assert_eq!(CameraProfile::of_model("imx708_wide_noir").model, "imx708");
    assert_eq!(CameraProfile::of_model("IMX219"), shipped("imx219").unwrap());
    let stranger = CameraProfile::of_model("imx999");
    assert_eq!(stranger, CameraProfile::unknown("imx999"));
    assert_eq!(stranger.delays, Delays { exposure: 2, vblank: 2, gain: 1 });
    // A camera's name may be any text, and it becomes a file name.
    assert_eq!(base_model("../../etc/passwd"), "etcpasswd");
    assert_eq!(base_model("HD Webcam C270: 046d"), "hdwebcamc270046d");
}

#[test]
fn a_mode_is_known_by_its_shortest_frame() {
    for name in shipped_models() {
        let profile = shipped(name).unwrap();
        for mode in &profile.modes {
            let found = profile.mode_by_limits(limits(mode)).unwrap();
            assert!(
                (found.line_time_ns / mode.line_time_ns - 1.0).abs() < 1e-4,
                "{name}: {found:?} {mode:?}"
            );
            assert_eq!((found.width, found.height), (mode.width, mode.height), "{name}");
        }
    }
    let imx219 = shipped("imx219").unwrap();
    // Older kernels have 4 blanking lines: 1084 lines.
    let older = FrameLimits { min: micros(20_491), max: micros(1_238_841) };
    assert_eq!(imx219.mode_by_limits(older).unwrap().height, 1080);
    // Four lanes at 280.8 MHz: an unknown mode.
    let four_lanes = FrameLimits { min: micros(13_654), max: micros(804_723) };
    assert_eq!(imx219.mode_by_limits(four_lanes), None);
    assert_eq!(CameraProfile::unknown("imx219").mode_by_limits(older), None);
}

#[test]
fn libcameras_line_time_is_preferred() {
    let imx477 = shipped("imx477").unwrap();
    // IMX477: the longest frame has longer lines, so it does not tell the line time.
    let found = imx477.mode_by_limits(FrameLimits { min: micros(19_989), max: micros(694_434_742) }).unwrap();
    assert!((found.line_time_ns - 15_166.666_7).abs() < 1e-9);
    // A clock 0.1 % slow.
    let mut slow = shipped("imx708").unwrap().modes[1].clone();
    slow.line_time_ns *= 1.001;
    let found = shipped("imx708").unwrap().mode_by_limits(limits(&slow)).unwrap();
    assert!((found.line_time_ns / slow.line_time_ns - 1.0).abs() < 1e-6, "{found:?}");
}

#[test]
fn from_the_stamp_to_the_middle_of_the_exposure() {
    let imx219 = shipped("imx219").unwrap();
    let rolling = imx219.readout(&imx219.modes[1]);
    let exposure = Span::from_millis(10);
    let start = |stamped_at: StampedAt, readout| stamped_at.to_exposure_start(exposure, readout).as_nanos();
    assert_eq!(start(StampedAt::ReadoutStart, Some(&rolling)), -10_000_000);
    assert_eq!(start(StampedAt::ExposureStart, Some(&rolling)), 0);
    // 1080 rows of 18 903.5 ns.
    assert_eq!(start(StampedAt::FrameEnd, Some(&rolling)), -10_000_000 - 20_415_790);
    assert_eq!(start(StampedAt::FrameEnd, None), -10_000_000);
    // 5 ms and 539.5 rows after the start.
    assert_eq!(rolling.exposure_middle(exposure).as_nanos(), 5_000_000 + 10_198_443);
    // With a global shutter, the middle of the exposure is the same for all rows. They are read out one by one.
    let imx296 = shipped("imx296").unwrap();
    let global = imx296.readout(&imx296.modes[0]);
    assert_eq!(global.exposure_middle(exposure).as_nanos(), 5_000_000);
    assert_eq!(start(StampedAt::FrameEnd, Some(&global)), -10_000_000 - 16_118_519);
}

#[test]
fn binned_rows_follow_each_other_twice_a_line() {
    let imx219 = shipped("imx219").unwrap();
    let mode = imx219.mode_by_limits(FrameLimits { min: micros(12_335), max: micros(1_279_082) }).unwrap();
    assert_eq!((mode.width, mode.height), (1640, 1232));
    let readout = imx219.readout(&mode);
    assert!((2.0 * readout.row_time_ns - mode.line_time_ns).abs() < 0.1, "{readout:?}");
}

#[test]
fn a_file_changes_what_it_names() {
    let shipped = shipped("imx477").unwrap();
    let text = r#"{"model": "imx477", "delays": {"exposure": 2, "vblank": 2, "gain": 2}}"#;
    let changed = shipped.overridden_by(text).unwrap();
    assert_eq!(changed.delays.vblank, 2);
    assert_eq!((changed.modes, changed.sources), (shipped.modes.clone(), shipped.sources.clone()));
    let error = |text: &str| shipped.overridden_by(text).unwrap_err().to_string();
    assert_eq!(error(r#"{"model": "imx219"}"#), "this is the profile of imx219, not of imx477");
    assert!(error(r#"{"modle": "imx477"}"#).contains("unknown field `modle`"));
    assert!(error(r#"{"delays": {"exposure": 2}}"#).contains("missing field `vblank`"));
    assert!(error("[]").contains("expected an object"));
    assert!(error("{").contains("not a camera profile"));
}

#[test]
fn implausible_values_are_refused_with_the_field() {
    let error = |text: &str| CameraProfile::from_json(text).unwrap_err().to_string();
    assert!(error(r#"{"model": "../x"}"#).contains(r#"model is "../x""#));
    assert!(error(r#"{"model": ""}"#).contains("expected the sensor's name"));
    let delays = r#"{"model": "x", "delays": {"exposure": 2, "vblank": 99, "gain": 1}}"#;
    assert_eq!(error(delays), "delays.vblank is 99, which no camera has: expected 0 to 16 frames");
    let mode = r#"{"model": "x", "modes": [{"width": 4, "height": 3, "line_time_ns": 0, "min_lines": 9, "max_lines": 99}]}"#;
    assert_eq!(
        error(mode),
        "line_time_ns of the mode 4x3 is 0, which no camera has: expected 10 ns to 10 ms"
    );
    let zero = PIXEL_3.replace("33320000", "0");
    let error = PhaseConfig::from_json(&zero).unwrap_err().to_string();
    assert_eq!(error, "period_ns is 0, which no camera has: expected 0.1 ms to 100 s");
}

#[test]
fn libsoftwaresyncs_files_are_imported() {
    let imported = PhaseConfig::from_json(PIXEL_3).unwrap().response();
    assert_eq!(imported.periods, 2);
    let crate::align::exposure_response::ExposureResponse { slope, overhead_ns, min_exposure_ns, .. } =
        imported.response;
    // Its formula: an exposure of T + d/2 - overhead shifts by 2T + d.
    let d = 5e6;
    let exposure = imported.period_ns + d / 2.0 - overhead_ns;
    assert!((slope * (exposure + overhead_ns) - 2.0 * imported.period_ns - d).abs() < 1e-3);
    assert!((min_exposure_ns - 33.37e6).abs() < 1e-3);
}

#[test]
fn a_response_belongs_to_its_frame_rate() {
    let mut profile = CameraProfile::unknown("pixel3");
    let at_30 = PhaseConfig::from_json(PIXEL_3).unwrap().response();
    let at_60 = MeasuredResponse { period_ns: 16_660_000.0, periods: 1, ..at_30.clone() };
    profile.set_response(at_30.clone());
    profile.set_response(at_60.clone());
    assert_eq!(profile.response_at(micros(33_333)), Some(&at_30));
    assert_eq!(profile.response_at(micros(16_667)), Some(&at_60));
    assert_eq!(profile.response_at(micros(20_000)), None);
    let anew = MeasuredResponse { period_ns: 33_333_333.0, injections: 40, ..at_30 };
    profile.set_response(anew.clone());
    assert_eq!(profile.responses, [at_60, anew]);
    assert_eq!(CameraProfile::from_json(&profile.to_json()).unwrap(), profile);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}", name in "[a-z_]{1,12}", value in ".{0,30}") {
        let _ = CameraProfile::from_json(&text);
        let _ = PhaseConfig::from_json(&text);
        let _ = CameraProfile::unknown("x").overridden_by(&format!("{{\"{name}\": {value}}}"));
        let model = base_model(&text);
        prop_assert!(!model.contains('/') && !model.starts_with('.'));
        prop_assert_eq!(base_model(&model), model);
    }
}
