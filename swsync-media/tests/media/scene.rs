//! A room's corner of three patterned walls, as cameras see it: enough for COLMAP to find its way.

use image::{GrayImage, ImageEncoder as _, Luma};

type Vector = [f64; 3];

/// Squares of a wall's pattern along each side.
const SQUARES: usize = 96;

/// Squares per unit of length.
const DENSITY: f64 = 15.0;

/// Width, height and focal length of the pictures, in pixels.
const SIZE: (u32, u32) = (320, 240);
const FOCAL_LENGTH: f64 = 280.0;

/// The walls' patterns. The walls lie in the planes x = 0, y = 0 and z = 0.
pub struct Scene([Vec<u8>; 3]);

impl Scene {
    /// Walls of random greys, always the same.
    pub fn new() -> Self {
        // Knuth's MMIX generator; the upper bits are the random ones.
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        Self(std::array::from_fn(|_| (0..SQUARES * SQUARES).map(|_| random()).collect()))
    }

    /// What a camera at `eye` that looks at `target` sees, as a JPEG.
    pub fn picture(&self, eye: Vector, target: Vector) -> Vec<u8> {
        let ahead = unit(minus(target, eye));
        let right = unit(cross([0.0, 1.0, 0.0], ahead));
        let down = cross(ahead, right);
        let picture = GrayImage::from_fn(SIZE.0, SIZE.1, |column, row| {
            let u = (f64::from(column) + 0.5 - f64::from(SIZE.0) / 2.0) / FOCAL_LENGTH;
            let v = (f64::from(row) + 0.5 - f64::from(SIZE.1) / 2.0) / FOCAL_LENGTH;
            let ray = std::array::from_fn(|axis| u * right[axis] + v * down[axis] + ahead[axis]);
            Luma([self.shade(eye, ray)])
        });
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95)
            .write_image(picture.as_raw(), SIZE.0, SIZE.1, image::ExtendedColorType::L8)
            .unwrap();
        jpeg
    }

    /// The grey of the wall that a ray meets first.
    fn shade(&self, eye: Vector, ray: Vector) -> u8 {
        let hits = (0..3).map(|axis| (-eye[axis] / ray[axis], axis)).filter(|(distance, _)| *distance > 0.0);
        let Some((distance, axis)) = hits.min_by(|a, b| a.0.total_cmp(&b.0)) else { return 0 };
        let square = |other: usize| {
            let along = (eye[other] + distance * ray[other]) * DENSITY;
            #[expect(clippy::cast_possible_truncation, reason = "walls are a few units long")]
            let index = along.floor() as i64;
            usize::try_from(index.rem_euclid(i64::try_from(SQUARES).unwrap())).unwrap()
        };
        let (one, other) = ((axis + 1) % 3, (axis + 2) % 3);
        self.0[axis][square(one) * SQUARES + square(other)]
    }
}

fn minus(a: Vector, b: Vector) -> Vector {
    std::array::from_fn(|axis| a[axis] - b[axis])
}

fn cross(a: Vector, b: Vector) -> Vector {
    std::array::from_fn(|axis| {
        let (one, other) = ((axis + 1) % 3, (axis + 2) % 3);
        a[one] * b[other] - a[other] * b[one]
    })
}

fn unit(a: Vector) -> Vector {
    let length = a.iter().map(|part| part * part).sum::<f64>().sqrt();
    a.map(|part| part / length)
}
