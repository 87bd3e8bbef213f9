//! The mode of a camera's sensor, and the orientation of its pictures.

use gst::glib;

/// Orientation of a picture, by its Exif number and libcamera's name: as if the camera had been turned clockwise, then
/// mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncOrientation")]
#[repr(i32)]
pub enum Orientation {
    /// As the camera is mounted.
    #[default]
    #[enum_value(name = "Rotate0: as the camera is mounted", nick = "rotate-0")]
    Rotate0 = 1,
    /// Mirrored.
    #[enum_value(name = "Rotate0Mirror: mirrored", nick = "rotate-0-mirror")]
    Rotate0Mirror = 2,
    /// Upside down.
    #[enum_value(name = "Rotate180: upside down", nick = "rotate-180")]
    Rotate180 = 3,
    /// Upside down, then mirrored.
    #[enum_value(name = "Rotate180Mirror: upside down, then mirrored", nick = "rotate-180-mirror")]
    Rotate180Mirror = 4,
    /// A quarter turn clockwise, then mirrored.
    #[enum_value(name = "Rotate90Mirror: a quarter turn clockwise, then mirrored", nick = "rotate-90-mirror")]
    Rotate90Mirror = 5,
    /// A quarter turn counter-clockwise.
    #[enum_value(name = "Rotate270: a quarter turn counter-clockwise", nick = "rotate-270")]
    Rotate270 = 6,
    /// A quarter turn counter-clockwise, then mirrored.
    #[enum_value(
        name = "Rotate270Mirror: a quarter turn counter-clockwise, then mirrored",
        nick = "rotate-270-mirror"
    )]
    Rotate270Mirror = 7,
    /// A quarter turn clockwise.
    #[enum_value(name = "Rotate90: a quarter turn clockwise", nick = "rotate-90")]
    Rotate90 = 8,
}

/// A turn by quarters clockwise, then a mirroring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    quarters: u8,
    mirrored: bool,
}

impl Turn {
    /// `first`, then this.
    const fn after(self, first: Self) -> Self {
        // A mirror reverses the sense of rotation.
        let quarters = if first.mirrored { 4 - self.quarters } else { self.quarters };
        Self { quarters: (quarters + first.quarters) % 4, mirrored: self.mirrored != first.mirrored }
    }

    /// What undoes this. A mirrored turn undoes itself.
    const fn inverse(self) -> Self {
        if self.mirrored { self } else { Self { quarters: (4 - self.quarters) % 4, mirrored: false } }
    }
}

impl Orientation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Rotate0,
        Self::Rotate0Mirror,
        Self::Rotate180,
        Self::Rotate180Mirror,
        Self::Rotate90Mirror,
        Self::Rotate270,
        Self::Rotate270Mirror,
        Self::Rotate90,
    ];

    const fn turn(self) -> Turn {
        let (quarters, mirrored) = match self {
            Self::Rotate0 => (0, false),
            Self::Rotate0Mirror => (0, true),
            Self::Rotate90 => (1, false),
            Self::Rotate90Mirror => (1, true),
            Self::Rotate180 => (2, false),
            Self::Rotate180Mirror => (2, true),
            Self::Rotate270 => (3, false),
            Self::Rotate270Mirror => (3, true),
        };
        Turn { quarters, mirrored }
    }

    /// Its name as a property's value.
    #[must_use]
    pub const fn nick(self) -> &'static str {
        match self {
            Self::Rotate0 => "rotate-0",
            Self::Rotate0Mirror => "rotate-0-mirror",
            Self::Rotate180 => "rotate-180",
            Self::Rotate180Mirror => "rotate-180-mirror",
            Self::Rotate90Mirror => "rotate-90-mirror",
            Self::Rotate270 => "rotate-270",
            Self::Rotate270Mirror => "rotate-270-mirror",
            Self::Rotate90 => "rotate-90",
        }
    }

    /// Whether rows become columns. No sensor can do that.
    #[must_use]
    pub const fn is_transposed(self) -> bool {
        self.turn().quarters % 2 == 1
    }

    /// Whether columns and rows are reversed. Not for transposed orientations.
    #[must_use]
    pub const fn flips(self) -> (bool, bool) {
        let Turn { quarters, mirrored } = self.turn();
        let upside_down = quarters == 2;
        (mirrored != upside_down, upside_down)
    }

    /// What a reader has to do to a picture of this orientation so that it appears as `wanted`; `None` if nothing.
    #[must_use]
    pub fn remaining_transform(self, wanted: Self) -> Option<RemainingTransform> {
        // As in Exif, this says how the picture lies, and the reader undoes that.
        let lies = self.turn().after(wanted.turn().inverse());
        let lies = Self::ALL.into_iter().find(|one| one.turn() == lies)?;
        (lies != Self::Rotate0).then_some(RemainingTransform(lies))
    }
}

