//! Round trips, and every way in which a file can be wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::nn::LinearConfig;
use burn::tensor::{Device, f16};
use diffprune_scorer::{
    CheckpointError, METADATA_FILE, Metadata, Scorer, ScorerCheckpoint, ScorerConfig, TENSORS_FILE,
};
use diffprune_test_support::cases;
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::scorer::{drawing, scorer, tokens, values};

type Load = Result<(Scorer, Metadata), CheckpointError>;

fn saved(config: &ScorerConfig) -> (tempfile::TempDir, Scorer) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let scorer = scorer(config, 11);
    ScorerCheckpoint::save(dir.path(), &scorer, &Metadata::new("diffprune", &scorer)).expect("saved");
    (dir, scorer)
}

fn load(dir: &Path) -> Load {
    ScorerCheckpoint::load(dir, &Device::flex())
}

/// The error of loading, with its causes, after `change` was made to a good checkpoint.
fn after(change: impl FnOnce(&Path)) -> CheckpointError {
    let (dir, _) = saved(&ScorerConfig::mini(8));
    change(dir.path());
    load(dir.path()).expect_err("a damaged checkpoint was accepted")
}

/// Rewrites single tensors of the file: `edit` gets name, type, shape and bytes and returns what to keep.
type Stored = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn edit_tensors(dir: &Path, edit: impl FnOnce(&mut Stored)) {
    let path = dir.join(TENSORS_FILE);
    let bytes = fs::read(&path).expect("tensors");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut stored: Stored = file
        .iter()
        .map(|(n, v)| (n.to_string(), (v.dtype(), v.shape().to_vec(), v.data().to_vec())))
        .collect();
    edit(&mut stored);
    let views = stored
        .iter()
        .map(|(n, (t, s, b))| (n, TensorView::new(*t, s.clone(), b).expect("view")));
    fs::write(path, safetensors::serialize(views, None).expect("bytes")).expect("written");
}

fn edit_json(dir: &Path, edit: impl FnOnce(&mut Value)) {
    let path = dir.join(METADATA_FILE);
    let mut json: Value = serde_json::from_slice(&fs::read(&path).expect("json")).expect("json");
    edit(&mut json);
    fs::write(path, json.to_string()).expect("written");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(12)))]

    #[test]
    fn a_round_trip_changes_no_bit(
        heads in 1usize..4, width in 1usize..5, layers in 1usize..4, d_ff in prop::option::of(1usize..40), input_norm: bool,
    ) {
        let config = ScorerConfig::new(heads * width, heads)
            .with_n_layers(layers)
            .with_d_ff(d_ff)
            .with_input_norm(input_norm);
        let (dir, written) = saved(&config);
        let (read, metadata) = load(dir.path()).expect("loaded");
        prop_assert_eq!(&metadata.sizes.scorer, &config);
        prop_assert_eq!(read.config(), &config);
        let x = tokens([2, 5, heads * width]);
        prop_assert_eq!(values(read.forward(x.clone(), None)), values(written.forward(x, None)));
        // Saving what was read gives the same bytes.
        let again = tempfile::tempdir().expect("temporary folder");
        ScorerCheckpoint::save(again.path(), &read, &metadata).expect("saved");
        for name in [METADATA_FILE, TENSORS_FILE] {
            prop_assert_eq!(fs::read(dir.path().join(name)).unwrap(), fs::read(again.path().join(name)).unwrap());
        }
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json: bool) {
        let (dir, _) = saved(&ScorerConfig::mini(4));
        fs::write(dir.path().join(if json { METADATA_FILE } else { TENSORS_FILE }), bytes).expect("written");
        prop_assert!(load(dir.path()).is_err());
    }
}

