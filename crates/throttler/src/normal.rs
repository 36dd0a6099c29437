//! Normal numbers from uniform bits, in plain arithmetic that gives the same bits everywhere.
//!
//! Box-Muller with a logarithm, sine and cosine of its own: no branch, no table, no library call, no fused
//! multiply-add, so that compilers can use wide instructions and no processor rounds differently.

/// Turns two words of uniform bits into two independent standard normal numbers.
#[inline(always)]
pub(crate) fn pair(radius_bits: u32, angle_bits: u32) -> (f32, f32) {
    // The middle of one of 2^32 cells of (0, 1): the largest radius is 6.8.
    let uniform = (radius_bits as f32 + 0.5) * 2.0_f32.powi(-32);
    let radius = (-2.0 * log(uniform)).max(0.0).sqrt();
    // Half the angle, in [-pi/2, pi/2); the full one by the double-angle formulas.
    let half = (angle_bits as i32) as f32 * (core::f32::consts::PI * 2.0_f32.powi(-32));
    let square = half * half;
    let (sin, cos) = (half * sine_series(square), cosine_series(square));
    (radius * (1.0 - 2.0 * sin * sin), radius * (2.0 * sin * cos))
}

/// Natural logarithm of a normal positive number, absolute error about 1e-7 times its size.
#[inline(always)]
fn log(x: f32) -> f32 {
    // Scale the mantissa into [sqrt(1/2), sqrt(2)).
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF);
    let exponent = (shifted as i32) >> 23;
    let mantissa = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(SQRT_HALF));
    // log m = 2 artanh((m - 1) / (m + 1)), the argument at most 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let q = s * s;
    let series = 1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * (1.0 / 9.0))));
    2.0 * s * series + exponent as f32 * core::f32::consts::LN_2
}

/// `sin(x) / x` in `x^2`, for `|x| <= pi/2`.
#[inline(always)]
fn sine_series(q: f32) -> f32 {
    const C: [f32; 6] = [
        -1.0 / 6.0,
        1.0 / 120.0,
        -1.0 / 5040.0,
        1.0 / 362_880.0,
        -1.0 / 39_916_800.0,
        1.0 / 6_227_020_800.0,
    ];
    1.0 + q * (C[0] + q * (C[1] + q * (C[2] + q * (C[3] + q * (C[4] + q * C[5])))))
}

/// `cos(x)` in `x^2`, for `|x| <= pi/2`.
#[inline(always)]
fn cosine_series(q: f32) -> f32 {
    const C: [f32; 6] = [
        -1.0 / 2.0,
        1.0 / 24.0,
        -1.0 / 720.0,
        1.0 / 40_320.0,
        -1.0 / 3_628_800.0,
        1.0 / 479_001_600.0,
    ];
    1.0 + q * (C[0] + q * (C[1] + q * (C[2] + q * (C[3] + q * (C[4] + q * C[5])))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_and_angles_match_the_library() {
        for bits in (0..u32::MAX).step_by(65_521).chain([0, 1, 2, u32::MAX]) {
            let uniform = (bits as f32 + 0.5) * 2.0_f32.powi(-32);
            let wanted = f64::from(uniform).ln();
            assert!(
                (f64::from(log(uniform)) - wanted).abs() <= 3e-7 * wanted.abs().max(1e-1),
                "log {uniform}"
            );

            let angle = core::f64::consts::TAU * f64::from(bits as i32) / 2.0_f64.powi(32);
            let radius = (-2.0 * f64::from(77.5_f32 * 2.0_f32.powi(-32)).ln()).sqrt();
            let (x, y) = pair(77, bits);
            assert!((f64::from(x) / radius - angle.cos()).abs() < 1e-6, "cos {angle}");
            assert!((f64::from(y) / radius - angle.sin()).abs() < 1e-6, "sin {angle}");
        }
    }
}
