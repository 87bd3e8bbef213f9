//! Consecutive frames: what one picture cannot tell, their order does.

use super::find::Found;
use super::{Luma, Panel, Reading, Shutter, Unreadable, read_one};
use crate::time::{Span, Timestamp};

/// Periods of the panel until the code light's sequence repeats.
pub const CODE_PERIODS: i64 = 127;

/// Frames whose code light must have been read to tell the period's number: 127 sequences differ in some of ten bits, and
/// ones with an error in more.
const LEAST_BITS: usize = 10;
/// Bits in which the second best number must be wrong.
const MARGIN: usize = 3;
/// The code light is lit above this part of a marker's luma, and dark below the other.
const LIT: f64 = 0.55;
const DARK: f64 = 0.25;
/// What a camera's stamps may be wrong by from frame to frame, in slots of the panel.
const STAMP_SLACK: f64 = 0.25;

/// A frame of a sequence.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The picture.
    pub luma: Luma<'a>,
    /// The frame's time by the camera's stamps, after the first frame's.
    pub since_first: Span,
}

/// What a sequence tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// Each frame's reading, all modulo `modulo`.
    pub readings: Vec<Result<Reading, Unreadable>>,
    /// 127 periods if the code light told the period's number; one period otherwise.
    pub modulo: Span,
}

/// Whether the code light is lit in a period: a sequence of maximal length, in which bit n + 7 is the sum of bits n and n + 1, after seven
/// ones.
#[must_use]
pub fn code_bit(period: i64) -> bool {
    let mut state = 0b111_1111_u8;
    for _ in 0..period.rem_euclid(CODE_PERIODS) {
        state = (state >> 1) | (((state ^ (state >> 1)) & 1) << 6);
    }
    state & 1 == 1
}

struct One {
    reading: Reading,
    /// Period of the panel after the first frame's, and the code light's bit in it, where it is clear.
    code: Option<(i64, bool)>,
}

/// Reads consecutive frames of one camera. A frame that contradicts the others is refused. If the panel has a code light, and enough
/// frames show it, times are known modulo 127 periods.
///
/// # Errors
/// [`Unreadable`] of the first frame, if no two frames can be read and agree.
pub fn read_sequence(frames: &[Frame], panel: &Panel, shutter: &Shutter) -> Result<Sequence, Unreadable> {
    let read: Vec<Result<(Reading, Found), Unreadable>> =
        frames.iter().map(|frame| read_one(&frame.luma, panel, shutter)).collect();
    let period = panel.period();
    let slack = panel.fast_slot.mul_f64(STAMP_SLACK).as_nanos_f64();
    let agree = |i: usize, j: usize| match (&read[i], &read[j]) {
        (Ok((a, _)), Ok((b, _))) => {
            let apart =
                apart(a.middle.since(b.middle), frames[i].since_first - frames[j].since_first, period);
            let sigma = a.uncertainty.as_nanos_f64().hypot(b.uncertainty.as_nanos_f64());
            apart.as_nanos_f64().abs() < 3.0 * sigma + slack
        }
        _ => false,
    };
    let friends = |i: &usize| (0..frames.len()).filter(|&j| agree(*i, j)).count();
    let failed = || {
        let first = read.iter().find_map(|r| r.as_ref().err().copied());
        first.unwrap_or(Unreadable::Contradicts { apart: Span::ZERO })
    };
    let anchor = (0..frames.len()).max_by_key(friends).filter(|i| friends(i) >= 2).ok_or_else(failed)?;
    let Ok((first, _)) = read[anchor] else { return Err(failed()) };
    // The anchor's reading is right modulo a period: from there on, stamps count periods.
    let place = |reading: &Reading, i: usize| {
        let since = frames[i].since_first - frames[anchor].since_first;
        first.middle.saturating_add(since + apart(reading.middle.since(first.middle), since, period))
    };
    let mut readings: Vec<Result<One, Unreadable>> = Vec::new();
    for (i, result) in read.iter().enumerate() {
        readings.push(match result {
            Ok((reading, _)) if !agree(anchor, i) => {
                let since = frames[i].since_first - frames[anchor].since_first;
                Err(Unreadable::Contradicts {
                    apart: apart(reading.middle.since(first.middle), since, period),
                })
            }
            Ok((reading, found)) => {
                let middle = place(reading, i);
                let reading = Reading { middle, ..*reading };
                let code = code(&frames[i].luma, panel, shutter, found, &reading);
                Ok(One { reading, code })
            }
            Err(error) => Err(*error),
        });
    }
    let codes: Vec<(i64, bool)> = readings.iter().flatten().filter_map(|one| one.code).collect();
    let number = number(&codes);
    let modulo = if number.is_some() { period * CODE_PERIODS } else { period };
    let shift = period * number.unwrap_or(0);
    let finish = |one: One| {
        let Reading { start, end, middle, .. } = one.reading;
        let exposure = modulo_of(end.since(start), period);
        let wrap = |at: Timestamp<_>| Timestamp::from_nanos(at.as_nanos().rem_euclid(modulo.as_nanos()));
        let middle = middle.saturating_add(shift);
        let half = exposure.mul_f64(0.5);
        let (start, end) = (middle.saturating_add(Span::ZERO - half), middle.saturating_add(half));
        Reading { start: wrap(start), end: wrap(end), middle: wrap(middle), modulo, ..one.reading }
    };
    Ok(Sequence { readings: readings.into_iter().map(|one| one.map(finish)).collect(), modulo })
}

