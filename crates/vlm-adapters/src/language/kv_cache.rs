//! Keys and values of the tokens seen so far.

use std::ops::Range;

use burn::tensor::{Bool, DType, Device, Tensor};

/// Keys and values of every layer, stored by slot: the `i`-th token fed is in slot `i`, whatever its position id.
///
/// All rows of a batch fill the same slots; shorter prompts are padded on the left and masked. Layers may hold different
/// numbers of tokens: a run of layers that are fed the same tokens shares one mask.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    /// The mask of the run of layers that begins at each layer.
    masks: Vec<Option<Tensor<2, Bool>>>,
}

/// Keys and values of one layer.
#[derive(Debug, Clone)]
pub struct LayerCache {
    /// Keys and values, allocated with the first token.
    slots: Option<(Tensor<4>, Tensor<4>)>,
    shape: [usize; 4],
    options: (Device, DType),
    len: usize,
}

impl KvCache {
    /// An empty cache of `capacity` slots for `batch` sequences: keys and values `[batch, capacity, n_heads, head_dim]`
    /// for each layer.
    pub fn new(n_layers: usize, shape: [usize; 4], dtype: DType, device: &Device) -> Self {
        let layer = LayerCache {
            slots: None,
            shape,
            options: (device.clone(), dtype),
            len: 0,
        };
        Self {
            layers: vec![layer; n_layers],
            masks: vec![None; n_layers],
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

    /// Number of slots (of the first layer).
    pub fn capacity(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.shape[1])
    }

    /// The cache of layer `index`.
    pub fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    /// Takes `n` slots from every layer from `first` on: they will never be needed. Call it before those layers are fed.
    pub(super) fn shrink(&mut self, first: usize, n: usize) {
        for layer in &mut self.layers[first..] {
            layer.shape[1] = layer.shape[1].saturating_sub(n);
        }
    }

    /// Sets `n` more slots aside in every layer whose slots are used up.
    pub(super) fn make_room(&mut self, n: usize) {
        self.layers.iter_mut().for_each(|layer| layer.make_room(n));
    }

    /// Bytes of the slots that are allocated.
    pub(super) fn bytes(&self) -> u64 {
        self.layers.iter().map(LayerCache::bytes).sum()
    }

    /// Adds the key mask of `n` new tokens and returns the mask of all slots up to them, `[b, len + n]`; `None` while
    /// no token was ever masked. Call it once for each forward pass, before the layers.
    pub fn extend_mask(
        &mut self,
        mask: Option<Tensor<2, Bool>>,
        shape: [usize; 2],
    ) -> Option<Tensor<2, Bool>> {
        self.extend_mask_of(0..self.layers.len(), mask, shape)
    }

    /// As [`Self::extend_mask`], for a run of layers that are always fed together.
    pub(super) fn extend_mask_of(
        &mut self,
        layers: Range<usize>,
        mask: Option<Tensor<2, Bool>>,
        shape: [usize; 2],
    ) -> Option<Tensor<2, Bool>> {
        let filled = self.layers.get(layers.start)?.len();
        let before = self.masks[layers.start].take();
        self.masks[layers.start] = match (before, mask) {
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
        self.masks[layers.start].clone()
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

    /// The rotated keys of all tokens so far, `[b, len, n_heads, head_dim]`; `None` when nothing was fed yet.
    pub fn keys(&self) -> Option<Tensor<4>> {
        let (keys, _) = self.slots.as_ref()?;
        Some(keys.clone().narrow(1, 0, self.len))
    }

    fn make_room(&mut self, n: usize) {
        if self.len < self.shape[1] {
            return;
        }
        let [batch, len, n_heads, head_dim] = self.shape;
        self.shape[1] = len + n;
        let (device, dtype) = &self.options;
        let room = || Tensor::<4>::zeros([batch, n, n_heads, head_dim], (device, *dtype));
        let wider = |slots: Tensor<4>| Tensor::cat(vec![slots, room()], 1);
        self.slots = self
            .slots
            .take()
            .map(|(keys, values)| (wider(keys), wider(values)));
    }

    fn bytes(&self) -> u64 {
        let numbers = self.slots.as_ref().map_or(0, |_| self.shape.iter().product());
        (2 * numbers * self.options.1.size()) as u64
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
        let capacity = self.shape[1];
        let end = self.len + n_tokens;
        assert!(end <= capacity, "{end} tokens in a cache of {capacity} slots");
        let (device, dtype) = &self.options;
        let empty = || Tensor::<4>::zeros(self.shape, (device, *dtype));
        let (all_keys, all_values) = self.slots.get_or_insert_with(|| (empty(), empty()));
        let slots = [0..batch, self.len..end, 0..n_heads, 0..head_dim];
        all_keys.inplace(|all| all.slice_assign(slots.clone(), keys));
        all_values.inplace(|all| all.slice_assign(slots, values));
        self.len = end;
        (
            all_keys.clone().narrow(1, 0, end),
            all_values.clone().narrow(1, 0, end),
        )
    }
}
