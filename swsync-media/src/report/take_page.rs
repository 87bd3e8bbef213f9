//! The page of a take.

use std::collections::BTreeMap;

use swsync_core::certificate::TakeCertificate;
use swsync_core::manifest::{FRAMES_JSONL, TAKE_JSON, utc};
use swsync_core::time::{Rig, Span, Timestamp};

use super::html::{Html, note, paragraph, section, table};
use super::page::Page;
use super::stats::Summary;
use super::take::{Certificate, DeviceData, Frame, TakeData};
use super::{contact_sheet, settings, take_plots};

/// Most rows of a table of holes.
const ROWS: usize = 100;

/// When the take was begun: by the date that somebody has given for rig time, if so.
fn when(take: &TakeData, begun: Timestamp<Rig>) -> String {
    let by_rig = utc(begun);
    let date = take.devices.iter().find_map(|device| device.take.date.as_ref());
    match date.filter(|date| date.check().is_ok()) {
        None => format!("begun {by_rig} by the rig's clock"),
        Some(date) => {
            let is = utc(Timestamp::from_nanos(date.utc_at(begun).as_nanos()));
            let uncertainty = date.uncertainty_at(begun).as_secs_f64() * 1e3;
            format!("begun {is} (+- {uncertainty:.1} ms) as {} said; {by_rig} by the rig's clock", date.by)
        }
    }
}

/// The page of `take`.
pub fn page(take: &TakeData, command: String, made: String) -> Page {
    let mut body = verdict(take);
    body.push(key_figures(take));
    body.push(take.problems.iter().chain(&take.given_up).map(note).collect());
    body.push(section("instant", "One instant on all devices", contact_sheet::section(take)));
    body.push(section("devices", "Devices", devices(take)));
    body.push(section("time", "Over time", take_plots::over_time(take)));
    body.push(section("errors", "How large errors were", take_plots::distributions(take)));
    body.push(section("missing", "Missing frames", missing(take)));
    body.push(section("settings", "Settings", settings::section(take)));
    body.push(section("words", "What the words mean", words()));
    let begun = take.numbers.first().zip(take.grid()).map(|(first, grid)| grid.instant(*first));
    let when = begun.map_or_else(|| "of unknown time".to_owned(), |begun| when(take, begun));
    let mut sources = Vec::new();
    for device in &take.devices {
        sources.push(format!("{}/{TAKE_JSON}", device.id));
        sources.push(format!(
            "{}/{FRAMES_JSONL}: {} frames in {} files",
            device.id,
            device.frames.len(),
            device.files.len()
        ));
    }
    sources.push(match &take.certificate {
        Certificate::Absent => "certificate.json: not there".into(),
        _ => "certificate.json".into(),
    });
    Page {
        title: format!("Take {}", take.order),
        note: take.note.as_ref().map(|note| format!("Note by {}: {}", note.by, note.text)),
        subtitle: format!("Pictures of {} synchronized cameras, {when}.", take.devices.len()),
        contents: vec![
            ("instant", "Pictures"),
            ("devices", "Devices"),
            ("time", "Over time"),
            ("errors", "Errors"),
            ("missing", "Missing"),
            ("settings", "Settings"),
            ("words", "Words"),
            ("sources", "Sources"),
        ],
        body,
        sources,
        command,
        made,
    }
}

/// Whether it is proven that the pictures were taken together.
fn verdict(take: &TakeData) -> Html {
    let (class, word, text) = match &take.certificate {
        Certificate::Absent => (
            "verdict",
            "No certificate",
            "Nobody has checked how far the pictures may be apart: there is no certificate.json. `swsync certify` writes it; then \
             make this page again."
                .to_owned(),
        ),
        Certificate::Invalid(why) => (
            "verdict fail",
            "The certificate does not hold",
            format!("certificate.json says nothing about this take: {why}. Run `swsync certify` again, and then make this page again."),
        ),
        Certificate::Valid(certificate) if certificate.passes => ("verdict pass", "Passes", passed(certificate)),
        Certificate::Valid(certificate) => ("verdict fail", "Does not pass", failed(certificate)),
    };
    let mut content = Html::tagged("strong", word);
    content.push(Html::text(text));
    let mut all = Html::element("div", &[("class", class)], content);
    if let Certificate::Valid(certificate) = &take.certificate {
        all.push(terms(certificate));
    }
    all
}

fn limit(certificate: &TakeCertificate) -> String {
    certificate
        .max_error_ns
        .map_or_else(|| "without a limit".to_owned(), |limit| format!("the limit is {}", us(limit)))
}

fn passed(certificate: &TakeCertificate) -> String {
    let limit = limit(certificate);
    match certificate.worst() {
        None => format!("Nothing was claimed; {limit}."),
        Some(worst) => {
            let bound = us(worst.worst_ns.unwrap_or_default());
            match &worst.devices[..] {
                [one, two] => format!(
                    "Any two pictures of one number were taken at most {bound} apart; {limit}. The worst pair is {one} and {two}, \
                     at frame {}.",
                    worst.number
                ),
                _ => format!(
                    "Every picture was taken at most {bound} from its instant; {limit}. The worst is frame {}.",
                    worst.number
                ),
            }
        }
    }
}