/// What readers still have to do to a picture: how it lies, as Exif has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemainingTransform(Orientation);

impl RemainingTransform {
    /// The value of GStreamer's tag `image-orientation`, which names what the reader does.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self.0 {
            Orientation::Rotate0 => "rotate-0",
            Orientation::Rotate0Mirror => "flip-rotate-0",
            Orientation::Rotate180 => "rotate-180",
            Orientation::Rotate180Mirror => "flip-rotate-180",
            Orientation::Rotate90Mirror => "flip-rotate-270",
            Orientation::Rotate270 => "rotate-90",
            Orientation::Rotate270Mirror => "flip-rotate-90",
            Orientation::Rotate90 => "rotate-270",
        }
    }

    /// Parses the tag's value; `None` if there is nothing to do.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        Orientation::ALL
            .map(Self)
            .into_iter()
            .find(|left| left.tag() == tag && left.0 != Orientation::Rotate0)
    }

    /// Exif's number of it.
    #[must_use]
    pub fn exif(self) -> Option<u16> {
        u16::try_from(self.0 as i32).ok()
    }

    /// Parses Exif's number.
    #[must_use]
    pub fn of_exif(number: u16) -> Option<Self> {
        Orientation::ALL.map(Self).into_iter().find(|left| left.exif() == Some(number))
    }
}

/// A mode of a sensor, as libcamera's `SensorConfiguration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SensorConfig {
    /// Columns and rows that the sensor delivers.
    pub size: (u32, u32),
    /// Bits per pixel.
    pub depth: u32,
    /// Columns and rows that are binned into one.
    pub binning: Option<(u32, u32)>,
    /// Increments of odd and even columns, then of odd and even rows (skipping).
    pub skipping: Option<[u32; 4]>,
    /// Analogue crop: left, top, width and height, in pixels of the sensor.
    pub crop: Option<(i32, i32, u32, u32)>,
}

/// Names of the structure's fields, as in `libcamerasrc`.
const SIZE: [&str; 2] = ["width", "height"];
const DEPTH: &str = "depth";
const BINNING: [&str; 2] = ["bin-x", "bin-y"];
const SKIPPING: [&str; 4] = ["x-odd-inc", "x-even-inc", "y-odd-inc", "y-even-inc"];
const CROP: [&str; 4] = ["analog-crop-x", "analog-crop-y", "analog-crop-width", "analog-crop-height"];

