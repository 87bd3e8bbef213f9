use proptest::prelude::*;

use super::*;
use crate::align::inject::{InjectConfig, Injector};
use crate::frame::LockState;
use crate::grid::FrameGrid;
use crate::testing::XorShift;
use crate::time::Timestamp;

const PERIOD: f64 = 33_333_333.3;

/// A camera whose exposures beyond its knee shift along a line.
#[derive(Debug, Clone)]
struct Camera {
    random: XorShift,
    slope: f64,
    overhead: f64,
    knee: f64,
    scatter: f64,
    jitter: f64,
    latency: u64,
    /// One in this number of injections is lost, and one in five times this number of frames.
    lossy: u64,
    ppm: f64,
    sequence: u64,
    start: f64,
    waiting: Vec<(u64, f64)>,
}

impl Camera {
    /// The paper's phone: exposures beyond the period shift.
    fn paper(seed: u64) -> Self {
        let mut camera = Self {
            random: XorShift::mixed(seed),
            slope: 2.0,
            overhead: 200_000.0,
            knee: PERIOD,
            scatter: 25_000.0,
            jitter: 3_000.0,
            latency: 3,
            lossy: 40,
            ppm: 17.0,
            sequence: 1_000,
            start: 5e12,
            waiting: Vec::new(),
        };
        camera.start += PERIOD * camera.random.uniform();
        camera
    }

    fn shift(&self, exposure: f64) -> f64 {
        if exposure < self.knee { 0.0 } else { self.slope * (exposure + self.overhead) }
    }

    fn frame(&mut self) -> (u64, Span) {
        loop {
            let sequence = self.sequence;
            self.sequence += 1;
            self.start += PERIOD * (1.0 + self.ppm * 1e-6);
            if let Some(at) = self.waiting.iter().position(|(frame, _)| *frame <= sequence) {
                let (_, exposure) = self.waiting.remove(at);
                let shift = self.shift(exposure);
                let scatter = if shift > 0.0 { self.scatter * self.random.normal() } else { 0.0 };
                self.start += shift + scatter;
            }
            let mut stamp = self.start + self.jitter * self.random.normal();
            if self.random.bits().is_multiple_of(50) {
                stamp += 150_000.0;
            }
            if !self.random.bits().is_multiple_of(5 * self.lossy) {
                return (sequence, Span::from_nanos_f64(stamp));
            }
        }
    }

    fn expose(&mut self, exposure: Span) {
        if !self.random.bits().is_multiple_of(self.lossy) {
            self.waiting.push((self.sequence - 1 + self.latency, exposure.as_nanos_f64()));
        }
    }
}

fn plan() -> CalibrationPlan {
    CalibrationPlan::new(Span::from_micros(33_333))
}

fn calibrate(camera: &mut Camera, plan: CalibrationPlan) -> (Calibration, usize) {
    let mut calibration = Calibration::new(plan).unwrap();
    for frame in 1..10_000 {
        let (sequence, time) = camera.frame();
        match calibration.handle_frame(sequence, time) {
            CalibrationStep::Wait => {}
            CalibrationStep::Expose(exposure) => {
                assert!(exposure <= plan.exposures.1 && exposure >= plan.exposures.0, "{exposure:?}");
                camera.expose(exposure);
            }
            CalibrationStep::Done => return (calibration, frame),
        }
    }
    panic!("no end: {:?}", calibration.progress());
}

#[test]
fn the_papers_phone_is_measured() {
    let mut camera = Camera::paper(1);
    let (calibration, frames) = calibrate(&mut camera, plan());
    let fit = calibration.finish().unwrap();
    assert!((fit.slope - 2.0).abs() < 4.0 * fit.slope_sigma && fit.slope_sigma < 0.001, "{fit:?}");
    assert!((fit.overhead_ns() - 200_000.0).abs() < 40_000.0, "{}", fit.overhead_ns());
    assert!((15_000.0..40_000.0).contains(&fit.scatter_ns), "{fit:?}");
    assert!((PERIOD..PERIOD + 120_000.0).contains(&fit.min_exposure_ns), "{fit:?}");
    assert_eq!((fit.periods(), calibration.progress().stage), (2, CalibrationStage::Done));
    assert!(frames < 1_500, "{frames}: less than a minute");
    let ppm = (calibration.period().as_nanos_f64() / PERIOD - 1.0) * 1e6;
    assert!((ppm - 17.0).abs() < 2.0, "{ppm}");
}

