//! Random photographs: each has some of everything, and more of one trouble.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::{Blur, Board, Disc, Layout, Occluder, Pose, Rolling, Sensor, Setup, Surroundings, Tone};
use crate::num::real;

/// What is wrong with a photograph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// Nothing in particular.
    Plain,
    /// LEDs are up to ten times as bright as the sensor can tell.
    OverExposed,
    /// LEDs are dim, and the sensor's gain is high.
    Noise,
    /// Out of focus.
    Defocus,
    /// The camera moved.
    Motion,
    /// Seen from the side, up to 65 degrees.
    Tilt,
    /// JPEG of quality 8 to 40.
    Jpeg,
    /// Something is in front of a part of the panel, or a part is outside of the picture.
    Hidden,
    /// A bright room, reflections, lamps.
    Reflections,
    /// The panel is small in the picture.
    Small,
    /// The exposure is longer than a period of the fast array, or about as long.
    LongExposure,
    /// Turned by any angle, perhaps mirrored.
    Turned,
    /// Broken LEDs, unequal and slow ones.
    Worn,
    /// Neither exposure nor readout are stated, or only one of them.
    Unstated,
    /// Three of the others.
    Several,
    /// The panel runs at another pace than stated.
    WrongPace,
    /// Another panel, or one with other markers.
    WrongPanel,
    /// No panel.
    NoPanel,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Plain,
        Self::OverExposed,
        Self::Noise,
        Self::Defocus,
        Self::Motion,
        Self::Tilt,
        Self::Jpeg,
        Self::Hidden,
        Self::Reflections,
        Self::Small,
        Self::LongExposure,
        Self::Turned,
        Self::Worn,
        Self::Unstated,
        Self::Several,
        Self::WrongPace,
        Self::WrongPanel,
        Self::NoPanel,
    ];

    /// Whether the picture shows the panel that is stated, so that it has a time to read.
    #[must_use]
    pub const fn has_time(self) -> bool {
        !matches!(self, Self::WrongPace | Self::WrongPanel | Self::NoPanel)
    }
}

/// What the reader of the photograph is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stated {
    /// The panel's pace.
    pub slot_us: f64,
    /// Exposure.
    pub exposure_us: Option<f64>,
    /// Readout.
    pub readout_us: Option<f64>,
    /// The row whose time is asked.
    pub row: f64,
}

struct Draw(ChaCha8Rng);

impl Draw {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.random::<f64>()
    }

    /// Evenly on a logarithmic scale.
    fn log(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.0.random::<f64>())
    }

    fn chance(&mut self, part: f64) -> bool {
        self.0.random::<f64>() < part
    }

    fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.random_range(0..all.len())]
    }

    fn angle(&mut self) -> f64 {
        self.between(0.0, std::f64::consts::TAU)
    }
}

impl Setup {
    /// Photograph `number` of the series of `seed` with this trouble, and what is told of it.
    #[must_use]
    pub fn draw(seed: u64, number: u64, trouble: Trouble) -> (Self, Stated) {
        let mut draw = Draw(crate::noise::generator(seed, number.wrapping_add(1000)));
        let mut setup = plain(&mut draw);
        let mut stated = Stated {
            slot_us: setup.board.slot_us,
            exposure_us: draw.chance(0.7).then_some(0.0),
            readout_us: draw.chance(0.8).then_some(0.0),
            row: if draw.chance(0.6) { 0.5 } else { draw.between(0.0, 1.0) },
        };
        if trouble == Trouble::Several {
            for _ in 0..3 {
                let other = draw.one_of(&Trouble::ALL[1..14]);
                apply(&mut draw, other, &mut setup, &mut stated);
            }
        } else {
            apply(&mut draw, trouble, &mut setup, &mut stated);
        }
        // What is stated comes from data sheets and drivers: not exact.
        let told = |truth: f64, draw: &mut Draw| truth * (1.0 + 0.003 * draw.normal().clamp(-2.0, 2.0));
        stated.exposure_us = stated.exposure_us.map(|_| told(setup.rolling.exposure_us, &mut draw));
        stated.readout_us = stated.readout_us.map(|_| told(setup.rolling.readout_us, &mut draw));
        (setup, stated)
    }
}

