//! What a method needs computed beside the tokens.

/// The signals that a method asks a model to compute. A model computes nothing that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// The attention row of `[CLS]` in the layer that produced the tokens, per head.
    pub cls_attention: bool,
    /// The truth about the picture (`PruningContext::relevance`); only oracle arms on annotated data may ask.
    pub relevance: bool,
}

impl Signals {
    /// What either of two methods needs.
    pub fn union(self, other: Self) -> Self {
        Self {
            cls_attention: self.cls_attention || other.cls_attention,
            relevance: self.relevance || other.relevance,
        }
    }
}
