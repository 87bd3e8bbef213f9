//! The exposure that explains the LEDs best, and how well it is known. Times in slots of the fast array.

use super::find::Found;
use super::fold::{BINS, Fold, PERIOD, Response, Template, lit};
use super::map::solve;
use super::sample::Strip;
use super::slow;
use super::{COLUMNS, Panel, Shutter, Unreadable};
use crate::time::Span;

/// So many LEDs count as independent measurements if rows see the panel a period apart: the others' errors are like theirs. And so many
/// if all rows see the same, when each column is one measurement. Calibrated.
const INDEPENDENT: f64 = 20.0;
const INDEPENDENT_AT_ONCE: f64 = 3.0;
/// Unexplained part of the LEDs' power that any picture may have, as LEDs and optics are never as the model.
const LEAST_MISFIT: f64 = 5e-3;
/// The same if all rows see the same: then reflections and halos of a single column count in full.
const LEAST_MISFIT_AT_ONCE: f64 = 0.02;
/// Largest part of it that may be unexplained.
const MOST_MISFIT: f64 = 0.2;
/// Floor of the uncertainty, in slots: half of a bin, and what the model leaves out. Calibrated.
const FLOOR: f64 = 0.04;
/// The spread of the estimates is multiplied by this. Calibrated.
const WIDEN: f64 = 1.5;
/// Largest uncertainty of a reading, in slots.
const MOST_UNCERTAIN: f64 = 0.5;
/// How well a stated readout is known: 1 sigma, as a part of it.
const STATED_READOUT: f64 = 0.003;
/// Readouts that are tried near the stated one.
const STATED_STEPS: usize = 9;
/// Longest readout that is sought if none is stated.
const LONGEST_READOUT: Span = Span::from_millis(40);
/// Light a pitch away from a marker, as a part of the marker's, at which LEDs can no longer be told apart.
const MOST_HALO: f64 = 0.3;
/// Power between the LEDs, as a part of the LEDs', beyond which the lights are not where this panel's are.
const MOST_GAPS: f64 = 0.5;
/// LEDs that must be in the picture, and as the model says.
const LEAST_LEDS: usize = 70;
/// Bins from one shift to the next of a first search.
const COARSE: usize = 4;
/// Responses that are looked at closely, with the first readout and with the others.
const MOST_TEMPLATES: usize = 120;
const FEW_TEMPLATES: usize = 20;
/// Readouts that are weighed if none is stated.
const MOST_READOUTS: usize = 24;
/// An LED is left out if its luma is wrong by more than this part of a lit one's.
const ODD: f64 = 0.4;
/// Another readout refutes the stated one if it leaves less than this part of the unexplained.
const PACE: f64 = 0.7;
/// Luma of a lit LED at least, as a part of a marker's.
const LEAST_LIGHT: f64 = 0.15;
/// Without a stated readout, the rows of the panel must be so many slots apart in all: else the LEDs' columns alone would have to tell both.
const LEAST_SPAN: f64 = 5.0;
/// Readouts by which the LEDs are more than a slot apart and that leave less than so many times the least unexplained are all possible.
const RIVAL: f64 = 1.7;
/// Longest exposure, in slots, that is read without being stated, and the most light of dark LEDs, as a part of a lit one's: an
/// exposure of more than a period lights all of them.
const LONGEST_UNSTATED: f64 = 6.0;
const MOST_DARK: f64 = 0.3;
/// Groups of LEDs, each left out once to see how much the reading depends on it.
const GROUPS: usize = 10;

pub(super) struct Fit {
    pub(super) middle: f64,
    pub(super) exposure: f64,
    pub(super) uncertainty: f64,
    pub(super) readout: f64,
}

/// A readout, and its prior as a logarithm.
#[derive(Clone, Copy)]
struct Readout {
    slots: f64,
    prior: f64,
}

/// One explanation of the picture.
#[derive(Clone, Copy)]
struct Best {
    rest: f64,
    readout: f64,
    template: usize,
    shift: usize,
}

