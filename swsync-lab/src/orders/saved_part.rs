//! What one device saved for one order: its files are checked against its manifest, and that against the answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, TAKE_JSON, Take};
use swsync_core::order::Order;

use super::oracle;
use swsync_media::video_file;

/// The manifest and take.json of one order on one device.
pub struct SavedPart {
    pub folder: PathBuf,
    /// The manifest's records by frame number.
    pub records: BTreeMap<FrameNumber, FrameRecord>,
    pub take: Take,
}

impl SavedPart {
    /// Reads manifest and `take.json` in `folder`.
    ///
    /// # Errors
    /// A file cannot be read, or a frame is in the manifest twice.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(folder.join(FRAMES_JSONL)).unwrap_or_default(); // nothing was saved
        let mut records = BTreeMap::new();
        for line in text.lines() {
            let record =
                FrameRecord::from_line(line).with_context(|| format!("of the manifest: {line:?}"))?;
            if let Some(twice) = records.insert(record.info.number, record) {
                bail!("frame {} is in the manifest twice", twice.info.number);
            }
        }
        let take = Take::from_json(&std::fs::read(folder.join(TAKE_JSON)).context(TAKE_JSON)?)?;
        Ok(Self { folder: folder.to_owned(), records, take })
    }

    /// Whether the frame of `record` is in a video file.
    pub fn is_video(&self, record: &FrameRecord) -> bool {
        self.take.segments.iter().any(|segment| segment.file == record.file)
    }

    /// Checks that `take.json` has the frames `account`, and that those without a record are its holes.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_take(&self, account: &[FrameNumber]) -> anyhow::Result<()> {
        let take = &self.take;
        ensure!(take.complete, "take.json says that it goes on");
        if let Some(first) = account.first() {
            ensure!(take.first == *first, "take.json begins with frame {}, not {first}", take.first);
        }
        ensure!(
            take.count == account.len() as u64,
            "take.json tells of {} frames, the answer of {}",
            take.count,
            account.len()
        );
        for number in account {
            let (saved, hole) = (self.records.contains_key(number), take.why_missing(*number));
            ensure!(saved != hole.is_some(), "frame {number}: saved is {saved}, and take.json has {hole:?}");
        }
        ensure!(
            take.missing() + self.records.len() as u64 == account.len() as u64,
            "{} holes and {} saved are not {}",
            take.missing(),
            self.records.len(),
            account.len()
        );
        Ok(())
    }

    /// Checks every file. Returns how many there are.
    ///
    /// # Errors
    /// A file is torn, missing, or not in the manifest.
    pub fn check_files(&self) -> anyhow::Result<u64> {
        let mut media = files_below(&self.folder);
        media.retain(|path| {
            path.extension().is_some_and(|extension| extension == "jpg" || extension == "mp4")
        });
        let mut named: BTreeMap<&str, Vec<&FrameRecord>> = BTreeMap::new();
        for record in self.records.values() {
            named.entry(&record.file).or_default().push(record);
        }
        for (file, records) in &named {
            let path = self.folder.join(file);
            let checked = match (self.take.segments.is_empty(), &records[..]) {
                (true, [record]) => check_picture(&path, record.bytes),
                (true, _) => bail!("{file} is the file of several pictures"),
                (false, records) => check_video(&path, records),
            };
            checked.with_context(|| path.display().to_string())?;
        }
        ensure!(media.len() == named.len(), "{} files, {} in the manifest", media.len(), named.len());
        for segment in &self.take.segments {
            ensure!(named.contains_key(&*segment.file), "{} has no frame in the manifest", segment.file);
        }
        Ok(media.len() as u64)
    }

    /// Checks that video files are cut where `order` says. With `is_disturbed` the device was killed, so there may be more files,
    /// which end early.
    ///
    /// # Errors
    /// The first file that is cut elsewhere.
    pub fn check_cuts(
        &self,
        order: &Order,
        account: &[FrameNumber],
        is_disturbed: bool,
    ) -> anyhow::Result<()> {
        let Some(last) = account.last() else { return Ok(()) };
        let cuts: Vec<_> = oracle::cuts(order).take_while(|cut| cut <= last).chain([last + 1]).collect();
        for segment in &self.take.segments {
            let index = cuts.partition_point(|cut| *cut <= segment.first);
            let (begin, end) = (cuts[index.saturating_sub(1)], cuts[index.min(cuts.len() - 1)]);
            let named =
                |from, to| account.iter().filter(|number| (from..to).contains(*number)).count() as u64;
            let whole = segment.first == begin && segment.count == named(begin, end);
            let part = segment.first >= begin && segment.count <= named(segment.first, end);
            ensure!(
                whole || part && is_disturbed,
                "{} is of {} frames from {}, but the order cuts at {begin} and {end}",
                segment.file,
                segment.count,
                segment.first
            );
        }
        Ok(())
    }
}

/// Fails unless `path` is a whole JPEG of `bytes` bytes.
fn check_picture(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let content = std::fs::read(path)?;
    ensure!(content.len() as u64 == bytes, "{} bytes, {bytes} in the manifest", content.len());
    ensure!(content.starts_with(&[0xff, 0xd8]) && content.ends_with(&[0xff, 0xd9]), "no whole JPEG");
    Ok(())
}

/// Fails unless a video plays: it begins with a key frame, has as many pictures as its timecodes have lines, and has those of
/// `records` among them.
fn check_video(path: &Path, records: &[&FrameRecord]) -> anyhow::Result<()> {
    let (mut coded, mut begins_with_key) = (0_u64, false);
    for frame in video_file::FrameReader::coded(path, "video/x-h264")? {
        let frame = frame?;
        begins_with_key |= coded == 0 && frame.is_key;
        coded += 1;
    }
    ensure!(begins_with_key, "it begins with no key frame");
    let times = std::fs::read_to_string(path.with_extension("pts"))?;
    let timecodes = times.lines().filter(|line| !line.starts_with('#')).count() as u64;
    ensure!(coded == timecodes, "{coded} pictures, and {timecodes} in its timecodes");
    let mut shown = 0_u64;
    video_file::decode(path, "video/x-h264", 50, |_, _| {
        shown += 1;
        Ok(true)
    })?;
    ensure!(
        coded == shown,
        "{coded} pictures, of which {shown} can be decoded{}",
        video_file::decoder_remedy("video/x-h264")
    );
    let mut offsets: Vec<_> = records.iter().map(|record| record.offset).collect();
    offsets.dedup();
    ensure!(
        offsets.len() == records.len()
            && offsets.is_sorted()
            && offsets.last().is_some_and(|last| *last < coded),
        "the manifest has {offsets:?} of {coded} pictures"
    );
    Ok(())
}

/// All files in `folder` and below; none if it does not exist.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}