/// A photograph that someone took with care.
fn plain(draw: &mut Draw) -> Setup {
    let (width, height) = draw.one_of(&[(640, 480), (480, 360), (400, 300), (360, 480)]);
    let least = real(width.min(height));
    let readout_us = if draw.chance(0.15) { 0.0 } else { draw.log(1_000.0, 30_000.0) };
    let colour = draw.one_of(&[
        [1.0, 0.15, 0.08],
        [0.25, 1.0, 0.3],
        [0.2, 0.4, 1.0],
        [1.0, 1.0, 0.9],
        [1.0, 0.6, 0.1],
    ]);
    let drift = (real(width) * 0.04, real(height) * 0.04);
    Setup {
        width,
        height,
        pose: Pose {
            scale: draw.between(0.55, 0.88) * least / 15.0,
            distance: draw.between(18.0, 60.0),
            tilt: draw.between(0.0, 30.0_f64).to_radians(),
            axis: draw.angle(),
            roll: (draw.normal() * 4.0).to_radians(),
            mirrored: false,
            centre: (
                real(width) / 2.0 + draw.between(-drift.0, drift.0),
                real(height) / 2.0 + draw.between(-drift.1, drift.1),
            ),
            distortion: draw.between(-0.02, 0.01),
        },
        rolling: Rolling {
            start_us: draw.between(0.0, 2_540_000.0),
            exposure_us: draw.log(30.0, 700.0),
            readout_us,
        },
        board: Board {
            layout: Layout::Paper,
            slot_us: draw.one_of(&[200.0, 200.0, 200.0, 500.0]),
            rise_us: draw.log(0.1, 5.0),
            fall_us: draw.log(0.1, 5.0),
            glow: if draw.chance(0.3) { draw.between(0.0, 0.02) } else { 0.0 },
            radius: draw.between(0.18, 0.38),
            square: draw.chance(0.3),
            markers: draw.between(0.6, 1.3),
            spread: draw.between(0.0, 0.15),
            dead: 0.0,
            code: draw.chance(0.5),
            seed: draw.0.random(),
        },
        blur: Blur {
            defocus: draw.between(0.0, 1.0),
            soft: draw.between(0.4, 0.9),
            motion: (0.0, 0.0),
            veil: draw.between(0.0, 0.04),
        },
        surroundings: Surroundings {
            ambient: draw.between(0.0, 0.15),
            board: draw.between(0.03, 0.3),
            bodies: draw.between(-0.05, 0.3),
            gradient: (draw.between(-0.5, 0.5), draw.between(-0.5, 0.5)),
            vignette: draw.between(0.0, 0.4),
            patches: draw.0.random_range(0..8),
            discs: Vec::new(),
            occluders: Vec::new(),
            ghost: (0.0, 0.0, 0.0),
        },
        sensor: Sensor {
            level: draw.log(0.35, 1.6),
            electrons: draw.log(1_500.0, 10_000.0),
            read_noise: draw.between(1.5, 6.0),
            black: draw.one_of(&[0.0, 4.0, 16.0]),
            tone: draw.one_of(&[Tone::Linear, Tone::Gamma, Tone::Gamma, Tone::Curve]),
            colour,
            sharpen: if draw.chance(0.4) { draw.between(0.0, 0.6) } else { 0.0 },
            hot: if draw.chance(0.2) { 1e-5 } else { 0.0 },
        },
        jpeg: draw.chance(0.7).then(|| draw.0.random_range(70..=97)),
    }
}