#[test]
fn a_file_cut_off_anywhere_is_an_error() {
    let (dir, _) = saved(&ScorerConfig::mini(4).with_n_layers(1));
    for name in [TENSORS_FILE, METADATA_FILE] {
        let path = dir.path().join(name);
        let whole = fs::read(&path).expect("file");
        // The description ends in a newline that may be missing.
        let end = whole.trim_ascii_end().len();
        let step = (end / 97).max(1);
        for length in (0..end).step_by(step).chain([1, 7, 8, 9, end - 1]) {
            fs::write(&path, &whole[..length]).expect("written");
            let error = load(dir.path()).expect_err("a cut file was accepted");
            let fits = match name {
                TENSORS_FILE => matches!(error, CheckpointError::Safetensors { .. }),
                _ => matches!(error, CheckpointError::Json { .. }),
            };
            assert!(fits, "{name} cut at {length}: {error:?}");
        }
        fs::write(&path, whole).expect("written");
        load(dir.path()).expect("whole again");
    }
}

#[test]
fn a_missing_file_is_named() {
    for name in [METADATA_FILE, TENSORS_FILE] {
        let error = after(|dir| fs::remove_file(dir.join(name)).expect("removed"));
        assert!(
            matches!(&error, CheckpointError::MissingFile { path } if path.ends_with(name)),
            "{error:?}"
        );
        assert!(error.to_string().contains(name));
    }
    assert!(matches!(
        load(Path::new("no/such/folder")),
        Err(CheckpointError::MissingFile { .. })
    ));
}

#[test]
fn a_folder_in_place_of_a_file_cannot_be_read() {
    let error = after(|dir| {
        fs::remove_file(dir.join(TENSORS_FILE)).expect("removed");
        fs::create_dir(dir.join(TENSORS_FILE)).expect("folder");
    });
    assert!(matches!(error, CheckpointError::Read { .. }), "{error:?}");
}

#[test]
fn a_missing_and_an_extra_tensor_are_named() {
    let error = after(|dir| {
        edit_tensors(dir, |stored| {
            stored.remove("blocks.1.norm2.bias");
        })
    });
    assert!(matches!(&error, CheckpointError::MissingTensor { name, .. } if name == "blocks.1.norm2.bias"));
    let error = after(|dir| {
        edit_tensors(dir, |stored| {
            stored.insert("blocks.2.norm1.weight".into(), (Dtype::F32, vec![1], vec![0; 4]));
        })
    });
    assert!(matches!(&error, CheckpointError::ExtraTensor { name, .. } if name == "blocks.2.norm1.weight"));
}

#[test]
fn a_wrong_shape_is_told_with_both_shapes() {
    let error = after(|dir| {
        edit_tensors(dir, |stored| {
            stored
                .get_mut("blocks.0.linear1.weight")
                .expect("tensor")
                .1
                .reverse()
        });
    });
    let CheckpointError::Shape {
        name, found, wanted, ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        (name.as_str(), &found[..], &wanted[..]),
        ("blocks.0.linear1.weight", &[8, 32][..], &[32, 8][..])
    );
    assert!(
        error.to_string().contains("has shape [8, 32], expected [32, 8]"),
        "{error}"
    );
}

#[test]
fn numbers_that_are_no_floats_or_not_finite_are_refused() {
    let error = after(|dir| {
        edit_tensors(dir, |stored| {
            stored.get_mut("head.weight").expect("tensor").0 = Dtype::I32
        });
    });
    assert!(
        matches!(&error, CheckpointError::Dtype { name, .. } if name == "head.weight"),
        "{error:?}"
    );
    let error = after(|dir| {
        edit_tensors(dir, |stored| {
            stored.get_mut("head.weight").expect("tensor").2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        });
    });
    assert!(
        matches!(&error, CheckpointError::NotFinite { name, .. } if name == "head.weight"),
        "{error:?}"
    );
}

