//! What methods keep of a picture, side by side.

use diffprune_pruner::{Budget, Signals};
use diffprune_vlm::{JoinRequest, SequenceReport, Turn, prepare_encoded};

use super::methods::Offered;
use super::pictures::Wish;
use super::run::Engine;
use super::timer::Timer;
use crate::api::{MethodSelection, Raster, SelectAnswer};
use crate::error::ApiError;
use crate::picture::Picture;

impl<'m> Engine<'m> {
    /// What each method keeps of a picture. A method that cannot choose is told in its place; the others answer.
    pub(super) fn select(
        &mut self,
        picture: &Picture,
        names: &[String],
        seed: u64,
        question: Option<&str>,
    ) -> Result<SelectAnswer, ApiError> {
        let methods = self.pictures.methods();
        let mut offered = Vec::new();
        match names {
            [] => offered.push(methods.find(None)?),
            names => {
                for name in names {
                    offered.push(methods.find(Some(name))?);
                }
            }
        }
        let asked = |signals: Signals, offered: &&'m Offered| signals.union(offered.pruner.signals());
        let signals = offered.iter().fold(Signals::default(), asked);
        let mut timer = Timer::new(self.vlm);
        let (encoded, cached) = self.pictures.encoded(picture, signals)?;
        timer.encoded();
        let encode_ms = if cached { 0.0 } else { timer.times.encode };
        let layout = &encoded.layouts[0];
        let raster = |segment: &diffprune_pruner::Segment| Raster {
            rows: segment.grid.rows,
            cols: segment.grid.cols,
            area: [
                segment.area.left,
                segment.area.top,
                segment.area.right,
                segment.area.bottom,
            ],
        };
        let (total, grid) = (layout.n_tokens(), layout.segments.iter().map(raster).collect());
        let mut warnings = Vec::new();
        let mut found = Vec::with_capacity(offered.len());
        for offered in offered {
            let wish = Wish {
                picture,
                number: 1,
                offered,
                seed,
                question: question.unwrap_or_default(),
            };
            let selection = self
                .selection(wish, &mut warnings)
                .unwrap_or_else(|error| MethodSelection {
                    error: Some(error.message),
                    ..self.empty(offered)
                });
            found.push(selection);
        }
        warnings.dedup();
        Ok(SelectAnswer {
            object: "diffprune.selection",
            model: String::new(),
            width: picture.pixels.width(),
            height: picture.pixels.height(),
            total,
            grid,
            methods: found,
            kv_bytes: self.vlm.kv_bytes_per_token() * total as u64,
            encode_ms,
            warnings,
        })
    }

    fn empty(&self, offered: &Offered) -> MethodSelection {
        MethodSelection {
            method: offered.name.clone(),
            error: None,
            kept: 0,
            indices: Vec::new(),
            scores: None,
            merged: offered.method.merges(),
            inside: offered.is_inside(),
            layers: None,
            kv_bytes: 0,
            select_ms: 0.0,
        }
    }

    fn selection(
        &mut self,
        wish: Wish<'_, 'm>,
        warnings: &mut Vec<String>,
    ) -> Result<MethodSelection, ApiError> {
        let offered = wish.offered;
        let mut timer = Timer::new(self.vlm);
        let chosen = self.pictures.choose(wish, &mut timer)?;
        warnings.extend(chosen.warning.clone());
        // The same encoding as above, but for what a cache of no bytes forgets.
        let (encoded, _) = self.pictures.encoded(wish.picture, offered.pruner.signals())?;
        let scores = offered.method.scores(&encoded, self.vlm.group());
        let finite = |score: f32| score.is_finite().then_some(score);
        let mut selection = MethodSelection {
            kept: chosen.images.kept(0),
            indices: chosen.images.keep_indices(0).to_vec(),
            scores: (!scores.is_empty()).then(|| scores.into_iter().map(finite).collect()),
            select_ms: timer.times.select,
            ..self.empty(offered)
        };
        if offered.is_inside() {
            let report = self.report(wish, Budget::Tokens(chosen.count))?;
            selection.kept = report.processed_average().round() as usize;
            selection.indices = left_by(&report, chosen.images.total(0));
            selection.layers = Some(report.visual_tokens);
        }
        selection.kv_bytes = self.vlm.kv_bytes_per_token() * selection.kept as u64;
        Ok(selection)
    }

    /// What a method inside the language model drops at a budget while a question is read.
    fn report(&mut self, wish: Wish<'_, 'm>, budget: Budget) -> Result<SequenceReport, ApiError> {
        let question = match wish.question.trim() {
            "" => {
                let message =
                    "question: found none, expected one: this method chooses while the question is read";
                return Err(ApiError::invalid("question", message));
            }
            question => question,
        };
        let signals = wish.offered.pruner.signals();
        let (encoded, _) = self.pictures.encoded(wish.picture, signals)?;
        let options = self.pictures.options(&wish, budget)?;
        let images = prepare_encoded(self.vlm, &encoded, wish.offered.pruner.as_ref(), &options)?;
        let prompt = self.vlm.prompt_ids(&[Turn::ask(question)])?;
        let one = self.vlm.generate_options().with_max_new_tokens(1);
        let joined = self
            .vlm
            .decode_batch()
            .join(JoinRequest::new(&prompt, &images, &one))?;
        let report = joined
            .report
            .and_then(|report| report.sequences.into_iter().next());
        report.ok_or_else(|| ApiError::internal("the model does not say what it dropped"))
    }
}

/// The tokens of the picture that leave the last stage; merged vectors have no place.
fn left_by(report: &SequenceReport, total: usize) -> Vec<usize> {
    let mut left: Vec<Option<usize>> = (0..total).map(Some).collect();
    for stage in &report.stages {
        let kept = stage.keep.iter().map(|&index| left.get(index).copied().flatten());
        left = kept.chain(std::iter::repeat_n(None, stage.merged)).collect();
    }
    left.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune_vlm::StageReport;

    #[test]
    fn stages_follow_each_other() {
        let stage = |keep: &[usize], merged| StageReport {
            layer: 1,
            keep: keep.to_vec(),
            merged,
        };
        let report = SequenceReport {
            stages: vec![stage(&[1, 2, 4, 5], 1), stage(&[0, 3, 4], 0)],
            ..SequenceReport::default()
        };
        assert_eq!(left_by(&report, 6), [1, 5]);
    }
}
