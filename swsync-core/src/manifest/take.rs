//! `take.json`: order, device, settings, video files and missing frames of a take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Hole, OrderIndex, PathError, check_path};
use crate::grid::{FrameGrid, FrameNumber};
use crate::name::{DeviceId, OrderId};
use crate::order::{Fill, Order};
use crate::place::DevicePlace;
use crate::rig_date::RigDate;
use crate::time::{Realtime, Rig, Timestamp};

/// Latest version of `take.json` that can be read. Only a change that older readers would misread gets another number. A take
/// is written as the oldest version that can express it: 2 if a [`Hole`] has a `last`, else 1.
pub const SCHEMA: u32 = 2;

/// Properties that differ from their defaults, by element name, of the elements that the frames went through and of the
/// pipeline's clock. `factory` names the kind of element.
pub type PipelineSettings = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

/// The result of an order on one device. Written when the first file begins, and again whenever a file is closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Take {
    /// Version of the file; see [`SCHEMA`].
    pub schema: u32,
    /// The order.
    pub order: OrderId,
    /// The order as it was given, in its JSON form.
    pub ordered: serde_json::Value,
    /// The device.
    pub device: DeviceId,
    /// The device's group and place in the rig when the first frame came.
    #[serde(default, skip_serializing_if = "DevicePlace::is_unset")]
    pub place: DevicePlace,
    /// Host name of the device.
    pub host: String,
    /// Version of swsync.
    pub software: String,
    /// Model of the camera, if known.
    pub camera: Option<String>,
    /// Exif orientation of the pictures, if the camera could not rotate them as asked: for readers to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orientation: Option<u16>,
    /// Maker of the camera, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<String>,
    /// GStreamer caps of the frames.
    pub caps: String,
    /// Settings of the pipeline when the first frame came.
    #[serde(default)]
    pub settings: PipelineSettings,
    /// The grid that the frames are numbered on, as (numerator, denominator) of frames per second.
    pub grid: FrameGrid,
    /// The first frame number that the order names, whether the frame exists or not: the same on every device.
    pub first: FrameNumber,
    /// How many frame numbers the order names, whether the frames exist or not: the same on every device. While a take goes
    /// on, those named so far.
    pub count: u64,
    /// Size of all pictures of the take together, once it is complete. `None`: it has videos, whose sizes `segments` has, or an
    /// older version wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture_bytes: Option<u64>,
    /// Video files, in order. Empty if each frame has a file of its own.
    #[serde(default)]
    pub segments: Vec<TakeSegment>,
    /// Numbers that the order names and that have no frame, in order and without overlap. A few hundred at most.
    #[serde(default)]
    pub holes: Vec<Hole>,
    /// [`lead_in`](TakeSegment::lead_in) of the first segment.
    #[serde(default)]
    pub lead_in: u64,
    /// Frames that a loop recording has removed again, because it keeps only its newest files. When the take is complete, they are
    /// [`holes`](Self::holes) too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<RemovedFrames>,
    /// What an export puts in place of a missing frame.
    #[serde(default)]
    pub fill: Fill,
    /// When the first file was begun.
    pub started_ns: Timestamp<Rig>,
    /// When the device accepted the order, by its wall clock. Always later than that of any order that it accepted before, even
    /// if the clock was set back, because orders are sorted by it. `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_ns: Option<Timestamp<Realtime>>,
    /// When the last one was closed.
    pub finished_ns: Option<Timestamp<Rig>>,
    /// What date rig time stands for, if somebody has said it by the time that the take was finished. All times here and in the
    /// manifest are rig time all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<RigDate>,
    /// Whether the take is finished: every named frame is saved or a hole, every file is closed, and nothing in the folder
    /// changes any more.
    pub complete: bool,
}

