//! VisionZip (Yang et al., CVPR 2025, arXiv 2412.04467).

use diffprune_pruner::{PositionRule, PruneError, Pruner, PruningContext, Selection, Signals, Space};

use crate::fidelity::Fidelity;
use crate::registry::{Baseline, Check, Paper};
use crate::tools::crops::{Crop, crops};
use crate::tools::encoder::{Encoder, MergeInputs};
use crate::tools::host::{Matrix, add_scaled, argmax, dot, token_matrices};
use crate::tools::merged::{CropTokens, Placed, Tokens, class_rows, packed, selection};
use crate::tools::saliency::{saliency, saliency_signals};
use crate::tools::top::top_k;

/// Keeps the tokens with the highest `[CLS]` attention and `[CLS]` itself (the dominant ones), and merges the rest into
/// a few contextual tokens by the likeness of their keys.
///
/// Of the K tokens of a crop `floor(K / 6.4)` are contextual, as in the published settings; `[CLS]` counts among the
/// others and stands at the place of the crop's first token. Order: `[CLS]`, dominant tokens ascending, contextual
/// tokens by anchor; several crops as in [`crate::pack_crops`]. Where the encoder has no `[CLS]`, the attention that a
/// token receives takes its place, there is no `[CLS]` row, and contextual tokens stand at the place of their anchor, in
/// raster order (ours; as independent ports do).
///
/// - Reference: a contextual token is its anchor plus the mean of its members.
/// - Corrected: it is the mean of all of them.
///
/// [`VisionZip::without_class`] is the same for Qwen2.5-VL, for which the authors have no code: received attention in place of
/// `[CLS]` attention as in independent ports, at least one contextual token from two on. Ours is that projected tokens
/// take the place of keys and are what is merged (the norm in front of the merger undoes a token's length), and that
/// position ids are kept.
///
/// A budget of all tokens leaves them as they are.
#[derive(Debug, Clone, Copy)]
pub struct VisionZip {
    /// Contextual tokens per crop; `None` for `floor(K / 6.4)`.
    pub contextual: Option<usize>,
    /// The rule that makes contextual tokens; the published code by default.
    pub fidelity: Fidelity,
    /// Position ids of the kept tokens; the published code counts anew.
    pub positions: PositionRule,
    /// For which kind of model.
    pub encoder: Encoder,
}

impl Default for VisionZip {
    fn default() -> Self {
        Self {
            contextual: None,
            fidelity: Fidelity::Reference,
            positions: Encoder::WithClass.positions(),
            encoder: Encoder::WithClass,
        }
    }
}

const PAPER: Paper = Paper {
    arxiv: "2412.04467",
    venue: "CVPR 2025",
    licence: "Apache-2.0",
    check: Check::Oracle,
};

pub(crate) const ENTRY: Baseline = Baseline::arm("visionzip", "most seen by [CLS], the rest merged", || {
    Box::new(VisionZip::default())
})
.cost("N K d_head")
.merging()
.paper(PAPER)
.differs(ANCHOR_PLUS_MEAN, MEAN_OF_ALL);
pub(crate) const CORRECTED: Baseline = ENTRY.corrected("visionzip-corrected", || {
    Box::new(VisionZip {
        fidelity: Fidelity::Corrected,
        ..VisionZip::default()
    })
});
const ANCHOR_PLUS_MEAN: &str = "a contextual token is its anchor plus the mean of its members";
const MEAN_OF_ALL: &str = "the mean of all of them";

pub(crate) const WITHOUT_CLASS: Baseline =
    Baseline::arm("visionzip-qwen", "most seen, the rest merged, no [CLS]", || {
        Box::new(VisionZip::without_class())
    })
    .cost("N K D")
    .merging()
    .paper(Paper {
        check: Check::OracleOfAlgorithm,
        ..PAPER
    })
    .differs(ANCHOR_PLUS_MEAN, MEAN_OF_ALL);

pub(crate) const CORRECTED_WITHOUT_CLASS: Baseline =
    WITHOUT_CLASS.corrected("visionzip-corrected-qwen", || {
        Box::new(VisionZip {
            fidelity: Fidelity::Corrected,
            ..VisionZip::without_class()
        })
    });

