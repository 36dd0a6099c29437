//! The accurate integer inverse DCT: Loeffler, Ligtenberg and Moschytz's, with 13 bits of fraction.

use std::num::Wrapping;

type Number = Wrapping<i32>;

/// Bits of the constants' fraction.
const BITS: usize = 13;
/// Bits of fraction that stay between the two passes.
const BETWEEN: usize = 2;

/// A constant of the algorithm as a fixed-point number.
const fn fixed(x: f64) -> Number {
    Wrapping((x * (1 << BITS) as f64 + 0.5) as i32)
}

/// Eight samples from eight coefficients; the results have [`BITS`] more bits of fraction than the coefficients.
#[inline(always)]
fn transform(c: [Number; 8]) -> [Number; 8] {
    // Even part: a rotation by pi/8 and two butterflies.
    let z = (c[2] + c[6]) * fixed(0.541_196_100);
    let (t2, t3) = (z - c[6] * fixed(1.847_759_065), z + c[2] * fixed(0.765_366_865));
    let (t0, t1) = ((c[0] + c[4]) << BITS, (c[0] - c[4]) << BITS);
    let even = [t0 + t3, t1 + t2, t1 - t2, t0 - t3];
    // Odd part.
    let (z1, z2, z3, z4) = (c[7] + c[1], c[5] + c[3], c[7] + c[3], c[5] + c[1]);
    let z5 = (z3 + z4) * fixed(1.175_875_602);
    let z1 = z1 * -fixed(0.899_976_223);
    let z2 = z2 * -fixed(2.562_915_447);
    let z3 = z3 * -fixed(1.961_570_560) + z5;
    let z4 = z4 * -fixed(0.390_180_644) + z5;
    let odd = [
        c[1] * fixed(1.501_321_110) + z1 + z4,
        c[3] * fixed(3.072_711_026) + z2 + z3,
        c[5] * fixed(2.053_119_869) + z2 + z4,
        c[7] * fixed(0.298_631_336) + z1 + z3,
    ];
    [
        even[0] + odd[0],
        even[1] + odd[1],
        even[2] + odd[2],
        even[3] + odd[3],
        even[3] - odd[3],
        even[2] - odd[2],
        even[1] - odd[1],
        even[0] - odd[0],
    ]
}

/// Without the last `bits` bits, rounded.
#[inline(always)]
fn rounded(x: Number, bits: usize) -> Number {
    (x + Wrapping(1 << (bits - 1))) >> bits
}

/// The 8 by 8 samples of a block of coefficients (rows of frequencies), each multiplied by its step in `quant`, written to
/// the rows of `out` that are `stride` bytes apart.
pub(super) fn block(coefficients: &[i16; 64], quant: &[u16; 64], out: &mut [u8], stride: usize) {
    let mut columns = [[Wrapping(0); 8]; 8];
    for x in 0..8 {
        let column: [Number; 8] = std::array::from_fn(|y| {
            let (c, step) = (coefficients[8 * y + x], quant[8 * y + x]);
            Wrapping(i32::from(c.wrapping_mul(step as i16)))
        });
        columns[x] = if column[1..].iter().all(|c| c.0 == 0) {
            [column[0] << BETWEEN; 8]
        } else {
            transform(column).map(|sample| rounded(sample, BITS - BETWEEN))
        };
    }
    for (y, row) in out.chunks_mut(stride).take(8).enumerate() {
        let samples = transform(std::array::from_fn(|x| columns[x][y]));
        for (to, sample) in row.iter_mut().zip(samples) {
            *to = (rounded(sample, BITS + BETWEEN + 3).0 + 128).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Within one level of the exact transform, on blocks of random frequencies.
    #[test]
    fn rounds_the_exact_transform() {
        let mut state = 1u32;
        let mut random = |n: i32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as i32 % n
        };
        for _ in 0..200 {
            let mut coefficients = [0i16; 64];
            for _ in 0..10 {
                coefficients[random(64) as usize] = (random(200) - 100) as i16;
            }
            let mut out = [0u8; 64];
            block(&coefficients, &[1; 64], &mut out, 8);
            for (i, &found) in out.iter().enumerate() {
                let (x, y) = ((i % 8) as f64, (i / 8) as f64);
                let mut exact = 128.0;
                for (j, &c) in coefficients.iter().enumerate() {
                    let (u, v) = ((j % 8) as f64, (j / 8) as f64);
                    let scale = |f: f64| if f == 0.0 { 0.5f64.sqrt() } else { 1.0 };
                    let wave = |x: f64, f: f64| ((2.0 * x + 1.0) * f * std::f64::consts::PI / 16.0).cos();
                    exact += 0.25 * scale(u) * scale(v) * f64::from(c) * wave(x, u) * wave(y, v);
                }
                assert!(
                    (f64::from(found) - exact.clamp(0.0, 255.0)).abs() < 0.6,
                    "{i}: {found} {exact}"
                );
            }
        }
    }
}
