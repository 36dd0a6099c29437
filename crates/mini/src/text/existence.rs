//! Questions whether something is there, with negatives of three degrees of malice.

use super::mention::{Mention, colours, pairs, pick, shapes};
use super::question::{Question, QuestionKind};
use crate::world::{Scene, WorldConfig, is_popular};
use rand::{Rng, RngExt};

/// An existence question with the given answer: `Is there a red circle in the image?`.
///
/// The form of the noun phrase (pair, shape, colour) is drawn before and apart
/// from the answer, so that the form tells nothing.
/// `None` if `kind` is no existence kind, or if nothing fits.
pub fn existence(
    scene: &Scene,
    config: &WorldConfig,
    kind: QuestionKind,
    yes: bool,
    rng: &mut impl Rng,
) -> Option<Question> {
    if !kind.is_existence() {
        return None;
    }
    let all: Vec<Mention> = match (kind, rng.random_range(0..3u32)) {
        (QuestionKind::ExistenceRandom, 0) => shapes(config).iter().copied().map(Mention::shape).collect(),
        (QuestionKind::ExistenceRandom, 1) => colours(config).iter().copied().map(Mention::colour).collect(),
        _ => pairs(config),
    };
    let candidates: Vec<Mention> = all
        .into_iter()
        .filter(|mention| mention.objects(scene).is_empty() != yes)
        .filter(|mention| yes || could_deceive(kind, mention, scene))
        .collect();
    let candidates = if yes {
        most_typical(kind, candidates)
    } else {
        hardest(kind, candidates, scene)
    };
    let mention = pick(&candidates, rng)?;
    let text = format!("Is there {} in the image?", mention.with_article());
    Some(Question::new(
        kind,
        text,
        if yes { "yes" } else { "no" },
        mention.objects(scene),
    ))
}

/// Whether an absent thing belongs to the kind's negatives.
fn could_deceive(kind: QuestionKind, mention: &Mention, scene: &Scene) -> bool {
    match (kind, mention.shape, mention.colour) {
        (QuestionKind::ExistenceRandom, ..) => true,
        (QuestionKind::ExistencePopular, Some(shape), Some(colour)) => is_popular(shape, colour),
        (QuestionKind::ExistenceAdversarial, Some(shape), Some(colour)) => scene
            .objects
            .iter()
            .any(|o| o.shape == shape || o.colour == colour),
        _ => false,
    }
}

/// For popular questions, present things are popular ones, too, if any: otherwise the words alone would tell the answer.
fn most_typical(kind: QuestionKind, candidates: Vec<Mention>) -> Vec<Mention> {
    let is_typical = |mention: &&Mention| matches!((mention.shape, mention.colour), (Some(s), Some(c)) if is_popular(s, c));
    let typical: Vec<Mention> = candidates.iter().filter(is_typical).copied().collect();
    if kind == QuestionKind::ExistencePopular && !typical.is_empty() {
        typical
    } else {
        candidates
    }
}

/// For adversarial negatives: those whose shape and colour are both there, on different objects, if any.
fn hardest(kind: QuestionKind, candidates: Vec<Mention>, scene: &Scene) -> Vec<Mention> {
    let is_recombined = |mention: &&Mention| {
        scene.objects.iter().any(|o| Some(o.shape) == mention.shape)
            && scene.objects.iter().any(|o| Some(o.colour) == mention.colour)
    };
    let recombined: Vec<Mention> = candidates.iter().filter(is_recombined).copied().collect();
    if kind == QuestionKind::ExistenceAdversarial && !recombined.is_empty() {
        recombined
    } else {
        candidates
    }
}