pub(super) fn fit(
    (mut fast, slow): (Vec<Strip>, Vec<Strip>),
    found: &Found,
    panel: &Panel,
    shutter: &Shutter,
) -> Result<Fit, Unreadable> {
    if found.halo > MOST_HALO {
        return Err(Unreadable::Blurred { halo: found.halo });
    }
    if found.gaps > MOST_GAPS {
        return Err(Unreadable::Mismatch { misfit: found.gaps });
    }
    let slots = |span: Span| span.as_nanos_f64() / panel.fast_slot.as_nanos_f64();
    let templates = templates(shutter.exposure.map(slots));
    let readouts = readouts(shutter.readout.map(slots), slots(LONGEST_READOUT), &fast);
    let mut keep: Vec<usize> = (0..templates.len()).collect();
    let none = Unreadable::Mismatch { misfit: 1.0 };
    let first = best(&fast, &readouts, &templates, &mut keep).ok_or(none)?;
    flatten(&mut fast, &templates, &first);
    let second = best(&fast, &readouts, &templates, &mut keep).ok_or(none)?;
    let odd = odd_leds(&fast, &templates, &second);
    fast.retain(|strip| !odd[strip.led]);
    let leds = {
        let mut seen = [false; COLUMNS * COLUMNS];
        fast.iter().for_each(|strip| seen[strip.led] = true);
        seen.into_iter().filter(|&seen| seen).count()
    };
    if leds < LEAST_LEDS {
        return Err(Unreadable::Hidden { leds });
    }
    let best = best(&fast, &readouts, &templates, &mut keep).ok_or(none)?;
    let fold = Fold::new(&fast, best.readout, |_| true);
    let matched = fold.compare(&templates[best.template], best.shift);
    let misfit = best.rest / fold.total().max(1e-9);
    if misfit.is_nan() || misfit > MOST_MISFIT || matched.amplitude < LEAST_LIGHT * found.marker {
        return Err(Unreadable::Mismatch { misfit });
    }
    if let Some(stated) = shutter.readout.map(slots) {
        check_pace(&fast, stated, &templates[best.template], &best)?;
    }
    check_unstated(shutter, &fast, &readouts, &templates, &best).map_err(|uncertain| match uncertain {
        Uncertain::Readout => Unreadable::Readout,
        Uncertain::Exposure => Unreadable::Ambiguous { uncertainty: panel.fast_slot * 10 },
    })?;
    let (mut fit, spread) = weigh(&fast, &readouts, &templates, &keep, &best);
    let depends = leave_out(&fast, &templates[best.template], &best);
    fit.uncertainty = (spread.hypot(depends) * WIDEN).hypot(FLOOR);
    if fit.uncertainty.is_nan() || fit.uncertainty >= MOST_UNCERTAIN {
        return Err(Unreadable::Ambiguous { uncertainty: panel.fast_slot.mul_f64(fit.uncertainty) });
    }
    let response = Response { exposure: fit.exposure, ..templates[best.template].response };
    let within = fit.middle.rem_euclid(PERIOD);
    fit.middle = within + PERIOD * slow::period(&slow, within, fit.readout, &response, matched.amplitude)?;
    Ok(fit)
}

/// All responses that are tried.
fn templates(exposure: Option<f64>) -> Vec<Template> {
    let exposures =
        exposure.map_or_else(|| (0..26).map(|i| 0.1 * 1.2_f64.powi(i)).collect(), |e| vec![e.max(0.01)]);
    let mut templates = Vec::new();
    for exposure in exposures {
        for gamma in [1.0, 0.5] {
            for gain in [1.0, 1.5, 2.5, 5.0, 12.0] {
                templates.push(Template::new(Response { exposure, gamma, gain }));
            }
        }
    }
    templates
}

