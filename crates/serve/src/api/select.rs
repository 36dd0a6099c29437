//! Body and answer of `POST /v1/diffprune/select`.

use serde::{Deserialize, Serialize};

use super::chat::ImageUrl;
use crate::budget::{Detail, PictureChoice, VisualTokens};
use crate::config::Limits;
use crate::error::ApiError;

/// A picture, and the methods that are to choose from its tokens.
#[derive(Debug, Deserialize)]
pub(crate) struct SelectRequest {
    pub model: Option<String>,
    /// The picture.
    #[serde(alias = "image")]
    pub image_url: ImageUrl,
    /// Names of methods; empty takes the server's default.
    #[serde(default)]
    pub methods: Vec<String>,
    pub visual_tokens: Option<VisualTokens>,
    /// Seed of methods that draw at random [default: 0].
    pub seed: Option<i64>,
    /// The question, for methods that read it.
    pub question: Option<String>,
}

impl SelectRequest {
    /// The address of the picture, and the budget.
    pub fn picture(&self) -> (String, PictureChoice) {
        let (url, detail, own) = match &self.image_url {
            ImageUrl::Url(url) => (url, None, None),
            ImageUrl::Object {
                url,
                detail,
                visual_tokens,
                ..
            } => (url, *detail, *visual_tokens),
        };
        let budget = PictureChoice::budget_of(own, detail.or(None::<Detail>), self.visual_tokens);
        (url.clone(), PictureChoice { budget, pruner: None })
    }

    /// The methods, not too many.
    pub fn methods(&self, limits: &Limits) -> Result<&[String], ApiError> {
        if self.methods.len() > limits.methods {
            let message = format!(
                "methods: found {}, expected at most {}",
                self.methods.len(),
                limits.methods
            );
            return Err(ApiError::invalid("methods", message));
        }
        Ok(&self.methods)
    }
}

/// What methods keep of a picture.
#[derive(Debug, Serialize)]
pub(crate) struct SelectAnswer {
    pub object: &'static str,
    pub model: String,
    /// Width of the picture in pixels, and its height.
    pub width: u32,
    pub height: u32,
    /// Tokens of the picture.
    pub total: usize,
    /// The rasters of its tokens, in the order of their indices.
    pub grid: Vec<Raster>,
    pub methods: Vec<MethodSelection>,
    /// Bytes of keys and values of all its tokens.
    pub kv_bytes: u64,
    /// Milliseconds of preprocessing and encoding; 0 when the picture was known.
    pub encode_ms: f64,
    pub warnings: Vec<String>,
}

/// A raster of tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Raster {
    pub rows: usize,
    pub cols: usize,
    /// The part of the picture that it covers, in shares of width and height: left, top, right, bottom. Padding lies
    /// outside 0 to 1.
    pub area: [f64; 4],
}

/// What one method keeps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct MethodSelection {
    pub method: String,
    /// Why it could not choose; the other fields are then empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Tokens kept; the average over the layers for a method inside the language model.
    pub kept: usize,
    /// The kept tokens, or the places at which merged ones stand; of a method inside the language model those that leave
    /// its last stage.
    pub indices: Vec<usize>,
    /// The score of each token; `null` where it is no number, absent when the method has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<Vec<Option<f32>>>,
    /// True when kept tokens may be made of several.
    pub merged: bool,
    /// True when it acts inside the language model.
    pub inside: bool,
    /// Visual tokens that entered each layer of the language model, of a method inside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// Bytes of keys and values of the kept tokens.
    pub kv_bytes: u64,
    /// Milliseconds of choosing, gathering and projecting.
    pub select_ms: f64,
}
