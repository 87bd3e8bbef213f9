//! Runs the rig, lets things happen, and samples clocks and cameras.

use std::fmt::Write as _;

use swsync_cli::output;
use swsync_core::time::{Host, Span, Timestamp};
use swsync_core::time_service::SyncState;
use swsync_sim::link::LinkModel;
use swsync_sim::rig::{DeviceConfig, Rig};

use super::args::SoakArgs;
use super::event::Event;
use super::score::Day;
use crate::simulated_rig::{Camera, Hardware, RigModel, STEP, wait_until_synced};
use crate::split_mix::SplitMix64;

/// From one sample of the clocks to the next.
const SAMPLE: Span = Span::from_secs(10);
/// From one start of the cameras to the next. They begin soon after the rig.
const CAMERAS_EVERY: Span = Span::from_secs(3_600);
/// How long cameras run, and after which time their frames count.
const CAMERAS_FOR: Span = Span::from_secs(60);
const CAMERAS_COUNT_AFTER: Span = Span::from_secs(10);
/// For so long after an event is over it still counts as one.
const RECOVERY: Span = Span::from_secs(120);
/// Nothing happens before.
const FIRST_EVENT: Span = Span::from_secs(1_200);

/// A clock that says it is synced, against the leader's.
#[derive(Debug, Clone, Copy)]
pub struct ClockSample {
    /// When.
    pub at: Timestamp<Host>,
    /// Whose.
    pub device: usize,
    /// Its error.
    pub error: Span,
    /// What the latencies of its path to the leader add to that.
    pub asymmetry: Span,
    /// Uncertainty that it states, 1 sigma.
    pub uncertainty: Span,
    /// Whether an event is under way, or has just been.
    pub is_disturbed: bool,
}

/// A camera's minute.
#[derive(Debug, Clone, Copy)]
pub struct PhaseSample {
    /// When it began.
    pub at: Timestamp<Host>,
    /// Whose.
    pub device: usize,
    /// Magnitude of its locked frames' phase error: the mean and the maximum.
    pub mean: Span,
    /// See `mean`.
    pub most: Span,
}

/// All that was seen.
#[derive(Debug)]
pub struct Soak {
    /// When all clocks were synced.
    begun: Timestamp<Host>,
    /// Clocks.
    pub clocks: Vec<ClockSample>,
    /// How many clocks did not say that they are synced while nothing happened, by day.
    pub unsynced: Vec<Timestamp<Host>>,
    /// Cameras.
    pub phases: Vec<PhaseSample>,
    /// What happened.
    pub events: Vec<(Timestamp<Host>, Event)>,
}

impl Soak {
    /// Scores, day by day.
    pub fn days(&self) -> Vec<Day> {
        let of =
            |at: Timestamp<Host>| (at - self.begun).as_nanos().saturating_sub(1) / (86_400 * 1_000_000_000);
        let last = self.clocks.last().map_or(-1, |sample| of(sample.at));
        (0..=last)
            .map(|day| {
                let clocks: Vec<_> =
                    self.clocks.iter().filter(|sample| of(sample.at) == day).copied().collect();
                let phases: Vec<_> =
                    self.phases.iter().filter(|sample| of(sample.at) == day).copied().collect();
                let unsynced = self.unsynced.iter().filter(|at| of(**at) == day).count();
                let events = self.events.iter().filter(|(at, _)| of(*at) == day).count();
                Day::of(&clocks, &phases, unsynced, events)
            })
            .collect()
    }

    /// Tables of clocks, cameras and events.
    pub fn to_csv(&self) -> [String; 3] {
        let mut clocks = "at_s,device,clock_error_ns,asymmetry_ns,uncertainty_ns,disturbed\n".to_owned();
        let mut phases = "at_s,device,mean_ns,max_ns\n".to_owned();
        let mut events = "at_s,event\n".to_owned();
        let seconds = |at: Timestamp<Host>| (at - Timestamp::ZERO).as_secs_f64();
        // Writing to a string cannot fail.
        for ClockSample { at, device, error, asymmetry, uncertainty, is_disturbed } in &self.clocks {
            let [error, asymmetry, uncertainty] = [error, asymmetry, uncertainty].map(|span| span.as_nanos());
            let at = seconds(*at);
            let _ = writeln!(clocks, "{at:.3},{device},{error},{asymmetry},{uncertainty},{is_disturbed}");
        }
        for PhaseSample { at, device, mean, most } in &self.phases {
            let _ = writeln!(phases, "{:.3},{device},{},{}", seconds(*at), mean.as_nanos(), most.as_nanos());
        }
        for (at, event) in &self.events {
            let _ = writeln!(events, "{:.3},{}", seconds(*at), event.name());
        }
        [clocks, phases, events]
    }
}

