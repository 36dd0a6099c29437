//! The preprocessing that a classifier's files ask for.

use std::path::Path;

use serde::Deserialize;

use crate::config::read_json;
use crate::{CropCenter, Filter, ImageMode, ImageProcessor, LoadError, VitConfig, VitLayout};

/// Mean and standard deviation where the file names none.
const HALF: [f32; 3] = [0.5; 3];
/// Mean of ImageNet, timm's default.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Its standard deviation.
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// The share of the resized image that timm's crop keeps by default.
const CROP_SHARE: f64 = 0.875;

/// Reads timm's `config.json`, or the `preprocessor_config.json` of `transformers`; without the latter images are
/// squashed to the square by the default filter of the model's kind, mean and deviation one half.
pub(super) fn from_dir(dir: &Path, config: &VitConfig) -> Result<ImageProcessor, LoadError> {
    let side = config.blocks.image_size as u32;
    if config.layout != VitLayout::Timm {
        let squash = ImageProcessor {
            size: side,
            shortest_edge: side,
            keep_ratio: false,
            mean: HALF,
            std: HALF,
            mode: ImageMode::CenterCrop,
            filter: if config.layout == VitLayout::TransformersVit {
                Filter::Bilinear
            } else {
                Filter::Bicubic
            },
            crop: CropCenter::Down,
        };
        return ImageProcessor::for_classifier(dir, squash);
    }
    let path = dir.join("config.json");
    let raw: RawTimm = read_json(&path, "timm's preprocessing settings")?;
    raw.pretrained_cfg.unwrap_or(raw.flat).resolve(&path, side)
}

/// Newer files keep the settings apart, older ones among all others.
#[derive(Deserialize)]
struct RawTimm {
    pretrained_cfg: Option<Settings>,
    #[serde(flatten)]
    flat: Settings,
}

#[derive(Deserialize)]
struct Settings {
    input_size: Option<[u32; 3]>,
    interpolation: Option<String>,
    crop_pct: Option<f64>,
    crop_mode: Option<String>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
}

