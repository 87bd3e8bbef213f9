//! Turns a fragmented MP4 file (ISO/IEC 14496-12, 8.8) into an ordinary one, with one index of all pictures at its end.
//!
//! A fragmented file loses only its end at a power cut, but many programs read ordinary files better. The pictures stay where
//! they are. First the index is appended. It has no effect yet, since players read the `moov` at the beginning. Then one write
//! turns that `moov` into the header of an `mdat`, which spans everything up to the index. So the file is whole at each
//! moment, in one form or the other. The index is made from the file alone, so that a file that a crash left gets one too.

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use crate::storage::Storage;
use crate::video_file::VideoFile;

/// Bytes that are read of the head of each box.
const HEADER: usize = 16;

/// Time in the file, in units of its timescale.
type Ticks = u64;

/// What the file must be changed by to become an ordinary one.
#[derive(Debug)]
pub(crate) struct IndexPlan {
    /// The index, to be appended.
    pub index: Vec<u8>,
    /// A few bytes, and their offset: to be written once the index is on the disk.
    pub header: (u64, Vec<u8>),
}

/// A picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    size: u32,
    /// Its time of decoding.
    decoded: Ticks,
    duration: u32,
    /// Time from decoding to showing it.
    shown_after: i32,
    is_key: bool,
}

/// Pictures in a row: the offset of the first, and their number.
type Chunk = (u64, u32);

/// Values of pictures that state none of their own.
#[derive(Debug, Clone, Copy, Default)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

/// `sample_is_non_sync_sample`.
const NOT_KEY: u32 = 0x1_0000;

/// The parts of a fragmented file.
#[derive(Debug)]
struct Layout {
    /// Offset of the `moov` at the beginning, and that box with its header.
    at: u64,
    moov: Vec<u8>,
    samples: Vec<Sample>,
    chunks: Vec<Chunk>,
    /// End of the last box.
    end: u64,
}

/// The plan for the file `path`. `None`: it is no fragmented MP4 file, or is meant to stay one.
///
/// # Errors
/// The error of the system; [`io::ErrorKind::InvalidData`]: the file is malformed.
pub(crate) fn plan(storage: &dyn Storage, path: &Path) -> io::Result<Option<IndexPlan>> {
    let video = &VideoFile::open(storage, path, u64::MAX)?;
    if !is_mp4(video)? {
        return Ok(None);
    }
    let Some(layout) = read(video)? else { return Ok(None) };
    let index = index_of(&layout).ok_or_else(|| invalid("no index can be made of its fragments"))?;
    let size = layout.end - layout.at;
    let header = match u32::try_from(size) {
        Ok(size) => [&size.to_be_bytes()[..], b"mdat"].concat(),
        // The old `moov` is longer than this header.
        Err(_) => [&1_u32.to_be_bytes()[..], b"mdat", &size.to_be_bytes()].concat(),
    };
    Ok(Some(IndexPlan { index, header: (layout.at, header) }))
}

fn is_mp4(video: &VideoFile<'_>) -> io::Result<bool> {
    Ok(matches!(video.bytes(0, 8)?[..], [_, _, _, _, b'f', b't', b'y', b'p']))
}

