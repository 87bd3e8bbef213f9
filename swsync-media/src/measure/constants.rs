//! The constant error of each device, from stills of several devices at once.
//!
//! Model: in frame k, device d's clock is ahead of the panel by a(k) + c(d) - p(d) + noise. a(k) is the panel's unknown phase, p(d)
//! the path offset that the clock already takes off, c(d) the device's constant: what its path offset should be. Minimizing the
//! weighted squares of the noise over all a and c gives c, but for a common constant, which nobody could notice.
//!
//! In c(d) are the asymmetry of the device's path, and the bias of its camera's stamps and exposure reference. One picture cannot
//! tell them apart, and neither can another leader: its own constant is in all devices' clocks alike.

use std::collections::{BTreeMap, BTreeSet};

use super::stills::{Compared, Spread, real};

/// Rounds of the alternating least squares. Two are enough if every device is in every frame.
const ROUNDS: usize = 300;
/// A still that is so many standard deviations off is left out: a wrong reading, or a frame out of sync.
const OUTLIER: f64 = 6.0;
/// Stills may scatter so many times more than readings and clocks state.
const WORSE: f64 = 3.0;
/// Takes whose scatter tells how far clocks wander from take to take.
const ENOUGH_TAKES: usize = 4;

/// The constant of one device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constant {
    /// Stills that it rests on.
    pub stills: usize,
    /// Takes that they are of.
    pub takes: usize,
    /// What the path offset should be, in ns.
    pub offset: f64,
    /// Its uncertainty, 1 sigma, in ns. Without a common error of all devices, and without anything in the data that is the
    /// same in all takes.
    pub uncertainty: f64,
    /// The path offset that was applied last.
    pub before: f64,
    /// Scatter of its stills, 1 sigma.
    pub scatter: f64,
}

impl Constant {
    /// Whether the path offset that was applied is as good.
    pub fn is_within_uncertainty(&self) -> bool {
        (self.offset - self.before).abs() < 2.0 * self.uncertainty
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Constants {
    /// By device. `None`: no frame compares it with others.
    pub devices: Vec<Option<Constant>>,
    /// Stills that were left out, because they contradict the others.
    pub left_out: Vec<Compared>,
}

/// Why there are no constants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstantsError {
    /// No frame is on two devices.
    #[error("no frame's panel is readable on two devices: nothing can be compared")]
    Nothing,
    /// Devices fall into groups that no frame compares.
    #[error(
        "no frame compares device {0} with device {1}, not even through others: take pictures of the panel with both at once"
    )]
    Apart(usize, usize),
    /// Too many contradict the others.
    #[error(
        "{left_out} of {all} pictures contradict the others: did the panel stop, or a device lose its synchronization (see the column \
         sync in frames.csv)?"
    )]
    Contradiction {
        /// How many.
        left_out: usize,
        /// Of how many.
        all: usize,
    },
}

/// The constants of `devices` devices.
///
/// # Errors
/// [`ConstantsError`].
pub fn constants(stills: &[Compared], devices: usize) -> Result<Constants, ConstantsError> {
    if stills.is_empty() {
        return Err(ConstantsError::Nothing);
    }
    check_connected(stills)?;
    let mut used = stills.to_vec();
    let mut left_out = Vec::new();
    // One at a time, for a wrong one shifts the others.
    loop {
        let residuals = Solution::of(&used, devices).residuals(&used);
        let mut sorted: Vec<f64> = residuals.iter().map(|residual| residual.abs()).collect();
        sorted.sort_by(f64::total_cmp);
        // 1.4826 times the median deviation is the standard deviation of normal noise.
        let usual = 1.4826 * sorted[sorted.len() / 2];
        let worst = residuals.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
        let Some((index, residual)) = worst else { return Err(ConstantsError::Nothing) };
        let still = used[index];
        let stated = still.reading.hypot(still.clock.unwrap_or(0.0));
        if residual.abs() <= OUTLIER * usual.clamp(stated, WORSE * stated) {
            break;
        }
        left_out.push(used.remove(index));
        drop_lone(&mut used);
        if left_out.len() * 10 > stills.len() || used.is_empty() {
            return Err(ConstantsError::Contradiction { left_out: left_out.len(), all: stills.len() });
        }
    }
    check_connected(&used)?;
    let solution = Solution::of(&used, devices);
    let residuals = solution.residuals(&used);
    let found = (0..devices).map(|device| constant(device, &used, &residuals, solution.constants[device]));
    let mut found: Vec<_> = found.collect();
    // The mean of all path offsets stays, so that devices that were not measured still fit.
    let known: Vec<_> = found.iter().flatten().map(|found| found.offset - found.before).collect();
    let common = known.iter().sum::<f64>() / real(known.len());
    found.iter_mut().flatten().for_each(|found| found.offset -= common);
    left_out.sort_by_key(|still| (still.take, still.number, still.device));
    Ok(Constants { devices: found, left_out })
}

