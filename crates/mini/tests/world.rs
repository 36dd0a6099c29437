//! The small world is what it says: reproducible, fair, answerable, and readable in its official formats.

mod answerer;

use answerer::{meant, solve};
use diffprune_mini::{
    Boxes, Colour, Family, LETTERS, MiniCounts, MiniError, MiniWorld, Object, ProcessorIds, Question,
    QuestionKind, SUFFIX_LETTER, SYSTEM, Scene, SceneDataset, Split, Stop, WorldConfig, Written,
    build_tokenizer, caption, dense_labels, existence, image_labels, prompt, question_of_kind, questions,
    render, training_text, unanswerable, write_processor_files,
};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use tokenizers::Tokenizer;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn scenes(split: Split) -> Result<SceneDataset, MiniError> {
    SceneDataset::new(WorldConfig::default(), 11, split)
}

/// Scenes with their number.
fn numbered(set: &SceneDataset, n: u64) -> Vec<(u64, Scene)> {
    (0..n).map(|i| (i, set.get(i))).collect()
}

// Scenes

#[test]
fn a_scene_is_a_function_of_configuration_seed_and_number() -> Outcome {
    let (a, b) = (scenes(Split::Train)?, scenes(Split::Train)?);
    for i in [0, 1, 77, 1_000_000_007] {
        assert_eq!(a.get(i), b.get(i));
        assert_eq!(render(&a.get(i)), render(&b.get(i)));
        assert_ne!(a.get(i), a.get(i + 1));
        let other_seed = SceneDataset::new(WorldConfig::default(), 12, Split::Train)?;
        assert_ne!(a.get(i), other_seed.get(i));
    }
    Ok(())
}

