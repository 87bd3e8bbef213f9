//! The frames of a video file, coded or decoded, one after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use gst::prelude::*;

use super::{PARSERS, annexb, error_on, launch};

/// Frames that may wait between GStreamer's thread and this one.
const QUEUE: usize = 8;

/// How often errors are looked for while no frame comes.
const POLL: Duration = Duration::from_millis(50);

/// How long no frame may come before the file or the machine is given up.
const STALLED: Duration = Duration::from_secs(60);

/// A frame, coded or not.
pub struct Unit {
    /// It, as GStreamer has it.
    pub buffer: gst::Buffer,
    /// What it is.
    pub caps: gst::Caps,
    /// Whether it builds on no other.
    pub is_key: bool,
}

impl Unit {
    /// When it is shown, in the file's own time.
    pub fn pts(&self) -> Option<gst::ClockTime> {
        self.buffer.pts()
    }

    /// Its bytes.
    pub fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let map = self.buffer.map_readable().map_err(|error| anyhow!("a frame cannot be read: {error}"))?;
        Ok(map.to_vec())
    }
}

/// What passes from GStreamer's thread: `None` is the end.
type Passed = Option<Unit>;

/// The frames of a file, in order. An error is the last thing that comes.
pub struct Units {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    /// `None` once nothing more is wanted.
    inbox: Option<Receiver<Passed>>,
}

impl Units {
    /// The coded frames of `video`, whose media type is `media`, in the order in which they are stored, lead-in included. H.264 and
    /// H.265 as a byte stream whose key frames bring their parameters, each frame beginning with its delimiter if it has one.
    pub fn coded(video: &Path, media: &str) -> anyhow::Result<Self> {
        let parse = PARSERS.iter().find(|(known, _)| *known == media).map_or("identity", |(_, parse)| parse);
        Self::start(video, &format!("parsebin ! {parse}"), media)
    }

    /// The pictures of `video`, in the order in which they are shown, lead-in included; with `tail` behind the decoder.
    pub fn decoded(video: &Path, tail: &str) -> anyhow::Result<Self> {
        Self::start(video, &format!("decodebin ! videoconvert ! {tail}"), "")
    }

    fn start(video: &Path, elements: &str, media: &str) -> anyhow::Result<Self> {
        gst::init().context("cannot start GStreamer")?;
        let pipeline = launch(&format!("filesrc name=from ! {elements} ! fakesink name=out sync=false"))?;
        // FFmpeg's decoders make up what is missing of pictures that build on others which are not there, and with several
        // threads they give a picture the time of one that they leave out (seen with 1.26).
        pipeline.connect_deep_element_added(|_, _, element| {
            if element.has_property("output-corrupt") {
                element.set_property("output-corrupt", false);
                element.set_property_from_str("max-threads", "1");
            }
        });
        let path = video.to_str().context("GStreamer takes paths in UTF-8 only")?;
        pipeline.by_name("from").context("the description names it")?.set_property("location", path);
        let bus = pipeline.bus().context("a pipeline has a bus")?;
        let (passed, inbox) = mpsc::sync_channel(QUEUE);
        tap(&pipeline, media.to_owned(), passed)?;
        // A pipeline that cannot start says why on its bus, too.
        let _ = pipeline.set_state(gst::State::Playing);
        Ok(Self { pipeline, bus, inbox: Some(inbox) })
    }

    fn wait(&mut self) -> anyhow::Result<Option<Unit>> {
        let Some(inbox) = &self.inbox else { return Ok(None) };
        let mut silent = Duration::ZERO;
        loop {
            match inbox.recv_timeout(POLL) {
                Ok(passed) => return Ok(passed),
                Err(RecvTimeoutError::Timeout) => silent += POLL,
                // The pad is gone; the bus says why.
                Err(RecvTimeoutError::Disconnected) => silent = STALLED,
            }
            if let Some(error) = error_on(&self.bus) {
                return Err(error);
            }
            ensure!(silent < STALLED, "GStreamer gave no frame for {STALLED:?}");
        }
    }
}

