//! Captions: every object with size, colour, shape and place, and what the sign says.

use crate::world::{Object, Scene};
use rand::{Rng, RngExt};

/// One or two sentences in lower-case words and single letters, every token set apart by a space. Objects come in
/// reading order (third by third from the top left), so that a caption has little freedom beyond its template. Of a
/// blurred scene it says that there is nothing.
pub fn caption(scene: &Scene, rng: &mut impl Rng) -> String {
    let mut objects: Vec<&Object> = scene.objects.iter().filter(|_| !scene.blurred).collect();
    objects.sort_by(|a, b| reading_order(scene, a).total_cmp(&reading_order(scene, b)));
    let phrases: Vec<String> = objects.iter().map(|object| describe(scene, object)).collect();
    let opening = ["", "there is ", "the image shows "][rng.random_range(0..3u32) as usize];
    let mut text = format!("{opening}{} .", listed(&phrases));
    if let Some(sign) = scene.sign.as_ref().filter(|_| !scene.blurred) {
        let place = scene.place(&sign.bbox).phrase();
        let letters = sign.spelled();
        text += &match rng.random_range(0..3u32) {
            0 => format!(" a sign says {letters} ."),
            1 => format!(" a sign {place} says {letters} ."),
            _ => format!(" there is a sign {place} that says {letters} ."),
        };
    }
    text
}

/// Third of the image, then position within it from the left.
fn reading_order(scene: &Scene, object: &Object) -> f32 {
    let place = scene.place(&object.bbox);
    f32::from(3 * place.row + place.column) * 1000.0 + object.centre[0]
}

fn describe(scene: &Scene, object: &Object) -> String {
    let place = scene.place(&object.bbox).phrase();
    format!(
        "a {} {} {} {place}",
        object.size.word(),
        object.colour.word(),
        object.shape.word()
    )
}

/// `a`, `a and b`, `a , b and c`.
fn listed(phrases: &[String]) -> String {
    match phrases {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(" , ")),
    }
}
