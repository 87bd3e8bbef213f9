//! An MP4 file in fragments (ISO/IEC 14496-12, 8.8) as an ordinary one: with one index of all its pictures, behind them.
//!
//! The pictures stay where they are. The index is appended, and is of no consequence yet: players read the `moov` that the file
//! begins with. Then one write makes that the header of an `mdat`, in which everything is up to the index. So a file
//! is whole at each moment, in one form or the other.

use std::io;

use super::{Plan, Source};

/// What is read at once while an index is looked through.
const HEADER: usize = 16;

/// A moment in a file's own time, or a span of it, in units of its timescale.
type Ticks = u64;

/// A picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    size: u32,
    /// When it is decoded.
    decoded: Ticks,
    duration: u32,
    /// How long after it is decoded it is shown.
    shown_after: i32,
    is_key: bool,
}

/// Pictures that lie one after the other: where they begin, and how many there are.
type Chunk = (u64, u32);

/// What is said of pictures that do not say it themselves.
#[derive(Debug, Clone, Copy, Default)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

/// `sample_is_non_sync_sample`.
const NOT_KEY: u32 = 0x1_0000;

/// The file's parts.
#[derive(Debug)]
struct Layout {
    /// Where the index of the beginning is, and that index with its header.
    at: u64,
    moov: Vec<u8>,
    samples: Vec<Sample>,
    chunks: Vec<Chunk>,
    /// Where the last box ends.
    end: u64,
}

/// What makes an ordinary file of this one, if it is in fragments.
///
/// # Errors
/// What the system said; [`io::ErrorKind::InvalidData`]: it is not as it should be.
pub(super) fn plan(source: &Source<'_>) -> io::Result<Option<Plan>> {
    let Some(layout) = read(source)? else { return Ok(None) };
    let index = index_of(&layout).ok_or_else(|| invalid("no index can be made of its fragments"))?;
    let size = layout.end - layout.at;
    let header = match u32::try_from(size) {
        Ok(size) => [&size.to_be_bytes()[..], b"mdat"].concat(),
        // The index that it is written over is longer than this.
        Err(_) => [&1_u32.to_be_bytes()[..], b"mdat", &size.to_be_bytes()].concat(),
    };
    Ok(Some(Plan { index, header: (layout.at, header) }))
}