fn failed(certificate: &TakeCertificate) -> String {
    let limit = limit(certificate);
    let mut reasons = certificate.problems.clone();
    for part in &certificate.devices {
        let unbounded = part.unbounded.iter().map(|frames| {
            format!(
                "{} frames of {} have no error bound ({} to {}): {}",
                frames.count, part.device, frames.first, frames.last, frames.why
            )
        });
        reasons.extend(unbounded);
    }
    let worst = certificate.worst().map(|worst| {
        let devices = worst.devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let bound = us(worst.worst_ns.unwrap_or_default());
        format!(
            "The worst known pair is {devices}, at frame {}: at most {bound} apart; {limit}.",
            worst.number
        )
    });
    let reasons = if reasons.is_empty() { String::new() } else { format!("{}. ", reasons.join(". ")) };
    format!("{reasons}{}", worst.unwrap_or_else(|| format!("No picture has a known error bound; {limit}.")))
}

/// What the largest bound of each device consists of.
fn terms(certificate: &TakeCertificate) -> Html {
    let rows = certificate.devices.iter().map(|part| {
        let term = |term: Option<Span>| Html::text(term.map_or_else(|| "not known".to_owned(), us));
        let terms = part.terms;
        vec![
            Html::text(&part.device),
            term(part.worst_ns),
            term(terms.map(|terms| terms.phase)),
            term(terms.map(|terms| terms.clock)),
            term(terms.map(|terms| terms.exposure_reference)),
            term(terms.map(|terms| terms.stamp)),
            Html::text(part.worst_frame.map_or_else(String::new, |frame| frame.to_string())),
        ]
    });
    let table = table(
        &["device", "largest bound", "= phase", "+ clock", "+ exposure reference", "+ stamp", "frame"],
        rows,
    );
    let mut details = Html::literal("<summary>What each device's largest error bound consists of</summary>");
    details.push(table);
    Html::element("details", &[("open", "")], details)
}

fn us(span: Span) -> String {
    format!("{:.1} us", span.as_micros_f64())
}

fn key_figures(take: &TakeData) -> Html {
    let figure = |value: String, name: &str| {
        let mut item = Html::tagged("b", value);
        item.push(Html::tagged("span", name));
        Html::element("li", &[], item)
    };
    let unknown = || "not known".to_owned();
    let spreads =
        Summary::of(take.numbers.iter().filter_map(|number| take.spread(*number)).map(Span::as_micros_f64));
    let bounds: Vec<_> = take.numbers.iter().filter_map(|number| take.pair_bound(*number)).collect();
    let missing = take.devices.iter().fold(0, |sum: u64, device| sum.saturating_add(device.take.missing()));
    let length = take
        .numbers
        .last()
        .filter(|_| take.numbers.len() > 1)
        .map(|last| take.seconds(last.saturating_add(1)));
    let figures = [
        figure(take.devices.len().to_string(), "devices"),
        figure(take.numbers.len().to_string(), "instants"),
        figure(
            length.map_or_else(|| "-".to_owned(), |length| format!("{length:.2} s")),
            "from the first to the last",
        ),
        figure(missing.to_string(), "missing frames, of all devices"),
        figure(
            spreads.map_or_else(unknown, |spread| format!("{:.1} us", spread.median)),
            "median spread of frame times, by the devices' clocks",
        ),
        figure(
            bounds.iter().max().map_or_else(unknown, |bound| us(*bound)),
            "largest possible difference of two pictures",
        ),
    ];
    Html::element("ul", &[("class", "figures")], figures.into_iter().collect())
}