impl Iterator for Units {
    type Item = anyhow::Result<Unit>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.wait().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.inbox = None;
        }
        next
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        // Whoever waits to hand over a frame must not keep the pipeline from stopping.
        self.inbox = None;
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Sends what reaches `out`.
fn tap(pipeline: &gst::Pipeline, media: String, passed: SyncSender<Passed>) -> anyhow::Result<()> {
    let pad = pipeline.by_name("out").and_then(|out| out.static_pad("sink"));
    let pad = pad.context("the description has it")?;
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(kinds, move |pad, info| {
        let passing = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let mut unit = Unit {
                    buffer: buffer.clone(),
                    caps: pad.current_caps().unwrap_or_else(gst::Caps::new_empty),
                    is_key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
                };
                tidy(&mut unit, &media);
                Some(unit)
            }
            Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Eos => None,
            _ => return gst::PadProbeReturn::Ok,
        };
        // Nobody listens any more: the pipeline is being stopped.
        let _ = passed.send(passing);
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Puts the parts of a frame of H.264 or H.265 in order. Parsers take every frame that refers to no other for a key frame (seen
/// with 1.26), but one may come after it that refers to what was before: only those that bring their parameters are.
fn tidy(unit: &mut Unit, media: &str) {
    let Some(order) = annexb::orders(media) else { return };
    let Ok(map) = unit.buffer.map_readable() else { return };
    unit.is_key = unit.is_key && !annexb::parameters(media, &map).is_empty();
    let mut ordered = gst::Buffer::from_mut_slice(order(&map));
    drop(map);
    let flags = gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS;
    // Both are buffers of this thread alone.
    if unit.buffer.copy_into(ordered.make_mut(), flags, ..).is_ok() {
        unit.buffer = ordered;
    }
}

/// The pictures of a video as they are shown, each with its place among all that are stored, from 0: a decoder leaves out those
/// that build on what is not in the file.
pub struct Pictures {
    units: Units,
    times: Vec<gst::ClockTime>,
    next: usize,
}

impl Pictures {
    /// Those of `video`, whose media type is `media`; with `tail` behind the decoder.
    pub fn of(video: &Path, media: &str, tail: &str) -> anyhow::Result<Self> {
        let times = Index::of(video, media)?.times;
        Ok(Self { units: Units::decoded(video, tail)?, times, next: 0 })
    }

    /// The place of a picture that is shown at `pts`.
    fn place(&self, pts: Option<gst::ClockTime>) -> usize {
        let later = pts.and_then(|pts| {
            let left = self.times.get(self.next..)?.iter().enumerate();
            left.min_by_key(|(_, time)| time.nseconds().abs_diff(pts.nseconds()))
        });
        self.next + later.map_or(0, |(ahead, _)| ahead)
    }
}

impl Iterator for Pictures {
    type Item = anyhow::Result<(u64, Unit)>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.units.next()?.map(|unit| {
            let place = self.place(unit.pts());
            self.next = place + 1;
            (place as u64, unit)
        }))
    }
}

/// Decodes `video`, whose media type is `media`, and hands each picture as a JPEG of this quality to `on_picture`, with its place
/// among those that are stored, in the order in which they are shown, for as long as it answers `true`.
pub fn decode(
    video: &Path,
    media: &str,
    quality: u8,
    mut on_picture: impl FnMut(u64, &[u8]) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    for picture in Pictures::of(video, media, &format!("jpegenc quality={quality}"))? {
        let (place, picture) = picture?;
        if !on_picture(place, &picture.bytes()?)? {
            break;
        }
    }
    Ok(())
}