/// The number of pictures in an MP4 file with one index at its end. `None`: it is no such file, or not whole.
///
/// # Errors
/// The error of the system.
pub(crate) fn pictures(video: &VideoFile<'_>) -> io::Result<Option<u64>> {
    if !is_mp4(video)? {
        return Ok(None);
    }
    let (mut at, mut has_data) = (0, false);
    while let Some((kind, content, end)) = box_in(video, at)? {
        match &kind {
            b"mdat" => has_data = true,
            b"moov" => {
                if !has_data || end != video.length {
                    return Ok(None);
                }
                let moov = exactly(video, content, end)?;
                return Ok(table(&moov, &[b"trak", b"mdia", b"minf", b"stbl", b"stsz"])
                    .and_then(|sizes| u32_at(sizes, 8))
                    .map(u64::from));
            }
            _ => {}
        }
        at = end;
    }
    Ok(None)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The parts of the file, if it is fragmented, has one track, and is not meant to stay fragmented.
fn read(video: &VideoFile<'_>) -> io::Result<Option<Layout>> {
    let mut layout: Option<Layout> = None;
    let (mut defaults, mut at) = (Defaults::default(), 0);
    while let Some((kind, content, end)) = box_in(video, at)? {
        match (&kind, &mut layout) {
            (b"ftyp", None) => {
                let brands = exactly(video, content, end)?;
                // Brands of streams that are delivered in fragments (CMAF, DASH): the user asked for fragments.
                if brands.chunks(4).any(|b| b.starts_with(b"cmf") || matches!(b, b"dash" | b"msdh" | b"msix"))
                {
                    return Ok(None);
                }
            }
            (b"moov", None) => {
                let moov = exactly(video, at, end)?;
                let content = &moov[8..];
                let tracks = boxes(content).filter(|(kind, _)| kind == b"trak").count();
                let Some(trex) = table(content, &[b"mvex", b"trex"]).filter(|_| tracks == 1) else {
                    return Ok(None);
                };
                let field = |at| u32_at(trex, at).unwrap_or(0);
                defaults = Defaults { duration: field(12), size: field(16), flags: field(20) };
                layout = Some(Layout { at, moov, samples: Vec::new(), chunks: Vec::new(), end });
            }
            // A fragmented file begins with its `moov`.
            (b"mdat", None) => return Ok(None),
            (b"moof", Some(layout)) => {
                let moof = exactly(video, content, end)?;
                fragment(&moof, at, defaults, layout).ok_or_else(|| invalid("a fragment is malformed"))?;
            }
            _ => {}
        }
        at = end;
    }
    Ok(layout.filter(|layout| !layout.samples.is_empty()).map(|layout| Layout { end: at, ..layout }))
}

/// Kind, begin of the content and end of the box at `at`, if it is whole.
fn box_in(video: &VideoFile<'_>, at: u64) -> io::Result<Option<([u8; 4], u64, u64)>> {
    let head = video.bytes(at, HEADER)?;
    let Some((kind, size)) = swsync_core::mp4::box_at(&head) else { return Ok(None) };
    let content = if head.starts_with(&[0, 0, 0, 1]) { 16 } else { 8 };
    let end = at.saturating_add(size);
    Ok((end <= video.length).then_some((kind, at + content, end)))
}

/// The bytes from `at` to `end`.
fn exactly(video: &VideoFile<'_>, at: u64, end: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(end - at).map_err(|_| invalid("an index is too large"))?;
    let bytes = video.bytes(at, length)?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Kinds and contents of the boxes in `content`.
fn boxes(mut content: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (kind, size) = swsync_core::mp4::box_at(content)?;
        let (this, rest) = content.split_at_checked(usize::try_from(size).ok()?)?;
        let begin = if this.starts_with(&[0, 0, 0, 1]) { 16 } else { 8 };
        content = rest;
        Some((kind, &this[begin..]))
    })
}

/// The content of the box at `path`, from the outermost box inwards.
fn table<'a>(content: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(content, |content, wanted| {
        boxes(content).find(|(kind, _)| kind == *wanted).map(|(_, inner)| inner)
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads the fields of a box one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*field))
    }

    /// The field, if it is present.
    fn u32_if(&mut self, there: bool) -> Option<Option<u32>> {
        if there { self.u32().map(Some) } else { Some(None) }
    }
}