/// The readouts that are tried: those near the stated one, or all with which the LEDs' light is a function of the phase.
fn readouts(stated: Option<f64>, longest: f64, fast: &[Strip]) -> Vec<Readout> {
    if let Some(stated) = stated {
        return (0..STATED_STEPS)
            .map(|i| {
                let sigmas = i as f64 / 2.0 - 2.0;
                Readout { slots: stated * (1.0 + sigmas * STATED_READOUT), prior: -sigmas * sigmas / 2.0 }
            })
            .collect();
    }
    let (low, high) = extent(fast);
    let step = 0.08 / (high - low).max(0.02);
    let count = (longest / step) as u32;
    let scatters: Vec<(f64, f64)> = (0..=count)
        .map(|i| f64::from(i) * step)
        .map(|readout| (Fold::new(fast, readout, |_| true).scatter(), readout))
        .collect();
    let least = scatters.iter().map(|s| s.0).fold(f64::INFINITY, f64::min);
    let total = Fold::new(fast, 0.0, |_| true).total();
    let limit = (least * 1.6).max(least + 0.04 * total);
    let mut kept: Vec<(f64, f64)> = scatters.into_iter().filter(|s| s.0 <= limit).collect();
    kept.sort_by(|a, b| a.0.total_cmp(&b.0));
    let step = kept.len().div_ceil(MOST_READOUTS);
    kept.into_iter().step_by(step).map(|(_, slots)| Readout { slots, prior: 0.0 }).collect()
}

fn extent(fast: &[Strip]) -> (f64, f64) {
    fast.iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), s| (low.min(s.below), high.max(s.below)))
}

/// The best of all explanations. `keep` is left with the templates that explain the picture nearly as well, best first.
fn best(fast: &[Strip], readouts: &[Readout], templates: &[Template], keep: &mut Vec<usize>) -> Option<Best> {
    let middle = readouts.get(readouts.len() / 2 * usize::from(readouts.len() == STATED_STEPS))?;
    let fold = Fold::new(fast, middle.slots, |_| true);
    let mut rests: Vec<(f64, usize)> = keep
        .iter()
        .map(|&t| {
            let shifts = (0..BINS).step_by(COARSE);
            (shifts.map(|s| fold.compare(&templates[t], s).rest).fold(f64::INFINITY, f64::min), t)
        })
        .collect();
    rests.sort_by(|a, b| a.0.total_cmp(&b.0));
    let limit = rests.first()?.0 * 1.6 + 0.03 * fold.total();
    *keep = rests.into_iter().filter(|r| r.0 <= limit).map(|r| r.1).take(MOST_TEMPLATES).collect();
    let mut best: Option<Best> = None;
    for (i, readout) in readouts.iter().enumerate() {
        let fold = Fold::new(fast, readout.slots, |_| true);
        for &template in some(keep, i) {
            for shift in 0..BINS {
                let rest = fold.compare(&templates[template], shift).rest;
                if best.is_none_or(|b| rest < b.rest) {
                    best = Some(Best { rest, readout: readout.slots, template, shift });
                }
            }
        }
    }
    best
}

/// The templates that are compared with the readout of this number: all with the first, and as many as is worth it with others, from the
/// best to the worst.
fn some(keep: &[usize], readout: usize) -> impl Iterator<Item = &usize> {
    let most = if readout == 0 { keep.len() } else { FEW_TEMPLATES };
    keep.iter().step_by(keep.len().div_ceil(most.max(1)).max(1))
}

/// Takes the light of the surroundings off: a plane through the LEDs that are dark.
fn flatten(fast: &mut [Strip], templates: &[Template], best: &Best) {
    let mut rows = [[0.0; 4]; 3];
    let mut count = 0;
    for strip in fast.iter() {
        if predicted(strip, templates, best) < 0.02 {
            count += 1;
            let terms = [1.0, strip.place.0 - 5.0, strip.place.1 - 5.0];
            for i in 0..3 {
                for j in 0..3 {
                    rows[i][j] += terms[i] * terms[j];
                }
                rows[i][3] += terms[i] * strip.value;
            }
        }
    }
    if count < 50 {
        return;
    }
    if let Some([_, right, down]) = solve(rows) {
        for strip in fast {
            strip.value -= right * (strip.place.0 - 5.0) + down * (strip.place.1 - 5.0);
        }
    }
}