fn devices(take: &TakeData) -> Html {
    let row = |device: &DeviceData| {
        let of = |value: &dyn Fn(&Frame) -> Option<f64>| Summary::of(device.frames.iter().filter_map(value));
        let unknown = || Html::text("not known");
        let figure =
            |summary: Option<f64>| summary.map_or_else(unknown, |value| Html::text(format!("{value:.1}")));
        let fine =
            |summary: Option<f64>| summary.map_or_else(unknown, |value| Html::text(format!("{value:.2}")));
        let phase = of(&|frame| Some(frame.phase.as_micros_f64()));
        let clock = of(&|frame| frame.uncertainty.map(Span::as_micros_f64));
        let bound = of(&|frame| frame.bound().map(Span::as_micros_f64));
        let exposure = of(&|frame| frame.exposure.map(|span| span.as_micros_f64() / 1000.0));
        let gain = of(&|frame| frame.gain);
        let all_bounded = device.frames.iter().all(|frame| frame.bound().is_some());
        vec![
            Html::text(&device.id),
            device.take.camera.as_ref().map_or_else(unknown, Html::text),
            Html::text(device.frames.len()),
            Html::text(device.take.missing()),
            figure(phase.map(|phase| phase.mean)),
            figure(phase.map(|phase| phase.max_abs)),
            figure(clock.map(|clock| clock.max_abs)),
            figure(bound.map(|bound| bound.max_abs).filter(|_| all_bounded)),
            fine(exposure.map(|exposure| exposure.median)),
            fine(gain.map(|gain| gain.median)),
            Html::text(counted(
                device.frames.iter().map(|frame| frame.lock.map_or("unknown", |lock| lock.as_str())),
            )),
            Html::text(counted(device.frames.iter().map(|frame| frame.sync.as_str()))),
            Html::text(swsync_cli::table::size(bytes(device))),
        ]
    };
    let headings = [
        "device",
        "camera",
        "frames",
        "missing",
        "mean phase error (us)",
        "largest phase error (us)",
        "clock, at most (us, 1 sigma)",
        "bound, at most (us)",
        "exposure (ms, median)",
        "gain (median)",
        "on the grid",
        "clock",
        "size",
    ];
    let mut html = paragraph("Each device's frames, by what it wrote itself.");
    html.push(table(&headings, take.devices.iter().map(row)));
    let worst = take.numbers.iter().copied().max_by_key(|number| take.pair_bound(*number));
    if let Some(plot) = worst.and_then(|number| take_plots::intervals(take, number)) {
        html.push(Html::element("div", &[("class", "plots")], plot));
    }
    html
}

/// The bytes of its frames.
fn bytes(device: &DeviceData) -> u64 {
    device.frames.iter().fold(0, |sum, frame| sum.saturating_add(frame.bytes))
}

/// How often each of `words` occurs: `locked`, or `locked 58, lost 2`.
fn counted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut counts = BTreeMap::<&str, u64>::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    if let [(word, _)] = counts.iter().collect::<Vec<_>>()[..] {
        return (*word).to_owned();
    }
    counts.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", ")
}

fn missing(take: &TakeData) -> Html {
    let mut html = Html::new();
    if let Some(plot) = take_plots::presence(take) {
        html.push(Html::element("div", &[("class", "plots")], plot));
    }
    let holes: Vec<_> = take
        .devices
        .iter()
        .flat_map(|device| device.take.holes.iter().map(move |hole| (device, hole)))
        .collect();
    for device in &take.devices {
        if let Some(removed) = &device.take.removed {
            html.push(note(format!(
                "{} has removed its frames before {}: {}",
                device.id, removed.before, removed.why
            )));
        }
    }
    if holes.is_empty() {
        html.push(paragraph("No take.json names a missing frame."));
        return html;
    }
    let mut whys = BTreeMap::<&str, u64>::new();
    for (_, hole) in &holes {
        let count = whys.entry(hole.why.as_str()).or_default();
        *count = count.saturating_add(hole.count);
    }
    let mut whys: Vec<_> = whys.into_iter().collect();
    whys.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    html.push(paragraph("By reason:"));
    html.push(table(
        &["frames", "why"],
        whys.iter().take(ROWS).map(|(why, count)| vec![Html::text(count), Html::text(why)]),
    ));
    let rows = holes.iter().take(ROWS).map(|(device, hole)| {
        vec![
            Html::text(&device.id),
            Html::text(hole.first),
            Html::text(hole.last()),
            Html::text(hole.count),
            Html::text(&hole.why),
        ]
    });
    let mut details =
        Html::tagged("summary", format!("Each hole ({} of {})", holes.len().min(ROWS), holes.len()));
    details.push(table(&["device", "first frame", "last frame", "frames", "why"], rows));
    html.push(Html::element("details", &[], details));
    html
}

fn words() -> Html {
    Html::literal(
        "<dl>\
         <dt>rig time</dt><dd>The time of the rig's leader, which all other devices follow.</dd>\
         <dt>frame number</dt><dd>Counts the instants at which all cameras shall expose. Pictures of one number show one \
         instant.</dd>\
         <dt>phase error</dt><dd>How far a frame was from the instant of its number, as its device knows it.</dd>\
         <dt>uncertainty of the clock</dt><dd>How far a device's idea of rig time may be off, as one standard deviation.</dd>\
         <dt>error bound</dt><dd>How far a picture may be from the instant of its number at most: phase error, four times the \
         clock's uncertainty, and what is not known of the camera. It is a claim that holds for 999 of 1000 frames; it does not \
         cover a network that is slower in one direction than in the other beyond what the clock assumes.</dd>\
         <dt>certificate</dt><dd>Adds the error bounds of the two worst devices at each instant, and compares the sum with a \
         limit.</dd>\
         <dt>spread</dt><dd>From the earliest to the latest frame of one number, by the devices' own times. It does not show what \
         their clocks are off; the error bound does.</dd>\
         </dl>",
    )
}
