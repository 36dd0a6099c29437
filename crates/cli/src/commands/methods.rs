//! `diffprune methods`.

use clap::Args;
use diffprune::PositionRule;
use diffprune_baselines::{Baseline, registry};

use crate::print::say;

/// Lists the methods that need no training, by the names that --pruner and --arms take.
#[derive(Debug, Args)]
pub struct MethodsArgs {
    /// One JSON array, for programs.
    #[arg(long)]
    json: bool,
}

impl MethodsArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        if self.json {
            let methods: Vec<serde_json::Value> = registry().iter().map(as_json).collect();
            say!("{}", serde_json::to_string_pretty(&methods)?);
            return Ok(());
        }
        let width = registry()
            .iter()
            .map(|method| method.name.len())
            .max()
            .unwrap_or(0);
        for method in registry() {
            let paper = method.paper.map_or(String::new(), |paper| {
                format!(" [arXiv {}, {}]", paper.arxiv, paper.venue)
            });
            say!("{:width$}  {}{paper}", method.name, method.about);
        }
        Ok(())
    }
}

/// A method with all that the registry says about it.
fn as_json(method: &Baseline) -> serde_json::Value {
    let pruner = (method.init)();
    serde_json::json!({
        "name": method.name,
        "keeps": method.about,
        "arxiv": method.paper.map(|paper| paper.arxiv),
        "venue": method.paper.map(|paper| paper.venue),
        "inside_language_model": pruner.decoder().is_some(),
        "positions": match pruner.positions() {
            PositionRule::Keep => "keep",
            PositionRule::Reindex => "reindex",
        },
        "seeded": method.seeded,
        "merges": method.merges,
        "reads_question": method.text_aware,
        "cost": method.cost,
    })
}
