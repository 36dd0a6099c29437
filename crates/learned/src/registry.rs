//! Every learned method by its name: one row per file.

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use diffprune_pruner::Layout;
use diffprune_scorer::{Scorer, ScorerConfig};
use serde::{Deserialize, Serialize};

use crate::gate::ScoringHead;
use crate::{ConfigError, Gate, GateInput, GateSettings, Gated, HeadConfigError, LearnedMethod, TauRange};
use crate::{atp, diffprune, dynamic_llava, dynamic_vit, glimpse_prune, gumbel, operator};

/// Makes the enums of methods, heads and sizes, and what they have in common, from one row per file. A row names the kind in
/// settings, the type of the settings, the module, and for a method that trains a head of its own the head's kind in
/// `diffprune.json`.
macro_rules! registry {
    (
        on the scorer { $($scored_kind:literal $Scored:ident in $scored:ident,)* }
        on a head of its own { $($kind:literal $Own:ident in $own:ident, head $head_kind:literal,)* }
    ) => {
        /// The settings of a method by their `kind`: what is trained, and through which gate. Everything after the gate is the
        /// same for all methods, and so are the data, the steps and the frozen model.
        #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum Method {
            $(
                #[doc = concat!("See [`", stringify!($Scored), "`](crate::", stringify!($Scored), ").")]
                #[serde(rename = $scored_kind)]
                $Scored($scored::$Scored),
            )*
            $(
                #[doc = concat!("See [`", stringify!($Own), "`](crate::", stringify!($Own), ").")]
                #[serde(rename = $kind)]
                $Own($own::$Own),
            )*
        }

        /// A module that ranks tokens: the scorer of DiffPrune, or the head of another method.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)] // one per training or pruner; a box would only burden callers
        pub enum Head {
            /// A score per token.
            Scorer(Scorer),
            $(
                #[doc = concat!("The head of [`", stringify!($Own), "`](crate::", stringify!($Own), ").")]
                $Own(<$own::$Own as Gate>::Head),
            )*
        }

        /// Sizes of a [`Head`].
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum HeadConfig {
            /// Sizes of a scorer.
            #[serde(rename = "scorer")]
            Scorer(ScorerConfig),
            $(
                #[doc = concat!("Sizes of the head of [`", stringify!($Own), "`](crate::", stringify!($Own), ").")]
                #[serde(rename = $head_kind)]
                $Own(<<$own::$Own as Gate>::Head as ScoringHead>::Config),
            )*
        }

        static ROWS: &[&[LearnedMethod]] = &[$($scored::ENTRIES,)* $($own::ENTRIES,)*];

        $(
            impl From<$scored::$Scored> for Method {
                fn from(method: $scored::$Scored) -> Self {
                    Self::$Scored(method)
                }
            }
        )*

        $(
            impl From<$own::$Own> for Method {
                fn from(method: $own::$Own) -> Self {
                    Self::$Own(method)
                }
            }
        )*

        /// Calls something on the settings of whichever method it is.
        macro_rules! on_method {
            ($method:expr, $gate:ident => $body:expr) => {
                match $method {
                    $(Method::$Scored($gate) => $body,)*
                    $(Method::$Own($gate) => $body,)*
                }
            };
        }

        impl Method {
            /// The head that this method trains in the place of the scorer, with its default sizes for descriptors of width
            /// `d_descriptor`; `None`: it trains the scorer.
            pub fn head(&self, d_descriptor: usize) -> Option<HeadConfig> {
                match self {
                    $(Self::$Scored(_) => None,)*
                    $(Self::$Own(gate) => gate.head(d_descriptor).map(HeadConfig::$Own),)*
                }
            }

            /// `true` if it keeps fewer tokens than the budget allows where its head says so.
            pub fn decides_on_the_count(&self) -> bool {
                fn of<G: Gate>(_: &G) -> bool {
                    <G::Head as ScoringHead>::DECIDES_ON_THE_COUNT
                }
                on_method!(self, gate => of(gate))
            }

            /// Gates the tokens of a batch with `head`.
            ///
            /// # Errors
            /// When the head is not one that the method trains, or settings that nobody has checked cannot be used.
            pub fn gate(&self, head: &Head, input: &GateInput<'_>) -> Result<Gated, ConfigError> {
                match (self, head) {
                    $((Self::$Scored(gate), Head::Scorer(scorer)) => gate.gate(scorer, input),)*
                    $((Self::$Own(gate), Head::$Own(head)) => gate.gate(head, input),)*
                    (method, head) => {
                        let wanted = format!("the method of a {}", head.config().name());
                        Err(ConfigError::new("diffprune.method", method.name(), wanted))
                    }
                }
            }

            /// Short name for checkpoints and tables, in snake case.
            pub fn name(&self) -> String {
                on_method!(self, gate => gate.name())
            }

            /// `true` if samples must know which tokens show their objects.
            pub fn needs_relevance(&self) -> bool {
                on_method!(self, gate => gate.needs_relevance())
            }

            /// The temperature of step `step` of `steps`.
            pub fn tau_at(&self, tau: TauRange, step: usize, steps: usize) -> f64 {
                on_method!(self, gate => gate.tau_at(tau, step, steps))
            }

            /// Checks the method's own settings, and that it can work with those it shares with others.
            ///
            /// # Errors
            /// The first setting that cannot be used.
            pub fn check(&self, shared: &GateSettings) -> Result<(), ConfigError> {
                on_method!(self, gate => gate.check(shared))
            }
        }

        impl HeadConfig {
            /// Name in settings and descriptions.
            pub fn name(&self) -> &'static str {
                match self {
                    Self::Scorer(_) => "scorer",
                    $(Self::$Own(_) => $head_kind,)*
                }
            }

            /// Width of the tokens that it takes.
            pub fn d_model(&self) -> usize {
                match self {
                    Self::Scorer(config) => Scorer::d_model(config),
                    $(Self::$Own(config) => <$own::$Own as Gate>::Head::d_model(config),)*
                }
            }

            /// Checks the sizes.
            ///
            /// # Errors
            /// The first one that cannot be used.
            pub fn check(&self) -> Result<(), HeadConfigError> {
                match self {
                    Self::Scorer(config) => Scorer::check(config),
                    $(Self::$Own(config) => <$own::$Own as Gate>::Head::check(config),)*
                }
            }

            /// Creates the module. All but the scorer draw their values when these are first read.
            ///
            /// # Panics
            /// If [`check`](Self::check) finds a fault.
            pub fn init(&self, device: &Device) -> Head {
                match self {
                    Self::Scorer(config) => Head::Scorer(config.init(device)),
                    $(Self::$Own(config) => Head::$Own(ScoringHead::init(config, device)),)*
                }
            }
        }

        impl Head {
            /// Its sizes.
            pub fn config(&self) -> HeadConfig {
                match self {
                    Self::Scorer(scorer) => HeadConfig::Scorer(scorer.config().clone()),
                    $(Self::$Own(head) => HeadConfig::$Own(ScoringHead::config(head)),)*
                }
            }

            /// The numbers that tokens are ranked by at inference, higher first: scores, logarithms of keep probabilities, logits of
            /// importance, or margins above a threshold.
            ///
            /// # Shapes
            /// - tokens: `[batch, n_tokens, d_model]`; mask: `[batch, n_tokens]`, true = real token
            /// - layouts: where the tokens of each image lie on it; none where nobody knows
            /// - output: `[batch, n_tokens]`; scores of masked tokens mean nothing
            pub fn scores(
                &self,
                tokens: Tensor<3>,
                layouts: &[Layout],
                mask: Option<Tensor<2, Bool>>,
            ) -> Tensor<2> {
                match self {
                    Self::Scorer(scorer) => scorer.forward(tokens, mask),
                    $(Self::$Own(head) => head.scores(tokens, layouts, mask),)*
                }
            }

            /// `true` if it decides for itself how many tokens an image needs: those with a score above 0.
            pub fn decides_on_the_count(&self) -> bool {
                match self {
                    Self::Scorer(_) => false,
                    $(Self::$Own(_) => <<$own::$Own as Gate>::Head as ScoringHead>::DECIDES_ON_THE_COUNT,)*
                }
            }
        }
    };
}