impl Settings {
    fn resolve(self, path: &Path, side: u32) -> Result<ImageProcessor, LoadError> {
        let refuse = |field: &str, found: String, wanted: String| LoadError::Config {
            path: path.into(),
            field: format!("pretrained_cfg.{field}"),
            found,
            wanted,
            remedy: "use the checkpoint's published file; other pipelines are not implemented".into(),
        };
        if let Some(found) = self.input_size.filter(|found| *found != [3, side, side]) {
            return Err(refuse(
                "input_size",
                format!("{found:?}"),
                format!("{:?}", [3, side, side]),
            ));
        }
        let filter = match self.interpolation.as_deref() {
            None | Some("bicubic") => Filter::Bicubic,
            Some("bilinear") => Filter::Bilinear,
            Some(other) => {
                return Err(refuse(
                    "interpolation",
                    other.into(),
                    "bicubic or bilinear".into(),
                ));
            }
        };
        let keep_ratio = match self.crop_mode.as_deref() {
            None | Some("center") => true,
            Some("squash") => false,
            Some(other) => return Err(refuse("crop_mode", other.into(), "center or squash".into())),
        };
        let share = self.crop_pct.unwrap_or(CROP_SHARE);
        if !(share > 0.1 && share <= 1.0) {
            return Err(refuse(
                "crop_pct",
                share.to_string(),
                "a number in (0.1, 1]".into(),
            ));
        }
        let std = self.std.unwrap_or(IMAGENET_STD);
        if std.iter().any(|std| *std <= 0.0) {
            return Err(refuse("std", format!("{std:?}"), "positive numbers".into()));
        }
        Ok(ImageProcessor {
            size: side,
            shortest_edge: (f64::from(side) / share) as u32,
            keep_ratio,
            mean: self.mean.unwrap_or(IMAGENET_MEAN),
            std,
            mode: ImageMode::CenterCrop,
            filter,
            crop: CropCenter::Nearest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use image::{Rgb, RgbImage};

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn read(config: &str, preprocessor: Option<&str>) -> Result<ImageProcessor, LoadError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("config.json"), config).expect("a writable folder");
        if let Some(text) = preprocessor {
            std::fs::write(dir.path().join("preprocessor_config.json"), text).expect("a writable folder");
        }
        from_dir(dir.path(), &VitConfig::from_dir(&dir)?)
    }

    #[test]
    fn timm_resizes_by_the_crop_share_and_crops() -> Outcome {
        let text = |settings: &str| {
            format!(r#"{{"architecture": "deit_tiny_patch16_224", "pretrained_cfg": {settings}}}"#)
        };
        let read = |settings: &str| read(&text(settings), None);
        let plain = read("{}")?;
        assert_eq!(
            (plain.size, plain.shortest_edge, plain.keep_ratio),
            (224, 256, true)
        );
        assert_eq!((plain.mean, plain.std), (IMAGENET_MEAN, IMAGENET_STD));
        let augreg = read(r#"{"crop_pct": 0.9, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}"#)?;
        assert_eq!((augreg.shortest_edge, augreg.mean), (248, HALF));
        let bilinear = read(r#"{"crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "squash"}"#)?;
        assert_eq!((bilinear.shortest_edge, bilinear.keep_ratio), (224, false));
        assert_eq!(bilinear.filter, Filter::Bilinear);
        for settings in [
            r#"{"input_size": [3, 256, 256]}"#,
            r#"{"interpolation": "lanczos"}"#,
            r#"{"crop_mode": "border"}"#,
            r#"{"crop_pct": 0.0}"#,
            r#"{"std": [0.0, 1.0, 1.0]}"#,
        ] {
            assert!(
                matches!(read(settings), Err(LoadError::Config { .. })),
                "{settings}"
            );
        }
        Ok(())
    }

    #[test]
    fn the_flat_files_of_older_timm_are_read() -> Outcome {
        let read = read(
            r#"{"architecture": "vit_base_patch16_224", "mean": [0.25, 0.5, 0.5], "crop_pct": 0.9}"#,
            None,
        )?;
        assert_eq!((read.mean[0], read.shortest_edge), (0.25, 248));
        Ok(())
    }

    #[test]
    fn numbers_are_squares_to_the_classifiers_of_transformers() -> Outcome {
        let vit = r#"{"model_type": "vit"}"#;
        let none = read(vit, None)?;
        assert_eq!(
            (none.size, none.shortest_edge, none.keep_ratio),
            (224, 224, false)
        );
        let google = read(
            vit,
            Some(
                r#"{"size": 224, "resample": 2, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#,
            ),
        )?;
        assert_eq!(
            (google.shortest_edge, google.keep_ratio, google.filter),
            (224, false, Filter::Bilinear)
        );
        let deit = read(
            r#"{"model_type": "deit"}"#,
            Some(
                r#"{"size": 256, "crop_size": 224, "resample": 3, "do_center_crop": true,
                "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}"#,
            ),
        )?;
        assert_eq!(
            (deit.size, deit.shortest_edge, deit.keep_ratio),
            (224, 256, false)
        );
        assert_eq!(deit.mean, IMAGENET_MEAN);
        let kept = read(
            vit,
            Some(r#"{"size": 256, "crop_size": 224, "do_center_crop": false}"#),
        );
        assert!(
            matches!(kept, Err(LoadError::Config { .. })),
            "256 pixels do not fit the model"
        );
        Ok(())
    }

    #[test]
    fn an_odd_rest_is_halved_as_timm_does() {
        let processor = |crop| ImageProcessor {
            crop,
            keep_ratio: true,
            mode: ImageMode::CenterCrop,
            ..ImageProcessor::clip(4)
        };
        // Seven columns, four wanted: the rest of three is halved to one or, to the even neighbour of 1.5, to two.
        let image = RgbImage::from_fn(7, 4, |x, _| Rgb([x as u8; 3]));
        for (crop, first) in [(CropCenter::Down, 1), (CropCenter::Nearest, 2)] {
            assert_eq!(processor(crop).pixels8(&image).get_pixel(0, 0), &Rgb([first; 3]));
            assert_eq!(
                processor(crop)
                    .preprocess(std::slice::from_ref(&image), &Device::flex())
                    .dims(),
                [1, 3, 4, 4]
            );
        }
    }
}
