//! What single pictures say: the panel's time against what the device believed, and what that says of pairs of devices.

use std::collections::BTreeMap;

use swsync_core::grid::FrameNumber;
use swsync_core::time::{PanelClock, Rig, Span, Timestamp};

/// A picture whose panel was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Still {
    /// Index of the device.
    pub device: usize,
    /// Index of the take.
    pub take: usize,
    /// The frame.
    pub number: FrameNumber,
    /// The frame's time, as the device believed.
    pub rig: Timestamp<Rig>,
    /// The panel's time at that instant of the frame, modulo `modulo`.
    pub panel: Timestamp<PanelClock>,
    /// The panel's period.
    pub modulo: Span,
    /// Uncertainty of the reading, 1 sigma.
    pub reading: Span,
    /// Uncertainty of rig time as the device knew it, 1 sigma.
    pub clock: Option<Span>,
    /// The frame's phase error, as the device believed.
    pub phase: Span,
    /// The path offset that the device's clock applied.
    pub path_offset: Span,
}

/// A still beside the others of its frame. All in ns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    pub device: usize,
    pub take: usize,
    pub number: FrameNumber,
    /// How far the believed time was ahead of the panel's, against the frame's first picture.
    pub ahead: f64,
    pub phase: f64,
    pub reading: f64,
    pub clock: Option<f64>,
    pub path_offset: f64,
}

/// The stills of frames that at least two devices have, in order.
pub fn compare(stills: &[Still]) -> Vec<Compared> {
    let mut frames: BTreeMap<(usize, FrameNumber), Vec<&Still>> = BTreeMap::new();
    for still in stills {
        frames.entry((still.take, still.number)).or_default().push(still);
    }
    let shared = frames.into_values().filter(|frame| frame.len() > 1);
    shared
        .flat_map(|frame| {
            let first = *frame[0];
            frame.into_iter().map(move |still| compared(&first, still))
        })
        .collect()
}

fn compared(first: &Still, still: &Still) -> Compared {
    let apart = (still.rig - first.rig) - (still.panel - first.panel);
    Compared {
        device: still.device,
        take: still.take,
        number: still.number,
        ahead: wrapped(apart, still.modulo).as_nanos_f64(),
        phase: still.phase.as_nanos_f64(),
        reading: still.reading.as_nanos_f64(),
        clock: still.clock.map(Span::as_nanos_f64),
        path_offset: still.path_offset.as_nanos_f64(),
    }
}

/// `span` modulo `modulo`, within half of it either way.
fn wrapped(span: Span, modulo: Span) -> Span {
    let modulo = modulo.as_nanos().max(1);
    let within = span.as_nanos().rem_euclid(modulo);
    Span::from_nanos(if within > modulo / 2 { within - modulo } else { within })
}

/// How far two devices' pictures of one number were apart: device `one` minus device `other`, in ns.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    pub one: usize,
    pub other: usize,
    /// Frames that both have.
    pub count: usize,
    /// By the panel.
    pub total: Spread,
    /// What the devices believed of it: their phase errors.
    pub phase: Spread,
    /// The rest: errors of clocks, stamps and exposure references, and of the reading.
    pub rest: Spread,
    /// Scatter that errors of the reading explain, 1 sigma.
    pub reading: f64,
    /// Scatter and shift that the clocks said they might have, 1 sigma. `None`: a clock did not state it.
    pub clock: Option<f64>,
}