/// Removes frames of which only one device is left.
fn drop_lone(stills: &mut Vec<Compared>) {
    let frames = stills.chunk_by(|a, b| (a.take, a.number) == (b.take, b.number));
    *stills = frames.filter(|frame| frame.len() > 1).flatten().copied().collect();
}

/// Fails if there are devices that nothing compares.
fn check_connected(stills: &[Compared]) -> Result<(), ConstantsError> {
    let Some(first) = stills.first() else { return Err(ConstantsError::Nothing) };
    let mut reached = BTreeSet::from([first.device]);
    let frames: Vec<_> = stills.chunk_by(|a, b| (a.take, a.number) == (b.take, b.number)).collect();
    loop {
        let before = reached.len();
        for frame in &frames {
            if frame.iter().any(|still| reached.contains(&still.device)) {
                reached.extend(frame.iter().map(|still| still.device));
            }
        }
        if reached.len() == before {
            break;
        }
    }
    let apart = stills.iter().find(|still| !reached.contains(&still.device));
    apart.map_or(Ok(()), |other| Err(ConstantsError::Apart(first.device, other.device)))
}

struct Solution {
    constants: Vec<f64>,
    frames: BTreeMap<(usize, u64), f64>,
}

/// A weighted mean under way.
#[derive(Default, Clone, Copy)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    fn value(self) -> f64 {
        if self.weight > 0.0 { self.sum / self.weight } else { 0.0 }
    }
}

impl Solution {
    fn of(stills: &[Compared], devices: usize) -> Self {
        let (mut constants, mut frames) = (vec![0.0; devices], BTreeMap::new());
        for _ in 0..ROUNDS {
            let mut of_frames: BTreeMap<_, Mean> = BTreeMap::new();
            for still in stills {
                let frame = of_frames.entry((still.take, still.number)).or_default();
                frame.add(value(still) - constants[still.device], weight(still));
            }
            frames = of_frames.into_iter().map(|(frame, mean)| (frame, mean.value())).collect();
            let mut of_devices = vec![Mean::default(); devices];
            for still in stills {
                let frame = frames.get(&(still.take, still.number)).copied().unwrap_or(0.0);
                of_devices[still.device].add(value(still) - frame, weight(still));
            }
            let next: Vec<_> = of_devices.into_iter().map(Mean::value).collect();
            let moved = next.iter().zip(&constants).fold(0.0_f64, |most, (a, b)| most.max((a - b).abs()));
            constants = next;
            if moved < 0.01 {
                break;
            }
        }
        Self { constants, frames }
    }

    fn residuals(&self, stills: &[Compared]) -> Vec<f64> {
        let residual = |still: &Compared| {
            let frame = self.frames.get(&(still.take, still.number)).copied().unwrap_or(0.0);
            value(still) - frame - self.constants[still.device]
        };
        stills.iter().map(residual).collect()
    }
}

/// How far the clock would have been ahead without its path offset.
fn value(still: &Compared) -> f64 {
    still.ahead + still.path_offset
}

fn weight(still: &Compared) -> f64 {
    let sigma = still.reading.hypot(still.clock.unwrap_or(0.0)).max(1.0);
    sigma.powi(-2)
}

fn constant(device: usize, stills: &[Compared], residuals: &[f64], offset: f64) -> Option<Constant> {
    let own = || stills.iter().zip(residuals).filter(|(still, _)| still.device == device);
    let before = own().next_back()?.0.path_offset;
    let values: Vec<_> = own().map(|(_, residual)| *residual).collect();
    let mut takes: BTreeMap<usize, Mean> = BTreeMap::new();
    for (still, residual) in own() {
        takes.entry(still.take).or_default().add(*residual, weight(still));
    }
    let means: Vec<_> = takes.values().map(|mean| mean.value()).collect();
    let scatter = Spread::of(&values).deviation;
    let reading = Spread::of(&own().map(|(still, _)| still.reading).collect::<Vec<_>>()).mean;
    // The residuals have less scatter than the noise, as the frame's mean was fitted to them: by (devices - 1) / devices.
    let in_frame = own().map(|(still, _)| {
        real(stills.iter().filter(|other| (other.take, other.number) == (still.take, still.number)).count())
    });
    let companions = Spread::of(&in_frame.collect::<Vec<_>>()).mean;
    let whole = (companions / (companions - 1.0)).sqrt();
    let of_pictures = whole * scatter.max(reading / whole) / real(values.len()).sqrt();
    let clock = own().filter_map(|(still, _)| still.clock).fold(0.0, f64::max);
    let of_clock = if means.len() >= ENOUGH_TAKES {
        whole * Spread::of(&means).deviation / real(means.len()).sqrt()
    } else {
        // An error of the clock lasts for longer than a take.
        clock
    };
    Some(Constant {
        stills: values.len(),
        takes: means.len(),
        offset,
        uncertainty: of_pictures.hypot(of_clock),
        before,
        scatter: whole * scatter,
    })
}

