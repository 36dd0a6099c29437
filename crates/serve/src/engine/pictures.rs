//! From a picture to the tokens that a method keeps of it, with what is kept for the next time.

use diffprune_pruner::{Budget, Signals};
use diffprune_vlm::{Encoded, PreparedImages, PruneOptions, Vlm, encode, prepare_encoded};

use super::cache::ByteCache;
use super::methods::{Methods, Offered, covers};
use super::timer::Timer;
use crate::api::ImageUsage;
use crate::budget;
use crate::config::Limits;
use crate::error::ApiError;
use crate::metrics::ModelMetrics;
use crate::picture::{Digest, Picture};

/// What is computed of pictures, and kept: the encoder's output, and what methods chose of it. Model and preprocessing
/// are the engine's own and therefore not part of the keys.
pub(super) struct Pictures<'m> {
    vlm: &'m dyn Vlm,
    methods: &'m Methods,
    default_budget: Budget,
    features: ByteCache<Digest, (Encoded, Signals)>,
    selections: ByteCache<SelectionKey, PreparedImages<'m>>,
    metrics: ModelMetrics,
}

/// All that a choice depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SelectionKey {
    digest: Digest,
    method: String,
    kept: usize,
    seed: u64,
    /// The question's ids, for methods that read it.
    question: Vec<u32>,
}

/// What a method is to do with a picture.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a, 'm> {
    pub picture: &'a Picture,
    /// Number of the picture in its request, from 1.
    pub number: usize,
    pub offered: &'m Offered,
    pub seed: u64,
    pub question: &'a str,
}

/// A picture on its way into the language model.
pub(super) struct Chosen<'m> {
    pub images: PreparedImages<'m>,
    pub key: SelectionKey,
    /// The budget as a number of tokens.
    pub count: usize,
    pub usage: ImageUsage,
    pub warning: Option<String>,
}

impl<'m> Pictures<'m> {
    pub fn new(
        vlm: &'m dyn Vlm,
        methods: &'m Methods,
        default_budget: Budget,
        limits: &Limits,
        metrics: ModelMetrics,
    ) -> Self {
        Self {
            vlm,
            methods,
            default_budget,
            features: ByteCache::new(limits.feature_cache_bytes),
            selections: ByteCache::new(limits.selection_cache_bytes),
            metrics,
        }
    }

    /// The methods of the model.
    pub fn methods(&self) -> &'m Methods {
        self.methods
    }

    /// The budget of a picture.
    fn budget(&self, picture: &Picture) -> Budget {
        match Methods::is_none(picture.choice.pruner.as_deref()) {
            true => Budget::All,
            false => picture.choice.budget.unwrap_or(self.default_budget),
        }
    }

    /// The encoder's output for a picture with these signals, and whether it was there already.
    pub fn encoded(&mut self, picture: &Picture, signals: Signals) -> Result<(Encoded, bool), ApiError> {
        let known = self.features.get(&picture.digest);
        if let Some((encoded, computed)) = &known
            && covers(*computed, signals)
        {
            self.metrics.cache("features", true);
            return Ok((encoded.clone(), true));
        }
        self.metrics.cache("features", false);
        let signals = known.map_or(signals, |(_, computed)| computed.union(signals));
        let encoded = encode(self.vlm, std::slice::from_ref(&*picture.pixels), signals)?;
        let bytes = encoded_bytes(&encoded);
        self.features
            .put(picture.digest, (encoded.clone(), signals), bytes);
        self.metrics.cache_bytes("features", self.features.bytes());
        Ok((encoded, false))
    }

    /// The options of a method's choice.
    pub fn options(&self, wish: &Wish<'_, '_>, budget: Budget) -> Result<PruneOptions, ApiError> {
        let options = PruneOptions::new(budget).with_seed(wish.offered.seed(wish.seed));
        Ok(match wish.offered.reads_question() {
            true => options.with_questions(vec![self.vlm.text_ids(wish.question)?]),
            false => options,
        })
    }

    /// What a method before the language model keeps of a picture; for one inside it, every token.
    pub fn choose(&mut self, wish: Wish<'_, 'm>, timer: &mut Timer<'_>) -> Result<Chosen<'m>, ApiError> {
        let offered = wish.offered;
        let asked = self.budget(wish.picture);
        let (encoded, cached) = self.encoded(wish.picture, offered.pruner.signals())?;
        timer.encoded();
        let total = encoded.counts()[0];
        let (count, warning) = budget::resolve(asked, &encoded, wish.number)?;
        let options = self.options(&wish, Budget::Tokens(count))?;
        let key = SelectionKey {
            digest: wish.picture.digest,
            method: offered.name.clone(),
            kept: count,
            seed: offered.seed(wish.seed),
            question: options.questions.clone().unwrap_or_default().concat(),
        };
        let images = match self.selections.get(&key) {
            Some(images) => {
                self.metrics.cache("selections", true);
                images
            }
            None => {
                self.metrics.cache("selections", false);
                let images = prepare_encoded(self.vlm, &encoded, offered.pruner.as_ref(), &options)?;
                self.selections
                    .put(key.clone(), images.clone(), prepared_bytes(&images));
                self.metrics.cache_bytes("selections", self.selections.bytes());
                images
            }
        };
        timer.selected();
        let kept = images.kept(0);
        let warning = warning.or_else(|| {
            (kept != count && !offered.is_inside()).then(|| {
                format!(
                    "picture {}: {} keeps {kept} tokens where {count} were asked for",
                    wish.number, offered.name
                )
            })
        });
        let usage = ImageUsage {
            total,
            kept,
            visual_tokens: asked.to_string(),
            pruner: offered.name.clone(),
            cached,
        };
        Ok(Chosen {
            images,
            key,
            count,
            usage,
            warning,
        })
    }
}

/// Bytes of the encoder's output.
fn encoded_bytes(encoded: &Encoded) -> u64 {
    let observed = &encoded.observed;
    let count = |shape: &[usize]| shape.iter().product::<usize>() as u64;
    let two = [
        &observed.received_attention,
        &observed.text_relevance,
        &observed.relevance,
    ];
    let three = [
        &observed.cls_attention,
        &observed.first_cls_attention,
        &observed.class_tokens,
        &observed.projected,
    ];
    let two = two.into_iter().flatten().map(|x| count(&x.dims()));
    let three = three.into_iter().flatten().map(|x| count(&x.dims()));
    let keys = observed.keys.iter().map(|keys| count(&keys.tokens.dims()));
    let wide = observed
        .wide_attention
        .iter()
        .map(|wide| count(&wide.keys.dims()));
    let values: u64 = two.chain(three).chain(keys).chain(wide).sum();
    4 * (values + count(&encoded.tokens.dims()))
}

/// Bytes of chosen tokens.
fn prepared_bytes(images: &PreparedImages<'_>) -> u64 {
    let features = images
        .visual()
        .map_or(0, |visual| visual.features.dims().iter().product());
    let kept: usize = images.keep().iter().map(Vec::len).sum();
    (4 * features + size_of::<usize>() * kept) as u64
}
