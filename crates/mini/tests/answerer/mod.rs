//! Answers questions from the scene and the words, knowing nothing of how they were made.

use diffprune_mini::{Object, Scene, Shape};

/// Objects that fit all the words of a phrase.
pub fn meant(scene: &Scene, phrase: &str) -> Vec<usize> {
    let fits = |object: &Object| {
        phrase.split_whitespace().all(|word| {
            let noun = word.trim_end_matches('s');
            match word {
                "a" | "an" | "the" | "object" | "objects" => true,
                _ if Shape::ALL.iter().any(|s| s.word() == word || s.plural() == word) => {
                    let own = object.shape.word();
                    own == word || own == noun || object.shape.plural() == word
                }
                _ => [object.colour.word(), object.size.word()].contains(&word),
            }
        })
    };
    (0..scene.objects.len())
        .filter(|i| fits(&scene.objects[*i]))
        .collect()
}

pub fn only(scene: &Scene, phrase: &str) -> Option<usize> {
    match meant(scene, phrase)[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// The place of a centre, in words, from its thirds.
pub fn region(centre: [f32; 2], size: u32) -> String {
    let third = |x: f32| (3.0 * x / size as f32) as usize;
    let row = ["top", "", "bottom"][third(centre[1])];
    let column = ["left", "", "right"][third(centre[0])];
    match (row, column) {
        ("", "") => "center".to_owned(),
        _ => format!("{row} {column}").trim().to_owned(),
    }
}

/// The answer as read off the text and the scene alone.
pub fn solve(scene: &Scene, text: &str) -> String {
    const UNKNOWN: &str = "unanswerable";
    let answer = if let Some(rest) = text.strip_prefix("Is there ") {
        let there = !meant(scene, rest.trim_end_matches(" in the image?")).is_empty();
        return if there { "yes" } else { "no" }.to_owned();
    } else if let Some(rest) = text.strip_prefix("What color is the ") {
        only(scene, rest.trim_end_matches('?')).map(|i| scene.objects[i].colour.word().to_owned())
    } else if let Some(rest) = text.strip_prefix("What shape is the ") {
        only(scene, rest.trim_end_matches('?')).map(|i| scene.objects[i].shape.word().to_owned())
    } else if text == "Where is the sign?" {
        scene
            .sign
            .as_ref()
            .map(|sign| region(sign.bbox.centre(), scene.image_size))
    } else if let Some(rest) = text.strip_prefix("Where is the ") {
        only(scene, rest.trim_end_matches('?')).map(|i| region(scene.objects[i].centre, scene.image_size))
    } else if let Some(rest) = text.strip_prefix("How many ") {
        let n = meant(scene, rest.trim_end_matches(" are there?")).len();
        (n > 0).then(|| n.to_string())
    } else if let Some(rest) = text.strip_prefix("Which ") {
        solve_choice(scene, rest)
    } else if text.contains("sign") {
        scene.sign.as_ref().map(|sign| sign.spelled())
    } else {
        solve_relation(scene, text)
    };
    answer.unwrap_or(UNKNOWN.to_owned())
}

fn solve_choice(scene: &Scene, rest: &str) -> Option<String> {
    let (question, options) = rest.split_once("? ")?;
    let (what, phrase) = question.split_once(" is the ")?;
    let object = &scene.objects[only(scene, phrase)?];
    let right = if what == "color" {
        object.colour.word()
    } else {
        object.shape.word()
    };
    let words: Vec<&str> = options.split_whitespace().collect();
    words
        .chunks(2)
        .find(|option| option[1] == right)
        .map(|option| option[0].to_owned())
}

fn solve_relation(scene: &Scene, text: &str) -> Option<String> {
    let inner = text.strip_prefix("Is the ")?.trim_end_matches('?');
    let words = ["left of", "right of", "above", "below"];
    let relation = words
        .iter()
        .find(|word| inner.contains(&format!(" {word} the ")))?;
    let (a, b) = inner.split_once(&format!(" {relation} the "))?;
    let [a, b] = [only(scene, a)?, only(scene, b)?].map(|i| scene.objects[i].centre);
    let holds = match *relation {
        "left of" => a[0] < b[0],
        "right of" => a[0] > b[0],
        "above" => a[1] < b[1],
        _ => a[1] > b[1],
    };
    Some(if holds { "yes" } else { "no" }.to_owned())
}
