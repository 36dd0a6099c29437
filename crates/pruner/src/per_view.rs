//! Budgets of tiles: a method that chooses in each view of an image by itself.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::{
    Area, Budget, Grid, Keys, Layout, Observed, PositionRule, PruneError, Pruner, PruningContext, Selection,
    Signals, View, WideAttention,
};

/// Runs a method on each view (the small whole image, each tile) as if it were an image, with a share of the image's
/// budget: what papers do that keep K/5 tokens of each of five crops. Without it tokens of all views compete.
///
/// Shares follow [`Layout::share_views`]; a view whose share is zero keeps nothing. An image with one view is chosen
/// from as without the wrapper. Merged tokens stand view by view.
///
/// A method inside the language model is refused when it is asked to choose ([`PruneError::InsideModel`]): between the
/// layers of a decoder nothing tells the views of an image apart.
pub struct PerView {
    inner: Box<dyn Pruner>,
    name: String,
}

impl PerView {
    /// The method `inner`, view by view.
    pub fn new(inner: impl Pruner + 'static) -> Self {
        Self::from(Box::new(inner) as Box<dyn Pruner>)
    }
}

impl From<Box<dyn Pruner>> for PerView {
    fn from(inner: Box<dyn Pruner>) -> Self {
        let name = format!("{}-per-view", inner.name());
        Self { inner, name }
    }
}

impl Pruner for PerView {
    fn name(&self) -> &str {
        &self.name
    }

    fn signals(&self) -> Signals {
        self.inner.signals()
    }

    fn positions(&self) -> PositionRule {
        self.inner.positions()
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        if self.inner.decoder().is_some() {
            return Err(PruneError::InsideModel {
                method: self.name.clone(),
                inner: self.inner.name().to_string(),
            });
        }
        let parts = Parts::of(context);
        let selection = self.inner.select(&parts.context(context)?)?;
        Ok(parts.join(context, &selection))
    }
}

/// The views of a batch that may keep something.
struct Parts {
    parts: Vec<Part>,
    /// Most tokens of a view.
    width: usize,
}

/// A view of an image.
struct Part {
    image: usize,
    view: usize,
    budget: usize,
    /// Its tokens, as indices of the image.
    tokens: Vec<usize>,
    layout: Layout,
}

impl Parts {
    fn of(context: &PruningContext) -> Self {
        let mut parts = Vec::new();
        for (image, layout) in context.layouts.iter().enumerate() {
            let shares = layout.share_views(context.budget(image));
            for (view, (seen, budget)) in layout.views.iter().zip(shares).enumerate() {
                if budget > 0 {
                    let tokens: Vec<usize> = seen.tokens.iter().flatten().copied().collect();
                    parts.push(Part {
                        image,
                        view,
                        budget,
                        layout: part_layout(layout, seen, &tokens),
                        tokens,
                    });
                }
            }
        }
        Self {
            width: parts.iter().map(|part| part.tokens.len()).max().unwrap_or(0),
            parts,
        }
    }

    /// The context of the method: the views in the place of images.
    fn context(&self, whole: &PruningContext) -> Result<PruningContext, PruneError> {
        let take = Take::new(self, whole);
        let layouts = self.parts.iter().map(|part| part.layout.clone()).collect();
        let tokens = take.tokens(whole.tokens.clone());
        let mut context = PruningContext::ragged(tokens, self.mask(whole), layouts, &Budget::All)?
            .with_budgets(&self.parts.iter().map(|part| part.budget).collect::<Vec<_>>())?;
        context.group = whole.group;
        context.seed = whole.seed;
        context.observed = take.observed(&whole.observed);
        // Views of one image draw apart.
        let id = |part: &Part| whole.sample_ids[part.image] ^ ((part.view as u64) << 48);
        context.sample_ids = self.parts.iter().map(id).collect();
        Ok(context)
    }

    fn mask(&self, whole: &PruningContext) -> Option<Tensor<2, Bool>> {
        let counts = || self.parts.iter().map(|part| part.tokens.len());
        if counts().all(|count| count == self.width) {
            return None;
        }
        let real: Vec<bool> = counts()
            .flat_map(|count| (0..self.width).map(move |i| i < count))
            .collect();
        let data = TensorData::new(real, [self.parts.len(), self.width]);
        Some(Tensor::from_data(data, &whole.tokens.device()))
    }

    /// The choices of the views as choices of the images.
    fn join(&self, context: &PruningContext, selection: &Selection) -> Selection {
        let mut keep = vec![Vec::new(); context.batch()];
        for (row, part) in self.parts.iter().enumerate() {
            let kept = selection.keep_indices(row).iter();
            keep[part.image].extend(kept.map(|&index| part.tokens[index]));
        }
        if !selection.is_merged() {
            return Selection::keep(keep);
        }
        let merged = selection.gather(context.tokens.clone());
        let [_, k_max, width] = merged.dims();
        let mut rows = vec![Vec::new(); context.batch()];
        for (row, part) in self.parts.iter().enumerate() {
            rows[part.image].extend((0..selection.count(row)).map(|i| (row * k_max + i) as i64));
        }
        let most = rows.iter().map(Vec::len).max().unwrap_or(0);
        for row in &mut rows {
            row.resize(most, row.last().copied().unwrap_or(0));
        }
        let index = ints(rows.concat(), context.batch(), most, &merged.device());
        let merged = select(merged.reshape([self.parts.len() * k_max, width]), &index);
        Selection::merge_in(selection.space(), keep, merged)
    }
}