/// Some values, in ns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub mean: f64,
    /// Standard deviation. 0 for a single value.
    pub deviation: f64,
    /// Largest absolute value.
    pub most: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Self {
        let n = real(values.len());
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let most = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        Self { mean, deviation: (squares / (n - 1.0).max(1.0)).sqrt(), most }
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of pictures")]
pub const fn real(count: usize) -> f64 {
    count as f64
}

/// All pairs of devices that have a frame in common.
pub fn pairs(stills: &[Compared]) -> Vec<Pair> {
    let mut all: BTreeMap<(usize, usize), Vec<(&Compared, &Compared)>> = BTreeMap::new();
    for frame in stills.chunk_by(|a, b| (a.take, a.number) == (b.take, b.number)) {
        for (i, one) in frame.iter().enumerate() {
            for other in &frame[i + 1..] {
                let (one, other) = if one.device < other.device { (one, other) } else { (other, one) };
                all.entry((one.device, other.device)).or_default().push((one, other));
            }
        }
    }
    all.into_iter().map(|((one, other), frames)| pair(one, other, &frames)).collect()
}

fn pair(one: usize, other: usize, frames: &[(&Compared, &Compared)]) -> Pair {
    let values = |of: fn(&Compared, &Compared) -> f64| -> Vec<f64> {
        frames.iter().map(|(one, other)| of(one, other)).collect()
    };
    // A clock that is ahead makes its frames come early.
    let rest = values(|one, other| other.ahead - one.ahead);
    let phase = values(|one, other| one.phase - other.phase);
    let total: Vec<_> = rest.iter().zip(&phase).map(|(rest, phase)| rest + phase).collect();
    let mean_square = |squares: &[f64]| (squares.iter().sum::<f64>() / real(squares.len())).sqrt();
    let clock: Option<Vec<_>> =
        frames.iter().map(|(one, other)| Some(one.clock?.powi(2) + other.clock?.powi(2))).collect();
    Pair {
        one,
        other,
        count: frames.len(),
        total: Spread::of(&total),
        phase: Spread::of(&phase),
        rest: Spread::of(&rest),
        reading: mean_square(&values(|one, other| one.reading.powi(2) + other.reading.powi(2))),
        clock: clock.map(|squares| mean_square(&squares)),
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A still of frame `number` whose clock was `ahead_us` ahead, in the panel's time modulo 20 ms.
    pub fn still(device: usize, take: usize, number: u64, ahead_us: f64) -> Still {
        let us = |us: f64| Span::from_nanos_f64(us * 1e3);
        let phase = us(f64::from(u32::try_from(number % 7).unwrap()) - 3.0) * i64::try_from(device).unwrap();
        let rig = Timestamp::from_nanos(i64::try_from(number).unwrap() * 33_333_333) + phase;
        let modulo = Span::from_millis(20);
        let truth = (rig - us(ahead_us) - Timestamp::ZERO) + Span::from_micros(4321);
        Still {
            device,
            take,
            number,
            rig,
            panel: Timestamp::from_nanos(truth.as_nanos().rem_euclid(modulo.as_nanos())),
            modulo,
            reading: us(8.0),
            clock: Some(us(3.0)),
            phase,
            path_offset: Span::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::still;
    use super::*;

    #[test]
    fn a_pair_is_split_into_phase_and_rest() {
        let stills: Vec<_> = (0..70).flat_map(|n| [still(0, 0, n, 10.0), still(1, 0, n, -30.0)]).collect();
        let pairs = pairs(&compare(&stills));
        let [pair] = &pairs[..] else { panic!("{pairs:?}") };
        assert_eq!((pair.one, pair.other, pair.count), (0, 1, 70));
        // Device 0 is 40 us ahead: its frames come early.
        assert!((pair.rest.mean + 40_000.0).abs() < 2.0 && pair.rest.deviation < 2.0, "{pair:?}");
        // Device 1's phase errors are -3 to 3 us, with mean 0.
        assert!(pair.phase.mean.abs() < 1.0 && (pair.phase.most - 3_000.0).abs() < 1.0, "{pair:?}");
        assert!((pair.total.most - 43_000.0).abs() < 2.0, "{pair:?}");
        assert!((pair.reading - 8_000.0 * 2.0_f64.sqrt()).abs() < 1.0, "{pair:?}");
    }

    #[test]
    fn errors_are_read_across_the_end_of_the_panels_period() {
        assert_eq!(wrapped(Span::from_micros(19_990), Span::from_millis(20)), Span::from_micros(-10));
        assert_eq!(wrapped(Span::from_micros(-19_990), Span::from_millis(20)), Span::from_micros(10));
        assert_eq!(wrapped(Span::from_micros(10_000), Span::from_millis(20)), Span::from_micros(10_000));
    }

    #[test]
    fn a_frame_of_one_device_says_nothing() {
        assert!(compare(&[still(0, 0, 1, 0.0), still(1, 0, 2, 0.0), still(1, 1, 1, 0.0)]).is_empty());
    }
}
