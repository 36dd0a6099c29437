//! Questions in the styles of the ten benchmarks are answered rightly, fairly and in known words.

mod answerer;

use answerer::{meant, only, region, solve};
use diffprune_mini::{
    Family, MiniError, Prompts, QuestionKind, Scene, SceneDataset, Split, Style, Turn, WorldConfig,
    build_tokenizer, caption, practice, prompts_of, render, turns,
};
use std::collections::BTreeMap;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// English words of the Chinese ones, in an order in which none is part of a later one's rest.
const TRANSLATIONS: [(&str, &str); 33] = [
    ("图中有几个", "How many "),
    ("是什么颜色？", " color"),
    ("是什么形状？", " shape"),
    ("在哪里？", " where"),
    ("圆形", "circle"),
    ("正方形", "square"),
    ("三角形", "triangle"),
    ("十字形", "cross"),
    ("圆环", "ring"),
    ("星形", "star"),
    ("月牙", "moon"),
    ("菱形", "diamond"),
    ("红色", "red"),
    ("绿色", "green"),
    ("蓝色", "blue"),
    ("黄色", "yellow"),
    ("紫色", "purple"),
    ("青色", "cyan"),
    ("粉色", "pink"),
    ("橙色", "orange"),
    ("小", "small"),
    ("大", "large"),
    ("左上角", "top left"),
    ("右上角", "top right"),
    ("左下角", "bottom left"),
    ("右下角", "bottom right"),
    ("上方", "top"),
    ("下方", "bottom"),
    ("左侧", "left"),
    ("右侧", "right"),
    ("中间", "center"),
    ("物体", "object"),
    ("牌子", "sign"),
];

fn scenes() -> Result<SceneDataset, MiniError> {
    SceneDataset::new(WorldConfig::default(), 23, Split::Train)
}

/// Turns of the first `n` scenes as training has them.
fn taught(n: u64, prompts: Prompts) -> Result<Vec<(Scene, Turn)>, MiniError> {
    let set = scenes()?;
    let mut all = Vec::new();
    for i in 0..n {
        let scene = set.get_or_blur(i);
        let found = turns(&scene, set.config(), prompts, &mut set.text_rng(i, 0), 8);
        assert_eq!(found.len(), if scene.blurred { 2 } else { 8 }, "scene {i}");
        all.extend(found.into_iter().map(|turn| (scene.clone(), turn)));
    }
    Ok(all)
}

/// Turns of practice about the first `n` scenes; a blurred one has none.
fn practised(n: u64, prompts: Prompts) -> Result<Vec<(Scene, Turn)>, MiniError> {
    let set = scenes()?;
    let mut all = Vec::new();
    for i in 0..n {
        let scene = set.get_or_blur(i);
        let found = practice(&scene, set.config(), prompts, &mut set.text_rng(i, 0), 8);
        assert!(!scene.blurred || found.is_empty(), "scene {i}");
        all.extend(found.into_iter().map(|turn| (scene.clone(), turn)));
    }
    Ok(all)
}

fn english(text: &str) -> String {
    TRANSLATIONS
        .iter()
        .fold(text.to_owned(), |text, (chinese, english)| {
            text.replace(chinese, english)
        })
        .replace('的', " ")
}

/// A Chinese question in the words of the English ones.
fn english_question(text: &str) -> String {
    let text = english(text);
    if let Some(what) = text.strip_suffix(" color") {
        format!("What color is the {what}?")
    } else if let Some(what) = text.strip_suffix(" shape") {
        format!("What shape is the {what}?")
    } else if let Some(what) = text.strip_suffix(" where") {
        format!("Where is the {what}?")
    } else {
        text.replace('？', " are there?").replace("object", "objects")
    }
}

/// The question with the owner's object in the place of the owner.
fn without_owner(turn: &Turn) -> String {
    let hint = turn.hint.as_deref().unwrap_or_default();
    let mut question = turn.question.clone();
    for said in hint.split('.') {
        if let Some((name, object)) = said.trim().split_once(" has the ") {
            question = question.replace(&format!("object of {name}"), object);
        }
    }
    question
}

fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// The answer to a yes/no question about number, word, place or colour; else that of [`solve`].
fn answer(scene: &Scene, question: &str) -> String {
    let number = |word: &str| ["one", "two", "three", "four"].iter().position(|n| *n == word);
    let bare = question.trim_end_matches(" in this image?");
    if let Some((_, rest)) = bare.split_once("there ")
        && let Some((word, phrase)) = rest.split_once(' ')
        && let Some(n) = number(word)
    {
        return yes_no(meant(scene, phrase).len() == n + 1);
    }
    if let Some(word) = question.strip_prefix("Is the word on the sign ") {
        let word = word.trim_end_matches('?').trim_matches('"');
        return yes_no(scene.sign.as_ref().is_some_and(|sign| sign.spelled() == word));
    }
    if let Some(rest) = question.strip_prefix("Is the ") {
        let rest = rest.trim_end_matches('?');
        let place = ["at", "on", "in"].iter().find_map(|preposition| {
            rest.trim_end_matches(" of the image")
                .split_once(&format!(" {preposition} the "))
        });
        if let Some((phrase, place)) = place {
            let centre = match phrase {
                "sign" => scene.sign.as_ref().map(|sign| sign.bbox.centre()),
                _ => only(scene, phrase).map(|i| scene.objects[i].centre),
            };
            return yes_no(centre.is_some_and(|centre| region(centre, scene.image_size) == place));
        }
        if let Some((phrase, colour)) = rest.rsplit_once(' ')
            && let Some(i) = only(scene, phrase)
            && !rest.contains(" the ")
        {
            return yes_no(scene.objects[i].colour.word() == colour);
        }
    }
    solve(scene, &question.replace("this image", "the image"))
}

fn expected(scene: &Scene, turn: &Turn) -> String {
    if scene.blurred {
        return "unanswerable".to_owned();
    }
    if turn.options.is_empty() {
        return answer(scene, &turn.question);
    }
    let (question, options): (String, Vec<String>) = match turn.style {
        Style::MmBenchCn => (
            english_question(&turn.question),
            turn.options.iter().map(|o| english(o)).collect(),
        ),
        _ => (without_owner(turn), turn.options.clone()),
    };
    let value = solve(scene, &question);
    let right: Vec<String> = ('A'..)
        .zip(&options)
        .filter(|(_, option)| **option == value)
        .map(|(letter, _)| letter.to_string())
        .collect();
    assert_eq!(right.len(), 1, "{turn:?}: {value}");
    right.concat()
}

#[test]
fn answers_follow_from_scene_and_words() -> Outcome {
    for prompts in [Prompts::Llava, Prompts::LmmsEval] {
        let all = taught(1000, prompts)?
            .into_iter()
            .chain(practised(1000, prompts)?);
        for (scene, turn) in all {
            assert_eq!(turn.answer, expected(&scene, &turn), "{turn:?}\n{scene:?}");
        }
    }
    Ok(())
}

#[test]
fn no_word_is_unknown() -> Outcome {
    for family in Family::ALL {
        let tokenizer = build_tokenizer(family)?;
        let prompts = prompts_of(family);
        let all = taught(600, prompts)?.into_iter().chain(practised(600, prompts)?);
        for (_, turn) in all {
            for text in [&turn.text, &turn.answer] {
                let ids = tokenizer.encode(text.as_str(), true).map_err(|e| e.to_string())?;
                assert!(!ids.get_ids().contains(&0), "{text}: {:?}", ids.get_tokens());
            }
        }
    }
    Ok(())
}

#[test]
fn styles_kinds_and_answers_come_as_often_as_they_should() -> Outcome {
    let all = taught(3000, Prompts::Llava)?;
    let clear: Vec<&Turn> = all
        .iter()
        .filter(|(scene, _)| !scene.blurred)
        .map(|(_, turn)| turn)
        .collect();
    let share = |part: &dyn Fn(&Turn) -> bool, whole: &dyn Fn(&Turn) -> bool| {
        let whole: Vec<_> = clear.iter().filter(|turn| whole(turn)).collect();
        whole.iter().filter(|turn| part(turn)).count() as f64 / whole.len() as f64
    };
    let first = [Style::Pope, Style::Gqa, Style::TextVqa];
    let of_first = share(&|turn| first.contains(&turn.style), &|_| true);
    assert!((0.5..0.65).contains(&of_first), "{of_first}");
    for style in Style::ALL {
        let n = share(&|turn| turn.style == style, &|_| true);
        assert!(n > 0.02, "{style:?}: {n}");
    }
    for style in [Style::Pope, Style::Mme] {
        let yes = share(&|turn| turn.answer == "yes", &|turn| turn.style == style);
        assert!((0.46..0.54).contains(&yes), "{style:?}: {yes}");
    }
    let unanswerable = share(&|turn| turn.answer == "unanswerable", &|turn| {
        turn.style == Style::VizWiz
    });
    assert!((0.28..0.4).contains(&unanswerable), "{unanswerable}");
    let (lettered, most): ([Style; 4], [usize; 4]) = (
        [
            Style::MmBench,
            Style::MmBenchCn,
            Style::SeedBench,
            Style::ScienceQa,
        ],
        [4, 4, 4, 5],
    );
    for (style, most) in lettered.into_iter().zip(most) {
        let counts: Vec<usize> = (2..=most)
            .map(|n| {
                clear
                    .iter()
                    .filter(|t| t.style == style && t.options.len() == n)
                    .count()
            })
            .collect();
        let least = if style == Style::SeedBench { 4 } else { 2 };
        for (n, count) in (2..).zip(counts) {
            assert_eq!(
                count > 50,
                n >= least,
                "{style:?}: {count} questions of {n} options"
            );
        }
    }
    for n in 2..=5 {
        for letter in ["A", "B", "C", "D", "E"].iter().take(n) {
            let found = share(&|turn| turn.answer == **letter, &|turn| turn.options.len() == n);
            let even = 1.0 / n as f64;
            assert!((found - even).abs() < 0.07, "{letter} of {n}: {found}");
        }
    }
    Ok(())
}