/// The layout of a view's tokens on the image: the raster that is left where padding was cut from it.
fn part_layout(layout: &Layout, view: &View, tokens: &[usize]) -> Layout {
    let cols = view.grid.cols.max(1);
    let cells = || (0..view.tokens.len()).filter(|&cell| view.tokens[cell].is_some());
    let span = |places: &dyn Fn(usize) -> usize| {
        let (least, most) = cells().map(places).fold((usize::MAX, 0), |(least, most), place| {
            (least.min(place), most.max(place))
        });
        (most + 1).saturating_sub(least)
    };
    let raster = Grid {
        rows: span(&|cell| cell / cols),
        cols: span(&|cell| cell % cols),
    };
    let grid = match raster.n_tokens() == tokens.len() {
        true => raster,
        false => Grid {
            rows: 1,
            cols: tokens.len(),
        },
    };
    let area = |token: Option<&usize>| token.and_then(|&token| layout.area(token)).unwrap_or(Area::IMAGE);
    let (first, last) = (area(tokens.first()), area(tokens.last()));
    let area = Area {
        right: last.right,
        bottom: last.bottom,
        ..first
    };
    Layout::single(grid, area)
}

/// From values of images to values of views.
struct Take {
    /// For each token of each view its row among all tokens, `[views, n]`.
    tokens: Tensor<2, Int>,
    /// For each view its number among all views, if every image is padded to the most, `[views, 1]`.
    views: Tensor<2, Int>,
}

impl Take {
    fn new(parts: &Parts, whole: &PruningContext) -> Self {
        let n_tokens = whole.tokens.dims()[1];
        let n_views = whole
            .layouts
            .iter()
            .map(|layout| layout.views.len())
            .max()
            .unwrap_or(0);
        let mut tokens = Vec::new();
        for part in &parts.parts {
            let last = part.tokens.last().copied().unwrap_or(0);
            let padded = (0..parts.width).map(|i| part.tokens.get(i).copied().unwrap_or(last));
            tokens.extend(padded.map(|token| (part.image * n_tokens + token) as i64));
        }
        let views = parts
            .parts
            .iter()
            .map(|part| (part.image * n_views + part.view) as i64);
        let device = whole.tokens.device();
        Self {
            tokens: ints(tokens, parts.parts.len(), parts.width, &device),
            views: ints(views.collect(), parts.parts.len(), 1, &device),
        }
    }

    fn tokens(&self, x: Tensor<3>) -> Tensor<3> {
        select(x.flatten(0, 1), &self.tokens)
    }

    fn across(&self, x: Tensor<3>) -> Tensor<3> {
        self.tokens(x.swap_dims(1, 2)).swap_dims(1, 2)
    }

    fn number(&self, x: Tensor<2>) -> Tensor<2> {
        self.tokens(x.unsqueeze_dim(2)).squeeze_dim(2)
    }

    fn class(&self, x: Tensor<3>) -> Tensor<3> {
        select(x.flatten(0, 1), &self.views)
    }

    fn observed(&self, whole: &Observed) -> Observed {
        Observed {
            cls_attention: whole.cls_attention.clone().map(|x| self.across(x)),
            first_cls_attention: whole.first_cls_attention.clone().map(|x| self.across(x)),
            class_tokens: whole.class_tokens.clone().map(|x| self.class(x)),
            keys: whole.keys.clone().map(|keys| Keys {
                tokens: self.tokens(keys.tokens),
                class: keys.class.map(|x| self.class(x)),
            }),
            wide_attention: whole.wide_attention.clone().map(|wide| WideAttention {
                cls: self.number(wide.cls),
                keys: self.tokens(wide.keys),
            }),
            received_attention: whole.received_attention.clone().map(|x| self.number(x)),
            projected: whole.projected.clone().map(|x| self.tokens(x)),
            text_relevance: whole.text_relevance.clone().map(|x| self.number(x)),
            relevance: whole.relevance.clone().map(|x| self.number(x)),
        }
    }
}

fn ints(values: Vec<i64>, rows: usize, cols: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(values, [rows, cols]), device)
}