#[test]
fn splits_share_no_scene() -> Outcome {
    let mut seen = HashSet::new();
    for split in [Split::Train, Split::Val, Split::Test] {
        for (_, scene) in numbered(&scenes(split)?, 500) {
            assert!(
                seen.insert(serde_json::to_string(&scene)?),
                "the same scene twice, one in {split:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn things_lie_inside_the_image_and_apart() -> Outcome {
    let set = scenes(Split::Train)?;
    for (i, scene) in numbered(&set, 2000) {
        let mut boxes: Vec<_> = scene.objects.iter().map(|o| o.bbox).collect();
        boxes.extend(scene.sign.iter().map(|s| s.bbox));
        for (k, a) in boxes.iter().enumerate() {
            let size = scene.image_size as f32;
            assert!(
                a.x0 >= 0.0 && a.y0 >= 0.0 && a.x1 <= size && a.y1 <= size,
                "scene {i}: {a:?}"
            );
            for b in &boxes[k + 1..] {
                assert!(!a.is_near(b, set.config().min_gap), "scene {i}: {a:?} and {b:?}");
            }
        }
        assert!((1..=4).contains(&scene.objects.len()), "scene {i}");
    }
    Ok(())
}

#[test]
fn every_kind_number_and_position_occurs() -> Outcome {
    let (mut pairs, mut letters, mut covered) = (HashSet::new(), HashSet::new(), vec![0u32; 144]);
    let (mut counts, mut signs, n) = ([0u32; 5], 0u32, 3000);
    for (_, scene) in numbered(&scenes(Split::Train)?, n) {
        pairs.extend(scene.objects.iter().map(|o| (o.shape, o.colour, o.size)));
        letters.extend(scene.sign.iter().flat_map(|s| s.text.chars().collect::<Vec<_>>()));
        counts[scene.objects.len()] += 1;
        signs += u32::from(scene.sign.is_some());
        let labels = dense_labels(&scene);
        covered
            .iter_mut()
            .zip(&labels.shape)
            .for_each(|(n, shape)| *n += u32::from(*shape > 0));
    }
    assert_eq!(pairs.len(), 8 * 8 * 2);
    assert_eq!(letters, HashSet::from_iter(LETTERS[..10].iter().copied()));
    assert!(
        covered.iter().all(|n| *n > 15),
        "patches never covered: {covered:?}"
    );
    for (objects, count) in counts.iter().enumerate().skip(1) {
        assert!(*count > 600, "{objects} objects in {count} of {n} scenes");
    }
    assert!((1350..1650).contains(&signs), "{signs} signs in {n} scenes");
    Ok(())
}

#[test]
fn impossible_configurations_are_named() {
    type Spoil = fn(&mut WorldConfig);
    let cases: [(&str, Spoil); 6] = [
        ("patch_size", |c| c.patch_size = 0),
        ("image_size", |c| c.image_size = 167),
        ("min_objects", |c| c.min_objects = 0),
        ("n_shapes", |c| c.n_shapes = 9),
        ("large", |c| c.large.min = 10.0),
        ("glyph_scale", |c| c.glyph_scale = 9),
    ];
    for (field, spoil) in cases {
        let mut config = WorldConfig::default();
        spoil(&mut config);
        match SceneDataset::new(config, 0, Split::Train) {
            Err(MiniError::Config { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

// Pictures and labels

#[test]
fn objects_are_painted_where_the_labels_say() -> Outcome {
    for (i, scene) in numbered(&scenes(Split::Train)?, 300) {
        let (image, labels) = (render(&scene), dense_labels(&scene));
        for patch in 0..144 {
            let (x0, y0) = ((patch % 12 * 14) as u32, (patch / 12 * 14) as u32);
            let pixels = (0..14).flat_map(|y| (0..14).map(move |x| (x0 + x, y0 + y)));
            let saturated = pixels
                .filter(|(x, y)| is_saturated(image.get_pixel(*x, *y).0))
                .count();
            let cover = labels.object_cover[patch];
            let share = saturated as f32 / 196.0;
            assert!(
                (share - cover).abs() < 0.2,
                "scene {i} patch {patch}: painted {share}, labelled {cover}"
            );
            assert!(labels.shape[patch] == 0 || cover > 0.0);
            assert!(
                cover < 0.25 || labels.shape[patch] > 0 || is_shared(&scene, patch),
                "scene {i} patch {patch}"
            );
        }
    }
    Ok(())
}

fn is_saturated(rgb: [u8; 3]) -> bool {
    rgb.iter()
        .max()
        .zip(rgb.iter().min())
        .is_some_and(|(max, min)| max - min > 48)
}

/// `true` if several boxes meet in the patch, so that none needs to cover a quarter.
fn is_shared(scene: &Scene, patch: usize) -> bool {
    let (x0, y0) = ((patch % 12 * 14) as f32, (patch / 12 * 14) as f32);
    let meets =
        |o: &&Object| o.bbox.x0 < x0 + 14.0 && o.bbox.x1 > x0 && o.bbox.y0 < y0 + 14.0 && o.bbox.y1 > y0;
    scene.objects.iter().filter(meets).count() > 1
}

#[test]
fn every_object_and_letter_owns_a_patch() -> Outcome {
    for (i, scene) in numbered(&scenes(Split::Val)?, 1000) {
        let labels = dense_labels(&scene);
        for object in &scene.objects {
            let place = scene.place(&object.bbox);
            let owned = (0..144).filter(|p| {
                labels.shape[*p] == object.shape.index() as u8 + 1
                    && labels.colour[*p] == object.colour.index() as u8 + 1
                    && labels.size[*p] == object.size.index() as u8 + 1
                    && labels.row_third[*p] == place.row + 1
                    && labels.column_third[*p] == place.column + 1
            });
            assert!(owned.count() > 0, "scene {i}: {object:?}");
        }
        let letters: Vec<char> = scene
            .sign
            .iter()
            .flat_map(|s| s.text.chars().collect::<Vec<_>>())
            .collect();
        for (k, letter) in letters.iter().enumerate() {
            let id = LETTERS
                .iter()
                .position(|l| l == letter)
                .map_or(0, |p| p as u8 + 1);
            let owned =
                (0..144).filter(|p| labels.letter_place[*p] == k as u8 + 1 && labels.letter[*p] == id);
            assert!(owned.count() > 0, "scene {i}: letter {k} of {letters:?}");
        }
        assert_eq!(labels.sign.contains(&1), !letters.is_empty());
    }
    Ok(())
}

#[test]
fn image_labels_count_what_is_there() -> Outcome {
    for (_, scene) in numbered(&scenes(Split::Test)?, 200) {
        let labels = image_labels(&scene);
        for object in &scene.objects {
            let (shape, colour) = (object.shape, object.colour);
            let same = scene
                .objects
                .iter()
                .filter(|o| o.shape == shape && o.colour == colour)
                .count();
            assert_eq!(labels.pairs[shape.index()][colour.index()] as usize, same);
        }
        assert_eq!(labels.shapes.iter().sum::<u8>() as usize, scene.objects.len());
        assert_eq!(labels.colours.iter().sum::<u8>() as usize, scene.objects.len());
        assert_eq!(
            labels.letters.iter().sum::<u8>(),
            if scene.sign.is_some() { 3 } else { 0 }
        );
        let facts = labels.presence();
        assert_eq!(facts[8 + 8 + 64 + scene.objects.len() - 1], 1.0);
        assert_eq!(facts[facts.len() - 1], f32::from(u8::from(scene.sign.is_some())));
    }
    Ok(())
}

// Questions

/// Training questions of many scenes.
fn asked(n: u64) -> Result<Vec<(Scene, Question)>, MiniError> {
    let set = scenes(Split::Train)?;
    let mut all = Vec::new();
    for (i, scene) in numbered(&set, n) {
        let found = questions(&scene, set.config(), &mut set.text_rng(i, 0), 6);
        assert_eq!(found.len(), 6, "scene {i}");
        all.extend(found.into_iter().map(|question| (scene.clone(), question)));
    }
    Ok(all)
}

#[test]
fn answers_follow_from_scene_and_words() -> Outcome {
    for (scene, question) in asked(2000)? {
        assert_eq!(
            solve(&scene, &question.text),
            question.answer,
            "{question:?} {scene:?}"
        );
    }
    Ok(())
}

#[test]
fn kinds_come_evenly_and_a_tenth_has_no_answer_in_every_form() -> Outcome {
    let (mut kinds, mut forms) = (BTreeMap::new(), BTreeMap::new());
    let all = asked(2500)?;
    for (_, question) in &all {
        *kinds.entry(question.kind).or_insert(0) += 1;
        if question.kind == QuestionKind::Unanswerable {
            *forms.entry(question.form).or_insert(0) += 1;
            assert_eq!(question.answer, "unanswerable");
        } else {
            assert_eq!(question.form, question.kind);
        }
    }
    for kind in QuestionKind::ALL {
        let share = f64::from(kinds[&kind]) / all.len() as f64;
        assert!((0.06..0.12).contains(&share), "{kind:?} {share}");
    }
    for form in QuestionKind::OPEN_FORMS {
        let share = f64::from(forms[&form]) / f64::from(kinds[&QuestionKind::Unanswerable]);
        assert!((0.08..0.20).contains(&share), "{form:?} {share}");
    }
    Ok(())
}

#[test]
fn yes_and_no_are_even_and_the_words_do_not_tell() -> Outcome {
    let set = scenes(Split::Train)?;
    let mut tally: BTreeMap<(QuestionKind, &str), [u32; 2]> = BTreeMap::new();
    for (i, scene) in numbered(&set, 4000) {
        let mut rng = set.text_rng(i, 3);
        for kind in QuestionKind::ALL
            .into_iter()
            .filter(|k| k.is_existence() || *k == QuestionKind::Relation)
        {
            let Some(question) = question_of_kind(&scene, set.config(), kind, &mut rng) else {
                continue;
            };
            let has_colour = Colour::ALL.iter().any(|c| question.text.contains(c.word()));
            let wording = match (kind, has_colour, question.text.contains("object")) {
                (QuestionKind::Relation, ..) => RELATION_WORDS
                    .iter()
                    .find(|w| question.text.contains(**w))
                    .copied(),
                (_, true, true) => Some("colour"),
                (_, true, false) => Some("pair"),
                _ => Some("shape"),
            };
            tally.entry((kind, wording.unwrap_or("other"))).or_default()
                [usize::from(question.answer == "yes")] += 1;
        }
    }
    assert_eq!(tally.len(), 3 + 1 + 1 + 4, "{tally:?}");
    for (wording, [no, yes]) in &tally {
        let share = f64::from(*yes) / f64::from(yes + no);
        assert!((0.44..0.56).contains(&share), "{wording:?}: {yes} yes, {no} no");
    }
    Ok(())
}

const RELATION_WORDS: [&str; 4] = ["left of", "right of", "above", "below"];

#[test]
fn adversarial_negatives_share_a_shape_or_a_colour_with_the_scene() -> Outcome {
    let set = scenes(Split::Val)?;
    for (i, scene) in numbered(&set, 500) {
        let mut rng = set.text_rng(i, 0);
        let question = existence(
            &scene,
            set.config(),
            QuestionKind::ExistenceAdversarial,
            false,
            &mut rng,
        )
        .ok_or("no adversarial question")?;
        let phrase = question
            .text
            .trim_start_matches("Is there ")
            .trim_end_matches(" in the image?");
        let words: Vec<&str> = phrase.split_whitespace().skip(1).collect();
        let shared = words
            .iter()
            .filter(|word| !meant(&scene, word).is_empty())
            .count();
        assert!(
            shared >= 1 && meant(&scene, phrase).is_empty(),
            "scene {i}: {phrase}"
        );
    }
    Ok(())
}

#[test]
fn forms_without_absence_have_no_unanswerable_question() -> Outcome {
    let set = scenes(Split::Val)?;
    let scene = set.get(0);
    let mut rng = set.text_rng(0, 0);
    assert!(unanswerable(&scene, set.config(), QuestionKind::ExistenceRandom, &mut rng).is_none());
    assert!(existence(&scene, set.config(), QuestionKind::Colour, true, &mut rng).is_none());
    Ok(())
}

#[test]
fn smaller_worlds_only_speak_of_what_they_have() -> Outcome {
    let config = WorldConfig {
        n_shapes: 3,
        n_colours: 3,
        n_letters: 4,
        max_objects: 2,
        ..WorldConfig::default()
    };
    let set = SceneDataset::new(config, 5, Split::Train)?;
    for (i, scene) in numbered(&set, 400) {
        assert!(
            scene
                .objects
                .iter()
                .all(|o| o.shape.index() < 3 && o.colour.index() < 3)
        );
        for question in questions(&scene, set.config(), &mut set.text_rng(i, 0), 6) {
            assert_eq!(solve(&scene, &question.text), question.answer, "{question:?}");
            assert!(
                !question.text.contains("star") && !question.text.contains("yellow"),
                "{question:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn captions_name_everything_in_the_scene() -> Outcome {
    let set = scenes(Split::Train)?;
    for (i, scene) in numbered(&set, 500) {
        let text = caption(&scene, &mut set.text_rng(i, 0));
        for object in &scene.objects {
            let place = scene.place(&object.bbox).phrase();
            let words = format!(
                "a {} {} {} {place}",
                object.size.word(),
                object.colour.word(),
                object.shape.word()
            );
            assert!(text.contains(&words), "{text}: {words}");
        }
        let letters = scene.sign.as_ref().map(|sign| sign.spelled()).unwrap_or_default();
        assert!(text.contains(&letters), "{text}: {letters}");
    }
    Ok(())
}

// Tokenizer

fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Box<dyn std::error::Error>> {
    Ok(tokenizer
        .encode(text, true)
        .map_err(|e| e.to_string())?
        .get_ids()
        .to_vec())
}

#[test]
fn no_word_of_the_world_is_unknown() -> Outcome {
    let tokenizer = build_tokenizer(Family::Llava15)?;
    let set = scenes(Split::Train)?;
    for (i, scene) in numbered(&set, 400) {
        let mut rng = set.text_rng(i, 0);
        let mut texts = vec![caption(&scene, &mut rng)];
        for question in questions(&scene, set.config(), &mut rng, 6) {
            texts.push(training_text(&question.text, &question.answer));
            texts.push(format!(
                "{SYSTEM} USER: <image>\n{}\n{SUFFIX_LETTER} ASSISTANT:",
                question.text
            ));
            texts.push(format!("{}\nReference OCR token: H, K\n", question.text));
        }
        for text in texts {
            assert!(!ids(&tokenizer, &text)?.contains(&0), "{text}");
        }
    }
    Ok(())
}

#[test]
fn captions_and_answers_come_back_from_their_ids() -> Outcome {
    let tokenizer = build_tokenizer(Family::Llava15)?;
    let set = scenes(Split::Train)?;
    for (i, scene) in numbered(&set, 200) {
        let mut rng = set.text_rng(i, 0);
        let answers = questions(&scene, set.config(), &mut rng, 6)
            .into_iter()
            .map(|q| q.answer);
        for text in answers.chain([caption(&scene, &mut rng)]) {
            let ids = ids(&tokenizer, &text)?;
            assert_eq!(ids[0], 1, "no <s> before {text}");
            assert_eq!(tokenizer.decode(&ids, true).map_err(|e| e.to_string())?, text);
        }
    }
    Ok(())
}

#[test]
fn a_prompt_is_short_and_its_fixed_parts_are_one_token_each() -> Outcome {
    let tokenizer = build_tokenizer(Family::Llava15)?;
    let tokens = tokenizer
        .encode(prompt("Is there a red circle in the image?"), true)
        .map_err(|e| e.to_string())?;
    let expected = [
        "<s>",
        "USER:",
        "<image>",
        "Is",
        "there",
        "a",
        "red",
        "circle",
        "in",
        "the",
        "image",
        "?",
        "Answer the question using a single word or phrase.",
        "ASSISTANT:",
    ];
    assert_eq!(tokens.get_tokens(), expected);
    Ok(())
}

#[test]
fn processor_files_are_read_back_with_the_same_ids() -> Outcome {
    let dir = tempfile::tempdir()?;
    let found = write_processor_files(dir.path(), Family::Llava15, &WorldConfig::default())?;
    assert_eq!(found, ProcessorIds::of(Family::Llava15));
    let read = Tokenizer::from_file(dir.path().join("tokenizer.json")).map_err(|e| e.to_string())?;
    assert_eq!(read.get_vocab_size(true), found.vocab_size);
    assert!(found.vocab_size.is_multiple_of(16));
    let special = ["<unk>", "<s>", "</s>", "<pad>", "<image>"];
    let wanted = [found.unk, found.bos, found.eos, found.pad, found.image];
    assert_eq!(special.map(|token| read.token_to_id(token)), wanted.map(Some));
    let text = prompt("What does the sign say?");
    assert_eq!(
        ids(&read, &text)?,
        ids(&build_tokenizer(Family::Llava15)?, &text)?
    );
    for name in fs::read_dir(dir.path())?.collect::<Result<Vec<_>, _>>()? {
        if name.path().extension().is_some_and(|e| e == "json") {
            serde_json::from_str::<Value>(&fs::read_to_string(name.path())?)?;
        }
    }
    let image: Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("preprocessor_config.json"))?)?;
    assert_eq!(image["crop_size"]["height"], 168);
    Ok(())
}

#[test]
fn an_unwritable_folder_is_an_error_that_names_the_file() {
    let missing = Path::new("no such folder").join("deeper");
    let error = write_processor_files(&missing, Family::Llava15, &WorldConfig::default());
    assert!(
        matches!(&error, Err(MiniError::Io { path, .. }) if path.starts_with(&missing)),
        "{error:?}"
    );
}

// Files

fn small_world() -> MiniWorld {
    let counts = MiniCounts {
        pope_images: 12,
        gqa_per_kind: 15,
        textvqa_questions: 9,
        vqav2_questions: 10,
        vizwiz_questions: 24,
        mme_pictures: 2,
        mmbench_questions: 6,
        mmbench_cn_questions: 5,
        seed_bench_questions: 7,
        scienceqa_questions: 8,
        train_captions: 14,
        val_captions: 5,
    };
    MiniWorld {
        counts,
        seed: 3,
        ..MiniWorld::default()
    }
}

fn json(path: &Path) -> Result<Value, Box<dyn std::error::Error>> {
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

fn lines(path: &Path) -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    fs::read_to_string(path)?
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn a_world_is_written_once_and_the_same_each_time() -> Outcome {
    let root = tempfile::tempdir()?;
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let progress = |p: diffprune_mini::Progress| {
        seen.fetch_max(p.done, std::sync::atomic::Ordering::Relaxed);
    };
    let first = small_world().write(&a, &Stop::default(), &progress)?;
    let n = seen.into_inner();
    assert_eq!(first, Written::New { drawn: n });
    small_world().write(&b, &Stop::default(), &|_| {})?;
    assert_eq!(
        small_world().write(&a, &Stop::default(), &|_| {})?,
        Written::AlreadyThere
    );
    let boxes = Boxes::read(&a.join("boxes.json"))?;
    // Eleven questions of MMBench and MMBench-CN have their pictures inside the tables.
    assert_eq!(boxes.images.len(), n + 11);
    for edition in ["mmbench/MMBench_DEV_EN.tsv", "mmbench_cn/MMBench_DEV_CN.tsv"] {
        assert_eq!(fs::read(a.join(edition))?, fs::read(b.join(edition))?);
    }
    for (path, truth) in &boxes.images {
        if !path.contains(".tsv/") {
            assert_eq!(fs::read(a.join(path))?, fs::read(b.join(path))?);
            let picture = image::load_from_memory(&fs::read(a.join(path))?)?;
            assert_eq!(picture.into_rgb8().dimensions(), (168, 168));
        }
        assert_eq!(truth.relevance.len(), 144);
        assert!(truth.relevance.iter().any(|r| *r > 0.25));
    }
    assert_eq!(
        fs::read_dir(root.path())?.count(),
        2,
        "something was left beside the worlds"
    );
    Ok(())
}

#[test]
fn an_interrupted_world_is_taken_up_and_a_foreign_folder_is_left_alone() -> Outcome {
    let root = tempfile::tempdir()?;
    let (whole, cut) = (root.path().join("whole"), root.path().join("cut"));
    small_world().write(&whole, &Stop::default(), &|_| {})?;
    // What a killed run leaves: the hidden folder with its marker and some pictures.
    let hidden = root.path().join(".cut.unfinished");
    fs::rename(&whole, &hidden)?;
    fs::rename(hidden.join("manifest.json"), hidden.join("unfinished.json"))?;
    let lost = [
        "pope/val2014/COCO_val2014_000000000002.png",
        "captions/train/images/000003.png",
    ];
    for path in lost {
        fs::remove_file(hidden.join(path))?;
    }
    assert_eq!(
        small_world().write(&cut, &Stop::default(), &|_| {})?,
        Written::New { drawn: lost.len() }
    );
    assert!(!hidden.exists() && cut.join(lost[0]).exists() && cut.join("manifest.json").exists());

    let other = MiniWorld {
        seed: 4,
        ..small_world()
    };
    assert!(matches!(
        other.write(&cut, &Stop::default(), &|_| {}),
        Err(MiniError::Occupied { .. })
    ));
    let foreign = root.path().join("foreign");
    fs::create_dir(&foreign)?;
    fs::write(foreign.join("thesis.txt"), "do not delete")?;
    assert!(matches!(
        other.write(&foreign, &Stop::default(), &|_| {}),
        Err(MiniError::Occupied { .. })
    ));
    assert!(foreign.join("thesis.txt").exists());
    Ok(())
}

#[test]
fn impossible_question_counts_are_an_error() -> Outcome {
    let root = tempfile::tempdir()?;
    let mut world = small_world();
    world.config.sign_probability = 0.0;
    let error = world.write(&root.path().join("w"), &Stop::default(), &|_| {});
    assert!(matches!(error, Err(MiniError::TooFew { .. })), "{error:?}");
    assert!(!root.path().join("w").exists());
    Ok(())
}

#[test]
fn pope_files_agree_line_by_line_and_are_balanced() -> Outcome {
    let root = tempfile::tempdir()?;
    let dir = root.path().join("world");
    small_world().write(&dir, &Stop::default(), &|_| {})?;
    let asked = lines(&dir.join("pope/llava_pope_test.jsonl"))?;
    assert_eq!(
        asked
            .iter()
            .map(|row| row["question_id"].as_u64())
            .collect::<HashSet<_>>()
            .len(),
        asked.len()
    );
    let mut total = 0;
    for set in ["adversarial", "popular", "random"] {
        let labels = lines(&dir.join(format!("pope/coco/coco_pope_{set}.json")))?;
        let own: Vec<&Value> = asked.iter().filter(|row| text(row, "category") == set).collect();
        assert_eq!(labels.len(), own.len());
        for (label, row) in labels.iter().zip(own) {
            assert_eq!(label["image"], row["image"]);
            assert_eq!(text(row, "text").split('\n').next(), label["text"].as_str());
            assert!(dir.join("pope/val2014").join(text(label, "image")).is_file());
        }
        let yes = labels
            .iter()
            .filter(|label| text(label, "label") == "yes")
            .count();
        assert_eq!(2 * yes, labels.len(), "{set}");
        assert!(labels.len() >= 12 * 2, "{set}: {}", labels.len());
        total += labels.len();
    }
    assert_eq!(total, asked.len());
    Ok(())
}

#[test]
fn gqa_files_hold_every_kind_and_images_exist() -> Outcome {
    let root = tempfile::tempdir()?;
    let dir = root.path().join("world");
    small_world().write(&dir, &Stop::default(), &|_| {})?;
    let file = json(&dir.join("gqa/data/questions1.2/testdev_balanced_questions.json"))?;
    let entries = file.as_object().ok_or("no object")?;
    let rows = lines(&dir.join("gqa/llava_gqa_testdev_balanced.jsonl"))?;
    assert_eq!(rows.len(), entries.len());
    let mut kinds = BTreeMap::new();
    for row in &rows {
        let entry = &entries[text(row, "question_id")];
        assert_eq!(text(row, "text").split('\n').next(), entry["question"].as_str());
        assert_eq!(text(row, "image"), format!("{}.png", text(entry, "imageId")));
        assert!(dir.join("gqa/data/images").join(text(row, "image")).is_file());
        assert_eq!(text(entry, "answer"), text(entry, "answer").to_lowercase());
        *kinds.entry(text(&entry["types"], "detailed")).or_insert(0) += 1;
    }
    let wanted = [
        "colour",
        "count",
        "multiple_choice",
        "position",
        "relation",
        "shape",
    ]
    .map(|kind| (kind, 15));
    assert_eq!(kinds, wanted.into_iter().chain([("unanswerable", 10)]).collect());
    Ok(())
}

#[test]
fn textvqa_files_join_by_image_and_question() -> Outcome {
    let root = tempfile::tempdir()?;
    let dir = root.path().join("world");
    small_world().write(&dir, &Stop::default(), &|_| {})?;
    let boxes = Boxes::read(&dir.join("boxes.json"))?;
    let file = json(&dir.join("textvqa/TextVQA_0.5.1_val.json"))?;
    let ocr = json(&dir.join("textvqa/TextVQA_Rosetta_OCR_v0.2_val.json"))?;
    let rows = lines(&dir.join("textvqa/llava_textvqa_val_v051_ocr.jsonl"))?;
    let data = file["data"].as_array().ok_or("no data")?;
    assert_eq!(
        (data.len(), rows.len(), ocr["data"].as_array().map(Vec::len)),
        (9, 9, Some(9))
    );
    for (entry, row) in data.iter().zip(&rows) {
        assert_eq!(entry["image_id"], row["question_id"]);
        let question = text(row, "text")
            .split('\n')
            .next()
            .unwrap_or_default()
            .to_lowercase();
        assert_eq!(question, text(entry, "question"));
        let path = format!("textvqa/train_images/{}", text(row, "image"));
        let sign = boxes.images[&path].sign.as_ref().ok_or("no sign")?;
        let answers = entry["answers"].as_array().ok_or("no answers")?;
        assert_eq!(answers.len(), 10);
        let right = sign.text.chars().map(String::from).collect::<Vec<_>>().join(" ");
        let agree = answers
            .iter()
            .filter(|answer| answer.as_str() == Some(&right.to_lowercase()));
        assert!(agree.count() >= 8, "{answers:?}");
    }
    Ok(())
}

#[test]
fn caption_files_name_pictures_beside_them() -> Outcome {
    let root = tempfile::tempdir()?;
    let dir = root.path().join("world");
    small_world().write(&dir, &Stop::default(), &|_| {})?;
    for (split, n) in [("train", 14), ("val", 5)] {
        let folder = dir.join("captions").join(split);
        let rows = lines(&folder.join("captions.jsonl"))?;
        assert_eq!(rows.len(), n);
        for row in rows {
            assert!(folder.join(text(&row, "image")).is_file());
            assert!(text(&row, "caption").ends_with('.'));
        }
    }
    Ok(())
}