#[test]
fn blurred_scenes_are_rare_unanswerable_and_asked_about_by_vizwiz_only() -> Outcome {
    let set = scenes()?;
    let blurred: Vec<Scene> = (0..2000)
        .map(|i| set.get_or_blur(i))
        .filter(|s| s.blurred)
        .collect();
    assert!((50..110).contains(&blurred.len()), "{}", blurred.len());
    for (i, scene) in blurred.iter().enumerate() {
        let mut rng = set.text_rng(i as u64, 3);
        for turn in turns(scene, set.config(), Prompts::Llava, &mut rng, 8) {
            assert_eq!(
                (turn.style, turn.kind, turn.answer.as_str()),
                (Style::VizWiz, QuestionKind::Unanswerable, "unanswerable")
            );
        }
        assert!(
            caption(scene, &mut rng).ends_with("nothing ."),
            "a caption of a blurred scene"
        );
        let sharp = Scene {
            blurred: false,
            ..scene.clone()
        };
        let (blurred, sharp) = (contrast(scene), contrast(&sharp));
        assert!(blurred < 0.15 * sharp, "{blurred} against {sharp}");
    }
    Ok(())
}

/// The largest difference between neighbouring pixels.
fn contrast(scene: &Scene) -> f32 {
    let image = render(scene);
    let differences = image.rows().flat_map(|row| {
        let pixels: Vec<_> = row.collect();
        pixels
            .windows(2)
            .map(|pair| pair[0].0[0].abs_diff(pair[1].0[0]))
            .collect::<Vec<_>>()
    });
    f32::from(differences.max().unwrap_or(0))
}

#[test]
fn the_words_of_a_yes_no_question_do_not_tell() -> Outcome {
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for (_, turn) in taught(6000, Prompts::Llava)? {
        if turn.style == Style::Mme {
            for word in turn.question.trim_end_matches('?').split_whitespace() {
                let count = counts.entry(word.to_owned()).or_default();
                count.0 += u32::from(turn.answer == "yes");
                count.1 += 1;
            }
        }
    }
    let frequent: Vec<_> = counts.iter().filter(|(_, (_, n))| *n > 300).collect();
    assert!(frequent.len() > 25, "{counts:?}");
    for (word, (yes, n)) in frequent {
        let share = f64::from(*yes) / f64::from(*n);
        assert!((0.38..0.62).contains(&share), "{word}: {share} of {n}");
    }
    Ok(())
}

#[test]
fn texts_are_those_of_the_two_protocols() -> Outcome {
    let mut seen = 0;
    for (prompts, lead, end) in [
        (
            Prompts::Llava,
            "",
            "\nAnswer with the option's letter from the given choices directly.",
        ),
        (
            Prompts::LmmsEval,
            " There are several options:",
            "\n\nAnswer with the option's letter from the given choices directly.",
        ),
    ] {
        for (_, turn) in taught(100, prompts)? {
            if turn.style == Style::MmBench && turn.hint.is_none() {
                let options: Vec<String> = ('A'..)
                    .zip(&turn.options)
                    .map(|(letter, option)| format!("\n{letter}. {option}"))
                    .collect();
                assert_eq!(
                    turn.text,
                    format!("{}{lead}{}{end}", turn.question, options.concat())
                );
                seen += 1;
            }
            if turn.style == Style::ScienceQa && turn.hint.is_some() {
                assert!(turn.text.starts_with("Context: "), "{turn:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "{seen}");
    Ok(())
}
