//! Checks when pictures were really taken, by the LED panel that the simulated cameras look at, independently of all timestamps.

use std::path::Path;

use anyhow::{Context, bail};
use image::RgbImage;
use serde_json::{Value, json};
use swsync_core::frame::{FrameInfo, LockState};
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::FrameRecord;
use swsync_core::time::Host;
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_time::{host_now, wall_clock};

use super::oracle;
use crate::panel;
use swsync_media::video_file;

/// Largest error of a frame that claims to be on the grid: the demo's limit for synchronized.
const MAX_ERROR: Span = Span::from_micros(250);

/// The times of pictures, and their errors so far.
pub struct PictureTimes {
    /// Rig time minus host time. The leader's clock is the host's, so it is known without asking the rig.
    offset: Span,
    /// For pictures on the grid: true time minus the instant of their number.
    locked: Vec<Span>,
    /// For other pictures: true time minus the time in their record.
    unlocked: Vec<Span>,
    /// Time from the first to the last picture of one number on the grid.
    spreads: Vec<Span>,
}

/// A picture whose time was read.
pub struct TimedPicture {
    pub number: FrameNumber,
    /// True time minus grid instant; `None`: the camera was not on the grid.
    pub error: Option<Span>,
}

impl PictureTimes {
    pub fn new() -> Self {
        let (before, wall, after) = (host_now(), wall_clock(), host_now());
        let middle = before + (after - before) / 2;
        let offset = Span::from_nanos(wall.as_nanos() - middle.as_nanos());
        Self { offset, locked: Vec::new(), unlocked: Vec::new(), spreads: Vec::new() }
    }

    /// Checks the picture of `record`.
    ///
    /// # Errors
    /// It was taken at another time than its number or its record says, or does not show a time.
    pub fn check(
        &mut self,
        folder: &Path,
        record: &FrameRecord,
        is_video: bool,
    ) -> anyhow::Result<TimedPicture> {
        let info = &record.info;
        let picture = match is_video {
            true => picture_in(&folder.join(&record.file), record.offset)?,
            false => image::open(folder.join(&record.file))?.into_rgb8(),
        };
        let reading = panel::read(&picture, info)?;
        let instant = oracle::instant(info.number);
        let error = self.rig_time(reading.nearest(self.true_time(instant))) - instant;
        let apart = error - info.phase_error_ns;
        let on_grid = is_on_grid(info);
        if on_grid {
            self.locked.push(error)
        } else {
            self.unlocked.push(apart)
        }
        let sigma = info.clock_uncertainty_ns.unwrap_or(Span::ZERO);
        let allowed = MAX_ERROR.max(sigma * 5);
        if error.abs() > oracle::PERIOD / 2 + allowed {
            bail!(
                "was taken {error:?} from the instant of frame {}, which another one is nearer to",
                info.number
            );
        }
        if on_grid && error.abs() > MAX_ERROR {
            bail!("is said to be on the grid, and was taken {error:?} off it");
        }
        if apart.abs() > allowed {
            bail!("was taken {apart:?} from when it is said to be, give or take {sigma:?}");
        }
        Ok(TimedPicture { number: info.number, error: on_grid.then_some(error) })
    }

    /// Compares pictures of one order, one of each device.
    ///
    /// # Errors
    /// Two of one number are further apart than two devices of a synchronized rig may be.
    pub fn compare(&mut self, seen: &[TimedPicture]) -> anyhow::Result<()> {
        let numbers: std::collections::BTreeSet<_> = seen.iter().map(|one| one.number).collect();
        for number in numbers {
            let errors = || seen.iter().filter(|one| one.number == number).filter_map(|one| one.error);
            if errors().count() < 2 {
                continue;
            }
            let spread = errors().max().unwrap_or_default() - errors().min().unwrap_or_default();
            self.spreads.push(spread);
            if spread > MAX_ERROR {
                bail!("pictures of frame {number} were taken {spread:?} apart");
            }
        }
        Ok(())
    }

    fn true_time(&self, at: Timestamp<Rig>) -> Timestamp<Host> {
        Timestamp::from_nanos((at - Timestamp::ZERO - self.offset).as_nanos())
    }

    fn rig_time(&self, at: Timestamp<Host>) -> Timestamp<Rig> {
        Timestamp::from_nanos((at - Timestamp::ZERO + self.offset).as_nanos())
    }

    pub fn lines(&self) -> Vec<String> {
        vec![
            format!(
                "{} pictures read that are said to be on the grid: {}",
                self.locked.len(),
                summary(&self.locked)
            ),
            format!(
                "{} others, from when they are said to be: {}",
                self.unlocked.len(),
                summary(&self.unlocked)
            ),
            format!(
                "{} numbers on several devices, first to last picture: {}",
                self.spreads.len(),
                summary(&self.spreads)
            ),
        ]
    }