/// Adds the pictures of the fragment at `at`, whose content is `moof`.
fn fragment(moof: &[u8], at: u64, defaults: Defaults, layout: &mut Layout) -> Option<()> {
    for (_, traf) in boxes(moof).filter(|(kind, _)| kind == b"traf") {
        let head = table(traf, &[b"tfhd"])?;
        let flags = u32_at(head, 0)?;
        let mut fields = Fields(head.get(8..)?);
        let base = match flags & 1 {
            0 => at,
            _ => u64::from(fields.u32()?) << 32 | u64::from(fields.u32()?),
        };
        fields.u32_if(flags & 2 != 0)?; // sample_description_index
        let defaults = Defaults {
            duration: fields.u32_if(flags & 8 != 0)?.unwrap_or(defaults.duration),
            size: fields.u32_if(flags & 0x10 != 0)?.unwrap_or(defaults.size),
            flags: fields.u32_if(flags & 0x20 != 0)?.unwrap_or(defaults.flags),
        };
        let mut decoded = match table(traf, &[b"tfdt"]) {
            Some(time) if time.first() == Some(&1) => u64_at(time, 4)?,
            Some(time) => u64::from(u32_at(time, 4)?),
            None => layout.samples.last().map_or(0, |last| last.decoded + u64::from(last.duration)),
        };
        let mut offset = base;
        for (_, run) in boxes(traf).filter(|(kind, _)| kind == b"trun") {
            run_of(run, base, defaults, &mut offset, &mut decoded, layout)?;
        }
    }
    Some(())
}

/// Adds the pictures of a `trun`.
fn run_of(
    run: &[u8],
    base: u64,
    defaults: Defaults,
    offset: &mut u64,
    decoded: &mut Ticks,
    layout: &mut Layout,
) -> Option<()> {
    let mut fields = Fields(run);
    let (flags, count) = (fields.u32()?, fields.u32()?);
    if let Some(from) = fields.u32_if(flags & 1 != 0)? {
        *offset = base.checked_add_signed(i64::from(from.cast_signed()))?;
    }
    let first_flags = fields.u32_if(flags & 4 != 0)?;
    if count > 0 {
        layout.chunks.push((*offset, count));
    }
    for index in 0..count {
        let duration = fields.u32_if(flags & 0x100 != 0)?.unwrap_or(defaults.duration);
        let size = fields.u32_if(flags & 0x200 != 0)?.unwrap_or(defaults.size);
        let own = fields.u32_if(flags & 0x400 != 0)?;
        // Unsigned in version 0 by the standard, but no file has offsets that large.
        let shown_after = fields.u32_if(flags & 0x800 != 0)?.unwrap_or(0).cast_signed();
        let own = first_flags.filter(|_| index == 0).or(own).unwrap_or(defaults.flags);
        let is_key = own & NOT_KEY == 0;
        layout.samples.push(Sample { size, decoded: *decoded, duration, shown_after, is_key });
        *offset = offset.checked_add(u64::from(size))?;
        *decoded = decoded.checked_add(u64::from(duration))?;
    }
    Some(())
}

/// A box of this kind.
fn make(kind: &[u8; 4], content: &[u8]) -> Option<Vec<u8>> {
    let size = u32::try_from(content.len() + 8).ok()?;
    Some([&size.to_be_bytes()[..], kind, content].concat())
}

/// A box that holds version, flags, the number of `entries`, and these.
fn list<const N: usize>(kind: &[u8; 4], version: u8, entries: &[[u32; N]]) -> Option<Vec<u8>> {
    let count = u32::try_from(entries.len()).ok()?;
    let mut content = [&[version, 0, 0, 0][..], &count.to_be_bytes()].concat();
    entries.iter().flatten().for_each(|field| content.extend(field.to_be_bytes()));
    make(kind, &content)
}

/// Times of decoding and showing the pictures.
struct Times {
    /// Time from the decoding of each picture to that of the next.
    steps: Vec<u32>,
    /// Time from decoding to showing each picture.
    shown_after: Vec<i32>,
    /// Time of showing the first picture.
    begin: Ticks,
    /// Time of decoding all pictures.
    decoded: Ticks,
    /// Time of showing all pictures.
    shown: Ticks,
}

