//! Tokens and bytes of a question, counted without reading weights.

use std::path::{Path, PathBuf};

use diffprune::vlm::{
    Family, ImageOrientation, Turn, VisualSequence, VlmError, VlmPlan, image_size, plan_vlm,
};
use diffprune::{Budget, LoadOptions, PositionRule};

use crate::error::LabError;
use crate::methods::check_method;
use crate::scorer::resolve_method;

/// A question whose tokens are to be counted.
#[derive(Debug, Clone)]
pub struct CountRequest<'a> {
    /// The pictures.
    pub images: &'a [PathBuf],
    /// Which way up they are read.
    pub orientation: ImageOrientation,
    /// The question, if there is one.
    pub question: Option<&'a str>,
    /// Tokens that stay of each picture.
    pub keep: Budget,
    /// The method that chooses; `None` takes the model's default.
    pub pruner: Option<&'a str>,
    /// Position ids of kept tokens; `None` takes the method's own rule.
    pub positions: Option<PositionRule>,
}

/// Tokens and bytes of a question.
#[derive(Debug)]
pub struct TokenCounts {
    /// The family of the model.
    pub family: Family,
    /// Layers of its language model.
    pub n_layers: usize,
    /// Bytes of keys and values that one token takes in the language model's cache.
    pub kv_bytes_per_token: u64,
    /// Each picture.
    pub images: Vec<ImageCounts>,
    /// Tokens of text in the prompt; 0 without a question.
    pub text: usize,
    /// Positions that the prompt takes, or the error that says that the model has fewer.
    pub span: Result<usize, VlmError>,
    /// Positions that the model has.
    pub max_positions: usize,
}

/// Tokens of one picture.
#[derive(Debug, Clone)]
pub struct ImageCounts {
    /// The file.
    pub path: PathBuf,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Tokens before pruning.
    pub total: usize,
    /// Tokens that stay.
    pub kept: usize,
    /// Views that the encoder sees.
    pub views: usize,
    /// Rows and columns of each raster in the sequence.
    pub rasters: Vec<(usize, usize)>,
    /// Places that all tokens take in the sequence, separators included.
    pub slots: usize,
}

impl TokenCounts {
    /// Counts, from the settings of the checkpoint in `dir` and the headers of the pictures.
    ///
    /// # Errors
    /// When something is wrong with the settings, a picture, the budget or the method. A prompt that is too long is counted
    /// all the same: see [`Self::span`].
    pub fn of(dir: &Path, options: LoadOptions, request: &CountRequest<'_>) -> Result<Self, LabError> {
        let plan = plan_vlm(dir, options)?;
        let name = resolve_method(dir, request.pruner, plan.family()).resolved;
        let pruner = check_method(&name, plan.family())?;
        // A method inside the language model lets every token into it.
        let inside = pruner.as_ref().is_some_and(|pruner| pruner.decoder().is_some());
        let own = pruner.map(|pruner| pruner.positions()).unwrap_or_default();
        let rule = match inside {
            true => PositionRule::Keep,
            false => request.positions.unwrap_or(own),
        };
        let (mut images, mut sequences) = (Vec::new(), Vec::new());
        for path in request.images {
            let (counts, sequence) = count_image(&plan, path, request, inside, rule)?;
            images.push(counts);
            sequences.push(sequence);
        }
        let text = match request.question {
            Some(question) => text_tokens(&plan, question, images.len())?,
            None => 0,
        };
        Ok(Self {
            family: plan.family(),
            n_layers: plan.n_layers(),
            kv_bytes_per_token: plan.kv_bytes_per_token(),
            span: plan.check_context(text, &sequences),
            max_positions: plan.max_positions(),
            images,
            text,
        })
    }

    /// Tokens of all pictures before pruning.
    pub fn total(&self) -> usize {
        self.images.iter().map(|image| image.total).sum()
    }

    /// Tokens of all pictures that stay.
    pub fn kept(&self) -> usize {
        self.images.iter().map(|image| image.kept).sum()
    }

    /// Bytes of the cache that the dropped tokens would take.
    pub fn kv_bytes_saved(&self) -> u64 {
        self.kv_bytes_per_token * (self.total() - self.kept()) as u64
    }
}

fn count_image(
    plan: &VlmPlan,
    path: &Path,
    request: &CountRequest<'_>,
    inside: bool,
    rule: PositionRule,
) -> Result<(ImageCounts, VisualSequence), LabError> {
    let size = image_size(path, request.orientation)?;
    let layout = plan.layout(size.0, size.1).map_err(|error| LabError::Image {
        path: path.into(),
        source: Box::new(error),
    })?;
    let total = layout.n_tokens();
    let kept = request.keep.resolve(total)?;
    let every: Vec<usize> = (0..total).collect();
    let read = if inside { total } else { kept };
    // The chosen ones are not known: spread evenly, they have a part in every row.
    let spread: Vec<usize> = (0..read).map(|i| i * total / read).collect();
    let sequence = plan.sequence(&layout, &spread, rule);
    let counts = ImageCounts {
        path: path.into(),
        size,
        total,
        kept,
        views: layout.views.len(),
        rasters: layout
            .segments
            .iter()
            .map(|segment| (segment.grid.rows, segment.grid.cols))
            .collect(),
        slots: plan.sequence(&layout, &every, PositionRule::Keep).slots.len(),
    };
    Ok((counts, sequence))
}

/// Tokens of a question in its prompt, placeholders of pictures not counted.
fn text_tokens(plan: &VlmPlan, question: &str, n_images: usize) -> Result<usize, LabError> {
    let ids = plan.prompt_ids(&[Turn::ask(question).with_images(n_images)])?;
    Ok(ids.len().saturating_sub(n_images))
}