/// The roles of the tokens of a crop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zip {
    /// Dominant tokens, ascending.
    pub dominant: Vec<usize>,
    /// The token that each contextual token starts from, and those that join it.
    pub contextual: Vec<(usize, Vec<usize>)>,
}

/// Chooses `dominant` tokens by saliency, then as many anchors as `contextual` says at equal steps among the rest, and
/// gives every other token to the anchor with the most similar key.
pub fn zip(saliency: &[f32], keys: &Matrix, dominant: usize, contextual: usize) -> Zip {
    let mut kept = top_k(saliency, dominant);
    kept.sort_unstable();
    let rest: Vec<usize> = (0..saliency.len())
        .filter(|token| kept.binary_search(token).is_err())
        .collect();
    let contextual = contextual.min(rest.len());
    let step = (rest.len() / contextual.max(1)).max(1);
    let mut zip = Zip {
        dominant: kept,
        contextual: rest
            .iter()
            .step_by(step)
            .take(contextual)
            .map(|&anchor| (anchor, Vec::new()))
            .collect(),
    };
    let unit = keys.select(&rest).normalised(0.0);
    let anchors: Vec<&[f32]> = (0..contextual).map(|nth| unit.row(nth * step)).collect();
    for (place, &token) in rest.iter().enumerate() {
        if place.is_multiple_of(step) && place / step < contextual {
            continue;
        }
        let key = unit.row(place);
        if let Some(anchor) = argmax(anchors.iter().map(|anchor| dot(anchor, key))) {
            zip.contextual[anchor].1.push(token);
        }
    }
    zip
}

/// A contextual token.
fn contextual_token(features: &Matrix, anchor: usize, members: &[usize], fidelity: Fidelity) -> Vec<f32> {
    let mut token = features.row(anchor).to_vec();
    let n_members = members.len() as f32;
    let weight = match fidelity {
        Fidelity::Reference => 1.0 / n_members.max(1.0),
        Fidelity::Corrected => {
            token.iter_mut().for_each(|value| *value /= n_members + 1.0);
            1.0 / (n_members + 1.0)
        }
    };
    let mut sum = vec![0.0; token.len()];
    members
        .iter()
        .for_each(|&member| add_scaled(&mut sum, 1.0, features.row(member)));
    add_scaled(&mut token, weight, &sum);
    token
}

impl VisionZip {
    /// For Qwen2.5-VL: nothing of `[CLS]`, projected tokens, position ids kept.
    pub fn without_class() -> Self {
        Self {
            positions: Encoder::WithoutClass.positions(),
            encoder: Encoder::WithoutClass,
            ..Self::default()
        }
    }

    /// Saliency, keys and the encoder's tokens.
    fn merge_inputs<'a>(&self, context: &'a PruningContext) -> Result<MergeInputs<'a>, PruneError> {
        let attention = saliency(context, self.name())?;
        let keys = context.require(|observed| &observed.keys, self.name(), "keys")?;
        Ok(MergeInputs {
            attention,
            keys: Some(token_matrices(context, &keys.tokens, self.name(), "keys")?),
            features: token_matrices(context, &context.tokens, self.name(), "tokens")?,
            space: Space::Vision,
            like: &context.tokens,
        })
    }

    /// The tokens that a crop is left with.
    fn crop(
        &self,
        crop: &Crop,
        saliency: &[f32],
        keys: &Matrix,
        features: &Matrix,
        class: Option<&[f32]>,
    ) -> CropTokens<Placed> {
        let class = class.filter(|_| crop.k > 0);
        let least = usize::from(self.encoder == Encoder::WithoutClass);
        let contextual = self.contextual.unwrap_or((crop.k * 5 / 32).max(least));
        let contextual = contextual.min(crop.k.saturating_sub(1));
        let dominant = crop.k - contextual - usize::from(class.is_some());
        let zip = zip(
            &crop.of(saliency),
            &keys.selected(&crop.tokens),
            dominant,
            contextual,
        );
        let index = |place: usize| crop.tokens[place];
        let patch = |&place: &usize| (index(place), (index(place), features.row(index(place)).to_vec()));
        let merged = |(anchor, members): &(usize, Vec<usize>)| {
            let members: Vec<usize> = crop.indices(members.iter().copied()).collect();
            let token = contextual_token(features, index(*anchor), &members, self.fidelity);
            (index(*anchor), token)
        };
        let mut patches: Vec<(usize, Placed)> = zip.dominant.iter().map(patch).collect();
        let mut contextual: Vec<Placed> = zip.contextual.iter().map(merged).collect();
        if class.is_none() {
            patches.extend(contextual.drain(..).map(|token| (token.0, token)));
            patches.sort_by_key(|(index, _)| *index);
        }
        CropTokens {
            class: class.map(|class| (crop.tokens[0], class.to_vec())),
            patches,
            contextual,
        }
    }
}