#[test]
fn a_description_that_cannot_be_meant_is_refused() {
    let with = |key: &'static str, value: Value| {
        after(move |dir| edit_json(dir, |json| json["scorer"][key] = value))
    };
    for (key, value) in [
        ("n_heads", json!(0)),
        ("n_heads", json!(3)),
        ("n_layers", json!(1u64 << 60)),
        ("d_ff", json!(0)),
    ] {
        let error = with(key, value.clone());
        assert!(
            matches!(error, CheckpointError::Config { .. }),
            "{key} {value}: {error:?}"
        );
    }
    assert!(matches!(
        with("d_model", json!(12)),
        CheckpointError::Inconsistent {
            d_descriptor: 8,
            d_model: 12,
            ..
        }
    ));
    assert!(matches!(with("d_model", json!(-1)), CheckpointError::Json { .. }));
    assert!(matches!(
        with("n_layers", json!(3)),
        CheckpointError::MissingTensor { .. }
    ));
    assert!(matches!(
        with("n_layers", json!(1)),
        CheckpointError::ExtraTensor { .. }
    ));
    let error = after(|dir| edit_json(dir, |json| *json = json!({ "format_version": 2 })));
    assert!(
        matches!(error, CheckpointError::Version { found: 2, .. }),
        "{error:?}"
    );
}

#[test]
fn a_scorer_for_other_tokens_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let scorer = scorer(&ScorerConfig::mini(8), 1);
    let metadata = Metadata::new("diffprune", &scorer)
        .with_vlm("llava-1.5")
        .with_training(json!({ "steps": 3 }));
    ScorerCheckpoint::save(dir.path(), &scorer, &metadata).expect("saved");
    assert_eq!(
        ScorerCheckpoint::metadata(dir.path()).expect("metadata"),
        metadata
    );
    assert!(ScorerCheckpoint::load_for_width(dir.path(), 8, &Device::flex()).is_ok());
    let error = ScorerCheckpoint::load_for_width(dir.path(), 1280, &Device::flex()).expect_err("wrong width");
    assert!(matches!(
        error,
        CheckpointError::Width {
            found: 8,
            wanted: 1280,
            ..
        }
    ));
    assert!(
        error.to_string().contains("width 8 (llava-1.5), expected 1280"),
        "{error}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let scorer = scorer(&ScorerConfig::mini(8), 1);
    let metadata = Metadata::new("diffprune", &scorer);
    let file = dir.path().join("file");
    fs::write(&file, "in the way").expect("written");
    for target in [file.clone(), file.join("below")] {
        let error = ScorerCheckpoint::save(&target, &scorer, &metadata).expect_err("written through a file");
        assert!(matches!(error, CheckpointError::Write { .. }), "{error:?}");
    }
    // A target name taken by a folder: the error leaves no temporary file behind.
    let taken = dir.path().join("taken");
    fs::create_dir_all(taken.join(METADATA_FILE)).expect("folder");
    let error = ScorerCheckpoint::save(&taken, &scorer, &metadata).expect_err("written over a folder");
    assert!(matches!(error, CheckpointError::Write { .. }), "{error:?}");
    assert!(
        names(&taken).iter().all(|name| !name.ends_with(".tmp")),
        "{:?}",
        names(&taken)
    );
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("folder")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into())
        .collect();
    names.sort();
    names
}

#[test]
fn saving_makes_the_folder_replaces_the_old_files_and_leaves_nothing_else() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let target: PathBuf = dir.path().join("a/b");
    for width in [8, 12] {
        let scorer = scorer(&ScorerConfig::mini(width), 1);
        ScorerCheckpoint::save(&target, &scorer, &Metadata::new("diffprune", &scorer)).expect("saved");
        assert_eq!(load(&target).expect("loaded").1.d_descriptor, width);
    }
    assert_eq!(names(&target), [METADATA_FILE, TENSORS_FILE]);
}

#[test]
fn the_width_is_read_under_its_earlier_name_too() {
    let (dir, _) = saved(&ScorerConfig::mini(8));
    let written = fs::read_to_string(dir.path().join(METADATA_FILE)).expect("text");
    assert!(
        written.contains("\"d_descriptor\": 8") && !written.contains("d_vision"),
        "{written}"
    );
    edit_json(dir.path(), |json| {
        let fields = json.as_object_mut().expect("an object");
        let width = fields.remove("d_descriptor").expect("the width");
        fields.insert("d_vision".into(), width);
    });
    assert_eq!(load(dir.path()).expect("loaded").1.d_descriptor, 8);
}

