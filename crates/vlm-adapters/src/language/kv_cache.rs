//! Keys and values of the tokens seen so far.

use burn::tensor::{Bool, DType, Device, Tensor};

/// Keys and values of every layer, stored by slot: the `i`-th token fed is in slot `i`, whatever its position id.
///
/// All rows of a batch fill the same slots; shorter prompts are padded on the left and masked.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    mask: Option<Tensor<2, Bool>>,
}

/// Keys and values of one layer.
#[derive(Debug, Clone)]
pub struct LayerCache {
    keys: Tensor<4>,
    values: Tensor<4>,
    len: usize,
}

impl KvCache {
    /// An empty cache of `capacity` slots for `batch` sequences: keys and values `[batch, capacity, n_heads, head_dim]`
    /// for each layer.
    pub fn new(n_layers: usize, shape: [usize; 4], dtype: DType, device: &Device) -> Self {
        let empty = || Tensor::<4>::zeros(shape, (device, dtype));
        let layer = |_| LayerCache {
            keys: empty(),
            values: empty(),
            len: 0,
        };
        Self {
            layers: (0..n_layers).map(layer).collect(),
            mask: None,
        }
    }

    /// Number of filled slots (of the first layer).
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, LayerCache::len)
    }

    /// True when nothing was fed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of slots.
    pub fn capacity(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.keys.dims()[1])
    }

    /// The cache of layer `index`.
    pub fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    /// Adds the key mask of `n` new tokens and returns the mask of all slots up to them, `[b, len + n]`; `None` while
    /// no token was ever masked. Call it once for each forward pass, before the layers.
    pub fn extend_mask(
        &mut self,
        mask: Option<Tensor<2, Bool>>,
        shape: [usize; 2],
    ) -> Option<Tensor<2, Bool>> {
        let filled = self.len();
        self.mask = match (self.mask.take(), mask) {
            (None, None) => None,
            (before, new) => {
                let device = before.as_ref().or(new.as_ref()).map(Tensor::device)?;
                let all = |n: usize| Tensor::<2, Bool>::full([shape[0], n], true, &device);
                let new = new.unwrap_or_else(|| all(shape[1]));
                match before.or_else(|| (filled > 0).then(|| all(filled))) {
                    Some(before) => Some(Tensor::cat(vec![before, new], 1)),
                    None => Some(new),
                }
            }
        };
        self.mask.clone()
    }
}

impl LayerCache {
    /// Number of filled slots.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing was fed yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stores the keys and values of new tokens and returns those of all tokens so far.
    ///
    /// # Shapes
    /// - keys, values: `[b, n, n_heads, head_dim]`
    /// - output: `[b, len + n, n_heads, head_dim]`, twice
    ///
    /// # Panics
    /// When the slots are used up.
    pub fn append(&mut self, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, n_tokens, n_heads, head_dim] = keys.dims();
        let capacity = self.keys.dims()[1];
        let end = self.len + n_tokens;
        assert!(end <= capacity, "{end} tokens in a cache of {capacity} slots");
        let slots = [0..batch, self.len..end, 0..n_heads, 0..head_dim];
        self.keys.inplace(|all| all.slice_assign(slots.clone(), keys));
        self.values.inplace(|all| all.slice_assign(slots, values));
        self.len = end;
        (
            self.keys.clone().narrow(1, 0, end),
            self.values.clone().narrow(1, 0, end),
        )
    }
}
