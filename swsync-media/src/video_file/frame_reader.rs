//! Reads the frames of a video file one after the other, coded or decoded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use gst::prelude::*;
use swsync_core::coded::NalCodec;

use super::pipeline::{PARSERS, error_on, launch};

/// Frames that may wait between GStreamer's thread and the reader.
const QUEUE: usize = 8;

/// How often to look for errors while no frame comes.
const POLL: Duration = Duration::from_millis(50);

/// Reading fails if no frame comes for so long.
const STALLED: Duration = Duration::from_secs(60);

/// A coded frame, or a decoded picture.
pub struct VideoFrame {
    /// The data and timestamps.
    pub buffer: gst::Buffer,
    /// The format.
    pub caps: gst::Caps,
    /// Whether it can be decoded without other frames.
    pub is_key: bool,
}

impl VideoFrame {
    /// Its presentation time in the file.
    pub fn pts(&self) -> Option<gst::ClockTime> {
        self.buffer.pts()
    }

    /// Its bytes.
    pub fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let map = self.buffer.map_readable().map_err(|error| anyhow!("a frame cannot be read: {error}"))?;
        Ok(map.to_vec())
    }
}

/// The frames of a file, in order. Ends after an error.
pub struct FrameReader {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    /// Frames from GStreamer's thread; `None` is the end of the file. The field is `None` after the end.
    inbox: Option<Receiver<Option<VideoFrame>>>,
}

impl FrameReader {
    /// The coded frames of `video`, of media type `media`, in stored order, lead-in included. H.264 and H.265 are a byte stream
    /// whose key frames have their parameter sets; each frame begins with its delimiter if it has one.
    pub fn coded(video: &Path, media: &str) -> anyhow::Result<Self> {
        let parse = PARSERS.iter().find(|(known, _)| *known == media).map_or("identity", |(_, parse)| parse);
        Self::start(video, &format!("parsebin ! {parse}"), media, None)
    }

    /// The pictures of `video`, in presentation order, lead-in included. `tail` is the description of elements after the decoder.
    /// With `from` they begin with the key frame at or before that time, if the container can be searched; pictures from before
    /// may come first.
    pub fn decoded(video: &Path, tail: &str, from: Option<gst::ClockTime>) -> anyhow::Result<Self> {
        Self::start(video, &format!("decodebin ! videoconvert ! {tail}"), "", from)
    }

    fn start(
        video: &Path,
        elements: &str,
        media: &str,
        from: Option<gst::ClockTime>,
    ) -> anyhow::Result<Self> {
        gst::init().context("cannot start GStreamer")?;
        let pipeline = launch(&format!("filesrc name=from ! {elements} ! fakesink name=out sync=false"))?;
        // FFmpeg's decoders conceal pictures whose references are missing, and with several threads they give a picture the time
        // of one that they leave out (seen with 1.26).
        pipeline.connect_deep_element_added(|_, _, element| {
            if element.has_property("output-corrupt") {
                element.set_property("output-corrupt", false);
                element.set_property_from_str("max-threads", "1");
            }
        });
        let path = video.to_str().context("GStreamer takes paths in UTF-8 only")?;
        pipeline.by_name("from").context("the description names it")?.set_property("location", path);
        let bus = pipeline.bus().context("a pipeline has a bus")?;
        let (sender, inbox) = mpsc::sync_channel(QUEUE);
        add_probe(&pipeline, media.to_owned(), sender)?;
        if let Some(from) = from {
            seek(&pipeline, &bus, from);
        }
        // If it cannot start, the reason is on the bus, where `wait` finds it.
        let _ = pipeline.set_state(gst::State::Playing);
        Ok(Self { pipeline, bus, inbox: Some(inbox) })
    }