impl Times {
    fn of(samples: &[Sample]) -> Option<Self> {
        let first = samples.first()?;
        let next = samples.iter().skip(1).map(|sample| Some(sample.decoded)).chain([None]);
        let step = |(sample, next): (&Sample, Option<Ticks>)| match next {
            Some(next) => u32::try_from(next.saturating_sub(sample.decoded)).ok(),
            None => Some(sample.duration),
        };
        let steps = samples.iter().zip(next).map(step).collect::<Option<Vec<_>>>()?;
        let at = |sample: &Sample| {
            let since =
                i64::try_from(sample.decoded).ok()?.checked_sub(i64::try_from(first.decoded).ok()?)?;
            since.checked_add(i64::from(sample.shown_after))
        };
        let shown = samples.iter().map(at).collect::<Option<Vec<_>>>()?;
        let earliest = *shown.iter().min()?;
        // No picture is shown before the file begins.
        let shift = -earliest.min(0);
        let ends = shown.iter().zip(samples).map(|(at, sample)| at + i64::from(sample.duration));
        let (begin, end) = (earliest + shift, ends.max()? + shift);
        let (mut decoded, mut shown_after) = (0_i64, Vec::with_capacity(samples.len()));
        for (at, step) in shown.iter().zip(&steps) {
            shown_after.push(i32::try_from(at + shift - decoded).ok()?);
            decoded += i64::from(*step);
        }
        let ticks = |span: i64| Ticks::try_from(span).ok();
        Some(Self {
            steps,
            shown_after,
            begin: ticks(begin)?,
            decoded: ticks(decoded)?,
            shown: ticks(end - begin)?,
        })
    }
}

/// The index of the whole file.
fn index_of(layout: &Layout) -> Option<Vec<u8>> {
    let moov = &layout.moov[8..];
    let timescale = |path: &[&[u8; 4]]| {
        let head = table(moov, path)?;
        let scale = u32_at(head, if head.first() == Some(&1) { 20 } else { 12 })?;
        (scale > 0).then_some(u128::from(scale))
    };
    let times = Times::of(&layout.samples)?;
    let of_track = timescale(&[b"trak", b"mdia", b"mdhd"])?;
    let in_movie = (u128::from(times.shown) * timescale(&[b"mvhd"])?).div_ceil(of_track);
    let in_movie = u64::try_from(in_movie).ok()?;
    let tables = tables(layout, &times)?;
    let rewritten = |kind: &[u8; 4], content: &[u8]| match kind {
        b"mvhd" | b"tkhd" => {
            let header = with_duration(kind, content, in_movie)?;
            // An edit list makes the track begin with the first picture shown, if that is not the first decoded.
            let edits = if kind == b"tkhd" { edits(times.begin, in_movie)? } else { Vec::new() };
            Some([header, edits].concat())
        }
        b"mdhd" => with_duration(kind, content, times.decoded),
        b"mvex" | b"edts" => Some(Vec::new()),
        b"stts" | b"ctts" | b"stss" | b"stsc" | b"stsz" | b"stco" | b"co64" => Some(Vec::new()),
        b"stsd" => Some([make(kind, content)?, tables.clone()].concat()),
        _ => make(kind, content),
    };
    make(b"moov", &rewrite(moov, &rewritten)?)
}

/// Rewrites a box of this kind and content; `None`: it is malformed.
type Rewritten<'a> = dyn Fn(&[u8; 4], &[u8]) -> Option<Vec<u8>> + 'a;

/// Rewrites each box in `content`, and the boxes inside the tracks.
fn rewrite(content: &[u8], rewritten: &Rewritten<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (kind, inner) in boxes(content) {
        out.extend(match &kind {
            b"trak" | b"mdia" | b"minf" | b"stbl" => make(&kind, &rewrite(inner, rewritten)?)?,
            _ => rewritten(&kind, inner)?,
        });
    }
    Some(out)
}

