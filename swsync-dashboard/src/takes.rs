//! What the rig has taken: the list, the frames of a take, notes, files, and all of a take as one download.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use swsync_cli::documents::{NoteJson, TakesJson};
use swsync_cli::list_takes::unknown_order;
use swsync_cli::take_note::{Noted, note_take};
use swsync_client::removal::wall_clock;
use swsync_client::rig_takes::{OrderTake, RigTakes};
use swsync_client::share::TakeNote;
use swsync_client::{Rig, host_name, in_parallel};
use swsync_core::certificate::{self, DEFAULT_MAX_ERROR, TakeCertificate, TakeCertifier};
use swsync_core::frame::FrameInfo;
use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, TAKE_JSON, Take};
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::Targets;
use swsync_core::time::Span;

use crate::api::{Asked, Dash, Named};
use crate::failure::Failure;
use crate::json::{Body, Json};
use crate::pictures::{FileId, WIDTHS, read_whole};
use crate::requests::NoteRequest;
use crate::state::blocking;
use crate::zipped;

/// How long a device may be silent.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most frames of a device that are listed at once.
const MOST_FRAMES: usize = 10_000;
/// The largest manifest that is read for that.
const LARGEST_MANIFEST: u64 = 16 << 20;
/// Devices that are asked at once.
const PARALLEL: u8 = 8;

/// The frames of a take on all devices.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FramesDocument {
    /// The order.
    pub order: OrderId,
    /// What each device has.
    pub devices: Vec<DeviceFrames>,
}

/// The frames of a take on one device.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceFrames {
    /// The device.
    pub device: DeviceId,
    /// The media type of its files.
    pub media: Option<String>,
    /// The frames, by number.
    pub frames: Vec<Frame>,
    /// Why they are not listed, or not all of them.
    pub problem: Option<String>,
}

/// A frame of a take.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Frame {
    /// Its number: the same instant on all devices.
    pub number: u64,
    /// Its file.
    pub file: String,
    /// Its time, in milliseconds of rig time since 1970.
    pub at_ms: i64,
    /// Frame time minus the grid instant, in nanoseconds.
    pub phase_error_ns: Span,
    /// How far it may be from the instant of its number, in nanoseconds. Null: nothing proves a bound.
    pub bound_ns: Option<Span>,
}

/// `GET /api/v1/takes`.
pub async fn list(State(dashboard): Dash) -> Result<Json<Value>, Failure> {
    let rig = dashboard.rig()?;
    blocking(move || {
        let takes = RigTakes::list(rig.session(), &Targets::All, PATIENCE);
        let document = TakesJson::of(&takes, &[], &host_name());
        Ok(Json(serde_json::to_value(document).unwrap_or_default()))
    })
    .await
}

/// What the rig has of `order`.
pub fn find(rig: &Rig, order: &OrderId) -> Result<OrderTake, Failure> {
    let takes = RigTakes::list(rig.session(), &Targets::All, PATIENCE);
    match takes.find(order) {
        Some(take) => Ok(take.clone()),
        None => Err(anyhow::Error::from(unknown_order(order, &takes)).into()),
    }
}

/// `GET /api/v1/takes/{order}/frames`.
pub async fn frames(
    State(dashboard): Dash,
    Named(order): Named<OrderId>,
) -> Result<Json<FramesDocument>, Failure> {
    let rig = dashboard.rig()?;
    blocking(move || {
        let take = find(&rig, &order)?;
        let mut devices = in_parallel(PARALLEL, take.parts.keys(), |device| frames_of(&rig, &order, device));
        devices.sort_by(|a, b| a.device.cmp(&b.device));
        Ok(Json(FramesDocument { order, devices }))
    })
    .await
}

/// A manifest of a device's part, or why it cannot be read.
fn manifest(rig: &Rig, order: &OrderId, device: &DeviceId, path: &str) -> Result<Vec<u8>, String> {
    let file = FileId { order: order.clone(), device: device.clone(), path: path.to_owned() };
    read_whole(rig, &file, LARGEST_MANIFEST).map_err(|failure| failure.text())
}

/// The records of a part, without those whose files were removed again.
fn records(text: &[u8], take: Option<&Take>) -> Vec<FrameRecord> {
    let text = String::from_utf8_lossy(text);
    // The last line of a take under way may be half written.
    let records = text.lines().filter_map(|line| FrameRecord::from_line(line).ok());
    let is_there = |record: &FrameRecord| take.is_none_or(|take| !take.is_removed(record.info.number));
    records.filter(is_there).collect()
}

/// `GET /api/v1/takes/{order}/certificate`.
pub async fn certificate(
    State(dashboard): Dash,
    Named(order): Named<OrderId>,
) -> Result<Json<TakeCertificate>, Failure> {
    let rig = dashboard.rig()?;
    blocking(move || {
        let take = find(&rig, &order)?;
        let mut parts = in_parallel(PARALLEL, take.parts.keys(), |device| {
            let read = |path| manifest(&rig, &order, device, path);
            (device.clone(), read(TAKE_JSON).and_then(|take| Ok((take, read(FRAMES_JSONL)?))))
        });
        parts.sort_by(|a, b| a.0.cmp(&b.0));
        let mut certifier = TakeCertifier::new(order.clone());
        for device in &take.lacking {
            certifier.add_problem(format!("{device} has nothing of it"));
        }
        for (device, part) in parts {
            let part = part.and_then(|(take, text)| {
                let take = Take::from_json(&take).map_err(|error| error.to_string())?;
                Ok((records(&text, Some(&take)), take))
            });
            match part {
                Ok((records, take)) => {
                    if !take.complete {
                        certifier.add_problem(format!("the part of {device} is not finished"));
                    }
                    let each = |each: &mut dyn FnMut(&FrameInfo)| {
                        records.iter().for_each(|record| each(&record.info));
                        Ok::<_, std::convert::Infallible>(())
                    };
                    let Ok(()) = certifier.add_part(&device, take.grid, each);
                }
                Err(why) => certifier.add_problem(format!("the part of {device} cannot be read: {why}")),
            }
        }
        Ok(Json(certifier.finish(Some(DEFAULT_MAX_ERROR))))
    })
    .await
}

