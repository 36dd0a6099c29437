//! The labels that the vision tower is taught: one for every patch and one list for the whole image.

use super::kinds::{Colour, LETTERS, Place, Shape};
use super::render::pixel_ranges;
use super::scene::{Box2, Object, Scene};
use super::shapes::signed_distance;

/// A patch belongs to a thing that covers this share of it; the patch of which a thing covers most always does.
const COVERED: f32 = 0.25;
/// Every how many pixels coverage is probed, per axis.
const PROBE: usize = 2;

/// Labels of the patches, row-major over the grid. In all of them 0 means "none"; kinds count from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct DenseLabels {
    /// Patches per side.
    pub grid: usize,
    /// Shape of the object in the patch, [`Shape::index`] + 1.
    pub shape: Vec<u8>,
    /// Colour of the object, [`Colour::index`] + 1.
    pub colour: Vec<u8>,
    /// Size class of the object, 1 small, 2 large.
    pub size: Vec<u8>,
    /// Third of the image in which the object's centre lies, from the top, 1 to 3. Signs have one, too.
    pub row_third: Vec<u8>,
    /// Third of the image in which the object's centre lies, from the left, 1 to 3. Signs have one, too.
    pub column_third: Vec<u8>,
    /// Letter of the sign in the patch, its place in [`LETTERS`] + 1.
    pub letter: Vec<u8>,
    /// Which letter of the sign that is, 1 for the first.
    pub letter_place: Vec<u8>,
    /// 1 where the sign's plate covers the patch, with or without a letter.
    pub sign: Vec<u8>,
    /// Share of the patch that objects cover, from 0 to 1.
    pub object_cover: Vec<f32>,
    /// Share of the patch that the sign covers, from 0 to 1.
    pub sign_cover: Vec<f32>,
}

impl DenseLabels {
    fn none(grid: usize) -> Self {
        let ids = vec![0; grid * grid];
        let shares = vec![0.0; grid * grid];
        Self {
            grid,
            shape: ids.clone(),
            colour: ids.clone(),
            size: ids.clone(),
            row_third: ids.clone(),
            column_third: ids.clone(),
            letter: ids.clone(),
            letter_place: ids.clone(),
            sign: ids,
            object_cover: shares.clone(),
            sign_cover: shares,
        }
    }

    /// The relevance of each patch to what can be asked: the share that objects and the sign cover, from 0 to 1.
    pub fn relevance(&self) -> Vec<f32> {
        self.object_cover
            .iter()
            .zip(&self.sign_cover)
            .map(|(object, sign)| (object + sign).min(1.0))
            .collect()
    }
}

/// Labels every patch of the scene. Where two things share a patch, the one that covers more of it gives the labels.
pub fn dense_labels(scene: &Scene) -> DenseLabels {
    let mut labels = DenseLabels::none(scene.grid());
    let mut best = vec![0.0f32; labels.shape.len()];
    for object in &scene.objects {
        let shares = object_shares(object, scene);
        let place = scene.place(&object.bbox);
        for (patch, share) in covered(&shares) {
            if share > best[patch] {
                best[patch] = share;
                labels.shape[patch] = object.shape.index() as u8 + 1;
                labels.colour[patch] = object.colour.index() as u8 + 1;
                labels.size[patch] = object.size.index() as u8 + 1;
                set_place(&mut labels, patch, place);
            }
        }
        add(&mut labels.object_cover, &shares);
    }
    label_sign(scene, &mut labels, &best);
    labels
}

fn label_sign(scene: &Scene, labels: &mut DenseLabels, best: &[f32]) {
    let Some(sign) = &scene.sign else { return };
    let shares = box_shares(&sign.bbox, scene);
    let place = scene.place(&sign.bbox);
    for (patch, share) in covered(&shares) {
        labels.sign[patch] = 1;
        if share > best[patch] {
            set_place(labels, patch, place);
        }
    }
    add(&mut labels.sign_cover, &shares);
    let mut best = vec![0.0f32; best.len()];
    for (i, (letter, bbox)) in sign.text.chars().zip(&sign.letters).enumerate() {
        for (patch, share) in covered(&box_shares(bbox, scene)) {
            if share > best[patch] {
                best[patch] = share;
                labels.letter[patch] = letter_id(letter);
                labels.letter_place[patch] = i as u8 + 1;
            }
        }
    }
}

fn set_place(labels: &mut DenseLabels, patch: usize, place: Place) {
    labels.row_third[patch] = place.row + 1;
    labels.column_third[patch] = place.column + 1;
}

/// Place in [`LETTERS`] from 1, or 0.
fn letter_id(letter: char) -> u8 {
    LETTERS
        .iter()
        .position(|l| *l == letter)
        .map_or(0, |i| i as u8 + 1)
}

/// The patches that a thing owns, with the share of the patch that it covers.
fn covered(shares: &[(usize, f32)]) -> Vec<(usize, f32)> {
    let most = shares.iter().map(|(_, share)| *share).fold(0.0, f32::max);
    shares
        .iter()
        .copied()
        .filter(|(_, share)| *share > 0.0 && (*share >= COVERED || *share >= most))
        .collect()
}

