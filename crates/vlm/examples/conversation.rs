//! A conversation with a model for tests: the image is encoded and pruned once, and the answers come piece by piece.
//!
//! `cargo run --example conversation -p diffprune-vlm`

use std::ops::ControlFlow;

use burn::tensor::Device;
use diffprune_pruner::{Budget, PruneError, Pruner, PruningContext, Selection};
use diffprune_vlm::{Conversation, FakeVlm, Hooks, PruneOptions, Question, TextStream, Vlm, VlmError};
use image::{Rgb, RgbImage};

/// Keeps the tokens at regular distances.
struct Spread;

impl Pruner for Spread {
    fn name(&self) -> &str {
        "spread"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let spread = |row| {
            let (n, k) = (context.n_tokens(row), context.budget(row));
            (0..k).map(|i| i * n / k).collect()
        };
        Ok(Selection::keep((0..context.batch()).map(spread).collect()))
    }
}

fn main() -> Result<(), VlmError> {
    let vlm = FakeVlm::new(&Device::flex()).with_grid(6, 6).answering(|input| {
        let red = input.visual.iter().filter(|token| token[0] > 0.5).count();
        format!("{red} of the {} tokens that I see are red.", input.visual.len())
    });
    let picture = RgbImage::from_fn(60, 60, |x, _| Rgb(if x < 30 { [255, 0, 0] } else { [0, 0, 255] }));
    let mut conversation = Conversation::new(&Spread, PruneOptions::new(Budget::rate(1, 4)));
    for (text, images) in [("How much is red?", &[picture][..]), ("Are you sure?", &[])] {
        let mut stream = TextStream::new(&vlm);
        let mut on_token = |_: usize, id: u32| {
            print!("{}", stream.push(id).unwrap_or_default());
            ControlFlow::Continue(())
        };
        let mut hooks = Hooks {
            on_token: Some(&mut on_token),
            ..Hooks::default()
        };
        println!("{text}");
        conversation.ask(
            &vlm,
            Question { text, images },
            &vlm.generate_options(),
            &mut hooks,
        )?;
        println!();
    }
    let images = conversation.images();
    println!(
        "{} of {} tokens kept, encoded once",
        images.kept(0),
        images.total(0)
    );
    Ok(())
}
