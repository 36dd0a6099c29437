//! Methods by name and by settings, in the texts of earlier releases too.

use diffprune_learned::{
    Atp, DynamicLlava, GlimpsePrune, GumbelBackward, GumbelSte, HeadConfig, Method, Operator, methods,
};
use diffprune_softtopk::SoftTopKKind;

#[test]
fn texts_and_settings_name_methods() {
    for (text, name) in [
        ("throttle", "diffprune"),
        ("diffprune", "diffprune"),
        ("gumbel", "gumbel_ste"),
        ("gumbel_ste_soft", "gumbel_ste_soft"),
        ("operator:neural-sort", "operator_neural_sort"),
        ("dynamic-vit", "dynamic_vit"),
        ("dynamic_llava", "dynamic_llava"),
        ("atp", "atp"),
        ("glimpse", "glimpse_prune"),
        ("glimpse_prune", "glimpse_prune"),
    ] {
        let method: Method = text.parse().unwrap();
        assert_eq!(method.name(), name);
        let written = toml::to_string(&method).unwrap();
        assert_eq!(toml::from_str::<Method>(&written).unwrap(), method, "{written}");
    }
    for text in [
        "best",
        "operator",
        "operator:",
        "operator:best",
        "dynamic",
        "atp:2",
    ] {
        let error = text.parse::<Method>().unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    let default: Method = toml::from_str("kind = \"dynamic_llava\"").unwrap();
    assert_eq!(default, DynamicLlava::default().into());
    assert!(toml::from_str::<Method>("kind = \"atp\"\nratio_weight = 1.0").is_err());
}

#[test]
fn settings_of_earlier_releases_are_read_and_written_as_they_were() {
    for (text, method) in [
        ("kind = \"throttle\"\n", Method::default()),
        (
            "kind = \"gumbel_ste\"\nbackward = \"soft\"\n",
            GumbelSte::new(GumbelBackward::Soft).into(),
        ),
        (
            "kind = \"operator\"\noperator = \"clip\"\n",
            "operator:clip".parse().unwrap(),
        ),
        (
            "kind = \"operator\"\noperator = \"gumbel_softmax\"\nratio_weight = 3.5\n",
            Operator {
                ratio_weight: Some(3.5),
                ..Operator::new(SoftTopKKind::GumbelSoftmax)
            }
            .into(),
        ),
        (
            "kind = \"dynamic_vit\"\nratio_weight = 2.0\n",
            "dynamic-vit".parse().unwrap(),
        ),
        (
            "kind = \"dynamic_llava\"\nratio_weight = 100.0\n",
            DynamicLlava::default().into(),
        ),
        ("kind = \"atp\"\ncount_weight = 0.2\n", Atp::default().into()),
        (
            "kind = \"glimpse_prune\"\ndice_weight = 1.0\nbce_weight = 0.1\n",
            GlimpsePrune::default().into(),
        ),
    ] {
        assert_eq!(toml::from_str::<Method>(text).unwrap(), method, "{text}");
        assert_eq!(toml::to_string(&method).unwrap(), text);
    }
    let head = "kind = \"glimpse\"\nd_model = 16\nn_maps = 2\nd_map = 8\nd_hidden = 16\nd_condition = 32\nn_heads = 4\nn_layers = 4\n";
    let read: HeadConfig = toml::from_str(head).unwrap();
    assert_eq!(toml::to_string(&read).unwrap(), head);
    assert_eq!((read.name(), read.d_model()), ("glimpse", 16));
}

#[test]
fn no_name_stands_for_two_methods() {
    let mut names: Vec<&str> = methods()
        .flat_map(|method| method.aliases.iter().copied().chain([method.name]))
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert_eq!(
        methods().next().map(|method| (method.init)()),
        Some(Method::default())
    );
}

#[test]
fn the_page_about_learned_methods_has_all_of_them() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/learned.md");
    let page = std::fs::read_to_string(page).unwrap();
    let missing: Vec<&str> = methods()
        .map(|method| method.name)
        .filter(|name| !page.contains(&format!("`{name}`")) && !page.contains(&format!("`{name}:")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
