//! Signed distances of the eight outlines, in a box of half-width 1.

use super::kinds::Shape;

/// Signed distance of a point to the outline, negative inside, exact enough near the edge to draw it smoothly.
///
/// `x` and `y` are relative to the centre, in units of half the box; `y` points down.
pub(super) fn signed_distance(shape: Shape, x: f32, y: f32) -> f32 {
    match shape {
        Shape::Circle => (x * x + y * y).sqrt() - 1.0,
        Shape::Square => x.abs().max(y.abs()) - 0.92,
        Shape::Triangle => triangle(x, y),
        Shape::Cross => cross(x.abs(), y.abs()),
        Shape::Ring => ((x * x + y * y).sqrt() - 0.76).abs() - 0.24,
        Shape::Star => star(x, y),
        Shape::Moon => moon(x, y),
        Shape::Diamond => diamond(x.abs(), y.abs()),
    }
}

/// Base at the bottom, apex at the top, both touching the box.
fn triangle(x: f32, y: f32) -> f32 {
    // The sides run from (0, -1) to (+-1, 0.85): normal (1.85, -1) up to its length.
    let side = (1.85 * x.abs() - y - 1.0) / 2.103;
    side.max(y - 0.85)
}

fn cross(x: f32, y: f32) -> f32 {
    const ARM: f32 = 0.3;
    (x.max(y) - 1.0).max(x.min(y) - ARM)
}

fn diamond(x: f32, y: f32) -> f32 {
    const WIDTH: f32 = 0.68;
    let length = (1.0 + WIDTH * WIDTH).sqrt();
    (x + WIDTH * y - WIDTH) / length
}

/// A disc without a disc of nearly the same size, shifted right.
fn moon(x: f32, y: f32) -> f32 {
    let bite_x = x - 0.52;
    let disc = (x * x + y * y).sqrt() - 1.0;
    let bite = (bite_x * bite_x + y * y).sqrt() - 0.82;
    disc.max(-bite)
}

/// Five points, one up: fold the plane into one half-point and measure to its edge.
fn star(x: f32, y: f32) -> f32 {
    const TIP: f32 = 1.05;
    const NOTCH: f32 = 0.45;
    const SECTOR: f32 = 2.0 * std::f32::consts::PI / 5.0;
    let y = 0.06 - y;
    let radius = (x * x + y * y).sqrt();
    let angle = x.abs().atan2(y);
    let (sin, cos) = (angle - SECTOR * (angle / SECTOR).round()).abs().sin_cos();
    // The edge runs from the tip (0, TIP) to the notch at half a sector.
    let (half_sin, half_cos) = (SECTOR / 2.0).sin_cos();
    let (edge_x, edge_y) = (NOTCH * half_sin, NOTCH * half_cos - TIP);
    let length = (edge_x * edge_x + edge_y * edge_y).sqrt();
    ((radius * cos - TIP) * edge_x - radius * sin * edge_y) / length
}
