//! The arguments of `swsync export bullettime`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::name::Name;

use super::frames::Size;
use super::gif;
use super::sequence::Run;
use crate::export::WriteArgs;
use swsync_cli::duration;

/// Video players keep up with so many pictures per second.
const FASTEST_VIDEO: u32 = 240;

/// One instant seen from one camera after the other, as an animated GIF or as an MP4: bullet time.
///
/// The view moves through the cameras in the order of their places in the rig (`swsync name DEVICE --place N`), or as
/// --order says. A device that lacks the frame is left out and named; nothing stands in for it.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct BullettimeArgs {
    /// The take: the folder that `swsync collect` made, as takes/shot-1.
    pub take: PathBuf,
    /// The file to write. Its name ends with .gif or .mp4.
    #[arg(short, long, value_name = "FILE", value_parser = out)]
    pub out: Out,
    /// The devices, or groups of them, in the order in which they are shown; others are not. [default: all by their
    /// places, else by their ids, with numbers as people count]
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    pub order: Vec<Name>,
    /// The frame number at which time stands still. [default: the middle one of those that all devices have]
    #[arg(long, value_name = "NUMBER")]
    pub frame: Option<FrameNumber>,
    /// Let time run too.
    #[arg(long, value_name = "HOW")]
    pub run: Option<Run>,
    /// With --run freeze: how long time runs before it stands still.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::any)]
    pub lead: Duration,
    /// With --run freeze: how long time runs afterwards.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::any)]
    pub tail: Duration,
    /// There and back again.
    #[arg(long)]
    pub bounce: bool,
    /// Pictures per second, as 25, 29.97 or 30000/1001. [default: the take's own rate; of a GIF at most 50]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub fps: Option<FrameGrid>,
    /// Pictures that each camera of the movement stays for. [default: so many that a movement takes a second at least]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub dwell: Option<u32>,
    /// Width and height, as 640x480. Pictures of another shape are cropped. [default: the size that most cameras have,
    /// scaled down to 640 pixels on the longer side for a GIF, and to 1920 for an MP4]
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub size: Option<Size>,
    /// Exit with 0 although devices are left out, or are not whole here.
    #[arg(long)]
    pub allow_missing: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub(super) write: WriteArgs,
}

const AFTER_HELP: &str = "\
Examples:
  swsync export bullettime takes/shot-1 -o shot-1.gif --bounce
  swsync export bullettime takes/jump -o jump.mp4 --run freeze --lead 2s
  swsync export bullettime takes/jump -o jump.mp4 --run flow --dwell 2
  swsync export bullettime takes/jump -o jump.gif --order pi3,pi1,pi2 --size 480x480";

/// The file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Out {
    pub path: PathBuf,
    pub kind: Kind,
}

/// The kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Gif,
    Mp4,
}

impl BullettimeArgs {
    /// Pictures per second, of a take whose own rate is `own`.
    pub fn rate(&self, own: FrameGrid) -> anyhow::Result<FrameGrid> {
        let is_within = |rate: FrameGrid, fastest: u32| {
            let (frames, seconds) = rate.rate();
            u64::from(frames) <= u64::from(fastest) * u64::from(seconds)
        };
        let gif = self.out.kind == Kind::Gif;
        let fastest = if gif { gif::FASTEST } else { FASTEST_VIDEO };
        match self.fps {
            Some(rate) => {
                ensure!(
                    is_within(rate, fastest),
                    "--fps: {} has at most {fastest} pictures per second{}",
                    if gif { "a GIF" } else { "a video" },
                    if gif { ", or browsers show it far slower: write an MP4" } else { "" }
                );
                Ok(rate)
            }
            None if is_within(own, fastest) => Ok(own),
            None => FrameGrid::new(fastest, 1).context("it is a rate"),
        }
    }
}

/// The file's name, whose end says of which kind it is.
fn out(text: &str) -> Result<Out, String> {
    let path = PathBuf::from(text);
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let kind = match extension.as_str() {
        "gif" => Kind::Gif,
        "mp4" => Kind::Mp4,
        _ => return Err("its name has to end with .gif or .mp4".into()),
    };
    Ok(Out { path, kind })
}

/// A rate, as a number or a fraction.
fn rate(text: &str) -> Result<FrameGrid, String> {
    let wrong = || "it is no rate of pictures like 25, 29.97 or 30000/1001".to_owned();
    let (frames, seconds) = match (text.split_once('/'), text.split_once('.')) {
        (Some((frames, seconds)), _) => {
            (frames.parse().map_err(|_| wrong())?, seconds.parse().map_err(|_| wrong())?)
        }
        (None, Some((whole, part))) if (1..=3).contains(&part.len()) => {
            let scale = 10_u32.pow(u32::try_from(part.len()).map_err(|_| wrong())?);
            (format!("{whole}{part}").parse().map_err(|_| wrong())?, scale)
        }
        (None, Some(_)) => return Err(wrong()),
        (None, None) => (text.parse().map_err(|_| wrong())?, 1),
    };
    FrameGrid::new(frames, seconds).map_err(|error| error.to_string())
}

/// Width and height.
fn size(text: &str) -> Result<Size, String> {
    let sides = text
        .split_once(['x', 'X'])
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let is_fine = |side: &u32| (2..=8192).contains(side);
    sides
        .filter(|(width, height)| is_fine(width) && is_fine(height))
        .ok_or_else(|| "it is no size like 640x480, of 2 to 8192 pixels".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        let of = |text| rate(text).unwrap();
        assert_eq!(of("25"), FrameGrid::new(25, 1).unwrap());
        assert_eq!(of("29.97"), FrameGrid::new(2997, 100).unwrap());
        assert_eq!(of("30000/1001"), FrameGrid::new(30_000, 1001).unwrap());
        for wrong in ["", "fast", "0", "-1", "1/0", "1.2345", "1."] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_and_files_are_checked() {
        assert_eq!(size("640x480"), Ok((640, 480)));
        for wrong in ["640", "x", "0x10", "640x480x3", "100000x10"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(out("a/b.GIF").unwrap().kind, Kind::Gif);
        assert_eq!(out("b.mp4").unwrap().kind, Kind::Mp4);
        assert!(out("b.webm").is_err() && out("gif").is_err());
    }
}