/// Luma that this explanation gives the strip, as a part of an LED's that is fully lit.
fn predicted(strip: &Strip, templates: &[Template], best: &Best) -> f64 {
    let response = &templates[best.template].response;
    let middle = best.shift as f64 * PERIOD / BINS as f64 + strip.below * best.readout - strip.column;
    response.luma(lit(middle, response.exposure))
}

/// LEDs that are not as the model says: hidden, broken, in a reflection.
fn odd_leds(fast: &[Strip], templates: &[Template], best: &Best) -> Vec<bool> {
    let fold = Fold::new(fast, best.readout, |_| true);
    let matched = fold.compare(&templates[best.template], best.shift);
    let mut rests = vec![(0.0, 0.0); COLUMNS * COLUMNS];
    for strip in fast {
        let rest = strip.value - matched.dark - matched.amplitude * predicted(strip, templates, best);
        rests[strip.led].0 += rest;
        rests[strip.led].1 += 1.0;
    }
    rests
        .into_iter()
        .map(|(rest, count): (f64, f64)| rest.abs() > ODD * matched.amplitude * count.max(1.0))
        .collect()
}

enum Uncertain {
    Readout,
    Exposure,
}

/// Whether the picture tells what is not stated.
fn check_unstated(
    shutter: &Shutter,
    fast: &[Strip],
    readouts: &[Readout],
    templates: &[Template],
    best: &Best,
) -> Result<(), Uncertain> {
    let (low, high) = extent(fast);
    let fold = Fold::new(fast, best.readout, |_| true);
    if shutter.readout.is_none() {
        let rival = |readout: &Readout| {
            let apart = (readout.slots - best.readout).abs() * (high - low);
            apart > 1.0 && Fold::new(fast, readout.slots, |_| true).scatter() < RIVAL * fold.scatter()
        };
        if best.readout * (high - low) < LEAST_SPAN || readouts.iter().any(rival) {
            return Err(Uncertain::Readout);
        }
    }
    let exposure = templates[best.template].response.exposure;
    if shutter.exposure.is_none() {
        let matched = fold.compare(&templates[best.template], best.shift);
        if exposure > LONGEST_UNSTATED || matched.dark > MOST_DARK * matched.amplitude {
            return Err(Uncertain::Exposure);
        }
    } else {
        // Whole periods light all LEDs alike; a little more or less is the opposite pattern.
        let beyond = exposure - (exposure / PERIOD).round() * PERIOD;
        if exposure > PERIOD / 2.0 && beyond.abs() < 0.3 + 0.02 * exposure {
            return Err(Uncertain::Exposure);
        }
    }
    Ok(())
}

/// Refuses if a readout that is quite another explains the picture much better: then the panel has another pace.
fn check_pace(fast: &[Strip], stated: f64, template: &Template, best: &Best) -> Result<(), Unreadable> {
    let (low, high) = extent(fast);
    let step = 0.15 / (high - low).max(0.02);
    // Half a slot over the panel is beyond what a stated readout may be wrong by.
    let least = (0.5 / (high - low).max(0.02)).max(0.015 * stated);
    let scatter = Fold::new(fast, best.readout, |_| true).scatter();
    for i in 1..=400_u32 {
        let apart = least + f64::from(i - 1) * step;
        if apart > 1.2 * stated + 4.0 * least {
            break;
        }
        for readout in [stated + apart, stated - apart] {
            let fold = Fold::new(fast, readout, |_| true);
            let rest = (0..BINS)
                .step_by(COARSE)
                .map(|shift| fold.compare(template, shift).rest)
                .fold(f64::INFINITY, f64::min);
            if rest < PACE * best.rest || fold.scatter() < PACE * scatter {
                return Err(Unreadable::Mismatch { misfit: best.rest / fold.total().max(1e-9) });
            }
        }
    }
    Ok(())
}