#[test]
fn half_precision_files_are_read() {
    let (dir, written) = saved(&ScorerConfig::mini(8));
    edit_tensors(dir.path(), |stored| {
        for (dtype, _, bytes) in stored.values_mut() {
            let halves = bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&b| f16::from_f32(f32::from_le_bytes(b)));
            *bytes = halves.flat_map(f16::to_le_bytes).collect();
            *dtype = Dtype::F16;
        }
    });
    let (read, _) = load(dir.path()).expect("loaded");
    let x = tokens([1, 6, 8]);
    let (got, wanted) = (
        values(read.forward(x.clone(), None)),
        values(written.forward(x, None)),
    );
    assert!(
        got.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-3),
        "{got:?} {wanted:?}"
    );
}

#[test]
fn names_and_layout_are_those_of_pytorch() {
    let (dir, written) = saved(&ScorerConfig::mini(8));
    let bytes = fs::read(dir.path().join(TENSORS_FILE)).expect("tensors");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    assert_eq!(file.len(), 2 + 2 * 16 + 2 + 1);
    assert_eq!(file.tensor("head.weight").expect("head").shape(), [1, 8]);
    for name in [
        "input_norm.bias",
        "blocks.1.attn.out_proj.bias",
        "final_norm.weight",
    ] {
        assert_eq!(file.tensor(name).expect(name).shape(), [8]);
    }
    let view = file.tensor("blocks.0.linear1.weight").expect("linear1");
    assert_eq!(view.shape(), [32, 8]);
    // Row 1 of the file is column 1 in Burn.
    let second = f32::from_le_bytes(view.data()[8 * 4..9 * 4].try_into().expect("four bytes"));
    assert_eq!(second, values(written.blocks[0].linear1.weight.val())[1]);
}

#[test]
fn a_denoiser_travels_along_and_does_not_disturb() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let scorer = scorer(&ScorerConfig::mini(8), 1);
    let other = LinearConfig::new(3, 5).init(&Device::flex());
    drawing(|| (other.weight.val(), other.bias.as_ref().map(|bias| bias.val())));
    ScorerCheckpoint::save_with_denoiser(dir.path(), &scorer, &other, &Metadata::new("diffprune", &scorer))
        .expect("saved");
    load(dir.path()).expect("the scorer loads");
    let fresh = LinearConfig::new(3, 5).init(&Device::flex());
    let read = ScorerCheckpoint::load_denoiser(dir.path(), fresh).expect("the denoiser loads");
    assert_eq!(values(read.weight.val()), values(other.weight.val()));
    let wrong = LinearConfig::new(3, 6).init(&Device::flex());
    assert!(matches!(
        ScorerCheckpoint::load_denoiser(dir.path(), wrong),
        Err(CheckpointError::Shape { .. })
    ));
    let (without, _) = saved(&ScorerConfig::mini(8));
    let fresh = LinearConfig::new(3, 5).init(&Device::flex());
    let error = ScorerCheckpoint::load_denoiser(without.path(), fresh).expect_err("no denoiser");
    assert!(
        matches!(&error, CheckpointError::MissingTensor { name, .. } if name == "denoiser.weight"),
        "{error:?}"
    );
}

#[test]
fn loading_onto_an_autodiff_device_gives_a_trainable_scorer() {
    let (dir, _) = saved(&ScorerConfig::mini(8));
    let device = Device::flex().autodiff();
    let (scorer, _) = ScorerCheckpoint::load(dir.path(), &device).expect("loaded");
    let x = burn::tensor::Tensor::<3>::ones([1, 3, 8], &device);
    let gradients = scorer.forward(x, None).sum().backward();
    assert!(scorer.head.weight.grad(&gradients).is_some());
    assert_eq!(scorer.num_params(), ScorerConfig::mini(8).num_params());
}