#[test]
fn an_ideal_camera_with_a_continuous_knee_is_measured() {
    // An exposure that does not fit into the frame less 4 lines of 18.9 us lengthens the frame by the difference.
    let mut camera = Camera::paper(2);
    (camera.slope, camera.overhead, camera.knee) = (1.0, 75_600.0 - PERIOD, PERIOD - 75_600.0);
    (camera.scatter, camera.lossy) = (5_000.0, 1 << 40);
    let (calibration, _) = calibrate(&mut camera, plan());
    let fit = calibration.finish().unwrap();
    assert!((fit.slope - 1.0).abs() < 4.0 * fit.slope_sigma, "{fit:?}");
    // The camera's own crystal changes the period by 17 ppm, 0.6 us.
    assert!((fit.overhead_ns() - 75_600.0).abs() < 15_000.0, "{}", fit.overhead_ns());
    assert_eq!(fit.periods(), 0);
    let above = fit.min_exposure_ns - camera.knee;
    assert!((-5_000.0..60_000.0).contains(&above), "{above}");
}

#[test]
fn lost_injections_are_repeated_and_ignored() {
    for seed in 0..20 {
        let mut camera = Camera::paper(seed);
        camera.lossy = 8;
        let (calibration, _) = calibrate(&mut camera, plan());
        let fit = calibration.finish().unwrap();
        assert!((fit.slope - 2.0).abs() < 5.0 * fit.slope_sigma, "{seed}: {fit:?}");
        assert!(fit.used >= 20, "{seed}: {fit:?}");
        let above = fit.min_exposure_ns - camera.knee;
        assert!((0.0..2_000_000.0).contains(&above), "{seed}: {above}");
    }
}

#[test]
fn a_camera_that_cuts_exposures_is_reported() {
    let mut camera = Camera::paper(3);
    camera.knee = f64::INFINITY;
    let (calibration, _) = calibrate(&mut camera, plan());
    let error = calibration.finish().unwrap_err().to_string();
    assert!(error.contains("shift nothing") && error.contains("100.0 ms"), "{error}");
}

#[test]
fn a_limit_of_the_exposure_is_reported() {
    let mut calibration = Calibration::new(plan()).unwrap();
    let mut camera = Camera::paper(4);
    camera.lossy = 1 << 40;
    for _ in 0..5_000 {
        let (sequence, time) = camera.frame();
        match calibration.handle_frame(sequence, time) {
            CalibrationStep::Wait => {}
            // The camera limits exposures to 50 ms.
            CalibrationStep::Expose(exposure) => camera.expose(exposure.min(Span::from_millis(50))),
            CalibrationStep::Done => break,
        }
    }
    let error = calibration.finish().unwrap_err().to_string();
    assert!(error.contains("--longest"), "{error}");
}

#[test]
fn an_unsteady_stream_fails() {
    let mut camera = Camera::paper(5);
    camera.jitter = 2e6;
    let (calibration, _) = calibrate(&mut camera, plan());
    let error = calibration.finish().unwrap_err().to_string();
    assert!(error.contains("steady intervals") && error.contains("auto exposure"), "{error}");
}

#[test]
fn a_stopped_calibration_is_unfinished() {
    let mut camera = Camera::paper(6);
    let mut calibration = Calibration::new(plan()).unwrap();
    for _ in 0..120 {
        let (sequence, time) = camera.frame();
        if let CalibrationStep::Expose(exposure) = calibration.handle_frame(sequence, time) {
            camera.expose(exposure);
        }
    }
    let Err(CalibrationError::Unfinished { done, of }) = calibration.finish() else {
        panic!("{:?}", calibration.finish());
    };
    assert!((1..10).contains(&done) && of >= 24, "{done} of {of}");
}

#[test]
fn impossible_plans_are_refused() {
    let error = |plan| Calibration::new(plan).unwrap_err().to_string();
    assert!(error(CalibrationPlan { injections: 3, ..plan() }).contains("at least 8"));
    let short = CalibrationPlan { exposures: (Span::ZERO, Span::from_millis(30)), ..plan() };
    assert!(error(short).contains("use a higher frame rate"));
}