fn frames_of(rig: &Rig, order: &OrderId, device: &DeviceId) -> DeviceFrames {
    let read = |path| manifest(rig, order, device, path);
    let take = read(TAKE_JSON).ok().and_then(|text| Take::from_json(&text).ok());
    let media = take.as_ref().map(|take| take.caps.split(',').next().unwrap_or_default().trim().to_owned());
    let (mut frames, mut problem) = (Vec::new(), None);
    match read(FRAMES_JSONL) {
        Ok(text) => {
            frames.extend(records(&text, take.as_ref()).into_iter().map(Frame::of));
            frames.sort_by_key(|frame: &Frame| frame.number);
            frames.dedup_by_key(|frame| frame.number);
            if frames.len() > MOST_FRAMES {
                problem =
                    Some(format!("only the first {MOST_FRAMES} of its {} frames are listed", frames.len()));
                frames.truncate(MOST_FRAMES);
            }
        }
        Err(why) => problem = Some(why),
    }
    DeviceFrames { device: device.clone(), media, frames, problem }
}

impl Frame {
    fn of(record: FrameRecord) -> Self {
        Self {
            number: record.info.number,
            bound_ns: certificate::bound(&record.info),
            at_ms: record.info.rig_time_ns.as_nanos() / 1_000_000,
            phase_error_ns: record.info.phase_error_ns,
            file: record.file,
        }
    }
}

/// `PUT /api/v1/takes/{order}/note`.
pub async fn note(
    State(dashboard): Dash,
    Named(order): Named<OrderId>,
    Body(request): Body<NoteRequest>,
) -> Result<Json<Value>, Failure> {
    let rig = dashboard.rig()?;
    let note = TakeNote::new(&request.text, wall_clock(), &host_name())
        .map_err(|error| Failure::usage(error.to_string(), "one line of at most 1000 bytes"))?;
    blocking(move || {
        let Noted { latest, devices, without } =
            note_take(rig.session(), &order, Some(&note), PATIENCE).map_err(anyhow::Error::from)?;
        let note = latest.map(|note| note.text).filter(|text| !text.is_empty());
        let document = NoteJson { order, note, devices, without };
        Ok(Json(serde_json::to_value(document).unwrap_or_default()))
    })
    .await
}

/// `GET /api/v1/takes/{order}/zip`.
pub async fn zip(State(dashboard): Dash, Named(order): Named<OrderId>) -> Result<Response, Failure> {
    let rig = dashboard.rig()?;
    let name = format!("attachment; filename=\"{order}.zip\"");
    let (rig, take) = blocking(move || find(&rig, &order).map(|take| (rig, take))).await?;
    let headers = [(CONTENT_TYPE, "application/zip".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, zipped::zip(rig, take)).into_response())
}

/// Which file, and how.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileQuery {
    /// The file's path in the folder of the device's part.
    pub path: String,
    /// The picture in it as JPEG, so many pixels wide at most; without it, the file as it is.
    #[cfg_attr(feature = "schema", schemars(range(min = 16, max = 1920)))]
    pub width: Option<u32>,
}

/// `GET /api/v1/takes/{order}/devices/{device}/file`.
pub async fn file(
    State(dashboard): Dash,
    Named((order, device)): Named<(OrderId, DeviceId)>,
    Asked(FileQuery { path, width }): Asked<FileQuery>,
) -> Result<Response, Failure> {
    let rig = dashboard.rig()?;
    let id = FileId { order, device, path };
    let Some(width) = width else {
        let (checked, first) = (rig.clone(), id.clone());
        // Fails here, with a status code, rather than in the middle.
        blocking(move || {
            crate::pictures::check_device(&checked, &first.device)?;
            let takes = crate::pictures::takes_of(&checked, first.device.clone());
            takes.read(&first.order, &first.path, 0, 1).map(drop).map_err(crate::pictures::of_remote)
        })
        .await?;
        let kind = if id.path.ends_with(".jpg") { "image/jpeg" } else { "application/octet-stream" };
        let name = id.path.rsplit('/').next().unwrap_or_default().replace(['"', '\\'], "_");
        let headers = [
            (CONTENT_TYPE, kind.to_owned()),
            (CONTENT_DISPOSITION, format!("attachment; filename=\"{}-{name}\"", id.device)),
        ];
        return Ok((headers, zipped::file(rig, id)).into_response());
    };
    if !WIDTHS.contains(&width) {
        return Err(Failure::usage(
            format!("width {width} is not {} to {}", WIDTHS.start(), WIDTHS.end()),
            "ask for another width",
        ));
    }
    let picture = dashboard.pictures.scaled(rig, id, width).await?;
    let headers = [(CONTENT_TYPE, "image/jpeg"), (CACHE_CONTROL, "private, max-age=86400, immutable")];
    Ok((StatusCode::OK, headers, picture.to_vec()).into_response())
}