// Adding a method is a file, its `mod` line in `lib.rs`, and a line here.
registry! {
    on the scorer {
        "throttle" DiffPrune in diffprune,
        "gumbel_ste" GumbelSte in gumbel,
        "operator" Operator in operator,
    }
    on a head of its own {
        "dynamic_vit" DynamicVit in dynamic_vit, head "dynamic_vit",
        "dynamic_llava" DynamicLlava in dynamic_llava, head "dynamic_llava",
        "atp" Atp in atp, head "atp",
        "glimpse_prune" GlimpsePrune in glimpse_prune, head "glimpse",
    }
}

impl ScoringHead for Scorer {
    type Config = ScorerConfig;

    fn check(config: &ScorerConfig) -> Result<(), HeadConfigError> {
        Ok(config.check()?)
    }

    fn d_model(config: &ScorerConfig) -> usize {
        config.d_model
    }

    fn init(config: &ScorerConfig, device: &Device) -> Self {
        config.init(device)
    }

    fn config(&self) -> ScorerConfig {
        Scorer::config(self).clone()
    }

    fn scores(&self, tokens: Tensor<3>, _: &[Layout], mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        self.forward(tokens, mask)
    }
}

impl From<Scorer> for Head {
    fn from(scorer: Scorer) -> Self {
        Self::Scorer(scorer)
    }
}

impl Default for Method {
    fn default() -> Self {
        diffprune::DiffPrune {}.into()
    }
}

/// Every learned method, DiffPrune first.
pub fn methods() -> impl Iterator<Item = &'static LearnedMethod> {
    ROWS.iter().copied().flatten()
}