fn apply(draw: &mut Draw, trouble: Trouble, setup: &mut Setup, stated: &mut Stated) {
    match trouble {
        Trouble::Plain | Trouble::Several => (),
        Trouble::OverExposed => setup.sensor.level = draw.log(1.6, 12.0),
        Trouble::Noise => {
            setup.sensor.level = draw.log(0.06, 0.4);
            setup.sensor.electrons = draw.log(60.0, 1_000.0);
        }
        Trouble::Defocus => setup.blur.defocus = draw.between(1.0, 0.75 * setup.pose.scale),
        Trouble::Motion => {
            let angle = draw.angle();
            let speed = draw.between(0.1, 1.0) * setup.pose.scale / setup.rolling.exposure_us.max(100.0);
            setup.blur.motion = (speed * angle.cos(), speed * angle.sin());
            // A hand moves to and fro: over the readout, not farther than this.
            let farthest = 0.5 * setup.pose.scale / (setup.rolling.readout_us + 1.0);
            let slower = (farthest / speed).min(1.0);
            if draw.chance(0.5) {
                setup.blur.motion = (setup.blur.motion.0 * slower, setup.blur.motion.1 * slower);
            }
        }
        Trouble::Tilt => setup.pose.tilt = draw.between(35.0, 65.0_f64).to_radians(),
        Trouble::Jpeg => setup.jpeg = Some(draw.0.random_range(8..=40)),
        Trouble::Hidden => hide(draw, setup),
        Trouble::Reflections => reflect(draw, setup),
        Trouble::Small => setup.pose.scale *= draw.between(0.25, 0.7),
        Trouble::LongExposure => {
            setup.rolling.exposure_us = draw.log(3.0, 40.0) * setup.board.slot_us;
        }
        Trouble::Turned => {
            setup.pose.roll = draw.angle();
            setup.pose.mirrored = draw.chance(0.3);
            setup.pose.scale *= 0.8;
        }
        Trouble::Worn => {
            setup.board.dead = draw.between(0.0, 0.12);
            setup.board.spread = draw.between(0.1, 0.4);
            setup.board.rise_us = draw.log(1.0, 30.0);
            setup.board.fall_us = draw.log(1.0, 30.0);
            setup.board.glow = draw.between(0.0, 0.08);
        }
        Trouble::Unstated => {
            stated.readout_us = None;
            stated.exposure_us = draw.chance(0.5).then_some(0.0);
        }
        Trouble::WrongPace => {
            // Seen by a global shutter, a panel of another pace is as good as one of this pace.
            stated.slot_us *= draw.one_of(&[0.5, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0]);
            stated.readout_us = Some(0.0);
            setup.rolling.readout_us = draw.log(20.0, 60.0) * setup.board.slot_us;
        }
        Trouble::WrongPanel => {
            setup.board.layout = draw.one_of(&[
                Layout::Grid(7),
                Layout::Grid(8),
                Layout::Grid(9),
                Layout::Grid(12),
                Layout::OtherMarkers,
                Layout::Scattered,
            ]);
        }
        Trouble::NoPanel => {
            setup.board.layout = Layout::Nothing;
            reflect(draw, setup);
            setup.surroundings.patches = 30;
            for _ in 0..draw.0.random_range(0..40) {
                let disc = lamp(draw, setup);
                setup.surroundings.discs.push(disc);
            }
        }
    }
}

fn lamp(draw: &mut Draw, setup: &Setup) -> Disc {
    Disc {
        at: (draw.between(0.0, real(setup.width)), draw.between(0.0, real(setup.height))),
        radius: draw.log(2.0, 40.0),
        brightness: draw.log(0.2, 3.0),
        soft: draw.chance(0.5),
    }
}

fn reflect(draw: &mut Draw, setup: &mut Setup) {
    setup.surroundings.ambient = draw.log(0.1, 0.9);
    setup.surroundings.board = draw.between(0.05, 0.6);
    for _ in 0..draw.0.random_range(0..5) {
        let disc = lamp(draw, setup);
        setup.surroundings.discs.push(disc);
    }
    let far = setup.pose.scale;
    setup.surroundings.ghost =
        (draw.between(-2.0, 2.0) * far, draw.between(-2.0, 2.0) * far, draw.between(0.0, 0.3));
}

fn hide(draw: &mut Draw, setup: &mut Setup) {
    let size = setup.pose.scale;
    if draw.chance(0.25) {
        // A part is outside of the picture.
        setup.pose.centre.0 += draw.between(-6.0, 6.0) * size;
        setup.pose.centre.1 += draw.between(-6.0, 6.0) * size;
        return;
    }
    for _ in 0..draw.0.random_range(1..4) {
        let (x, y) = (draw.between(-2.0, 12.0), draw.between(-2.0, 14.0));
        let at = setup.pose.project((x, y), real(setup.width), real(setup.height));
        let occluder = Occluder {
            at,
            half: (draw.log(0.3, 8.0) * size, draw.log(0.2, 2.0) * size),
            turn: draw.angle(),
            brightness: draw.between(0.0, 2.0) * setup.surroundings.ambient + draw.between(0.0, 0.05),
        };
        setup.surroundings.occluders.push(occluder);
    }
}
