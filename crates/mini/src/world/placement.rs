//! Choosing what is in a scene, and where, by rejection.

use super::config::{Span, WorldConfig};
use super::kinds::{Colour, LETTERS, Shape, Size};
use super::scene::{Box2, Object, Sign};
use rand::{Rng, RngExt};

/// Draws of one thing's place before the whole scene starts anew.
const TRIES: usize = 60;
/// Scenes started anew before the last one is taken with the objects that fit.
const RESTARTS: usize = 20;

/// Objects and sign of a scene, none nearer to another than the configured gap.
pub(super) fn place(config: &WorldConfig, rng: &mut impl Rng) -> (Vec<Object>, Option<Sign>) {
    let n_objects = rng.random_range(config.min_objects as u32..=config.max_objects as u32) as usize;
    let kinds = draw_kinds(config, n_objects, rng);
    let text = rng
        .random_bool(config.sign_probability)
        .then(|| draw_text(config, rng));
    let mut best = (Vec::new(), None);
    for _ in 0..RESTARTS {
        let found = try_place(config, &kinds, text.as_deref(), rng);
        let complete = found.0.len() == n_objects && found.1.is_some() == text.is_some();
        if complete || found.0.len() > best.0.len() {
            best = found;
        }
        if complete {
            break;
        }
    }
    best
}

/// Shape, colour and size of an object.
pub(crate) type Kind = (Shape, Colour, Size);

/// Objects of given kinds, none nearer to another than the configured gap. The first one always finds its place; others
/// that find none in many attempts are left out.
pub(crate) fn place_in_order(config: &WorldConfig, kinds: &[Kind], rng: &mut impl Rng) -> Vec<Object> {
    let mut best = Vec::new();
    for _ in 0..RESTARTS {
        let (found, _) = try_place(config, kinds, None, rng);
        if found.len() > best.len() {
            best = found;
        }
        if best.len() == kinds.len() {
            break;
        }
    }
    best
}

/// Shape, colour and size of each object; some repeat the shape or the colour of an earlier one.
fn draw_kinds(config: &WorldConfig, n: usize, rng: &mut impl Rng) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::with_capacity(n);
    for i in 0..n {
        let (mut shape, mut colour) = draw_pair(config, rng);
        if i > 0 && rng.random_bool(config.repeat_probability) {
            let (earlier_shape, earlier_colour, _) = kinds[rng.random_range(0..i as u32) as usize];
            if rng.random_bool(0.5) {
                shape = earlier_shape
            } else {
                colour = earlier_colour
            }
        }
        kinds.push((shape, colour, Size::ALL[rng.random_range(0..2u32) as usize]));
    }
    kinds
}

/// `true` if this pair of shape and colour is one of the frequent ones, about a quarter of all.
pub(crate) fn is_popular(shape: Shape, colour: Colour) -> bool {
    (3 * shape.index() + colour.index()).is_multiple_of(4)
}

/// A pair; popular ones come `popular_weight` times as often as others.
fn draw_pair(config: &WorldConfig, rng: &mut impl Rng) -> (Shape, Colour) {
    loop {
        let shape = Shape::ALL[rng.random_range(0..config.n_shapes as u32) as usize];
        let colour = Colour::ALL[rng.random_range(0..config.n_colours as u32) as usize];
        if is_popular(shape, colour) || rng.random_bool(1.0 / config.popular_weight) {
            return (shape, colour);
        }
    }
}

fn draw_text(config: &WorldConfig, rng: &mut impl Rng) -> String {
    (0..config.letters_per_sign)
        .map(|_| LETTERS[rng.random_range(0..config.n_letters as u32) as usize])
        .collect()
}