/// What is stored in a video file.
pub struct Index {
    /// For each coded frame, as they are stored, when it comes among those that are shown, from 0.
    pub shown: Vec<usize>,
    /// Those that build on no other, and the parameters that they bring.
    pub keys: BTreeMap<usize, Vec<u8>>,
    /// What its frames are, but for their rate.
    pub caps: Option<gst::Caps>,
    /// When its pictures are shown, in that order, in the file's own time; empty where it does not say.
    pub times: Vec<gst::ClockTime>,
}

impl Index {
    /// Reads `video`, whose media type is `media`.
    pub fn of(video: &Path, media: &str) -> anyhow::Result<Self> {
        let (mut times, mut keys, mut caps) = (Vec::new(), BTreeMap::new(), None);
        for (stored, unit) in Units::coded(video, media)?.enumerate() {
            let unit = unit?;
            if unit.is_key {
                keys.insert(stored, annexb::parameters(media, &unit.bytes()?));
            }
            times.push(unit.pts());
            caps.get_or_insert(unit.caps);
        }
        if let Some(caps) = caps.as_mut().map(gst::Caps::make_mut) {
            caps.iter_mut().for_each(|structure| structure.remove_fields(["framerate", "codec_data"]));
        }
        // Without times, as in a stream without container, they are shown as they are stored.
        let mut order: Vec<_> = (0..times.len()).collect();
        if times.iter().all(Option::is_some) {
            order.sort_by_key(|stored| times[*stored]);
        }
        let mut shown = vec![0; order.len()];
        for (place, stored) in order.into_iter().enumerate() {
            shown[stored] = place;
        }
        let mut times: Vec<_> = times.into_iter().collect::<Option<_>>().unwrap_or_default();
        times.sort_unstable();
        Ok(Self { shown, keys, caps, times })
    }

    /// Whether frames are shown in another order than they are stored.
    pub fn is_reordered(&self) -> bool {
        self.shown.iter().enumerate().any(|(stored, shown)| stored != *shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_decoder_leaves_out_at_the_beginning_moves_no_picture() {
        gst::init().unwrap();
        let is_there = |name: &str| gst::ElementFactory::find(name).is_some();
        if !is_there("x265enc") || !(is_there("avdec_h265") || is_there("libde265dec")) {
            eprintln!("skipped: no x265enc, or no decoder, here");
            return;
        }
        const MEDIA: &str = "video/x-h265";
        let folder = tempfile::tempdir().unwrap();
        let cut = folder.path().join("cut.mp4");
        let pipeline = launch(&format!(
            "videotestsrc num-buffers=40 ! video/x-raw,format=I420,width=64,height=48,framerate=30/1 ! \
             x265enc key-int-max=10 option-string=scenecut=0:bframes=3:b-adapt=0 ! h265parse ! identity name=i ! mp4mux ! \
             filesink location={}",
            cut.display()
        ))
        .unwrap();
        // From the second key frame on: those that are shown before it, and come after it, build on what is not there.
        let pad = pipeline.by_name("i").unwrap().static_pad("src").unwrap();
        let keys = std::sync::atomic::AtomicU32::new(0);
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let buffer = info.buffer().unwrap();
            let is_key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            let before = keys.fetch_add(u32::from(is_key), std::sync::atomic::Ordering::Relaxed);
            if before + u32::from(is_key) < 2 { gst::PadProbeReturn::Drop } else { gst::PadProbeReturn::Ok }
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let end =
            pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).unwrap();
        assert_eq!(end.type_(), gst::MessageType::Eos);
        pipeline.set_state(gst::State::Null).unwrap();
        let places: Vec<_> =
            Pictures::of(&cut, MEDIA, "identity").unwrap().map(|picture| picture.unwrap().0).collect();
        let stored = Index::of(&cut, MEDIA).unwrap().times.len() as u64;
        let left_out = stored - places.len() as u64;
        assert!(left_out > 0, "{places:?} of {stored}");
        assert_eq!(places, (left_out..stored).collect::<Vec<_>>());
    }
}