    fn wait(&mut self) -> anyhow::Result<Option<VideoFrame>> {
        let Some(inbox) = &self.inbox else { return Ok(None) };
        let mut silent = Duration::ZERO;
        loop {
            match inbox.recv_timeout(POLL) {
                Ok(frame) => return Ok(frame),
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

impl Iterator for FrameReader {
    type Item = anyhow::Result<VideoFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.wait().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.inbox = None;
        }
        next
    }
}

impl Drop for FrameReader {
    fn drop(&mut self) {
        // Unblocks a streaming thread that waits to send a frame; else the pipeline could not stop.
        self.inbox = None;
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Lets `pipeline` begin with the key frame at or before `from`. If that fails, it begins with the file, which only takes longer.
fn seek(pipeline: &gst::Pipeline, bus: &gst::Bus, from: gst::ClockTime) {
    if pipeline.set_state(gst::State::Paused).is_err() {
        return;
    }
    let stalled = gst::ClockTime::from_seconds(STALLED.as_secs());
    let kinds = [gst::MessageType::AsyncDone, gst::MessageType::Error];
    match bus.timed_pop_filtered(stalled, &kinds) {
        Some(error) if error.type_() == gst::MessageType::Error => {
            // For `wait`, which reports it.
            let _ = bus.post(error);
        }
        Some(_) => {
            let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
            let _ = pipeline.seek_simple(flags, from);
        }
        None => (),
    }
}

/// Sends each frame that reaches the element `out`.
fn add_probe(
    pipeline: &gst::Pipeline,
    media: String,
    sender: SyncSender<Option<VideoFrame>>,
) -> anyhow::Result<()> {
    let pad = pipeline.by_name("out").and_then(|out| out.static_pad("sink"));
    let pad = pad.context("the description has it")?;
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(kinds, move |pad, info| {
        let sent = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let mut frame = VideoFrame {
                    buffer: buffer.clone(),
                    caps: pad.current_caps().unwrap_or_else(gst::Caps::new_empty),
                    is_key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
                };
                correct(&mut frame, &media);
                Some(frame)
            }
            Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Eos => None,
            _ => return gst::PadProbeReturn::Ok,
        };
        // Fails only if the reader was dropped: the pipeline is being stopped.
        let _ = sender.send(sent);
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Puts the NAL units of H.264 or H.265 in order, and corrects `is_key`. Parsers take every intra frame for a key frame (seen with
/// 1.26), but a later frame may refer to one before it. Only intra frames with parameter sets are key frames.
fn correct(frame: &mut VideoFrame, media: &str) {
    let Some(codec) = NalCodec::of_media(media) else { return };
    let Ok(map) = frame.buffer.map_readable() else { return };
    frame.is_key = frame.is_key && !codec.parameter_sets(&map).is_empty();
    let mut ordered = gst::Buffer::from_mut_slice(codec.with_delimiter_first(&map));
    drop(map);
    let flags = gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS;
    if frame.buffer.copy_into(ordered.make_mut(), flags, ..).is_ok() {
        frame.buffer = ordered;
    }
}

/// The pictures of a video in presentation order, each with its index among all stored ones, from 0. A decoder leaves out pictures
/// whose references are not in the file, so the index follows from the time.
pub struct PictureReader {
    frames: FrameReader,
    times: Vec<gst::ClockTime>,
    next: usize,
}

impl PictureReader {
    /// The pictures of `video`, of media type `media`. `tail` is the description of elements after the decoder.
    pub fn of(video: &Path, media: &str, tail: &str) -> anyhow::Result<Self> {
        Self::near(video, media, tail, 0)
    }

    /// As [`of`](Self::of), but begins shortly before picture `place` if possible. A picture that builds on frames of before a key
    /// frame may be missing then.
    pub fn near(video: &Path, media: &str, tail: &str, place: u64) -> anyhow::Result<Self> {
        let times = VideoIndex::of(video, media)?.times;
        let from = usize::try_from(place).ok().filter(|place| *place > 0);
        let from = from.and_then(|place| times.get(place).copied());
        Ok(Self { frames: FrameReader::decoded(video, tail, from)?, times, next: 0 })
    }

    /// The index of the picture that is shown at `pts`.
    fn place(&self, pts: Option<gst::ClockTime>) -> usize {
        let later = pts.and_then(|pts| {
            let left = self.times.get(self.next..)?.iter().enumerate();
            left.min_by_key(|(_, time)| time.nseconds().abs_diff(pts.nseconds()))
        });
        self.next + later.map_or(0, |(ahead, _)| ahead)
    }
}

impl Iterator for PictureReader {
    type Item = anyhow::Result<(u64, VideoFrame)>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.frames.next()?.map(|frame| {
            let place = self.place(frame.pts());
            self.next = place + 1;
            (place as u64, frame)
        }))
    }
}

/// Decodes `video`, of media type `media`, and calls `on_picture` with each picture's index and its JPEG of this quality, in
/// presentation order, as long as that returns `true`.
pub fn decode(
    video: &Path,
    media: &str,
    quality: u8,
    mut on_picture: impl FnMut(u64, &[u8]) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    for picture in PictureReader::of(video, media, &format!("jpegenc quality={quality}"))? {
        let (place, picture) = picture?;
        if !on_picture(place, &picture.bytes()?)? {
            break;
        }
    }
    Ok(())
}

/// The order, key frames and times of all frames in a video file.
pub struct VideoIndex {
    /// For each frame in stored order its index in presentation order, from 0.
    pub shown: Vec<usize>,
    /// The key frames by stored index, each with its parameter sets.
    pub keys: BTreeMap<usize, Vec<u8>>,
    /// The frames' caps without their rate.
    pub caps: Option<gst::Caps>,
    /// The presentation times in ascending order; empty if the file has none.
    pub times: Vec<gst::ClockTime>,
}

impl VideoIndex {
    /// Reads all of `video`, of media type `media`.
    pub fn of(video: &Path, media: &str) -> anyhow::Result<Self> {
        let (mut times, mut keys, mut caps) = (Vec::new(), BTreeMap::new(), None);
        let codec = NalCodec::of_media(media);
        for (stored, frame) in FrameReader::coded(video, media)?.enumerate() {
            let frame = frame?;
            if frame.is_key {
                let bytes = frame.bytes()?;
                keys.insert(stored, codec.map_or_else(Vec::new, |codec| codec.parameter_sets(&bytes)));
            }
            times.push(frame.pts());
            caps.get_or_insert(frame.caps);
        }
        if let Some(caps) = caps.as_mut().map(gst::Caps::make_mut) {
            caps.iter_mut().for_each(|structure| structure.remove_fields(["framerate", "codec_data"]));
        }
        // Without times, as in a stream without container, presentation order is stored order.
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

    /// Whether presentation order differs from stored order.
    pub fn is_reordered(&self) -> bool {
        self.shown.iter().enumerate().any(|(stored, shown)| stored != *shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_can_begin_in_the_middle_of_a_video() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for bframes in [0, 2] {
            let path = folder.path().join(format!("{bframes}.mp4"));
            let pipeline = launch(&format!(
                "videotestsrc pattern=ball num-buffers=90 ! video/x-raw,format=I420,width=64,height=48,framerate=30/1 ! \
                 x264enc key-int-max=10 bframes={bframes} b-adapt=false ! h264parse ! mp4mux ! filesink location={}",
                path.display()
            ))
            .unwrap();
            pipeline.set_state(gst::State::Playing).unwrap();
            let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
            let end = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
            assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
            pipeline.set_state(gst::State::Null).unwrap();
            let read = |from: u64| -> BTreeMap<u64, Vec<u8>> {
                let pictures = PictureReader::near(&path, "video/x-h264", "identity", from).unwrap();
                pictures
                    .map(|picture| picture.unwrap())
                    .map(|(place, frame)| (place, frame.bytes().unwrap()))
                    .collect()
            };
            let (all, late) = (read(0), read(75));
            assert_eq!(all.len(), 90);
            assert!(late.len() < 40, "not from its beginning: {:?}", late.keys());
            for place in 75..90 {
                assert!(late[&place] == all[&place], "picture {place}, with {bframes} B-frames");
            }
        }
    }

    #[test]
    fn pictures_that_a_decoder_leaves_out_do_not_shift_the_others() {
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
        // Keeps frames from the second key frame on. Those stored after it and shown before it lack their references.
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
            PictureReader::of(&cut, MEDIA, "identity").unwrap().map(|picture| picture.unwrap().0).collect();
        let stored = VideoIndex::of(&cut, MEDIA).unwrap().times.len() as u64;
        let left_out = stored - places.len() as u64;
        assert!(left_out > 0, "{places:?} of {stored}");
        assert_eq!(places, (left_out..stored).collect::<Vec<_>>());
    }
}