impl Pruner for VisionZip {
    fn name(&self) -> &str {
        match (self.encoder, self.fidelity) {
            (Encoder::WithClass, Fidelity::Reference) => ENTRY.name,
            (Encoder::WithClass, Fidelity::Corrected) => CORRECTED.name,
            (Encoder::WithoutClass, Fidelity::Reference) => WITHOUT_CLASS.name,
            (Encoder::WithoutClass, Fidelity::Corrected) => CORRECTED_WITHOUT_CLASS.name,
        }
    }

    fn signals(&self) -> Signals {
        match self.encoder {
            Encoder::WithClass => Signals {
                class_tokens: true,
                keys: true,
                ..saliency_signals()
            },
            Encoder::WithoutClass => MergeInputs::projected_signals(),
        }
    }

    fn positions(&self) -> PositionRule {
        self.positions
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let (inputs, classes) = match self.encoder {
            Encoder::WithClass => (self.merge_inputs(context)?, class_rows(context, self.name())?),
            Encoder::WithoutClass => (MergeInputs::projected(context, self.name())?, None),
        };
        let image = |row: usize| {
            if context.budget(row) == context.n_tokens(row) {
                return Tokens::all(&inputs.features[row]);
            }
            let crops = crops(&context.layouts[row], context.budget(row));
            let crop = |(view, crop): (usize, &Crop)| {
                let class = classes.as_ref().map(|classes| classes[row].row(view));
                self.crop(
                    crop,
                    &inputs.attention[row],
                    inputs.keys(row),
                    &inputs.features[row],
                    class,
                )
            };
            packed(crops.iter().enumerate().map(crop))
        };
        let images = (0..context.batch()).map(image).collect();
        Ok(selection(images, inputs.space, inputs.like))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tensor};
    use diffprune_pruner::{Budget, Grid};

    #[test]
    fn without_class_the_rest_joins_the_most_similar_projected_token() {
        let device = Device::flex();
        let tokens = Tensor::<3>::zeros([1, 6, 5], &device);
        let answer = |method: VisionZip, k| {
            let budget = Budget::Tokens(k);
            let mut context =
                PruningContext::new(tokens.clone(), Grid { rows: 2, cols: 3 }, &budget).unwrap();
            context.observed.received_attention =
                Some(Tensor::from_floats([[0.1, 0.9, 0.2, 0.3, 0.8, 0.0]], &device));
            context.observed.projected = Some(Tensor::from_floats(
                [[[1., 0.], [7., 7.], [0., 2.], [0., 1.], [5., -5.], [3., 1.]]],
                &device,
            ));
            let selection = method.select(&context).unwrap();
            let values = selection.gather(tokens.clone()).into_data();
            (
                selection.keep_indices(0).to_vec(),
                values.try_to_vec::<f32>().unwrap(),
            )
        };
        // Tokens 1 and 4 stay; 0 and 3 are anchors, which 5 and 2 join.
        let two = VisionZip {
            contextual: Some(2),
            ..VisionZip::without_class()
        };
        let wanted = vec![4., 1., 7., 7., 0., 3., 5., -5.];
        assert_eq!(answer(two, 4), (vec![0, 1, 3, 4], wanted));
        // One contextual token, although 3 is less than 6.4.
        let wanted = vec![2., 4. / 3., 7., 7., 5., -5.];
        assert_eq!(answer(VisionZip::without_class(), 3), (vec![0, 1, 4], wanted));
        assert_eq!(answer(VisionZip::without_class(), 1).0, [1]);
    }
}
