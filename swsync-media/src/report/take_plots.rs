//! The plots of a take.

use swsync_core::grid::FrameNumber;
use swsync_core::time::Span;

use super::html::{Html, note};
use super::plot::{self, Labels, Mark, Row, Series};
use super::take::{Certificate, DeviceData, Frame, TakeData};

/// Most points of a line. Of the frames between, the largest magnitude is drawn.
const POINTS: usize = 280;

/// A number of frames in a row, drawn as one point.
struct Chunk<'a> {
    numbers: &'a [FrameNumber],
    at: f64,
    /// Frames that no device has lie before it.
    is_after_gap: bool,
}

fn chunks(take: &TakeData) -> Vec<Chunk<'_>> {
    let length = take.numbers.len().div_ceil(POINTS).max(1);
    let mut steps: Vec<_> = take.numbers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    let usual = steps.get(steps.len() / 2).copied().unwrap_or(1).max(1);
    let mut last = None;
    let chunk = |numbers: &'_ [FrameNumber]| -> Option<(f64, bool)> {
        let (first, end) = (*numbers.first()?, *numbers.last()?);
        let is_after_gap = last.is_some_and(|last: u64| first.saturating_sub(last) > usual.saturating_mul(2));
        last = Some(end);
        Some((take.seconds(first), is_after_gap))
    };
    let places: Vec<_> = take.numbers.chunks(length).filter_map(chunk).collect();
    take.numbers
        .chunks(length)
        .zip(places)
        .map(|(numbers, (at, is_after_gap))| Chunk { numbers, at, is_after_gap })
        .collect()
}

/// A line of the largest value in each chunk.
fn line(name: &str, chunks: &[Chunk<'_>], value: impl Fn(FrameNumber) -> Option<f64>) -> Series {
    let mut points = Vec::new();
    for chunk in chunks {
        if chunk.is_after_gap {
            points.push((chunk.at, None));
        }
        let values = chunk.numbers.iter().filter_map(|number| value(*number));
        points.push((chunk.at, values.max_by(|one, two| one.abs().total_cmp(&two.abs()))));
    }
    Series { name: name.to_owned(), points }
}

fn per_device(take: &TakeData, chunks: &[Chunk<'_>], value: impl Fn(&Frame) -> Option<f64>) -> Vec<Series> {
    let of = |device: &DeviceData| line(device.id.as_str(), chunks, |number| value(device.frame(number)?));
    take.comparable().map(of).collect()
}

fn labels(title: &str, y: &str, caption: &str) -> Labels {
    Labels {
        title: title.into(),
        caption: caption.into(),
        x: "time since the first frame (s)".into(),
        y: y.into(),
    }
}

fn micros(span: Option<Span>) -> Option<f64> {
    span.map(Span::as_micros_f64)
}

/// What changes over time.
pub fn over_time(take: &TakeData) -> Html {
    if take.numbers.len() < 2 {
        return note("This take has a single instant, so nothing changes over time: see the devices above.");
    }
    let chunks = chunks(take);
    let limit = match &take.certificate {
        Certificate::Valid(certificate) => micros(certificate.max_error_ns),
        _ => None,
    };
    let drawn_limit = limit.map_or("", |_| " The horizontal line is the limit of the certificate.");
    let bounds = format!(
        "How far the pictures of one number may be apart on any two devices: their two largest error bounds, added.{drawn_limit}"
    );
    let plots = [
        OverTime {
            title: "Largest possible difference",
            unit: "us",
            about: &bounds,
            series: vec![line("", &chunks, |number| micros(take.pair_bound(number)))],
            missing: "not known, as fewer than two devices have frames with an error bound",
        },
        OverTime {
            title: "Spread of frame times",
            unit: "us",
            about: "From the earliest to the latest picture of one number, by the devices' own times. What their clocks are off does \
                    not show here.",
            series: vec![line("", &chunks, |number| micros(take.spread(number)))],
            missing: "not known, as no number is on two devices",
        },
        OverTime {
            title: "Phase error",
            unit: "us",
            about: "How far each frame is from the instant of its number, as its device knows it: early is negative.",
            series: per_device(take, &chunks, |frame| Some(frame.phase.as_micros_f64())),
            missing: "there are no frames",
        },
        OverTime {
            title: "Uncertainty of the clock",
            unit: "us, 1 sigma",
            about: "How well each device knew rig time when it took the frame. The leader's clock is rig time: 0.",
            series: per_device(take, &chunks, |frame| micros(frame.uncertainty)),
            missing: "no frame states it",
        },
        OverTime {
            title: "Temperature of the sensor",
            unit: "\u{b0}C",
            about: "As the cameras report it.",
            series: per_device(take, &chunks, |frame| frame.temperature.map(f64::from)),
            missing: "no camera reports that of its sensor",
        },
    ];
    let many = match take.numbers.len().div_ceil(POINTS) {
        0 | 1 => String::new(),
        each => format!(" Each point is the largest of {each} frames."),
    };
    let limits = std::iter::once(limit).chain(std::iter::repeat(None));
    let plots = plots.iter().zip(limits).map(|(plot, limit)| plot.html(&many, limit));
    Html::element("div", &[("class", "plots")], plots.collect())
}

/// A plot of what changes over time.
struct OverTime<'a> {
    title: &'a str,
    unit: &'a str,
    about: &'a str,
    series: Vec<Series>,
    /// What to say if no value is known.
    missing: &'a str,
}

impl OverTime<'_> {
    fn html(&self, many: &str, limit: Option<f64>) -> Html {
        let labels = labels(self.title, self.unit, &format!("{}{many}", self.about));
        let missing = format!("{}: {}.", self.title, self.missing);
        or_missing(plot::series(&labels, &self.series, Mark::Line, limit), &missing)
    }
}