/// Runs what `args` ask for.
///
/// # Errors
/// The clocks do not get synced at first.
pub fn run(args: &SoakArgs) -> anyhow::Result<Soak> {
    let devices = (0..usize::from(args.devices)).map(|index| Hardware::of(args.seed, index)).collect();
    let model = RigModel { devices, link: LinkModel::wifi(), megabits: args.traffic };
    let mut rig = model.start(args.seed, DeviceConfig::auto);
    wait_until_synced(&mut rig)?;
    let mut random = SplitMix64::new(args.seed ^ 0x50a4);
    let (clocks, unsynced, phases, events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut soak = Soak { begun: rig.now(), clocks, unsynced, phases, events };
    let end = rig.now() + Span::from_secs(60 * i64::from(args.length()));
    // The first minute is the burst's.
    let mut cameras_at = rig.now() + Span::from_secs(300);
    let mut under_way: Option<(Event, Timestamp<Host>)> = None;
    let (mut next, mut quiet_from) = (rig.now() + FIRST_EVENT, rig.now() + Span::from_secs(60));
    while rig.now() + SAMPLE <= end {
        rig.run_for(SAMPLE);
        let now = rig.now();
        if let Some((event, _)) = under_way.take_if(|(_, ends_at)| *ends_at <= now) {
            event.end(&mut rig);
            (quiet_from, next) = (now + RECOVERY, now + RECOVERY + Event::pause(&mut random));
        } else if !args.calm
            && under_way.is_none()
            && next <= now
            && let Some(leader) = leader(&rig)
        {
            let event = Event::any(&mut random, &rig, leader);
            event.begin(&mut rig);
            soak.events.push((now, event));
            under_way = Some((event, now + Span::from_secs(event.lasts_s())));
        }
        let is_disturbed = under_way.is_some() || now < quiet_from;
        sample(&mut soak, &rig, &model, is_disturbed);
        if !is_disturbed && cameras_at <= now {
            cameras_at = now + CAMERAS_EVERY;
            run_cameras(&mut soak, &mut rig, &model, args.seed);
        }
        output::status_line(&format!("{:.1} h", (now - Timestamp::ZERO).as_secs_f64() / 3_600.0));
    }
    Ok(soak)
}

fn leader(rig: &Rig) -> Option<usize> {
    (0..rig.len()).find(|index| {
        rig.is_up(*index) && rig.reading(*index).is_some_and(|reading| reading.quality == SyncState::Leading)
    })
}

fn sample(soak: &mut Soak, rig: &Rig, model: &RigModel, is_disturbed: bool) {
    let at = rig.now();
    let leader = leader(rig);
    for device in (0..rig.len()).filter(|device| rig.is_up(*device) && leader != Some(*device)) {
        let reading = rig.reading(device).filter(swsync_sim::rig::Reading::is_synced);
        let leaders = leader.and_then(|leader| Some((leader, rig.reading(leader)?)));
        match (reading, leaders) {
            (Some(reading), Some((leader, leaders))) if reading.source == leaders.source => {
                soak.clocks.push(ClockSample {
                    at,
                    device,
                    error: reading.rig - leaders.rig,
                    asymmetry: model.asymmetry(leader, device),
                    uncertainty: reading.uncertainty.unwrap_or(Span::MAX),
                    is_disturbed,
                });
            }
            _ if !is_disturbed => soak.unsynced.push(at),
            _ => {}
        }
    }
}

/// Starts all cameras, and lets them run for a minute.
fn run_cameras(soak: &mut Soak, rig: &mut Rig, model: &RigModel, seed: u64) {
    let begun = rig.now();
    let series = seed ^ begun.as_nanos().cast_unsigned();
    let start =
        |(index, hardware): (u64, &Hardware)| Camera::start(hardware, series.wrapping_add(index), begun);
    let mut cameras: Vec<Camera> = (0..).zip(&model.devices).map(start).collect();
    let mut errors = vec![Vec::new(); cameras.len()];
    while rig.now() < begun + CAMERAS_FOR {
        rig.run_for(STEP);
        let counts = rig.now() >= begun + CAMERAS_COUNT_AFTER;
        for (device, (camera, errors)) in cameras.iter_mut().zip(&mut errors).enumerate() {
            let was_locked = camera.is_locked();
            camera.run(rig, device, |taken| {
                if counts && was_locked {
                    errors.push(taken.phase.abs());
                }
            });
        }
    }
    for (device, errors) in errors.iter().enumerate() {
        if let Some(most) = errors.iter().max() {
            let count = i64::try_from(errors.len()).unwrap_or(i64::MAX);
            let mean = errors.iter().copied().sum::<Span>() / count;
            soak.phases.push(PhaseSample { at: begun, device, mean, most: *most });
        }
    }
}