/// One video file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TakeSegment {
    /// Its name, relative to `take.json`'s folder.
    pub file: String,
    /// The first frame number that it covers, whether the frame exists or not.
    pub first: FrameNumber,
    /// How many of the named frame numbers it covers, whether the frames exist or not. One for stills that lie apart.
    pub count: u64,
    /// Frames at its beginning that the order does not name, because a video can only begin with a key frame. They have no
    /// records. `None`: an older version wrote this, and it is the `offset` of the file's first record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_in: Option<u64>,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal, if it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Frames that the device removed with the oldest files of a take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RemovedFrames {
    /// No frame before this number exists any more. A line of the manifest that names one is stale.
    pub before: FrameNumber,
    /// The reason, as text for the operator.
    pub why: String,
}

/// Why a `take.json` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// Not a `take.json`.
    #[error("it is no take.json: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a later version.
    #[error("it has schema version {0}, and this swsync reads {SCHEMA} and below: update swsync")]
    Schema(u32),
    /// A hole that is empty, overlaps another, is out of order, or lies outside the order.
    #[error("the hole of {count} frames at {first} is empty, out of order or outside of the take")]
    Hole {
        /// Where it begins.
        first: FrameNumber,
        /// How long it is.
        count: u64,
    },
    /// A segment that overlaps another, is out of order, or covers more than the order names.
    #[error("segment {file:?} is out of order, or covers more frames than the take has")]
    Segment {
        /// Its name.
        file: String,
    },
    /// A file name that leads out of the folder.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Take {
    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let schema = if self.holes.iter().any(|hole| hole.last.is_some()) { SCHEMA } else { 1 };
        let mut text = serde_json::to_string_pretty(&Self { schema, ..self.clone() })
            .expect("a take is a plain struct with string keys, which JSON can hold");
        text.push('\n');
        text
    }

    /// Reads and checks the file's text. The segments of a complete take are cut to the numbers that the order names: swsync
    /// 0.1.0 wrote larger ones for takes that were stopped.
    ///
    /// # Errors
    /// [`TakeError`].
    pub fn from_json(text: &[u8]) -> Result<Self, TakeError> {
        /// The one field that every version has.
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let version: Version = serde_json::from_slice(text)?;
        if version.schema > SCHEMA {
            return Err(TakeError::Schema(version.schema));
        }
        let mut take: Self = serde_json::from_slice(text)?;
        if take.complete {
            take.trim_segments();
        }
        take.check()?;
        Ok(take)
    }

    /// Finishes the take: the order named `count` numbers, of which `holes` have no frame.
    pub fn finish(&mut self, count: u64, holes: Vec<Hole>, at: Timestamp<Rig>) {
        self.count = count;
        self.holes = holes;
        self.finished_ns = Some(at);
        self.complete = true;
        self.settle();
    }

    /// Makes segments, holes and count consistent, so that the take can be read again. Call it before writing.
    ///
    /// Segments and holes are sorted. While the take goes on, its count includes all numbers that its files cover. When it is
    /// complete, its files cover no more than its count.
    pub fn settle(&mut self) {
        self.segments.sort_by_key(|segment| segment.first);
        let starts: Vec<_> = self.segments.iter().skip(1).map(|segment| segment.first).collect();
        for (segment, next) in self.segments.iter_mut().zip(starts) {
            // The next file covers the rest: this one ended early.
            segment.count = segment.count.min(next.saturating_sub(segment.first));
        }
        self.holes.sort_by_key(|hole| hole.first);
        let index = self.order_index();
        let mut next = 0;
        self.holes.retain_mut(|hole| {
            // Of overlapping holes, the first reason stays.
            let end = hole.last().saturating_add(1);
            if hole.first < next {
                let covered = index.index_of(next.min(end)) - index.index_of(hole.first);
                hole.count = hole.count.saturating_sub(covered);
                hole.first = index.number_at(index.index_of(next));
            }
            next = next.max(end);
            hole.count > 0
        });
        if self.complete {
            self.trim_segments();
        } else if let Some(last) = self.segments.last() {
            self.count = self.count.max(self.named_before(last.first.saturating_add(last.count)));
        }
    }

    /// Cuts segments at the end of the order: a file is begun for its whole segment, and the order may end before.
    fn trim_segments(&mut self) {
        let end = self.first.saturating_add(self.count);
        // Stills that lie apart have a file each, which covers one number.
        for segment in self.segments.iter_mut().filter(|segment| segment.count > 1 && segment.first < end) {
            segment.count = segment.count.min(end - segment.first);
        }
    }

    /// How many frame numbers before `end` the order names, ignoring stops.
    #[must_use]
    pub fn named_before(&self, end: FrameNumber) -> u64 {
        match serde_json::from_value::<Order>(self.ordered.clone()) {
            Ok(order) => order.unstopped().named(self.grid).count_in(self.first..end),
            // An order of another version: taken as one without pauses.
            Err(_) => end.saturating_sub(self.first),
        }
    }

    /// Checks holes and segments.
    fn check(&self) -> Result<(), TakeError> {
        let mut next = self.first;
        let mut missing = 0_u64;
        for hole in &self.holes {
            let Hole { first, count, .. } = *hole;
            let end = first.checked_add(count).and_then(|run| match hole.last {
                None => Some(run),
                // There may be other numbers between.
                Some(last) => last.checked_add(1).filter(|end| *end >= run),
            });
            missing = missing.saturating_add(count);
            let is_right = count > 0 && first >= next && missing <= self.count;
            next = end.filter(|_| is_right).ok_or(TakeError::Hole { first, count })?;
        }
        let mut next = self.first;
        let (mut covered, end) = (0_u64, self.first.saturating_add(self.count));
        for TakeSegment { file, first, count, .. } in &self.segments {
            check_path(file)?;
            covered = covered.saturating_add(*count);
            let after = first.checked_add(*count).filter(|_| *first >= next && covered <= self.count);
            // Stills that lie apart have a file each, which covers one number.
            let after = after.filter(|after| *count <= 1 || *after <= end);
            next = after.ok_or_else(|| TakeError::Segment { file: file.clone() })?;
        }
        Ok(())
    }

    /// How many named numbers have no frame.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.holes.iter().map(|hole| hole.count).sum()
    }

    /// Size of all pictures, or of all videos. `None`: an older version wrote this, or pictures are still to come.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let videos = self.segments.iter().map(|segment| segment.bytes).fold(0, u64::saturating_add);
        if self.segments.is_empty() { self.picture_bytes } else { Some(videos) }
    }

    /// Whether frame `number` was removed, if it ever existed.
    #[must_use]
    pub fn is_removed(&self, number: FrameNumber) -> bool {
        self.removed.as_ref().is_some_and(|removed| number < removed.before)
    }

    /// Why frame `number`, which the order names and the manifest does not have, is missing. `None`: no hole covers it.
    #[must_use]
    pub fn why_missing(&self, number: FrameNumber) -> Option<&str> {
        let at = self.holes.partition_point(|hole| hole.last() < number);
        Some(&self.holes.get(at).filter(|hole| hole.first <= number)?.why)
    }

    /// How the order counts the frames that it names.
    #[must_use]
    pub fn order_index(&self) -> OrderIndex {
        let order = serde_json::from_value::<Order>(self.ordered.clone());
        // An order of another version: taken as one without pauses.
        OrderIndex::of(order.ok().map(|order| order.named(self.grid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    fn take() -> Take {
        let segment = |index: u64, first, count| TakeSegment {
            file: format!("{index:04}.mp4"),
            first,
            count,
            lead_in: Some(4 * (1 - index)),
            bytes: 1000,
            sha256: None,
        };
        Take {
            schema: 1,
            order: Name::new("o1").unwrap(),
            ordered: serde_json::json!({"id": "o1", "kind": "take"}),
            device: Name::new("pi1").unwrap(),
            place: Default::default(),
            host: "raspberrypi".into(),
            software: "0.1.0".into(),
            camera: Some("imx708".into()),
            orientation: None,
            maker: None,
            settings: PipelineSettings::from([(
                "src".into(),
                [("exposure-time".into(), 5000.into())].into(),
            )]),
            caps: "video/x-h264, width=1280, height=720, framerate=30/1".into(),
            grid: FrameGrid::new(30, 1).unwrap(),
            first: 100,
            count: 60,
            picture_bytes: None,
            segments: vec![segment(0, 100, 30), segment(1, 130, 30)],
            holes: vec![
                Hole::run(105, 2, "the camera dropped this frame"),
                Hole::run(120, 1, "the encoder fell behind"),
            ],
            lead_in: 4,
            removed: None,
            fill: Fill::Hold,
            started_ns: Timestamp::from_nanos(3_333_333_333),
            accepted_ns: Some(Timestamp::from_nanos(3_000_000_000)),
            finished_ns: Some(Timestamp::from_nanos(5_400_000_000)),
            date: Some(RigDate {
                timescale: crate::message::TimeScale(7),
                rig_time_ns: Timestamp::from_nanos(3_000_000_000),
                utc_ns: Timestamp::from_nanos(1_800_000_000_000_000_000),
                uncertainty_ns: crate::time::Span::from_millis(8),
                by: "browser at 10.0.0.7".into(),
            }),
            complete: true,
        }
    }

    fn read(take: &Take) -> Result<Take, TakeError> {
        Take::from_json(take.to_json().as_bytes())
    }

    #[test]
    fn a_take_reads_back() {
        assert_eq!(read(&take()).unwrap(), take());
        let json: serde_json::Value = serde_json::from_str(&take().to_json()).unwrap();
        assert_eq!(json["grid"], serde_json::json!([30, 1]));
        assert_eq!(json["fill"], "hold");
        assert!(json["segments"][0].get("sha256").is_none() && json.get("removed").is_none());
        let removed = Some(RemovedFrames { before: 130, why: "removed: max-files=1".into() });
        let looped = Take { removed, ..take() };
        assert_eq!(read(&looped).unwrap(), looped);
        assert!(looped.is_removed(129) && !looped.is_removed(130) && !take().is_removed(100));
    }

    #[test]
    fn unknown_fields_are_ignored_and_a_later_schema_is_refused() {
        let mut json: serde_json::Value = serde_json::from_str(&take().to_json()).unwrap();
        json["of_a_later_version"] = 1.into();
        assert_eq!(Take::from_json(json.to_string().as_bytes()).unwrap(), take());
        json["schema"] = 3.into();
        json["first"] = "no longer a number".into();
        assert!(matches!(Take::from_json(json.to_string().as_bytes()), Err(TakeError::Schema(3))));
        assert!(matches!(Take::from_json(b"{\"schema\":1}"), Err(TakeError::Json(_))));
        assert!(matches!(Take::from_json(b""), Err(TakeError::Json(_))));
    }

    #[test]
    fn holes_and_segments_are_checked() {
        type Change = fn(&mut Take);
        let holes: [Change; 7] = [
            |take| take.holes[0].first = 99,
            |take| take.holes[0].count = 0,
            |take| take.holes[0].count = u64::MAX,
            |take| take.holes[1].first = 106,
            |take| take.holes[1].count = 59,
            |take| take.holes[0].last = Some(105),
            |take| take.holes[0].last = Some(120),
        ];
        for change in holes {
            let mut take = take();
            change(&mut take);
            assert!(matches!(read(&take), Err(TakeError::Hole { .. })), "{:?}", take.holes);
        }
        let segments: [Change; 4] = [
            |take| take.segments[0].first = 99,
            |take| take.segments[1].first = 129,
            |take| take.segments[1].count = 31,
            |take| take.segments[1].count = u64::MAX,
        ];
        for change in segments {
            let mut take = Take { complete: false, ..take() };
            change(&mut take);
            assert!(matches!(read(&take), Err(TakeError::Segment { .. })), "{:?}", take.segments);
        }
        let mut elsewhere = take();
        elsewhere.segments[0].file = "../0000.mp4".into();
        assert!(matches!(read(&elsewhere), Err(TakeError::Path(_))));
    }

    #[test]
    fn stills_may_have_holes_far_apart() {
        let mut stills = Take { segments: Vec::new(), count: 4, ..take() };
        stills.holes[1].first = 100_000;
        assert_eq!(read(&stills).unwrap(), stills);
        stills.holes[1].count = 3;
        assert!(read(&stills).is_err(), "more missing than named");
    }

    #[test]
    fn a_hole_with_pauses_needs_schema_2() {
        let hole = Hole { last: Some(100_000), ..Hole::run(120, 30, "switched off") };
        let stills = Take { segments: Vec::new(), holes: vec![hole], ..take() };
        let again = read(&stills).unwrap();
        assert_eq!((again.schema, &again.holes, again.missing()), (2, &stills.holes, 30));
        assert_eq!(again.why_missing(99_990), Some("switched off"));
        assert_eq!((again.why_missing(119), again.why_missing(100_001)), (None, None));
        assert_eq!(read(&take()).unwrap().schema, 1, "older readers can still read it");
    }

    #[test]
    fn the_size_is_that_of_videos_or_of_pictures() {
        assert_eq!(take().bytes(), Some(2000));
        let pictures = Take { segments: Vec::new(), picture_bytes: Some(7), ..take() };
        assert_eq!(read(&pictures).unwrap().bytes(), Some(7));
        assert_eq!(Take { picture_bytes: None, ..pictures }.bytes(), None, "written by an older version");
    }

    #[test]
    fn videos_of_stills_may_be_far_apart() {
        let mut stills = Take { count: 4, ..take() };
        for (segment, first) in stills.segments.iter_mut().zip([100, 100_000]) {
            (segment.first, segment.count) = (first, 1);
        }
        assert_eq!(read(&stills).unwrap(), stills);
        stills.segments[1].count = 4;
        assert!(matches!(read(&stills), Err(TakeError::Segment { .. })), "more covered than named");
    }

    #[test]
    fn a_take_that_ended_before_its_file_reads_back() {
        let mut take = Take { complete: false, ..take() };
        // The second file was begun for numbers up to 160; 145 were named by the time of the stop.
        (take.count, take.lead_in) = (60, 0);
        let holes = vec![
            Hole::run(140, 5, "b"),
            Hole::run(105, 2, "a"),
            Hole::run(104, 3, "c"),
            Hole::run(105, 1, "d"),
        ];
        take.finish(45, holes, Timestamp::from_nanos(1));
        let covers: Vec<_> = take.segments.iter().map(|segment| (segment.first, segment.count)).collect();
        assert_eq!(covers, [(100, 30), (130, 15)]);
        let told: Vec<_> = take.holes.iter().map(|hole| (hole.first, hole.count, &*hole.why)).collect();
        assert_eq!(told, [(104, 3, "c"), (140, 5, "b")]);
        assert_eq!(read(&take).unwrap(), take, "it reads back as it was written");
        // As 0.1.0 wrote it.
        let mut of_before = take.clone();
        of_before.segments[1].count = 30;
        assert_eq!(read(&of_before).unwrap(), take);
    }

    #[test]
    fn while_a_take_goes_on_its_count_is_what_its_files_cover() {
        let mut take = Take { complete: false, count: 0, holes: Vec::new(), ..take() };
        take.segments.reverse(); // the first was closed last
        take.segments[1].count = 40;
        take.settle();
        let covers: Vec<_> = take.segments.iter().map(|segment| (segment.first, segment.count)).collect();
        assert_eq!((covers, take.count), (vec![(100, 30), (130, 30)], 60));
        assert_eq!(read(&take).unwrap(), take);
    }

    #[test]
    fn a_hole_states_the_reason() {
        let take = take();
        assert_eq!(take.missing(), 3);
        assert_eq!(take.why_missing(104), None);
        assert_eq!(take.why_missing(106), Some("the camera dropped this frame"));
        assert_eq!(take.why_missing(107), None);
        assert_eq!(take.why_missing(120), Some("the encoder fell behind"));
    }
}