/// An edit list, if the first picture shown is not the first decoded.
fn edits(begin: Ticks, shown: u64) -> Option<Vec<u8>> {
    if begin == 0 {
        return Some(Vec::new());
    }
    let one = [1, 0, 0, 0, 0, 0, 0, 1];
    let rate = [0, 1, 0, 0];
    make(b"edts", &make(b"elst", &[&one[..], &shown.to_be_bytes(), &begin.to_be_bytes(), &rate].concat())?)
}

/// `mvhd`, `tkhd` or `mdhd` with another duration, in the 64-bit form of the box if it is too large for the short one.
fn with_duration(kind: &[u8; 4], content: &[u8], duration: u64) -> Option<Vec<u8>> {
    // After version and flags: the times of creation and change, then the id of a track or the timescale.
    const TIMES: usize = 4;
    let mut content = content.to_vec();
    let short = if kind == b"tkhd" { 20 } else { 16 };
    if content.first() == Some(&1) {
        content.get_mut(short + 8..short + 16)?.copy_from_slice(&duration.to_be_bytes());
    } else if let Ok(duration) = u32::try_from(duration) {
        content.get_mut(short..short + 4)?.copy_from_slice(&duration.to_be_bytes());
    } else {
        let (flags, rest) = (content.get(1..TIMES)?, content.get(short + 4..)?);
        let (created, changed) = (content.get(TIMES..TIMES + 4)?, content.get(TIMES + 4..TIMES + 8)?);
        let between = content.get(TIMES + 8..short)?;
        content =
            [&[1][..], flags, &[0; 4], created, &[0; 4], changed, between, &duration.to_be_bytes(), rest]
                .concat();
    }
    make(kind, &content)
}

/// The tables of pictures that follow `stsd`.
fn tables(layout: &Layout, times: &Times) -> Option<Vec<u8>> {
    let Layout { samples, chunks, .. } = layout;
    let mut out = list(b"stts", 0, &runs(times.steps.iter().copied()))?;
    if samples.iter().any(|sample| !sample.is_key) {
        let keys = samples.iter().zip(1..).filter(|(sample, _)| sample.is_key).map(|(_, number)| [number]);
        out.extend(list(b"stss", 0, &keys.collect::<Vec<_>>())?);
    }
    if times.shown_after.iter().any(|after| *after != 0) {
        let is_signed = times.shown_after.iter().any(|after| *after < 0);
        let runs = runs(times.shown_after.iter().map(|after| after.cast_unsigned()));
        out.extend(list(b"ctts", is_signed.into(), &runs)?);
    }
    let mut numbers: Vec<[u32; 3]> = Vec::new();
    for ((_, count), number) in chunks.iter().zip(1..) {
        if numbers.last().is_none_or(|[_, before, _]| before != count) {
            numbers.push([number, *count, 1]);
        }
    }
    out.extend(list(b"stsc", 0, &numbers)?);
    let sizes: Vec<u8> = samples.iter().flat_map(|sample| sample.size.to_be_bytes()).collect();
    let count = u32::try_from(samples.len()).ok()?;
    // Each picture has a size of its own.
    out.extend(make(b"stsz", &[&[0; 8][..], &count.to_be_bytes(), &sizes].concat())?);
    let short = chunks.iter().map(|(at, _)| Some([u32::try_from(*at).ok()?])).collect::<Option<Vec<_>>>();
    out.extend(match short {
        Some(short) => list(b"stco", 0, &short)?,
        None => list(b"co64", 0, &chunks.iter().map(|(at, _)| halves(*at)).collect::<Vec<_>>())?,
    });
    Some(out)
}

/// Runs of equal values: the length of each, and the value.
fn runs(values: impl Iterator<Item = u32>) -> Vec<[u32; 2]> {
    let mut runs: Vec<[u32; 2]> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some([count, last]) if *last == value => *count += 1,
            _ => runs.push([1, value]),
        }
    }
    runs
}

/// The upper and the lower half.
fn halves(wide: u64) -> [u32; 2] {
    let bytes = wide.to_be_bytes();
    [u32_at(&bytes, 0).unwrap_or(0), u32_at(&bytes, 4).unwrap_or(0)]
}
