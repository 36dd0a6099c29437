//! Loops compiled three times, and the functions without branches that make them vectorise.

/// Defines a function that runs the given call compiled for AVX-512, for AVX2 with FMA, or for the baseline,
/// whichever the processor has. Inside the call, `FMA` is a constant: whether multiply-add is one instruction.
///
/// The call must be to functions marked `inline(always)`, or it is compiled for the baseline only.
macro_rules! stamped {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? => $call:expr) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                #[allow(clippy::too_many_arguments)]
                fn with_avx512($($arg: $ty),*) $(-> $ret)? {
                    #[allow(dead_code)]
                    const FMA: bool = true;
                    $call
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn with_avx2($($arg: $ty),*) $(-> $ret)? {
                    #[allow(dead_code)]
                    const FMA: bool = true;
                    $call
                }
                if std::arch::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has just been asked for these instructions.
                    return unsafe { with_avx512($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: as above.
                    return unsafe { with_avx2($($arg),*) };
                }
            }
            #[allow(dead_code)]
            const FMA: bool = cfg!(target_arch = "aarch64");
            $call
        }
    };
}
pub(super) use stamped;

/// Independent partial sums of a reduction: two registers of AVX-512, four of AVX2.
pub(super) const LANES: usize = 32;

/// `a * b + c`, as one instruction if `FMA`.
#[inline(always)]
pub(super) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Below this argument [`exp`] returns zero: the last one whose result is a normal number.
const EXP_MIN: f32 = -87.0;
/// Above this argument [`exp`] no longer grows: the last one whose result is finite.
const EXP_MAX: f32 = 88.7;
/// Adding and subtracting this rounds to an integer, and leaves that integer in the low bits: 1.5 * 2^23.
const ROUNDER: f32 = 12_582_912.0;
/// ln 2 in two parts, the first so short that its products with small integers are exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
/// See [`LN2_HIGH`].
const LN2_LOW: f32 = (core::f64::consts::LN_2 - 355.0 / 512.0) as f32;
/// `(e^r - 1 - r) / r^2` for `|r| <= ln 2 / 2`: minimax fit, relative error of `e^r` 3e-9 before rounding.
const EXP_TAIL: [f32; 5] = [
    0.499_999_93,
    0.166_665_21,
    0.041_668_39,
    0.008_368_717,
    0.001_381_459_6,
];

/// Exponential with a relative error of about 1e-7; NaN stays NaN.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    let capped = if x > EXP_MAX { EXP_MAX } else { x };
    let clamped = if capped < EXP_MIN { EXP_MIN } else { capped };
    let shifted = fma::<FMA>(clamped, core::f32::consts::LOG2_E, ROUNDER);
    let power = shifted - ROUNDER;
    let r = fma::<FMA>(power, -LN2_LOW, fma::<FMA>(power, -LN2_HIGH, clamped));
    let mut tail = EXP_TAIL[4];
    tail = fma::<FMA>(tail, r, EXP_TAIL[3]);
    tail = fma::<FMA>(tail, r, EXP_TAIL[2]);
    tail = fma::<FMA>(tail, r, EXP_TAIL[1]);
    tail = fma::<FMA>(tail, r, EXP_TAIL[0]);
    let mantissa = fma::<FMA>(r * r, tail, r) + 1.0;
    let y = f32::from_bits(mantissa.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < EXP_MIN { 0.0 } else { y }
}

/// Beyond this argument [`erf`] is one: the true value is within 2e-8 of it.
const ERF_MAX: f32 = 4.0;
/// `erf(x) = x P(x^2) / Q(x^2)`: minimax fit over `[0, 4]`, absolute error 2e-8 before rounding. This is P.
const ERF_ABOVE: [f32; 6] = [
    core::f32::consts::FRAC_2_SQRT_PI,
    0.196_231_6,
    0.053_465_094,
    0.004_002_872_6,
    0.000_288_019_27,
    1.974_904_4e-6,
];
/// Q of [`ERF_ABOVE`].
const ERF_BELOW: [f32; 6] = [
    1.0,
    0.507_236_9,
    0.116_469_17,
    0.015_442_884,
    0.001_216_163,
    3.748_046_5e-5,
];