/// How many pictures there are in a file that has one index, behind them; `None`: it is no such file, or not whole.
pub(super) fn pictures(source: &Source<'_>) -> io::Result<Option<u64>> {
    let (mut at, mut has_data) = (0, false);
    while let Some((kind, content, end)) = box_in(source, at)? {
        match &kind {
            b"mdat" => has_data = true,
            b"moov" => {
                if !has_data || end != source.length {
                    return Ok(None);
                }
                let moov = exactly(source, content, end)?;
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

/// The file, if it is in fragments, of one track, and not meant to stay so.
fn read(source: &Source<'_>) -> io::Result<Option<Layout>> {
    let mut layout: Option<Layout> = None;
    let (mut defaults, mut at) = (Defaults::default(), 0);
    while let Some((kind, content, end)) = box_in(source, at)? {
        match (&kind, &mut layout) {
            (b"ftyp", None) => {
                let brands = exactly(source, content, end)?;
                // Of streams that are delivered in fragments: whoever asked for one wants it like that.
                if brands.chunks(4).any(|b| b.starts_with(b"cmf") || matches!(b, b"dash" | b"msdh" | b"msix"))
                {
                    return Ok(None);
                }
            }
            (b"moov", None) => {
                let moov = exactly(source, at, end)?;
                let content = &moov[8..];
                let tracks = boxes(content).filter(|(kind, _)| kind == b"trak").count();
                let Some(trex) = table(content, &[b"mvex", b"trex"]).filter(|_| tracks == 1) else {
                    return Ok(None);
                };
                let field = |at| u32_at(trex, at).unwrap_or(0);
                defaults = Defaults { duration: field(12), size: field(16), flags: field(20) };
                layout = Some(Layout { at, moov, samples: Vec::new(), chunks: Vec::new(), end });
            }
            // Not the beginning of a file in fragments.
            (b"mdat", None) => return Ok(None),
            (b"moof", Some(layout)) => {
                let moof = exactly(source, content, end)?;
                fragment(&moof, at, defaults, layout)
                    .ok_or_else(|| invalid("a fragment says nothing of use"))?;
            }
            _ => {}
        }
        at = end;
    }
    Ok(layout.filter(|layout| !layout.samples.is_empty()).map(|layout| Layout { end: at, ..layout }))
}

/// Kind, begin of the content and end of the box at `at`, if all of it is there.
fn box_in(source: &Source<'_>, at: u64) -> io::Result<Option<([u8; 4], u64, u64)>> {
    let head = source.bytes(at, HEADER)?;
    let Some((kind, size)) = swsync_core::mp4::box_at(&head) else { return Ok(None) };
    let content = if head.starts_with(&[0, 0, 0, 1]) { 16 } else { 8 };
    let end = at.saturating_add(size);
    Ok((end <= source.length).then_some((kind, at + content, end)))
}

/// What is from `at` to `end`.
fn exactly(source: &Source<'_>, at: u64, end: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(end - at).map_err(|_| invalid("an index is too large"))?;
    let bytes = source.bytes(at, length)?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Kinds and contents of the boxes that `content` is made of.
pub(super) fn boxes(mut content: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (kind, size) = swsync_core::mp4::box_at(content)?;
        let (this, rest) = content.split_at_checked(usize::try_from(size).ok()?)?;
        let begin = if this.starts_with(&[0, 0, 0, 1]) { 16 } else { 8 };
        content = rest;
        Some((kind, &this[begin..]))
    })
}

/// The content of the box that is in these others, from the outermost on.
pub(super) fn table<'a>(content: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(content, |content, wanted| {
        boxes(content).find(|(kind, _)| kind == *wanted).map(|(_, inner)| inner)
    })
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads fields of a box one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*field))
    }

    /// The field, where there is one.
    fn u32_if(&mut self, there: bool) -> Option<Option<u32>> {
        if there { self.u32().map(Some) } else { Some(None) }
    }
}

