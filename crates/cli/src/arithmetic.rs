//! Counting tokens and bytes without reading weights.

use std::path::PathBuf;

use anyhow::Context;
use diffprune::Budget;
use diffprune::vlm::plan_vlm;

use crate::family;
use crate::model::ModelArgs;

/// Prints, for each picture, its tokens before and after pruning and the cache that they take.
pub fn print(model: &ModelArgs, images: &[PathBuf], keep: Budget) -> anyhow::Result<()> {
    let dir = model.dir()?;
    let options = model.options(&dir)?;
    let plan = plan_vlm(dir, options)?;
    let told = match family::told(&options).as_str() {
        "" => String::new(),
        told => format!("; {told}"),
    };
    println!(
        "{}: {} layers, {} of KV cache per token{told}",
        plan.family(),
        plan.n_layers(),
        bytes(plan.kv_bytes_per_token())
    );
    let (mut all, mut left) = (0, 0);
    for path in images {
        let (width, height) =
            image::image_dimensions(path).with_context(|| format!("cannot read {}", path.display()))?;
        let layout = plan
            .layout(width, height)
            .with_context(|| format!("{}", path.display()))?;
        let total = layout.n_tokens();
        let kept = keep.resolve(total)?;
        let rasters: Vec<String> = layout
            .segments
            .iter()
            .map(|segment| format!("{}x{}", segment.grid.rows, segment.grid.cols))
            .collect();
        let every: Vec<usize> = (0..total).collect();
        let slots = plan.sequence(&layout, &every).slots.len();
        println!(
            "{}: {width}x{height} pixels, {} tokens in {} view(s) ({}), {slots} places in the sequence; {kept} stay",
            path.display(),
            total,
            layout.views.len(),
            rasters.join(" + ")
        );
        all += total;
        left += kept;
    }
    println!(
        "{left} of {all} visual tokens stay; {} of KV cache saved",
        bytes(plan.kv_bytes_per_token() * (all - left) as u64)
    );
    Ok(())
}

/// A number of bytes as people read it.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(512 * 1024 * 512), "256.0 MiB");
    }
}