/// Mean over all explanations, each by how well it explains the picture, and the spread of the middle about it.
fn weigh(
    fast: &[Strip],
    readouts: &[Readout],
    templates: &[Template],
    keep: &[usize],
    best: &Best,
) -> (Fit, f64) {
    let total = Fold::new(fast, best.readout, |_| true).total();
    let (low, high) = extent(fast);
    let periods = (best.readout * (high - low) / PERIOD).min(1.0);
    let independent = INDEPENDENT_AT_ONCE + (INDEPENDENT - INDEPENDENT_AT_ONCE) * periods;
    let least = LEAST_MISFIT_AT_ONCE + (LEAST_MISFIT - LEAST_MISFIT_AT_ONCE) * periods;
    let scale = best.rest.max(least * total) * 2.0 / independent;
    let (mut sum, mut shift, mut square, mut exposure, mut readout) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (i, candidate) in readouts.iter().enumerate() {
        let fold = Fold::new(fast, candidate.slots, |_| true);
        let few = some(keep, i).count() as f64;
        for &template in some(keep, i) {
            for at in 0..BINS {
                let rest = fold.compare(&templates[template], at).rest;
                let weight = ((best.rest - rest) / scale + candidate.prior).exp() / few;
                let apart = (at + BINS + BINS / 2 - best.shift) % BINS;
                let apart = (apart as f64 - (BINS / 2) as f64) * PERIOD / BINS as f64;
                sum += weight;
                shift += weight * apart;
                square += weight * apart * apart;
                exposure += weight * templates[template].response.exposure;
                readout += weight * candidate.slots;
            }
        }
    }
    let mean = shift / sum;
    let spread = (square / sum - mean * mean).max(0.0).sqrt();
    let middle = best.shift as f64 * PERIOD / BINS as f64 + mean;
    (Fit { middle, exposure: exposure / sum, uncertainty: 0.0, readout: readout / sum }, spread)
}

/// How much the reading depends on which LEDs are counted (jackknife): 1 sigma.
fn leave_out(fast: &[Strip], template: &Template, best: &Best) -> f64 {
    let mut variance = 0.0;
    // Rows, then groups that have one LED of every row and column.
    let groups: [fn(usize) -> usize; 2] =
        [|led| led / COLUMNS, |led| (led / COLUMNS * 3 + led % COLUMNS) % GROUPS];
    for group in groups {
        let middles: Vec<f64> = (0..GROUPS)
            .map(|left_out| {
                let fold = Fold::new(fast, best.readout, |strip| group(strip.led) != left_out);
                refine(&fold, template, best.shift)
            })
            .collect();
        let mean = middles.iter().sum::<f64>() / GROUPS as f64;
        let squares: f64 = middles.iter().map(|m| (m - mean) * (m - mean)).sum();
        variance += squares * (GROUPS - 1) as f64 / GROUPS as f64;
    }
    variance.sqrt()
}

/// The best shift near `start`, relative to it, in slots, between the bins by a parabola.
fn refine(fold: &Fold, template: &Template, start: usize) -> f64 {
    let reach = 18_usize;
    let rest = |i: usize| fold.compare(template, (start + BINS + i - reach) % BINS).rest;
    let rests: Vec<f64> = (0..=2 * reach).map(rest).collect();
    let least = (1..2 * reach).min_by(|&a, &b| rests[a].total_cmp(&rests[b])).unwrap_or(reach);
    let (left, middle, right) = (rests[least - 1], rests[least], rests[least + 1]);
    let bend = left - 2.0 * middle + right;
    let between = if bend > 0.0 { ((left - right) / (2.0 * bend)).clamp(-1.0, 1.0) } else { 0.0 };
    (least as f64 - reach as f64 + between) * PERIOD / BINS as f64
}
