//! Laws of the operators on random input.

mod operators;
mod threshold;

/// `true` if a derivative lies between the differences to the left and to the right of `x`, up to `tolerance` and to what
/// an error of `rounding` in each value does to a difference. At a kink, which a random draw may meet, the two differ, and
/// the derivative may be any number between them.
fn is_derivative(
    found: f64,
    f: impl Fn(f64) -> f64,
    x: f64,
    tolerance: impl Fn(f64) -> f64,
    rounding: f64,
) -> bool {
    let step = 1e-6;
    let middle = f(x);
    let (left, right) = ((middle - f(x - step)) / step, (f(x + step) - middle) / step);
    let tolerance = tolerance(left.abs().max(right.abs())) + 2.0 * rounding / step;
    left.min(right) - tolerance < found && found < left.max(right) + tolerance
}
