//! Visual tokens with extreme values and every signal beside them, for every method that needs no training.

use arbitrary::{Result, Unstructured};
use burn::tensor::{Device, Tensor, TensorData};
use diffprune_baselines::{Baseline, registry};
use diffprune_pruner::{
    Area, Budget, Grid, Keys, Layout, Observed, Pruner, PruningContext, Segment, Selection, View,
    WideAttention,
};

/// Rows and columns of a raster; one token and long lines among them.
const GRIDS: [(usize, usize); 8] = [(1, 1), (1, 2), (3, 1), (2, 2), (4, 4), (1, 17), (5, 7), (12, 12)];
/// A raster of 4,096 tokens, which is drawn seldom.
const MANY: (usize, usize) = (64, 64);
/// Numbers that are extreme, and finite.
const EXTREME: [f32; 8] = [
    0.0,
    -0.0,
    1.0e-45,
    -1.1e-38,
    f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
    f32::EPSILON,
];
/// Numbers that are none.
const NOT_FINITE: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// What the numbers of a tensor are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Like {
    /// Between -1 and 1, with few different values, so that some are equal.
    Few,
    /// All equal.
    Equal,
    /// [`EXTREME`].
    Extreme,
    /// Between -1 and 1, with some of [`NOT_FINITE`] among them.
    Spoilt,
}

impl Like {
    /// Usual ones in most tensors.
    fn draw(u: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match u.int_in_range(0..=15)? {
            0 => Self::Spoilt,
            1..=3 => Self::Extreme,
            4..=6 => Self::Equal,
            _ => Self::Few,
        })
    }
}

/// Images as they are drawn.
struct Drawn {
    layout: Layout,
    batch: usize,
    /// True when no number is extreme: then what is kept must be finite.
    usual: bool,
}

impl Drawn {
    /// Numbers of a shape. When the bytes are used up the rest is equal.
    fn numbers(&mut self, u: &mut Unstructured<'_>, n: usize) -> Result<Vec<f32>> {
        let like = Like::draw(u)?;
        self.usual &= matches!(like, Like::Few | Like::Equal);
        let equal = f32::from(u.arbitrary::<i8>()?) / 128.0;
        let mut one = || {
            Ok(match like {
                Like::Equal => equal,
                Like::Few => f32::from(u.arbitrary::<i8>()?) / 128.0,
                Like::Extreme => *u.choose(&EXTREME)?,
                Like::Spoilt => match u.ratio(1, 8)? {
                    true => *u.choose(&NOT_FINITE)?,
                    false => f32::from(u.arbitrary::<i8>()?) / 128.0,
                },
            })
        };
        (0..n).map(|_| one()).collect()
    }

    /// A tensor of three axes; one in 64 has a wrong size.
    fn three(&mut self, u: &mut Unstructured<'_>, rows: usize, width: usize) -> Result<Tensor<3>> {
        let rows = rows + usize::from(u.ratio(1, 64)?);
        let numbers = self.numbers(u, self.batch * rows * width)?;
        let data = TensorData::new(numbers, [self.batch, rows, width]);
        Ok(Tensor::from_data(data, &Device::flex()))
    }

    /// Weights of attention, which are never negative.
    fn weights(&mut self, u: &mut Unstructured<'_>, heads: usize) -> Result<Tensor<3>> {
        let columns = self.layout.n_tokens();
        Ok(self.three(u, heads, columns)?.abs())
    }

    fn two(&mut self, u: &mut Unstructured<'_>) -> Result<Tensor<2>> {
        let n = self.layout.n_tokens();
        let numbers = self.numbers(u, self.batch * n)?;
        Ok(Tensor::from_data(
            TensorData::new(numbers, [self.batch, n]),
            &Device::flex(),
        ))
    }

    /// Every signal, each absent now and then.
    fn observed(&mut self, u: &mut Unstructured<'_>, width: usize) -> Result<Observed> {
        let (n, views) = (self.layout.n_tokens(), self.layout.views.len());
        let heads = u.int_in_range(1..=3)?;
        let mut observed = Observed {
            cls_attention: Some(self.weights(u, heads)?),
            first_cls_attention: Some(self.weights(u, heads)?),
            class_tokens: Some(self.three(u, views, width)?),
            keys: Some(Keys {
                tokens: self.three(u, n, 5)?,
                class: match u.ratio(3, 4)? {
                    true => Some(self.three(u, views, 5)?),
                    false => None,
                },
            }),
            wide_attention: Some(WideAttention {
                cls: self.two(u)?.abs(),
                keys: self.three(u, n, width)?,
            }),
            received_attention: Some(self.two(u)?.abs()),
            projected: Some(self.three(u, n, 4)?),
            text_relevance: Some(self.two(u)?),
            relevance: Some(self.two(u)?),
        };
        match u.int_in_range(0..=9)? {
            0 => observed = Observed::default(),
            // An encoder without a class.
            1 | 2 => {
                observed.cls_attention = None;
                observed.first_cls_attention = None;
                observed.class_tokens = None;
                observed.wide_attention = None;
            }
            3 => observed.text_relevance = None,
            4 => observed.keys = None,
            _ => {}
        }
        Ok(observed)
    }
}