#[cfg(test)]
mod tests {
    use super::super::stills::compare;
    use super::super::stills::testing::still;
    use super::*;
    use swsync_core::time::Span;

    /// Noise of about 8 us, the same in each run.
    fn noise(seed: u64) -> f64 {
        let hash =
            |i: u64| ((seed + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24);
        (0..12).map(|i| hash(i * 7_919)).sum::<f64>() * 8.0 - 48.0
    }

    #[test]
    fn constants_are_found_with_their_uncertainty() {
        let truth = [35.0, -20.0, 5.0, -20.0];
        let mut stills = Vec::new();
        for take in 0..5 {
            for number in 0..8 {
                for (device, c) in truth.into_iter().enumerate() {
                    // Some pictures cannot be read.
                    if (number + device as u64) % 5 != 0 {
                        let seed = 1000 * take as u64 + 31 * number + device as u64;
                        stills.push(still(device, take, number, c + noise(seed)));
                    }
                }
            }
        }
        let found = constants(&compare(&stills), 5).unwrap();
        assert_eq!(found.left_out, []);
        assert_eq!(found.devices[4], None, "nothing is known of it");
        for (device, c) in truth.into_iter().enumerate() {
            let found = found.devices[device].unwrap();
            let error = found.offset / 1e3 - c;
            assert!(found.takes == 5 && found.stills >= 30, "{found:?}");
            assert!((0.5e3..4e3).contains(&found.uncertainty), "{found:?}");
            assert!(error.abs() < 3.0 * found.uncertainty / 1e3, "{device}: {error} us, {found:?}");
        }
    }

    #[test]
    fn what_is_taken_off_already_counts_and_the_mean_of_all_stays() {
        let mut stills = Vec::new();
        for number in 0..10 {
            // Of 30 us and -10 us, 20 us and 4 us are taken off.
            let one = still(0, 0, number, 10.0);
            let other = still(1, 0, number, -14.0);
            stills.push(super::super::stills::Still { path_offset: Span::from_micros(20), ..one });
            stills.push(super::super::stills::Still { path_offset: Span::from_micros(4), ..other });
        }
        let found = constants(&compare(&stills), 2).unwrap();
        let offsets: Vec<_> = found.devices.iter().map(|found| found.unwrap().offset / 1e3).collect();
        assert!((offsets[0] - offsets[1] - 40.0).abs() < 0.01, "{offsets:?}");
        assert!((offsets[0] + offsets[1] - 24.0).abs() < 0.01, "{offsets:?}");
        assert!(found.devices[0].unwrap().uncertainty >= 3_000.0, "one take: as sure as its clock");
    }

    #[test]
    fn a_wrong_reading_is_left_out_and_many_are_an_error() {
        let with = |wrong: u64| {
            let all = (0..40).flat_map(|n| {
                let off = if n < wrong { 2_000.0 } else { 0.0 };
                [
                    still(0, 0, n, off + noise(n)),
                    still(1, 0, n, noise(500 + n)),
                    still(2, 0, n, noise(900 + n)),
                ]
            });
            constants(&compare(&all.collect::<Vec<_>>()), 3)
        };
        let found = with(2).unwrap();
        assert_eq!(
            found.left_out.iter().map(|it| (it.device, it.number)).collect::<Vec<_>>(),
            [(0, 0), (0, 1)]
        );
        assert!(found.devices[0].unwrap().offset.abs() < 9e3, "{found:?}");
        assert!(matches!(with(18), Err(ConstantsError::Contradiction { .. })));
    }

    #[test]
    fn devices_that_nothing_compares_are_named() {
        let stills = [still(0, 0, 1, 0.0), still(1, 0, 1, 0.0), still(2, 0, 2, 0.0), still(3, 0, 2, 0.0)];
        assert_eq!(constants(&compare(&stills), 4), Err(ConstantsError::Apart(0, 2)));
        assert_eq!(constants(&[], 4), Err(ConstantsError::Nothing));
    }
}