/// Error function with an absolute error below 5e-7; NaN stays NaN.
#[inline(always)]
pub(super) fn erf<const FMA: bool>(x: f32) -> f32 {
    let square = x * x;
    let mut above = ERF_ABOVE[5];
    let mut below = ERF_BELOW[5];
    for i in (0..5).rev() {
        above = fma::<FMA>(above, square, ERF_ABOVE[i]);
        below = fma::<FMA>(below, square, ERF_BELOW[i]);
    }
    let inside = x * above / below;
    let upper = if x > ERF_MAX { 1.0 } else { inside };
    if x < -ERF_MAX { -1.0 } else { upper }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// Sum of `f` over the places of `N` slices of one length, in [`LANES`] partial sums.
#[inline(always)]
pub(super) fn sum_of<const N: usize>(x: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    let n = x[0].len();
    let mut lanes = [0.0f32; LANES];
    let whole = n - n % LANES;
    let mut start = 0;
    while start < whole {
        let block: [&[f32]; N] = core::array::from_fn(|k| &x[k][start..start + LANES]);
        for lane in 0..LANES {
            lanes[lane] += f(core::array::from_fn(|k| block[k][lane]));
        }
        start += LANES;
    }
    let mut rest = 0.0;
    for i in whole..n {
        rest += f(x.map(|x| x[i]));
    }
    fold_lanes(lanes, |a, b| a + b) + rest
}

/// `row = exp(row - shift)`; returns the sum.
#[inline(always)]
pub(super) fn exp_and_sum<const FMA: bool>(row: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = row.as_chunks_mut::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            block[lane] = exp::<FMA>(block[lane] - shift);
            lanes[lane] += block[lane];
        }
    }
    let mut sum = 0.0;
    for x in rest {
        *x = exp::<FMA>(*x - shift);
        sum += *x;
    }
    fold_lanes(lanes, |a, b| a + b) + sum
}

/// Combines the partial results, halving their number each step.
#[inline(always)]
fn fold_lanes(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = f(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The larger of two numbers, the first if they do not compare.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// Largest of `x`, minus infinity if there is none; NaN is passed over.
#[inline(always)]
pub(super) fn max_of(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], block[lane]);
        }
    }
    let max = fold_lanes(lanes, larger);
    rest.iter().fold(max, |max, &x| larger(max, x))
}

#[cfg(test)]
mod tests {
    use super::*;

    stamped!(fn exp_all(x: &mut [f32]) => x.iter_mut().for_each(|v| *v = exp::<FMA>(*v)));
    stamped!(fn erf_all(x: &mut [f32]) => x.iter_mut().for_each(|v| *v = erf::<FMA>(*v)));

    fn grid(from: f64, to: f64) -> Vec<f32> {
        (0..200_001)
            .map(|i| (from + (to - from) * f64::from(i) / 200_000.0) as f32)
            .collect()
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let x = grid(-86.9, 88.6);
        let mut y = x.clone();
        exp_all(&mut y);
        for (&x, &y) in x.iter().zip(&y) {
            let exact = f64::from(x).exp();
            assert!(
                (f64::from(y) - exact).abs() <= 2.0e-7 * exact,
                "exp({x}) = {y}, exact {exact}"
            );
            let baseline = f64::from(exp::<false>(x));
            assert!(
                (baseline - exact).abs() <= 2.5e-7 * exact,
                "baseline exp({x}) = {baseline}"
            );
        }
    }

    #[test]
    fn exp_is_defined_at_the_edges() {
        let mut x = [0.0, f32::NEG_INFINITY, -1e4, 1e4, f32::INFINITY, f32::NAN, -0.0];
        exp_all(&mut x);
        assert_eq!((x[0], x[1], x[2], x[6]), (1.0, 0.0, 0.0, 1.0));
        assert!(x[3].is_finite() && x[3] > 1e38 && x[4] > 1e38);
        assert!(x[5].is_nan());
    }

    #[test]
    fn erf_is_within_its_stated_error() {
        // Reference values by the alternating series, which converges quickly here.
        let exact = |x: f64| {
            let mut term = x;
            let mut sum = x;
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * 2.0 / core::f64::consts::PI.sqrt()
        };
        let x = grid(-3.99, 3.99);
        let mut y = x.clone();
        erf_all(&mut y);
        for (&x, &y) in x.iter().zip(&y) {
            let exact = exact(f64::from(x));
            assert!(
                (f64::from(y) - exact).abs() <= 5e-7,
                "erf({x}) = {y}, exact {exact}"
            );
        }
        let mut far = [4.5, -4.5, 1e30, f32::NEG_INFINITY, f32::NAN];
        erf_all(&mut far);
        assert_eq!(far[..4], [1.0, -1.0, 1.0, -1.0]);
        assert!(far[4].is_nan());
    }

    #[test]
    fn sums_and_maxima_cover_whole_and_partial_lanes() {
        for n in [0, 1, 31, 32, 33, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32 - 5.0).collect();
            assert_eq!(sum_of([&x], |[x]| x), x.iter().sum::<f32>());
            assert_eq!(max_of(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