impl SensorConfig {
    /// Parses a `structure` such as `sensor/config,width=2304,height=1296,depth=10`.
    ///
    /// # Errors
    /// The field that is missing, unknown, or out of range.
    pub fn parse(structure: &gst::StructureRef) -> Result<Self, String> {
        let known = SIZE.iter().chain([&DEPTH]).chain(&BINNING).chain(&SKIPPING).chain(&CROP);
        for field in structure.fields() {
            if !known.clone().any(|known| field.as_str() == *known) {
                let known: Vec<&str> = known.copied().collect();
                return Err(format!("there is no field {field}, but {}", known.join(", ")));
            }
        }
        let number = |name: &str| -> Result<Option<i32>, String> {
            if !structure.has_field(name) {
                return Ok(None);
            }
            structure.get::<i32>(name).map(Some).map_err(|_| format!("{name} has to be an integer"))
        };
        let count = |name: &str| -> Result<Option<u32>, String> {
            let counted = number(name)?.map(|number| u32::try_from(number).ok().filter(|count| *count > 0));
            counted.map(|count| count.ok_or_else(|| format!("{name} has to be positive"))).transpose()
        };
        let needed = |name: &str| count(name)?.ok_or_else(|| format!("{name} is missing"));
        let or_one = |name: &str| Ok::<u32, String>(count(name)?.unwrap_or(1));
        let any = |names: &[&str]| names.iter().any(|name| structure.has_field(*name));
        let binning = any(&BINNING).then(|| Ok::<_, String>((or_one(BINNING[0])?, or_one(BINNING[1])?)));
        let [x_odd, x_even, y_odd, y_even] = SKIPPING;
        let skipping = any(&SKIPPING)
            .then(|| Ok::<_, String>([or_one(x_odd)?, or_one(x_even)?, or_one(y_odd)?, or_one(y_even)?]));
        let [left, top, width, height] = CROP;
        let crop = any(&CROP).then(|| {
            let place = |name: &str| number(name)?.ok_or_else(|| format!("{name} is missing"));
            Ok::<_, String>((place(left)?, place(top)?, needed(width)?, needed(height)?))
        });
        Ok(Self {
            size: (needed(SIZE[0])?, needed(SIZE[1])?),
            depth: needed(DEPTH)?,
            binning: binning.transpose()?,
            skipping: skipping.transpose()?,
            crop: crop.transpose()?,
        })
    }

    /// The same as a structure.
    #[must_use]
    pub fn structure(&self) -> gst::Structure {
        let mut structure = gst::Structure::new_empty("sensor/config");
        let mut set = |name: &str, value: u32| structure.set(name, i32::try_from(value).unwrap_or(i32::MAX));
        let (width, height) = self.size;
        SIZE.iter().zip([width, height]).for_each(|(name, value)| set(name, value));
        set(DEPTH, self.depth);
        if let Some((x, y)) = self.binning {
            BINNING.iter().zip([x, y]).for_each(|(name, value)| set(name, value));
        }
        if let Some(increments) = self.skipping {
            SKIPPING.iter().zip(increments).for_each(|(name, value)| set(name, value));
        }
        if let Some((left, top, width, height)) = self.crop {
            let [left_name, top_name, width_name, height_name] = CROP;
            set(width_name, width);
            set(height_name, height);
            structure.set(left_name, left);
            structure.set(top_name, top);
        }
        structure
    }
}