    pub fn json(&self) -> Value {
        let of = |spans: &[Span]| {
            let sorted = sorted(spans);
            json!({
                "count": spans.len(), "median_ns": quantile(&sorted, 50), "p95_ns": quantile(&sorted, 95),
                "max_ns": quantile(&sorted, 100),
            })
        };
        json!({ "on_grid": of(&self.locked), "off_grid": of(&self.unlocked), "spread": of(&self.spreads) })
    }
}

/// Whether a frame claims to be on the grid, by a synced clock.
fn is_on_grid(info: &FrameInfo) -> bool {
    info.lock == Some(LockState::Locked) && info.sync.is_synced()
}

/// Picture `index` of a video, in presentation order.
fn picture_in(video: &Path, index: u64) -> anyhow::Result<RgbImage> {
    const QUALITY: u8 = 95;
    let mut found = None;
    video_file::decode(video, "video/x-h264", QUALITY, |at, jpeg| {
        if at == index {
            found = Some(image::load_from_memory(jpeg)?.into_rgb8());
        }
        Ok(at < index)
    })?;
    found.with_context(|| format!("picture {index} (from 0) of {} cannot be decoded", video.display()))
}

/// Their magnitudes, ascending.
fn sorted(spans: &[Span]) -> Vec<Span> {
    let mut sorted: Vec<_> = spans.iter().map(|span| span.abs()).collect();
    sorted.sort();
    sorted
}

fn quantile(sorted: &[Span], percent: usize) -> Option<Span> {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?)).copied()
}

fn summary(spans: &[Span]) -> String {
    let sorted = sorted(spans);
    let micros = |percent| {
        quantile(&sorted, percent).map_or("-".into(), |span| format!("{:.1}", span.as_micros_f64()))
    };
    format!("median {}, 95 % {}, largest {} us", micros(50), micros(95), micros(100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::{frame, name};
    use swsync_sim::scene::{I420Buffer, Scene, View};
    use swsync_sim::sensor::SensorModel;
    use swsync_sim::shutter::{RowTiming, Shutter};

    const NUMBER: FrameNumber = 54_000_000_000;

    /// Checks a picture taken `late` after the instant of frame [`NUMBER`], whose record states a phase error of `stated`.
    fn check(picture_times: &mut PictureTimes, late: Span, stated: Span) -> anyhow::Result<TimedPicture> {
        let folder = tempfile::tempdir().unwrap();
        let scene = Scene::new(160, 120, View::new(0)).unwrap();
        let model = SensorModel::imx219();
        let exposure = Span::from_micros(100);
        let row_time_ns = model.line_time_ns * f64::from(model.height) / 120.0;
        let start = picture_times.true_time(oracle::instant(NUMBER) + late);
        let mut picture = I420Buffer::new(scene.layout());
        let shutter = Shutter { start, timing: RowTiming { exposure, row_time_ns } };
        scene.render(&shutter, picture.planes_mut()).unwrap();
        RgbImage::from_raw(160, 120, picture.to_rgb8()).unwrap().save(folder.path().join("a.jpg")).unwrap();
        let mut info = FrameInfo { exposure_ns: Some(exposure), ..frame(NUMBER) };
        (info.rig_time_ns, info.phase_error_ns) = (oracle::instant(NUMBER) + stated, stated);
        if stated > MAX_ERROR {
            info.lock = Some(LockState::Aligning);
        }
        let (order, device) = (name("o"), name("a"));
        let record = FrameRecord { order, device, file: "a.jpg".into(), offset: 0, bytes: 1, info };
        picture_times.check(folder.path(), &record, false)
    }

    #[test]
    fn a_picture_taken_at_another_time_than_stated_is_found() {
        let mut picture_times = PictureTimes::new();
        let (near, far) = (Span::from_micros(40), Span::from_micros(400));
        let seen = check(&mut picture_times, near, Span::ZERO).unwrap();
        assert!((seen.error.unwrap() - near).abs() < Span::from_micros(5), "{:?}", seen.error);
        for (late, stated) in [(far, Span::ZERO), (oracle::PERIOD, Span::ZERO), (Span::ZERO, far)] {
            assert!(check(&mut picture_times, late, stated).is_err(), "{late:?} late, {stated:?} stated");
        }
        assert!(
            check(&mut picture_times, Span::from_millis(5), Span::from_millis(5)).unwrap().error.is_none()
        );
        let one = |micros| TimedPicture { number: NUMBER, error: Some(Span::from_micros(micros)) };
        assert!(picture_times.compare(&[one(-100), one(100)]).is_ok());
        assert!(picture_times.compare(&[one(-200), one(200)]).is_err());
        assert_eq!(picture_times.spreads.len(), 2);
    }
}
