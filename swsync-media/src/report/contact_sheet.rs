//! The contact sheet: one instant on all devices, and further ones to scrub through.

use std::collections::BTreeMap;

use gst::glib;
use indicatif::{ProgressBar, ProgressStyle};
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::utc;

use super::html::{Html, note};
use super::take::{DeviceData, Frame, TakeData};
use super::thumbnail;

/// At most so many instants.
const INSTANTS: usize = 24;

/// At most so many devices.
const DEVICES: usize = 60;

/// The pictures together have about this size at most, beyond those of the first instant.
const BYTES: usize = 4 << 20;

/// Of a video file only its first pictures are used: what lies far behind would need all before it decoded.
const DEEPEST: u64 = 300;

type Pictures = Vec<anyhow::Result<Vec<u8>>>;

/// The contact sheet of `take`.
pub fn section(take: &TakeData) -> Html {
    let devices: Vec<_> = take.comparable().take(DEVICES).collect();
    let candidates = candidates(take, &devices);
    let Some(first) = candidates.first().copied() else {
        return note(
            "There is no picture to show: no device has a frame here, or all lie too deep in their videos.",
        );
    };
    let bar = progress(devices.len());
    let mut sheets = vec![(first, pictures(&devices, &[first], &bar))];
    let size = sheets[0].1.iter().flatten().flatten().map(Vec::len).sum::<usize>().max(1);
    let more = evenly(&candidates[1..], (BYTES / size).min(INSTANTS) - usize::from(BYTES / size > 0));
    bar.inc_length((more.len() * devices.len()) as u64);
    let mut columns: Vec<_> = pictures(&devices, &more, &bar).into_iter().map(Vec::into_iter).collect();
    for number in &more {
        let of_number = columns.iter_mut().map(|column| column.by_ref().take(1).collect());
        sheets.push((*number, of_number.collect()));
    }
    bar.finish_and_clear();
    html(take, &devices, sheets)
}

fn progress(devices: usize) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:40} {pos}/{len} pictures").expect("the template is a constant");
    // On standard error, and only if that is a terminal.
    ProgressBar::new(devices as u64).with_style(style)
}

/// For each device its pictures of `numbers`, in their order. Those that it has no frame of are an error.
fn pictures(devices: &[&DeviceData], numbers: &[FrameNumber], bar: &ProgressBar) -> Vec<Pictures> {
    let of_device = |device: &&DeviceData| {
        let frames: Vec<Frame> = numbers.iter().filter_map(|number| device.frame(*number)).copied().collect();
        let mut made: BTreeMap<_, _> = frames
            .iter()
            .map(|frame| frame.number)
            .zip(thumbnail::of_frames(device, &frames, &|| bar.inc(1)))
            .collect();
        let absent = |number: FrameNumber| {
            let why = device.take.why_missing(number).unwrap_or("its file is not here");
            anyhow::anyhow!("no frame: {why}")
        };
        numbers.iter().map(|number| made.remove(number).unwrap_or_else(|| Err(absent(*number)))).collect()
    };
    devices.iter().map(of_device).collect()
}

/// The numbers that most of `devices` have, and whose pictures do not lie deep in videos.
fn candidates(take: &TakeData, devices: &[&DeviceData]) -> Vec<FrameNumber> {
    let is_near = |device: &DeviceData, frame: &Frame| !device.is_video() || frame.offset < DEEPEST;
    let having = |number: FrameNumber| {
        let frames = devices.iter().filter_map(|device| Some((device, device.frame(number)?)));
        frames.filter(|(device, frame)| is_near(device, frame)).count()
    };
    let counts: Vec<_> = take.numbers.iter().map(|number| (*number, having(*number))).collect();
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or_default().max(1);
    counts.into_iter().filter(|(_, count)| *count == most).map(|(number, _)| number).collect()
}

/// `count` of `all`, evenly spread, with the last one.
fn evenly<T: Copy>(all: &[T], count: usize) -> Vec<T> {
    let count = count.min(all.len());
    (1..=count).filter_map(|place| all.get(place * all.len() / count - 1).copied()).collect()
}

fn html(take: &TakeData, devices: &[&DeviceData], sheets: Vec<(FrameNumber, Vec<Pictures>)>) -> Html {
    let mut all = Html::new();
    let of = devices.len();
    let more = take.comparable().count() - of;
    let mut text = match of {
        1 => "What the device saw at one instant.".to_owned(),
        _ => format!("What {of} devices saw at one instant."),
    };
    if more > 0 {
        text.push_str(&format!(" {more} more devices are not shown."));
    }
    if sheets.len() > 1 {
        text.push_str(&format!(
            " The slider goes through {} of {} instants.",
            sheets.len(),
            take.numbers.len()
        ));
        if devices.iter().any(|device| device.is_video()) {
            text.push_str(&format!(" Of each video file they are among the first {DEEPEST} pictures."));
        }
    }
    text.push_str(" Below each picture: how far its frame is from the instant, as the device knows it, and how far it may be at most.");
    all.push(Html::tagged("p", text));
    if sheets.len() > 1 {
        let last = (sheets.len() - 1).to_string();
        let slider =
            [("type", "range"), ("min", "0"), ("max", &last), ("value", "0"), ("aria-label", "instant")];
        let mut scrub = Html::open("input", &slider);
        scrub.push(Html::literal("<output></output>"));
        all.push(Html::element("div", &[("class", "scrub"), ("hidden", "")], scrub));
    }
    for (index, (number, pictures)) in sheets.into_iter().enumerate() {
        let label = take.grid().map_or_else(String::new, |grid| utc(grid.instant(number)));
        let cells =
            devices.iter().zip(pictures).map(|(device, mut picture)| cell(device, number, picture.pop()));
        let mut content =
            Html::element("p", &[("class", "quiet")], Html::text(format!("Frame {number}, {label}")));
        content.push(Html::element("div", &[("class", "sheet")], cells.collect()));
        let label = format!("{} ({:.2} s)", number, take.seconds(number));
        let mut attributes = vec![("class", "instant"), ("data-label", label.as_str())];
        if index > 0 {
            attributes.push(("hidden", ""));
        }
        all.push(Html::element("div", &attributes, content));
    }
    all
}

/// One device's picture of `number`.
fn cell(device: &DeviceData, number: FrameNumber, picture: Option<anyhow::Result<Vec<u8>>>) -> Html {
    let about = format!("{}, frame {number}", device.id);
    let mut cell = match picture.unwrap_or_else(|| Err(anyhow::anyhow!("it was not looked for"))) {
        Ok(jpeg) => {
            let data = format!("data:image/jpeg;base64,{}", glib::base64_encode(&jpeg));
            Html::open("img", &[("alt", &about), ("src", &data)])
        }
        Err(why) => Html::element("div", &[("class", "absent")], Html::text(format!("{why:#}"))),
    };
    let mut caption = Html::tagged("b", &device.id);
    if let Some(frame) = device.frame(number) {
        let bound = frame.bound().map_or_else(
            || "no bound".to_owned(),
            |bound| format!("at most {:.0} us", bound.as_micros_f64()),
        );
        caption.push(Html::text(format!(" {:+.1} us; {bound}", frame.phase.as_micros_f64())));
    }
    cell.push(Html::element("figcaption", &[], caption));
    Html::element("figure", &[], cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_spread_evenly() {
        let all: Vec<_> = (0..100).collect();
        assert_eq!(evenly(&all, 4), [24, 49, 74, 99]);
        assert_eq!(evenly(&all[..2], 4), [0, 1]);
        assert!(evenly(&all, 0).is_empty() && evenly(&all[..0], 3).is_empty());
    }
}