/// The mode that is asked of a camera, or that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mode {
    /// The sensor's mode; `None`: libcamera chooses by the size of the streams.
    pub sensor: Option<SensorConfig>,
    /// Orientation of its pictures.
    pub orientation: Orientation,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a pixel of a 3x3 picture ends up, by the definition of the names.
    fn moved(orientation: Orientation, (x, y): (i8, i8)) -> (i8, i8) {
        let Turn { quarters, mirrored } = orientation.turn();
        let (mut x, mut y) = (x - 1, y - 1);
        for _ in 0..quarters {
            (x, y) = (-y, x);
        }
        if mirrored {
            x = -x;
        }
        (x + 1, y + 1)
    }

    /// Exif 2.32, section 4.6.4: where row 0 and column 0 of the scene lie in the picture.
    #[test]
    fn numbers_are_those_of_exif() {
        let corner = |orientation| (moved(orientation, (0, 0)), moved(orientation, (2, 0)));
        for (orientation, expected) in Orientation::ALL.into_iter().zip([
            ((0, 0), (2, 0)),
            ((2, 0), (0, 0)),
            ((2, 2), (0, 2)),
            ((0, 2), (2, 2)),
            ((0, 0), (0, 2)),
            ((0, 2), (0, 0)),
            ((2, 2), (2, 0)),
            ((2, 0), (2, 2)),
        ]) {
            assert_eq!(corner(orientation), expected, "{orientation:?} = {}", orientation as i32);
        }
        assert_eq!(Orientation::ALL.map(|one| one as i32), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn readers_turn_a_picture_into_what_was_wanted() {
        use Orientation::{Rotate0, Rotate0Mirror, Rotate90, Rotate180, Rotate270};
        // GStreamer's names say what a reader does: it turns clockwise, then flips.
        let tag = |got: Orientation, wanted| got.remaining_transform(wanted).map(RemainingTransform::tag);
        assert_eq!(tag(Rotate0, Rotate90), Some("rotate-90"));
        assert_eq!(tag(Rotate0, Rotate270), Some("rotate-270"));
        assert_eq!(tag(Rotate0, Rotate180), Some("rotate-180"));
        assert_eq!(tag(Rotate180, Rotate0), Some("rotate-180"));
        assert_eq!(tag(Rotate0, Rotate0Mirror), Some("flip-rotate-0"));
        // The reader's transform, applied to the picture, yields what was wanted.
        for got in Orientation::ALL {
            for wanted in Orientation::ALL {
                let lies = got.turn().after(wanted.turn().inverse());
                let undone = lies.inverse().after(got.turn());
                assert_eq!(undone, wanted.turn(), "{got:?} {wanted:?}");
                let left = got.remaining_transform(wanted);
                assert_eq!(left.is_none(), got == wanted);
                assert_eq!(left.and_then(|left| RemainingTransform::of_tag(left.tag())), left);
                assert_eq!(
                    left.and_then(RemainingTransform::exif).and_then(RemainingTransform::of_exif),
                    left
                );
                let both =
                    Orientation::ALL.into_iter().find(|one| one.turn() == wanted.turn().after(got.turn()));
                assert_eq!(moved(wanted, moved(got, (1, 0))), moved(both.unwrap(), (1, 0)));
            }
        }
    }

    #[test]
    fn flips_agree_with_the_names() {
        for orientation in Orientation::ALL.into_iter().filter(|one| !one.is_transposed()) {
            let (columns, rows) = orientation.flips();
            let flipped = |(x, y)| (if columns { 2 - x } else { x }, if rows { 2 - y } else { y });
            for at in [(0, 0), (1, 0), (2, 1)] {
                assert_eq!(moved(orientation, at), flipped(at), "{orientation:?}");
            }
        }
    }

    #[test]
    fn structures_are_parsed_and_mistakes_are_named() {
        gst::init().unwrap();
        let parse = |text: &str| SensorConfig::parse(&text.parse::<gst::Structure>().unwrap());
        let text = "sensor/config,width=2304,height=1296,depth=10";
        let config = parse(text).unwrap();
        assert_eq!((config.size, config.depth, config.binning), ((2304, 1296), 10, None));
        for more in [
            "",
            ",bin-x=2,bin-y=2",
            ",x-odd-inc=3",
            ",analog-crop-x=0,analog-crop-y=8,analog-crop-width=64,analog-crop-height=48",
        ] {
            let config = parse(&format!("{text}{more}")).unwrap();
            assert_eq!(SensorConfig::parse(&config.structure()), Ok(config), "{more}");
        }
        for (wrong, said) in [
            ("sensor/config,width=2304,height=1296", "depth is missing"),
            ("sensor/config,width=2304,height=0,depth=10", "height has to be positive"),
            ("sensor/config,width=2304,height=1296,bit-depth=10", "no field bit-depth, but width"),
            ("sensor/config,width=(string)x,height=1296,depth=10", "width has to be an integer"),
            ("sensor/config,width=4,height=4,depth=10,analog-crop-x=1", "analog-crop-y is missing"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
