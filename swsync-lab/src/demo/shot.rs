//! The pictures of one shot, and when they were taken.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use image::RgbImage;
use swsync_core::frame::FrameInfo;
use swsync_core::order::{Answer, FrameOutcome, FrameRun};
use swsync_core::time::Span;
use swsync_sim::decode::{PanelReading, difference};

use crate::panel;

/// One order's pictures.
pub struct Shot {
    pub name: &'static str,
    pub views: Vec<View>,
    /// The source of the times, in words.
    pub source: &'static str,
}

/// One device's picture.
pub struct View {
    pub device: String,
    pub file: PathBuf,
    pub picture: RgbImage,
    pub info: FrameInfo,
    /// When it was taken, relative to the shot's first view.
    pub time: Span,
}

impl Shot {
    /// From the earliest picture to the latest.
    pub fn spread(&self) -> Span {
        let times = || self.views.iter().map(|view| view.time);
        times().max().unwrap_or_default() - times().min().unwrap_or_default()
    }

    /// How much later than the mean a view was taken.
    pub fn error(&self, view: &View) -> Span {
        let count = i64::try_from(self.views.len()).unwrap_or(i64::MAX).max(1);
        let sum: Span = self.views.iter().map(|view| view.time).sum();
        view.time - sum / count
    }
}

/// The saved frame of an answer to a still.
fn saved(answer: &Answer) -> anyhow::Result<(PathBuf, FrameInfo)> {
    match &answer.frames[..] {
        [FrameRun { outcome: FrameOutcome::Saved { file, info, .. }, .. }] => {
            Ok((PathBuf::from(file), *info))
        }
        _ => bail!("{} did not save one frame", answer.device),
    }
}

fn open(file: &Path) -> anyhow::Result<RgbImage> {
    let picture = image::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(picture.into_rgb8())
}

/// A shot with the true times that the LED panel shows in the pictures of `answers`.
pub fn from_pictures(name: &'static str, answers: &[Answer]) -> anyhow::Result<Shot> {
    let mut views = Vec::new();
    let mut first: Option<PanelReading> = None;
    for answer in answers {
        let (file, info) = saved(answer)?;
        let picture = open(&file)?;
        let reading = panel::read(&picture, &info).with_context(|| format!("{}", file.display()))?;
        let time = difference(&reading, first.get_or_insert(reading));
        views.push(View { device: answer.device.to_string(), file, picture, info, time });
    }
    Ok(Shot { name, views, source: "by the LED panel in the pictures" })
}

/// A shot with the times of the cameras' timestamps, for pictures without a panel.
pub fn from_stamps(name: &'static str, answers: &[Answer]) -> anyhow::Result<Shot> {
    let mut views: Vec<View> = Vec::new();
    let mut first = None;
    for answer in answers {
        let (file, info) = saved(answer)?;
        let time = info.rig_time_ns - *first.get_or_insert(info.rig_time_ns);
        views.push(View { device: answer.device.to_string(), picture: open(&file)?, file, info, time });
    }
    Ok(Shot { name, views, source: "by the cameras' own timestamps" })
}

/// The rate and the intervals of the frames of a burst.
pub struct Pace {
    frames: usize,
    missed: usize,
    mean: Span,
    shortest: Span,
    longest: Span,
}

impl Pace {
    /// Of the frames that `answer` saved.
    pub fn of(answer: &Answer) -> Self {
        let times: Vec<_> = answer
            .frames
            .iter()
            .filter_map(|frame| match &frame.outcome {
                FrameOutcome::Saved { info, .. } => Some(info.rig_time_ns),
                _ => None,
            })
            .collect();
        let intervals: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let count = i64::try_from(intervals.len()).unwrap_or(i64::MAX).max(1);
        Self {
            frames: times.len(),
            missed: answer.frames.len() - times.len(),
            mean: intervals.iter().copied().sum::<Span>() / count,
            shortest: intervals.iter().copied().min().unwrap_or_default(),
            longest: intervals.iter().copied().max().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} frames, {} missed, {:.3} per second; intervals {:.2} to {:.2} ms",
            self.frames,
            self.missed,
            1.0 / self.mean.as_secs_f64(),
            self.shortest.as_secs_f64() * 1e3,
            self.longest.as_secs_f64() * 1e3,
        )
    }
}