/// How much longer `read` is than `since`, modulo the period: at most half of it.
fn apart(read: Span, since: Span, period: Span) -> Span {
    let half = period.as_nanos() / 2;
    let apart = (read - since).as_nanos().saturating_add(half).rem_euclid(period.as_nanos());
    Span::from_nanos(apart - half)
}

fn modulo_of(span: Span, period: Span) -> Span {
    Span::from_nanos(span.as_nanos().rem_euclid(period.as_nanos()))
}

/// The period of the code light's exposure, and its bit. `None` if a period began meanwhile, or the light is neither bright nor dark.
fn code(
    luma: &Luma,
    panel: &Panel,
    shutter: &Shutter,
    found: &Found,
    reading: &Reading,
) -> Option<(i64, bool)> {
    let (u, v) = found.map.apply(panel.code?);
    let part = (luma.sample(u, v)? - found.dark) / found.marker;
    let bit = if part > LIT {
        true
    } else if part < DARK {
        false
    } else {
        return None;
    };
    let height = luma.height as f64;
    let readout = shutter.readout.or(reading.readout)?;
    let later = readout.mul_f64((v - shutter.row * height) / (height - 1.0)).as_nanos();
    let exposure = modulo_of(reading.end.since(reading.start), panel.period());
    let margin =
        exposure.as_nanos() / 2 + 3 * reading.uncertainty.as_nanos() + panel.fast_slot.as_nanos() / 4;
    let middle = reading.middle.as_nanos() + later;
    let number = |nanos: i64| nanos.div_euclid(panel.period().as_nanos());
    (number(middle - margin) == number(middle + margin)).then(|| (number(middle), bit))
}

/// The number of the first frame's period by these bits. `None` if there are too few, or two numbers are about as good.
fn number(codes: &[(i64, bool)]) -> Option<i64> {
    let wrong = |number: i64| codes.iter().filter(|(period, bit)| code_bit(period + number) != *bit).count();
    let mut all: Vec<(usize, i64)> = (0..CODE_PERIODS).map(|number| (wrong(number), number)).collect();
    all.sort_unstable();
    match all[..] {
        [(0, number), (next, _), ..] if codes.len() >= LEAST_BITS && next >= MARGIN => Some(number),
        _ => None,
    }
}