/// One raster, or a small one beside a map of two tiles, each a view of its own.
fn layout(u: &mut Unstructured<'_>) -> Result<Layout> {
    let (rows, cols) = match u.ratio(1, 128)? {
        true => MANY,
        false => *u.choose(&GRIDS)?,
    };
    let grid = Grid { rows, cols };
    if u.ratio(3, 4)? {
        return Ok(grid.into());
    }
    let n = grid.n_tokens();
    let map = Grid { rows, cols: 2 * cols };
    let tile = |left: usize| View {
        grid,
        tokens: (0..n)
            .map(|cell| Some(n + cell / cols * map.cols + left + cell % cols))
            .collect(),
    };
    let whole = View {
        grid,
        tokens: (0..n).map(Some).collect(),
    };
    let segment = |grid| Segment {
        grid,
        area: Area::IMAGE,
    };
    Ok(Layout {
        segments: vec![segment(grid), segment(map)],
        views: vec![whole, tile(0), tile(cols)],
    })
}

fn budget(u: &mut Unstructured<'_>, n: usize) -> Result<Budget> {
    Ok(match u.int_in_range(0..=5)? {
        0 => Budget::All,
        1 => Budget::Tokens(n),
        2 => Budget::Tokens(u.arbitrary()?),
        3 => Budget::rate(u.int_in_range(0..=9)?, u.int_in_range(0..=9)?),
        _ => Budget::Tokens(u.int_in_range(1..=n)?),
    })
}

/// Draws images and lets one method choose.
///
/// # Panics
/// When a choice is none: too many tokens, one that is not there, an order that is not kept, or numbers that are not finite although
/// all were usual.
pub fn choose(u: &mut Unstructured<'_>) -> Result<()> {
    let baseline = u.choose(registry())?;
    let method = (baseline.init)();
    let mut drawn = Drawn {
        layout: layout(u)?,
        batch: u.int_in_range(1..=2)?,
        usual: true,
    };
    let n = drawn.layout.n_tokens();
    let budget = budget(u, n)?;
    if let Some(decoder) = method.decoder() {
        let n_layers = u.int_in_range(0..=40)?;
        // More than any memory holds are not met.
        let n_visual = match u.ratio(1, 8)? {
            true => u.int_in_range(0..=1 << 24)?,
            false => n,
        };
        if let Ok(stages) = decoder.stages(n_layers, n_visual, &budget) {
            for stage in stages {
                assert!(
                    stage.layer <= n_layers && stage.keep <= n_visual,
                    "{}: {stage:?} of {n_layers} layers and {n_visual} tokens",
                    baseline.name
                );
            }
        }
    }
    let width = u.int_in_range(1..=6)?;
    let tokens = drawn.three(u, n, width)?;
    let Ok(mut context) = PruningContext::new(tokens.clone(), drawn.layout.clone(), &budget) else {
        return Ok(());
    };
    context.seed = u.arbitrary()?;
    context.observed = drawn.observed(u, width)?;
    if let Ok(selection) = method.select(&context) {
        check(baseline, method.as_ref(), &drawn, &context, &selection);
    }
    Ok(())
}

fn check(
    baseline: &Baseline,
    method: &dyn Pruner,
    drawn: &Drawn,
    context: &PruningContext,
    selection: &Selection,
) {
    let name = baseline.name;
    assert_eq!(selection.batch(), drawn.batch, "{name}: images");
    for row in 0..drawn.batch {
        let kept = selection.keep_indices(row);
        let most = match method.decoder() {
            Some(_) => context.n_tokens(row),
            None => context.budget(row),
        };
        assert!(
            !kept.is_empty() && kept.len() <= most,
            "{name}: {} kept, at most {most}",
            kept.len()
        );
        assert!(
            kept.iter().all(|&index| index < context.n_tokens(row)),
            "{name}: range"
        );
        assert!(
            selection.is_merged() || kept.windows(2).all(|pair| pair[0] < pair[1]),
            "{name}: order"
        );
    }
    let tokens = selection.gather(context.tokens.clone()).into_data();
    if drawn.usual {
        let finite = tokens.iter::<f32>().all(f32::is_finite);
        assert!(finite, "{name}: usual numbers made one that is not finite");
    }
}
