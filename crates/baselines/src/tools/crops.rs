//! The crops of an image, for methods that work crop by crop.

use diffprune_pruner::{Layout, PruningContext, Selection};

/// The tokens of one view and how many of them may stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crop {
    /// Indices of the tokens in the raster order of the view; cells that fell outside the image have none.
    pub(crate) tokens: Vec<usize>,
    /// The number of them that may stay.
    pub(crate) k: usize,
}

impl Crop {
    /// The values of the crop's tokens.
    pub(crate) fn of<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.tokens.iter().map(|&token| values[token]).collect()
    }

    /// Places within the crop to indices of tokens.
    pub(crate) fn indices(&self, places: impl IntoIterator<Item = usize>) -> impl Iterator<Item = usize> {
        places.into_iter().map(|place| self.tokens[place])
    }
}

/// The views of a layout with equal shares of `k` tokens (the first views get one more when `k` cannot be divided).
///
/// What a view with few tokens cannot take goes to the others. In the published code padding around the image is
/// encoded and may be kept; here it has no tokens, so shares differ for images that were padded.
pub(crate) fn crops(layout: &Layout, k: usize) -> Vec<Crop> {
    let tokens = view_tokens(layout);
    let sizes: Vec<usize> = tokens.iter().map(Vec::len).collect();
    tokens
        .into_iter()
        .zip(equal_shares(&sizes, k))
        .map(|(tokens, k)| Crop { tokens, k })
        .collect()
}

/// Chooses in each crop of each image by itself; `choose(row, crop)` gives the places within the crop that stay.
pub(crate) fn select_by_crop<I: IntoIterator<Item = usize>>(
    context: &PruningContext,
    choose: impl Fn(usize, &Crop) -> I,
) -> Selection {
    let image = |row: usize| {
        let crops = crops(&context.layouts[row], context.budget(row));
        let kept = crops.iter().flat_map(|crop| crop.indices(choose(row, crop)));
        kept.collect()
    };
    Selection::keep((0..context.batch()).map(image).collect())
}

/// The tokens of each view, in its raster order; a layout that names no views is one view.
pub(crate) fn view_tokens(layout: &Layout) -> Vec<Vec<usize>> {
    let n_tokens = layout.n_tokens();
    if layout.views.is_empty() {
        return vec![(0..n_tokens).collect()];
    }
    let real = |token: &usize| *token < n_tokens;
    layout
        .views
        .iter()
        .map(|view| view.tokens.iter().flatten().copied().filter(real).collect())
        .collect()
}

/// `k` in equal shares that no size exceeds; what does not fit goes to those that have room.
fn equal_shares(sizes: &[usize], k: usize) -> Vec<usize> {
    let mut shares = vec![0; sizes.len()];
    let mut left = k.min(sizes.iter().sum());
    while left > 0 {
        let open: Vec<usize> = (0..sizes.len()).filter(|&i| shares[i] < sizes[i]).collect();
        let (each, more) = (left / open.len(), left % open.len());
        for (nth, i) in open.into_iter().enumerate() {
            let given = (each + usize::from(nth < more)).min(sizes[i] - shares[i]);
            shares[i] += given;
            left -= given;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune_pruner::Grid;

    #[test]
    fn shares_are_equal_where_there_is_room() {
        assert_eq!(equal_shares(&[576; 5], 320), [64; 5]);
        assert_eq!(equal_shares(&[576; 5], 322), [65, 65, 64, 64, 64]);
        assert_eq!(equal_shares(&[10, 2, 10], 12), [5, 2, 5]);
        assert_eq!(equal_shares(&[3, 0, 2], 9), [3, 0, 2]);
        assert_eq!(equal_shares(&[4, 4], 1), [1, 0]);
    }

    #[test]
    fn one_view_is_all_tokens() {
        let layout = Layout::from(Grid { rows: 2, cols: 3 });
        let tokens: Vec<usize> = (0..6).collect();
        assert_eq!(crops(&layout, 4), [Crop { tokens, k: 4 }]);
        let bare = Layout {
            views: Vec::new(),
            ..layout.clone()
        };
        assert_eq!(crops(&bare, 4), crops(&layout, 4));
    }
}
