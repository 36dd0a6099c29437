//! The study about widths: scorers before the blocks of frozen classifiers.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffprune::learned::{Draws, GateInput};
use diffprune::pruning::{Grid, Layout, Selection};
use diffprune::vlm::Vit;
use diffprune::{DiffPruneConfig, Trainee};
use diffprune_pilots::{
    Advance, CoherenceArm, CoherencePlan, GradientAt, LabelledImages, NetworkWidth, PilotError, Study,
    coherence_over_widths,
};

use super::OURS;
use super::parameters::flat_gradient;
use super::trainings::{SCALE, SURROGATES, arm_config, enough};
use crate::LabError;
use crate::checksums::verify_checksums;
use crate::files::folder_name;

/// A classifier and its name.
pub type NamedVit = (String, Vit);

/// A model and those of other sizes that lie beside it, under its name with a dash and more behind it; by name.
///
/// # Errors
/// When the folder around it cannot be read.
pub fn sizes_beside(model: &Path) -> Result<Vec<PathBuf>, LabError> {
    let around = model.parent().unwrap_or(Path::new("."));
    let name = folder_name(model).unwrap_or_default();
    let mut found = vec![model.to_path_buf()];
    for entry in std::fs::read_dir(around).map_err(LabError::io(around, "read"))? {
        let path = entry.map_err(LabError::io(around, "read"))?.path();
        let is_size = folder_name(&path).is_some_and(|other| other.starts_with(&format!("{name}-")));
        if is_size && path.join("config.json").is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads classifiers onto a device, each under the name of its folder.
///
/// # Errors
/// When one cannot be read, or is not what the list of checksums beside it says.
pub fn read_classifiers(dirs: &[PathBuf], device: &Device) -> Result<Vec<NamedVit>, LabError> {
    let read = |dir: &PathBuf| {
        verify_checksums(dir)?;
        let vit = Vit::load(dir, device).map_err(PilotError::from)?;
        Ok((folder_name(dir).unwrap_or_default(), vit))
    };
    dirs.iter().map(read).collect()
}

/// Agreement of gradients over batches on classifiers of several widths, with `scorers` fresh scorers each: claim `f1.size`.
///
/// The scorer reads the patches in front of the first block, the gate acts on them there (at budget 2/9, with the denoiser
/// behind it), and the loss is the classifier's cross-entropy; only the scorer's gradients are looked at.
///
/// # Errors
/// When there are too few pictures or widths, a classifier knows other classes, or `advance` stops the study.
pub fn width_study(
    classifiers: &[NamedVit],
    data: &LabelledImages,
    scorers: u64,
    plan: &CoherencePlan,
    advance: &mut Advance<'_>,
) -> Result<Study, LabError> {
    enough(data.len(), plan.batches * plan.batch)?;
    let mut networks = Vec::new();
    let mut fresh = Vec::new();
    for (name, vit) in classifiers {
        if vit.config.n_classes != data.n_classes {
            return Err(LabError::Setup {
                subject: format!("classifier {name}"),
                found: format!("{} classes", vit.config.n_classes),
                wanted: format!("the {} of the pictures", data.n_classes),
            });
        }
        let width = vit.config.blocks.hidden_size;
        let config = arm_config(OURS, width)?;
        let device = vit.model.device();
        let seeds = plan.seed..plan.seed + scorers;
        let models: Result<Vec<Trainee>, _> = seeds.map(|seed| config.init(width, seed, &device)).collect();
        fresh.push(models?);
        networks.push(NetworkWidth {
            name: name.clone(),
            width,
            n_scorers: scorers as usize,
        });
    }
    let (fresh, networks) = (&fresh, &networks);
    let mut arms = Vec::new();
    for name in [OURS, SCALE].into_iter().chain(SURROGATES) {
        let configs: Vec<DiffPruneConfig> = networks
            .iter()
            .map(|network| arm_config(name, network.width))
            .collect::<Result<_, _>>()?;
        let gradient = move |at: GradientAt| {
            let model = fresh[at.point][at.parameters].for_worker();
            let setting = Setting {
                vit: &classifiers[at.point].1,
                data,
                plan,
            };
            let loss = setting.loss(&model, &configs[at.point], at.batch, at.noise)?;
            Ok(flat_gradient(&model.head, &loss))
        };
        arms.push(CoherenceArm::new(name, gradient));
    }
    let setting = format!(
        "Classifiers {}, their loss on {}, gate before the first block, budget 2/9;",
        networks
            .iter()
            .map(|network| network.name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
        data.source
    );
    Ok(coherence_over_widths(
        &setting,
        networks,
        &mut arms,
        &SURROGATES,
        plan,
        advance,
    )?)
}

/// A frozen classifier and its pictures.
struct Setting<'a> {
    vit: &'a Vit,
    data: &'a LabelledImages,
    plan: &'a CoherencePlan,
}

impl Setting<'_> {
    /// The mean loss of a batch under a noise.
    fn loss(
        &self,
        model: &Trainee,
        config: &DiffPruneConfig,
        batch: usize,
        noise: u64,
    ) -> Result<Tensor<1>, PilotError> {
        let size = self.plan.batch;
        let pictures = batch * size..(batch + 1) * size;
        let vit = &self.vit.model;
        let hidden = vit.embed(self.vit.preprocess(&self.data.images[pictures.clone()]));
        let [n_images, _, width] = hidden.dims();
        let prefix = hidden.clone().narrow(1, 0, vit.n_prefix());
        let tokens = vit.patches(hidden);
        let side = self.vit.config.blocks.grid_side();
        let layouts = vec![
            Layout::from(Grid {
                rows: side,
                cols: side
            });
            n_images
        ];
        let budget = config.budget.resolve(side * side)?;
        let first = noise * size as u64;
        let draws: Vec<u64> = (first..first + size as u64).collect();
        let gated = config
            .method
            .gate(
                &model.head,
                &GateInput {
                    descriptors: tokens.clone(),
                    tokens,
                    budgets: &vec![budget; n_images],
                    layouts: &layouts,
                    mask: None,
                    relevance: None,
                    tau: self.plan.tau,
                    draws: Draws {
                        seed: self.plan.seed,
                        numbers: &draws,
                    },
                    settings: &config.gate_settings(),
                },
            )
            .map_err(|error| PilotError::Function(Box::new(error)))?;
        let sent = match gated.kept {
            Some(kept) => Selection::keep(kept).gather(gated.tokens),
            None => model.denoiser.forward(gated.tokens, None),
        };
        debug_assert_eq!(sent.dims()[2], width);
        let logits = vit.logits(vit.run(Tensor::cat(vec![prefix, sent], 1)));
        let classes: Vec<i64> = self.data.classes[pictures]
            .iter()
            .map(|&class| class as i64)
            .collect();
        let classes = TensorData::new(classes, [n_images, 1]);
        let classes = Tensor::<2, Int>::from_data(classes, &vit.device());
        Ok(-burn::tensor::activation::log_softmax(logits, 1)
            .gather(1, classes)
            .mean())
    }
}