/// Rows `[rows, d]` in a new order, `[a, n, d]`.
fn select(x: Tensor<2>, indices: &Tensor<2, Int>) -> Tensor<3> {
    let ([a, n], [_, width]) = (indices.dims(), x.dims());
    x.select(0, indices.clone().reshape([a * n]))
        .reshape([a, n, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Segment;

    /// Keeps the tokens that receive the most attention; merges when told to.
    struct TopK {
        merges: bool,
    }

    impl Pruner for TopK {
        fn name(&self) -> &str {
            "top"
        }

        fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
            let scores = context.require(|observed| &observed.received_attention, "top", "attention")?;
            let scores: Vec<f32> = scores.clone().into_data().try_to_vec().unwrap();
            let n = context.tokens.dims()[1];
            let keep = |row: usize| {
                let mut order: Vec<usize> = (0..context.n_tokens(row)).collect();
                order.sort_by(|&a, &b| scores[row * n + b].total_cmp(&scores[row * n + a]));
                order.truncate(context.budget(row));
                order.sort_unstable();
                order
            };
            let keep: Vec<Vec<usize>> = (0..context.batch()).map(keep).collect();
            let plain = Selection::keep(keep.clone());
            match self.merges {
                false => Ok(plain),
                true => Ok(Selection::merge(keep, plain.gather(context.tokens.clone()) * 2.0)),
            }
        }
    }

    /// A small view of 2 by 2, and a map of 1 row by 4 columns that two tiles of 2 by 2 share, their lower halves cut.
    fn layout() -> Layout {
        let segment = |rows, cols| Segment {
            grid: Grid { rows, cols },
            area: Area::IMAGE,
        };
        let view = |tokens: [Option<usize>; 4]| View {
            grid: Grid { rows: 2, cols: 2 },
            tokens: tokens.to_vec(),
        };
        Layout {
            segments: vec![segment(2, 2), segment(1, 4)],
            views: vec![
                view([0, 1, 2, 3].map(Some)),
                view([Some(4), Some(5), None, None]),
                view([Some(6), Some(7), None, None]),
            ],
        }
    }

    fn context(budget: usize) -> PruningContext {
        let device = Device::flex();
        let numbers = Tensor::<1, Int>::arange(0..16, &device)
            .float()
            .reshape([2, 8, 1]);
        let budget = Budget::Tokens(budget);
        let mut context = PruningContext::new(numbers, layout(), &budget).unwrap();
        // The small view would win everything in the first image, the last tile in the second.
        let scores = [
            [9f32, 8., 7., 6., 1., 2., 3., 4.],
            [1., 2., 3., 4., 5., 6., 8., 7.],
        ]
        .concat();
        context.observed.received_attention =
            Some(Tensor::from_data(TensorData::new(scores, [2, 8]), &device));
        context
    }

    #[test]
    fn every_view_gets_its_share() {
        let context = context(4);
        let plain = TopK { merges: false }.select(&context).unwrap();
        assert_eq!(plain.rows(), [vec![0, 1, 2, 3], vec![4, 5, 6, 7]]);
        let shared = PerView::new(TopK { merges: false }).select(&context).unwrap();
        assert_eq!(shared.rows(), [vec![0, 1, 5, 7], vec![2, 3, 5, 6]]);
    }

    #[test]
    fn a_share_of_zero_keeps_nothing_and_the_counts_add_up() {
        assert_eq!(layout().share_views(1), [1, 0, 0]);
        for k in 1..=8 {
            let selection = PerView::new(TopK { merges: false }).select(&context(k)).unwrap();
            assert_eq!((selection.count(0), selection.count(1)), (k, k));
        }
    }

    #[test]
    fn merged_tokens_come_view_by_view() {
        let context = context(4);
        let shared = PerView::new(TopK { merges: true }).select(&context).unwrap();
        assert!(shared.is_merged());
        assert_eq!(shared.keep_indices(0), [0, 1, 5, 7]);
        let merged: Vec<f32> = shared
            .gather(context.tokens.clone())
            .into_data()
            .try_to_vec()
            .unwrap();
        assert_eq!(merged, [0., 2., 10., 14., 20., 22., 26., 28.]);
    }

    #[test]
    fn a_view_knows_what_is_left_of_it() {
        let context = context(8);
        let parts = Parts::of(&context);
        let seen = parts.context(&context).unwrap();
        assert_eq!(seen.batch(), 6);
        assert_eq!(seen.layouts[1].segments[0].grid, Grid { rows: 1, cols: 2 });
        let area = seen.layouts[2].segments[0].area;
        assert_eq!(
            (area.left, area.top, area.right, area.bottom),
            (0.5, 0.0, 1.0, 1.0)
        );
        assert_ne!(seen.sample_ids[0], seen.sample_ids[1]);
        assert!(seen.mask.is_some());
    }

    #[test]
    fn one_view_is_chosen_from_as_without_the_wrapper() {
        let device = Device::flex();
        let tokens = Tensor::<3>::zeros([1, 4, 1], &device);
        let mut context = PruningContext::new(tokens, Grid { rows: 2, cols: 2 }, &Budget::Tokens(2)).unwrap();
        context.observed.received_attention = Some(Tensor::from_data([[1f32, 4., 3., 2.]], &device));
        let (plain, shared) = (TopK { merges: false }, PerView::new(TopK { merges: false }));
        let kept = shared.select(&context).unwrap();
        assert_eq!(kept.rows(), plain.select(&context).unwrap().rows());
        assert_eq!(shared.name(), "top-per-view");
    }
}