/// Number of injections until an injector is locked.
fn injections(seed: u64, response: Option<crate::align::exposure_response::ExposureResponse>) -> u32 {
    let grid = FrameGrid::new(30, 1).unwrap();
    let mut camera = Camera::paper(seed);
    camera.lossy = 1 << 40;
    let mut injector = Injector::new(InjectConfig {
        grid,
        phase_offset: Span::ZERO,
        line_time_ns: 18_904.0,
        tolerance: Span::from_micros(20),
        settle_frames: 3,
        scatter: Span::from_micros(25),
        response,
        longest: None,
    });
    for _ in 0..900 {
        let (sequence, time) = camera.frame();
        let report = injector.handle_frame(sequence, Timestamp::ZERO + time);
        report.exposure.into_iter().for_each(|exposure| camera.expose(exposure));
        if report.lock == LockState::Locked {
            return report.injections;
        }
    }
    99
}

#[test]
fn a_calibrated_camera_needs_fewer_injections() {
    let (calibration, _) = calibrate(&mut Camera::paper(7), plan());
    let response = calibration.finish().unwrap().response();
    let total = |response| (100..200).map(|seed| injections(seed, response)).sum::<u32>();
    let (known, unknown) = (total(Some(response.response)), total(None));
    assert!(known * 4 < unknown * 3, "{known} {unknown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For any line of the camera: the fit is within its stated uncertainty.
    #[test]
    fn any_line_is_recovered(
        seed in any::<u64>(),
        slope in 0.4..2.5,
        overhead in -0.3..0.02,
        scatter in 2_000.0..60_000.0,
        jitter in 500.0..5_000.0,
        latency in 1_u64..5,
        ppm in -50.0..50.0,
    ) {
        let mut camera = Camera::paper(seed);
        (camera.slope, camera.overhead, camera.scatter) = (slope, overhead * PERIOD, scatter);
        (camera.jitter, camera.latency, camera.ppm) = (jitter, latency, ppm);
        camera.lossy = 1 << 40;
        let (calibration, _) = calibrate(&mut camera, plan());
        let fit = calibration.finish().unwrap();
        for exposure in [PERIOD * 1.2, PERIOD * 2.0, PERIOD * 2.8] {
            let error = fit.shift(exposure) - camera.shift(exposure);
            let line = fit.slope_sigma * (exposure - fit.centre_ns);
            let sure = (fit.shift_sigma_ns.powi(2) + line * line).sqrt();
            // With 24 points, six standard deviations are one in a hundred thousand.
            prop_assert!(error.abs() < 6.0 * sure + 2_000.0, "{} of {}: {:?}", error, sure, fit);
        }
        prop_assert!(fit.scatter_ns < 2.5 * scatter.hypot(jitter) + 2_000.0, "{:?}", fit);
        prop_assert!(fit.min_exposure_ns > PERIOD - 30_000.0, "{:?}", fit);
        prop_assert!(fit.min_exposure_ns < PERIOD + 8.0 * scatter.hypot(jitter) / slope + 60_000.0, "{:?}", fit);
        let response = fit.response();
        let mut profile = crate::profile::CameraProfile::unknown("phone");
        profile.set_response(response.clone());
        let read = crate::profile::CameraProfile::from_json(&profile.to_json()).unwrap();
        prop_assert_eq!(read.responses.len(), 1);
        prop_assert!((read.responses[0].response.slope - response.response.slope).abs() < 1e-12);
    }

    /// For any stamps: no panic, and no exposure outside the limits.
    #[test]
    fn exposures_stay_within_the_limits_for_any_stamps(stamps in proptest::collection::vec((0_u64..5, -100_000_000_i64..200_000_000), 1..600)) {
        let mut calibration = Calibration::new(plan()).unwrap();
        let (mut sequence, mut time) = (7, 0);
        for (step, nanos) in stamps {
            sequence += step;
            time += nanos;
            if let CalibrationStep::Expose(exposure) = calibration.handle_frame(sequence, Span::from_nanos(time)) {
                prop_assert!(exposure <= plan().exposures.1 && exposure > Span::ZERO);
            }
            let progress = calibration.progress();
            prop_assert!(progress.done <= progress.of);
        }
        let _ = (calibration.finish(), calibration.preview());
    }
}
