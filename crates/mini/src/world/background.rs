//! Muted textures that lie behind everything, so that no patch is trivially empty.

use super::placement::between;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Lattice cells per side of the soft blobs.
const CELLS: usize = 7;

/// The pattern of a background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackgroundKind {
    /// Fine grain only.
    Grain,
    /// A straight ramp between the two tones.
    Gradient,
    /// Soft parallel stripes.
    Stripes,
    /// Soft spots.
    Blobs,
}

/// A pattern between two muted tones, with grain on top.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Background {
    /// The pattern.
    pub kind: BackgroundKind,
    /// Seed of everything random in the pattern.
    pub seed: u64,
    /// One tone, 8-bit RGB.
    pub from: [u8; 3],
    /// The other tone.
    pub to: [u8; 3],
}

impl Background {
    /// A random background.
    pub(crate) fn draw(rng: &mut impl Rng) -> Self {
        let kinds = [
            BackgroundKind::Grain,
            BackgroundKind::Gradient,
            BackgroundKind::Stripes,
            BackgroundKind::Blobs,
        ];
        let kind = kinds[rng.random_range(0..4u32) as usize];
        let warmth = between(-4.0, 24.0, rng);
        let middle = between(86.0, 168.0, rng);
        let contrast = between(14.0, 30.0, rng);
        let tone =
            |level: f32| [level + warmth / 2.0, level, level - warmth].map(|v| v.clamp(0.0, 255.0) as u8);
        Self {
            kind,
            seed: rng.next_u64(),
            from: tone(middle - contrast),
            to: tone(middle + contrast),
        }
    }

    /// Fills a square RGB buffer, row by row.
    pub(super) fn fill(&self, pixels: &mut [u8], size: usize) {
        let mut random = Xorshift(self.seed | 1);
        let pattern = Pattern::new(self, size, &mut random);
        let tones = self.tones();
        let mut field = vec![0u16; size];
        for (y, row) in pixels.chunks_exact_mut(3 * size).enumerate() {
            pattern.row(y, &mut field);
            // Four random bits per pixel: 0 to 15 steps of grain on top of the pattern.
            for (pixels, values) in row.chunks_mut(3 * 16).zip(field.chunks(16)) {
                let mut bits = random.next();
                for (pixel, value) in pixels.chunks_exact_mut(3).zip(values) {
                    let tone = *value as usize + 3 * (bits & 15) as usize;
                    pixel.copy_from_slice(&tones[tone.min(300)]);
                    bits >>= 4;
                }
            }
        }
    }

    /// The colours between the two tones; patterns run from 0 to 255, grain adds up to 45.
    fn tones(&self) -> [[u8; 3]; 301] {
        std::array::from_fn(|i| {
            std::array::from_fn(|c| {
                let (from, to) = (f32::from(self.from[c]), f32::from(self.to[c]));
                (from + (to - from) * i as f32 / 300.0).round() as u8
            })
        })
    }
}

/// The values that are computed once per image.
enum Pattern {
    Flat(u16),
    /// Value at the origin, step along x, step along y; folded to a triangle wave when `folded`.
    Linear {
        start: f32,
        dx: f32,
        dy: f32,
        folded: bool,
    },
    Blobs {
        lattice: Box<[[f32; CELLS + 1]; CELLS + 1]>,
        cell: f32,
    },
}

impl Pattern {
    fn new(background: &Background, size: usize, random: &mut Xorshift) -> Self {
        let (sin, cos) = (random.unit() * std::f32::consts::TAU).sin_cos();
        let size = size as f32;
        match background.kind {
            BackgroundKind::Grain => Self::Flat((random.unit() * 255.0) as u16),
            BackgroundKind::Gradient => {
                let step = 255.0 / (size * (sin.abs() + cos.abs()));
                let corner = |slope: f32| if slope < 0.0 { -slope * size * step } else { 0.0 };
                Self::Linear {
                    start: corner(cos) + corner(sin),
                    dx: cos * step,
                    dy: sin * step,
                    folded: false,
                }
            }
            BackgroundKind::Stripes => {
                let step = 255.0 / (5.0 + 13.0 * random.unit());
                Self::Linear {
                    start: random.unit() * 510.0,
                    dx: cos * step,
                    dy: sin * step,
                    folded: true,
                }
            }
            BackgroundKind::Blobs => Self::Blobs {
                lattice: Box::new(std::array::from_fn(|_| {
                    std::array::from_fn(|_| random.unit() * 255.0)
                })),
                cell: size / CELLS as f32,
            },
        }
    }

    /// Pattern values of one row, each from 0 to 255.
    fn row(&self, y: usize, field: &mut [u16]) {
        match self {
            Self::Flat(value) => field.fill(*value),
            Self::Linear {
                start,
                dx,
                dy,
                folded,
            } => {
                let start = start + dy * y as f32;
                for (x, value) in field.iter_mut().enumerate() {
                    let v = start + dx * x as f32;
                    *value = if *folded {
                        (v.rem_euclid(510.0) - 255.0).abs()
                    } else {
                        v.clamp(0.0, 255.0)
                    } as u16;
                }
            }
            Self::Blobs { lattice, cell } => {
                let (j, t) = cell_of(y, *cell);
                let edge: [f32; CELLS + 1] =
                    std::array::from_fn(|i| lattice[j][i] + (lattice[j + 1][i] - lattice[j][i]) * t);
                for (x, value) in field.iter_mut().enumerate() {
                    let (i, t) = cell_of(x, *cell);
                    *value = (edge[i] + (edge[i + 1] - edge[i]) * t) as u16;
                }
            }
        }
    }
}

/// Lattice cell and smoothed position within it.
fn cell_of(x: usize, cell: f32) -> (usize, f32) {
    let at = (x as f32 + 0.5) / cell;
    let i = (at as usize).min(CELLS - 1);
    let t = at - i as f32;
    (i, t * t * (3.0 - 2.0 * t))
}

/// A fast generator for grain; quality does not matter here, speed does.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }
}