/// One attempt: the sign first, then the objects, those without a free place left out.
fn try_place(
    config: &WorldConfig,
    kinds: &[Kind],
    text: Option<&str>,
    rng: &mut impl Rng,
) -> (Vec<Object>, Option<Sign>) {
    let sign = text.map(|text| place_sign(config, text, rng));
    let mut taken: Vec<Box2> = sign.iter().map(|sign| sign.bbox).collect();
    let mut objects = Vec::with_capacity(kinds.len());
    for &(shape, colour, size) in kinds {
        let span = if size == Size::Small {
            config.small
        } else {
            config.large
        };
        if let Some(bbox) = free_box(config, span, &taken, rng) {
            taken.push(bbox);
            objects.push(Object {
                shape,
                colour,
                size,
                centre: bbox.centre(),
                bbox,
            });
        }
    }
    (objects, sign)
}

/// A square of a side within `span` that keeps its distance from the `taken` boxes.
fn free_box(config: &WorldConfig, span: Span, taken: &[Box2], rng: &mut impl Rng) -> Option<Box2> {
    (0..TRIES).find_map(|_| {
        let side = between(span.min, span.max, rng);
        let low = config.edge_margin + side / 2.0;
        let high = config.image_size as f32 - low;
        let bbox = Box2::around(
            [pulled(low, high, config, rng), pulled(low, high, config, rng)],
            side,
            side,
        );
        taken
            .iter()
            .all(|other| !bbox.is_near(other, config.min_gap))
            .then_some(bbox)
    })
}

/// A sign anywhere, on whole pixels so that its letters are crisp; with `snap_letters` so that no letter is cut by the
/// border of a patch.
fn place_sign(config: &WorldConfig, text: &str, rng: &mut impl Rng) -> Sign {
    let (width, height) = config.sign_size();
    let x = sign_start(
        config,
        width,
        config.patch_size.saturating_sub(6 * config.glyph_scale),
        rng,
    );
    let y = sign_start(
        config,
        height,
        config.patch_size.saturating_sub(7 * config.glyph_scale),
        rng,
    );
    let inset = config.sign_border + config.sign_padding;
    let (w, h) = (6 * config.glyph_scale, 7 * config.glyph_scale);
    let letters = (0..text.chars().count() as u32).map(|i| {
        let x0 = (x + inset + i * (w + config.letter_gap)) as f32;
        let y0 = (y + inset) as f32;
        Box2 {
            x0,
            y0,
            x1: x0 + w as f32,
            y1: y0 + h as f32,
        }
    });
    Sign {
        text: text.to_owned(),
        bbox: Box2 {
            x0: x as f32,
            y0: y as f32,
            x1: (x + width) as f32,
            y1: (y + height) as f32,
        },
        letters: letters.collect(),
        scale: config.glyph_scale,
        border: config.sign_border,
    }
}

/// First pixel of a sign of `length` along one axis; `play` is the free room of a letter in its patch.
fn sign_start(config: &WorldConfig, length: u32, play: u32, rng: &mut impl Rng) -> u32 {
    let margin = config.edge_margin.ceil() as u32;
    let last = config.image_size - margin - length;
    if !config.snap_letters {
        return rng.random_range(margin..=last);
    }
    let inset = config.sign_border + config.sign_padding;
    let jitter = rng.random_range(0..=play);
    let patches = (margin + inset).div_ceil(config.patch_size)..=(last + inset - jitter) / config.patch_size;
    if patches.is_empty() {
        return rng.random_range(margin..=last);
    }
    rng.random_range(patches) * config.patch_size + jitter - inset
}

/// Uniform in `[low, high]` widened by `edge_pull`, then pushed back to the nearest end.
fn pulled(low: f32, high: f32, config: &WorldConfig, rng: &mut impl Rng) -> f32 {
    between(low - config.edge_pull, high + config.edge_pull, rng).clamp(low, high)
}

/// Uniform in `[low, high)`; 24 random bits, so the same on every platform.
pub(super) fn between(low: f32, high: f32, rng: &mut impl Rng) -> f32 {
    let unit = (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32;
    low + (high - low) * unit
}