/// Adds what the fragment whose content is `moof`, and which begins at `at`, says of its pictures.
fn fragment(moof: &[u8], at: u64, defaults: Defaults, layout: &mut Layout) -> Option<()> {
    for (_, traf) in boxes(moof).filter(|(kind, _)| kind == b"traf") {
        let head = table(traf, &[b"tfhd"])?;
        let flags = u32_at(head, 0)?;
        let mut fields = Fields(head.get(8..)?);
        let base = match flags & 1 {
            0 => at,
            _ => u64::from(fields.u32()?) << 32 | u64::from(fields.u32()?),
        };
        fields.u32_if(flags & 2 != 0)?; // which description
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
        // Version 0 counts without a sign, by the letter; nobody means more than it can hold with one.
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
pub(super) fn make(kind: &[u8; 4], content: &[u8]) -> Option<Vec<u8>> {
    let size = u32::try_from(content.len() + 8).ok()?;
    Some([&size.to_be_bytes()[..], kind, content].concat())
}

/// A box that is a list, behind version, flags and the number of its `entries`.
fn list<const N: usize>(kind: &[u8; 4], version: u8, entries: &[[u32; N]]) -> Option<Vec<u8>> {
    let count = u32::try_from(entries.len()).ok()?;
    let mut content = [&[version, 0, 0, 0][..], &count.to_be_bytes()].concat();
    entries.iter().flatten().for_each(|field| content.extend(field.to_be_bytes()));
    make(kind, &content)
}

/// When pictures are decoded and shown, in the file's time.
struct Times {
    /// From each picture's decoding to the next one's.
    steps: Vec<u32>,
    /// From each picture's decoding until it is shown.
    shown_after: Vec<i32>,
    /// When the first one is shown.
    begin: Ticks,
    /// For how long all of them are decoded, and shown.
    decoded: Ticks,
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
        // Nothing is shown before the file begins.
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

/// The file's index, once it has one for all.
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
            // Where pictures are decoded before they are shown, the track begins with the first that is shown.
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

/// What becomes of a box of this kind and content; `None`: it is not as it should be.
type Rewritten<'a> = dyn Fn(&[u8; 4], &[u8]) -> Option<Vec<u8>> + 'a;

/// `content` with what `rewritten` makes of each of its boxes; those that hold others are stepped into.
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

/// An edit list, where the file is to begin later than with what is decoded first.
fn edits(begin: Ticks, shown: u64) -> Option<Vec<u8>> {
    if begin == 0 {
        return Some(Vec::new());
    }
    let one = [1, 0, 0, 0, 0, 0, 0, 1];
    let rate = [0, 1, 0, 0];
    make(b"edts", &make(b"elst", &[&one[..], &shown.to_be_bytes(), &begin.to_be_bytes(), &rate].concat())?)
}

/// `mvhd`, `tkhd` or `mdhd` with another duration: in the wide form of the box where it is too large for the short one.
fn with_duration(kind: &[u8; 4], content: &[u8], duration: u64) -> Option<Vec<u8>> {
    // Behind version and flags the times of creation and change, and of a track what it is called, else the timescale.
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

/// What the index says of each picture, behind `stsd`.
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
    // Each has a size of its own.
    out.extend(make(b"stsz", &[&[0; 8][..], &count.to_be_bytes(), &sizes].concat())?);
    let short = chunks.iter().map(|(at, _)| Some([u32::try_from(*at).ok()?])).collect::<Option<Vec<_>>>();
    out.extend(match short {
        Some(short) => list(b"stco", 0, &short)?,
        None => list(b"co64", 0, &chunks.iter().map(|(at, _)| halves(*at)).collect::<Vec<_>>())?,
    });
    Some(out)
}

/// How often each value follows itself, and it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_takes_have_wide_fields() {
        let sample = Sample { size: 9, decoded: 0, duration: 1, shown_after: 0, is_key: true };
        let chunks = vec![(48, 1), (u64::from(u32::MAX) + 17, 1)];
        let samples = vec![sample, Sample { decoded: 1, ..sample }];
        let layout = Layout { at: 40, moov: Vec::new(), samples, chunks, end: 0 };
        let tables = tables(&layout, &Times::of(&layout.samples).unwrap()).unwrap();
        let offsets = table(&tables, &[b"co64"]).unwrap();
        assert_eq!(u64_at(offsets, 16), Some(u64::from(u32::MAX) + 17));
        assert!(table(&tables, &[b"stss"]).is_none(), "all of them are key frames");
        let long = u64::from(u32::MAX) + 5;
        for (kind, length, at) in [(b"mvhd", 100, 24), (b"mdhd", 24, 24), (b"tkhd", 84, 28)] {
            let mut content: Vec<u8> = (0..length).collect();
            content[0] = 0;
            let wide = with_duration(kind, &content, long).unwrap();
            let inner = &wide[8..];
            assert_eq!((inner.len(), inner[0], u64_at(inner, at)), (content.len() + 12, 1, Some(long)));
            assert_eq!(inner[4..20], [0, 0, 0, 0, 4, 5, 6, 7, 0, 0, 0, 0, 8, 9, 10, 11]);
            assert_eq!(inner[20..at], content[12..at - 8], "what lies between");
            assert_eq!(inner[at + 8..], content[at - 4..], "and behind");
            assert_eq!(u64_at(&with_duration(kind, inner, 7).unwrap()[8..], at), Some(7));
            assert_eq!(u32_at(&with_duration(kind, &content, 7).unwrap()[8..], at - 8), Some(7));
        }
    }
}