fn add(total: &mut [f32], shares: &[(usize, f32)]) {
    for (patch, share) in shares {
        total[*patch] = (total[*patch] + share).min(1.0);
    }
}

/// `(patch, share)` of the patches around the object's box.
fn object_shares(object: &Object, scene: &Scene) -> Vec<(usize, f32)> {
    let patch = scene.patch_size as usize;
    let half = (object.bbox.x1 - object.bbox.x0) / 2.0;
    let [cx, cy] = object.centre;
    let inside = |x: usize, y: usize| {
        let at = |v: usize, c: f32| (v as f32 + PROBE as f32 / 2.0 - c) / half;
        signed_distance(object.shape, at(x, cx), at(y, cy)) < 0.0
    };
    let probes = patch.div_ceil(PROBE).pow(2) as f32;
    patches(&object.bbox, scene)
        .map(|(index, x0, y0)| {
            let ys = (y0..y0 + patch).step_by(PROBE);
            let hits = ys
                .map(|y| (x0..x0 + patch).step_by(PROBE).filter(|x| inside(*x, y)).count())
                .sum::<usize>();
            (index, hits as f32 / probes)
        })
        .collect()
}

/// `(patch, share)` of the patches that a box meets.
fn box_shares(bbox: &Box2, scene: &Scene) -> Vec<(usize, f32)> {
    let patch = scene.patch_size as f32;
    let overlap = |a0: f32, a1: f32, b0: usize| (a1.min(b0 as f32 + patch) - a0.max(b0 as f32)).max(0.0);
    patches(bbox, scene)
        .map(|(index, x0, y0)| {
            let area = overlap(bbox.x0, bbox.x1, x0) * overlap(bbox.y0, bbox.y1, y0);
            (index, area / (patch * patch))
        })
        .collect()
}

/// Index and first pixel of each patch that the box touches.
fn patches(bbox: &Box2, scene: &Scene) -> impl Iterator<Item = (usize, usize, usize)> {
    let patch = scene.patch_size as usize;
    let grid = scene.grid();
    let (columns, rows) = pixel_ranges(bbox, scene.image_size as usize);
    let span = move |range: std::ops::Range<usize>| range.start / patch..range.end.div_ceil(patch).min(grid);
    let columns = span(columns);
    span(rows).flat_map(move |j| columns.clone().map(move |i| (j * grid + i, i * patch, j * patch)))
}

/// The content of the image as a whole, for a multi-label loss on `[CLS]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLabels {
    /// Objects of each shape.
    pub shapes: [u8; 8],
    /// Objects of each colour.
    pub colours: [u8; 8],
    /// Objects of each shape (first index) and colour.
    pub pairs: [[u8; 8]; 8],
    /// Objects in total.
    pub n_objects: u8,
    /// Occurrences of each letter of [`LETTERS`] on the sign.
    pub letters: [u8; 12],
    /// `true` if there is a sign.
    pub sign: bool,
}

impl ImageLabels {
    /// Length of [`ImageLabels::presence`].
    pub const LEN: usize = 8 + 8 + 64 + 9 + 12 + 1;

    /// One 0/1 per fact: each shape, each colour, each shape-colour pair (shape-major), object count one-hot
    /// (1 to 9), each letter, sign.
    pub fn presence(&self) -> [f32; Self::LEN] {
        let is = |n: &u8| f32::from(u8::from(*n > 0));
        let shapes = self.shapes.iter().map(is);
        let colours = self.colours.iter().map(is);
        let pairs = self.pairs.iter().flatten().map(is);
        let count = (1..=9).map(|n| f32::from(u8::from(self.n_objects == n)));
        let letters = self.letters.iter().map(is);
        let all = shapes.chain(colours).chain(pairs).chain(count).chain(letters);
        let mut facts = [f32::from(u8::from(self.sign)); Self::LEN];
        for (fact, value) in facts.iter_mut().zip(all) {
            *fact = value;
        }
        facts
    }
}

/// Labels the image as a whole.
pub fn image_labels(scene: &Scene) -> ImageLabels {
    let mut labels = ImageLabels {
        shapes: [0; Shape::ALL.len()],
        colours: [0; Colour::ALL.len()],
        pairs: [[0; 8]; 8],
        n_objects: scene.objects.len() as u8,
        letters: [0; LETTERS.len()],
        sign: scene.sign.is_some(),
    };
    for object in &scene.objects {
        let (shape, colour) = (object.shape.index(), object.colour.index());
        labels.shapes[shape] += 1;
        labels.colours[colour] += 1;
        labels.pairs[shape][colour] += 1;
    }
    for letter in scene.sign.iter().flat_map(|sign| sign.text.chars()) {
        if let id @ 1.. = letter_id(letter) {
            labels.letters[id as usize - 1] += 1;
        }
    }
    labels
}
