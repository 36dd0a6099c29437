//! Prints captions and questions: `cargo run -p diffprune-mini --example describe -- [first] [scenes]`.

use diffprune_mini::{Family, SceneDataset, Split, WorldConfig, build_tokenizer, caption, questions};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
    let (first, count) = (number(0)?, number(3)?);
    let scenes = SceneDataset::new(WorldConfig::default(), 0, Split::Train)?;
    let tokenizer = build_tokenizer(Family::Llava15)?;
    for index in first..first + count {
        let scene = scenes.get(index);
        let mut rng = scenes.text_rng(index, 0);
        let text = caption(&scene, &mut rng);
        let length = tokenizer
            .encode(text.as_str(), true)
            .map_err(|error| error.to_string())?
            .len();
        println!("scene {index}: {text}  [{length} tokens]");
        for question in questions(&scene, scenes.config(), &mut rng, 8) {
            println!(
                "  {:22} {} -> {}",
                question.kind.word(),
                question.text,
                question.answer
            );
        }
    }
    Ok(())
}