/// How often errors of which size are.
pub fn distributions(take: &TakeData) -> Html {
    let frames = take.comparable().map(|device| device.frames.len()).max().unwrap_or_default();
    if frames < 10 {
        return note(format!("Too few frames for histograms: {frames} per device at most."));
    }
    let values = |value: &dyn Fn(&Frame) -> Option<f64>| -> Vec<(String, Vec<f64>)> {
        let of =
            |device: &DeviceData| (device.id.to_string(), device.frames.iter().filter_map(value).collect());
        take.comparable().map(of).collect()
    };
    let histogram = |title: &str, caption: &str, value: &dyn Fn(&Frame) -> Option<f64>| {
        let labels =
            Labels { title: title.into(), caption: caption.into(), x: "us".into(), y: "% of frames".into() };
        or_missing(plot::histogram(&labels, &values(value)), &format!("{title}: no frame states it."))
    };
    let plots = [
        histogram(
            "Phase error",
            "How often frames were how far from the instants of their numbers.",
            &|frame| Some(frame.phase.as_micros_f64()),
        ),
        histogram(
            "Clock",
            "Uncertainty of rig time (1 sigma) when frames were taken. This is what each device claims, not its true error.",
            &|frame| micros(frame.uncertainty),
        ),
        histogram(
            "Error bound",
            "How far frames may be from the instants of their numbers, all errors together.",
            &|frame| micros(frame.bound()),
        ),
    ];
    Html::element("div", &[("class", "plots")], plots.into_iter().collect())
}

/// What is there and what is missing, per device.
pub fn presence(take: &TakeData) -> Option<Html> {
    let chunks = chunks(take);
    let last = take.numbers.last().map(|number| take.seconds(number.saturating_add(1)))?;
    let row = |device: &DeviceData| {
        let ends = chunks.iter().skip(1).map(|chunk| chunk.at).chain([last]);
        let mut present: Vec<(f64, f64)> = Vec::new();
        for (chunk, end) in chunks.iter().zip(ends) {
            if !chunk.numbers.iter().any(|number| device.frame(*number).is_some()) {
                continue;
            }
            match present.last_mut() {
                Some((_, until)) if *until >= chunk.at => *until = end,
                _ => present.push((chunk.at, end)),
            }
        }
        let span = |hole: &swsync_core::manifest::Hole| {
            (take.seconds(hole.first), take.seconds(hole.last().saturating_add(1)))
        };
        let missing = device.take.holes.iter().map(span).collect();
        Row { name: device.id.to_string(), present, missing, dot: None }
    };
    let labels = labels(
        "Frames that are there",
        "",
        "A row per device: thin where it has frames, thick and red where take.json says that some are missing. Short holes are \
         drawn wider than they are.",
    );
    plot::rows(&labels, &take.comparable().map(row).collect::<Vec<_>>())
}

/// Where on the time axis each device's picture of `number` may be. `None`: no picture has an error bound.
pub fn intervals(take: &TakeData, number: FrameNumber) -> Option<Html> {
    let row = |device: &DeviceData| {
        let frame = device.frame(number)?;
        let (phase, bound) = (frame.phase.as_micros_f64(), frame.bound()?.as_micros_f64());
        let rest = bound - phase.abs();
        let present = vec![(phase - rest, phase + rest)];
        Some(Row { name: device.id.to_string(), present, missing: Vec::new(), dot: Some(phase) })
    };
    let labels = Labels {
        title: "When each picture was taken".into(),
        caption: format!(
            "For frame {number}, relative to its instant: the dot is what the device knows, the bar is how far that may be wrong: \
             clock, exposure reference and stamp, added."
        ),
        x: "time from the instant (us)".into(),
        y: String::new(),
    };
    plot::rows(&labels, &take.comparable().filter_map(row).collect::<Vec<_>>())
}

/// A plot, or that there is nothing to draw.
fn or_missing(plot: Option<Html>, missing: &str) -> Html {
    plot.unwrap_or_else(|| note(missing))
}
