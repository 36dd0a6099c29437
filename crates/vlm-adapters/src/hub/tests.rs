//! The client against a hub on the loopback interface.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use diffprune_test_hub::{COMMIT, MODEL, Server, Trouble, sha256};

use super::*;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const SHARDS: [&str; 2] = [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];

fn weights(n: usize, seed: usize) -> Vec<u8> {
    (0..n).map(|i| ((i * 31 + seed * 7) % 251) as u8).collect()
}

/// A model in one weight file, with much that nobody needs.
fn whole() -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([
        ("config.json".into(), b"{\"model_type\": \"llava\"}".to_vec()),
        ("tokenizer.json".into(), b"{}".to_vec()),
        ("model.safetensors".into(), weights(700_000, 1)),
        ("pytorch_model.bin".into(), weights(1000, 2)),
        ("onnx/model.safetensors".into(), weights(1000, 3)),
        ("README.md".into(), b"# model".to_vec()),
    ])
}

fn sharded() -> BTreeMap<String, Vec<u8>> {
    let map: Vec<_> = SHARDS
        .iter()
        .map(|shard| format!(r#""of {shard}": "{shard}""#))
        .collect();
    let index = format!(r#"{{"weight_map": {{{}}}}}"#, map.join(","));
    let mut files = whole();
    files.remove("model.safetensors");
    files.insert("model.safetensors.index.json".into(), index.into_bytes());
    files.extend(
        SHARDS
            .iter()
            .enumerate()
            .map(|(i, shard)| (shard.to_string(), weights(50_000 + i, i))),
    );
    files
}

fn options(server: &Server, cache: &Path) -> HubOptions {
    HubOptions {
        endpoint: server.endpoint.clone(),
        retries: 0,
        pause: Duration::ZERO,
        timeout: Duration::from_secs(10),
        ..HubOptions::new(cache)
    }
}

/// The names in a folder.
fn listed(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[test]
fn only_what_is_needed_is_downloaded_into_the_shared_layout() -> Outcome {
    let cache = tempfile::tempdir()?;
    let files = whole();
    let server = Server::start(files.clone())?;
    let options = options(&server, cache.path());
    let mut progress = Vec::new();
    let dir = resolve_checkpoint_with(MODEL, &options, &mut |at| {
        assert!(at.done <= at.size);
        progress.push((at.file.to_string(), at.done));
    })?;
    let root = cache.path().join("models--owner--model-1.5");
    assert_eq!(dir, root.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(root.join("refs/main"))?, COMMIT);
    assert_eq!(
        listed(&dir)?,
        ["config.json", "model.safetensors", "tokenizer.json"]
    );
    for name in listed(&dir)? {
        assert_eq!(fs::read(dir.join(&name))?, files[&name], "{name}");
        let link = fs::read_link(dir.join(&name))?;
        assert!(link.starts_with("../../blobs"), "{}", link.display());
    }
    let blob = sha256(&files["model.safetensors"]);
    assert_eq!(
        fs::read_link(dir.join("model.safetensors"))?,
        Path::new("../../blobs").join(&blob)
    );
    assert_eq!(listed(&root.join("blobs"))?.len(), 3, "nothing else stays behind");
    assert_eq!(progress.last(), Some(&("model.safetensors".to_string(), 700_000)));
    server.requests();
    assert_eq!(resolve_checkpoint(MODEL, &options)?, dir);
    assert_eq!(server.requests().len(), 1, "only the listing is asked for again");
    // A commit never changes: nothing is asked for.
    assert_eq!(resolve_checkpoint(MODEL, &options.with_revision(COMMIT))?, dir);
    assert_eq!(server.requests().len(), 0);
    Ok(())
}

#[test]
fn shards_are_those_of_the_index() -> Outcome {
    let cache = tempfile::tempdir()?;
    let server = Server::start(sharded())?;
    let dir = resolve_checkpoint(MODEL, &options(&server, cache.path()))?;
    for name in SHARDS {
        assert_eq!(fs::read(dir.join(name))?, sharded()[name]);
    }
    let outside = BTreeMap::from([
        ("config.json".to_string(), b"{}".to_vec()),
        (
            cache::INDEX.into(),
            br#"{"weight_map": {"a": "../../../x.safetensors"}}"#.to_vec(),
        ),
    ]);
    let server = Server::start(outside)?;
    let cache = tempfile::tempdir()?;
    let outcome = resolve_checkpoint(MODEL, &options(&server, cache.path()));
    assert!(matches!(outcome, Err(HubError::Answer { .. })), "{outcome:?}");
    let server = Server::start(BTreeMap::from([("config.json".to_string(), b"{}".to_vec())]))?;
    let outcome = resolve_checkpoint(MODEL, &options(&server, cache.path()));
    assert!(matches!(outcome, Err(HubError::Answer { .. })), "{outcome:?}");
    Ok(())
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() -> Outcome {
    let files = whole();
    let blob = sha256(&files["model.safetensors"]);
    for ignores_ranges in [false, true] {
        let cache = tempfile::tempdir()?;
        let server = Server::start(files.clone())?;
        let options = options(&server, cache.path());
        server.trouble(Trouble {
            cuts: vec![300_000],
            ignores_ranges,
            ..Default::default()
        });
        let error = resolve_checkpoint(MODEL, &options).expect_err("a broken connection");
        assert!(matches!(error, HubError::Network { .. }), "{error}");
        let blobs = cache.path().join("models--owner--model-1.5/blobs");
        let part = blobs.join(format!("{blob}.incomplete"));
        assert_eq!(fs::metadata(&part)?.len(), 300_000);
        assert!(!cache.path().join("models--owner--model-1.5/refs/main").exists());
        server.requests();
        let dir = resolve_checkpoint(MODEL, &options)?;
        assert_eq!(
            fs::read(dir.join("model.safetensors"))?,
            files["model.safetensors"]
        );
        assert!(!part.exists());
        let ranges: Vec<_> = server
            .requests()
            .into_iter()
            .filter_map(|seen| seen.headers.get("range").cloned())
            .collect();
        assert!(
            !ranges.is_empty() && ranges.iter().all(|range| range == "bytes=300000-"),
            "{ranges:?}"
        );
    }
    Ok(())
}

#[test]
fn breaks_with_progress_are_taken_up_by_themselves() -> Outcome {
    let cache = tempfile::tempdir()?;
    let files = whole();
    let server = Server::start(files.clone())?;
    let options = HubOptions {
        retries: 1,
        ..options(&server, cache.path())
    };
    let trouble = |cuts: &[usize]| {
        server.trouble(Trouble {
            cuts: cuts.to_vec(),
            ..Default::default()
        });
    };
    trouble(&[100_000, 0, 100_000, 0, 200_000]);
    let dir = resolve_checkpoint(MODEL, &options)?;
    assert_eq!(
        fs::read(dir.join("model.safetensors"))?,
        files["model.safetensors"]
    );
    // Without progress there is an end.
    let cache = tempfile::tempdir()?;
    trouble(&[100_000, 0, 0, 0]);
    let outcome = resolve_checkpoint(
        MODEL,
        &HubOptions {
            cache: cache.path().into(),
            ..options
        },
    );
    assert!(matches!(outcome, Err(HubError::Network { .. })), "{outcome:?}");
    Ok(())
}

#[test]
fn contents_that_were_not_announced_are_refused_and_deleted() -> Outcome {
    let server = Server::start(whole())?;
    for (trouble, wanted) in [
        (
            Trouble {
                damages: true,
                ..Default::default()
            },
            "sha256",
        ),
        (
            Trouble {
                lengthens: true,
                ..Default::default()
            },
            "size",
        ),
    ] {
        let cache = tempfile::tempdir()?;
        let options = options(&server, cache.path());
        server.trouble(trouble);
        let error = resolve_checkpoint(MODEL, &options).expect_err("damaged contents");
        assert!(
            matches!(error, HubError::Mismatch { what, .. } if what == wanted),
            "{error}"
        );
        let blobs = listed(&cache.path().join("models--owner--model-1.5/blobs"))?;
        assert_eq!(blobs.len(), 2, "{blobs:?}");
        server.trouble(Trouble::default());
        assert!(
            resolve_checkpoint(MODEL, &options).is_ok(),
            "the next call starts anew"
        );
    }
    Ok(())
}

#[test]
fn a_damaged_part_is_noticed_at_the_end() -> Outcome {
    let cache = tempfile::tempdir()?;
    let server = Server::start(whole())?;
    let blobs = cache.path().join("models--owner--model-1.5/blobs");
    fs::create_dir_all(&blobs)?;
    let part = blobs.join(format!("{}.incomplete", sha256(&whole()["model.safetensors"])));
    for n in [10, 700_000, 800_000] {
        fs::write(&part, vec![0; n])?;
        let outcome = resolve_checkpoint(MODEL, &options(&server, cache.path()));
        assert!(matches!(outcome, Err(HubError::Mismatch { .. })), "{outcome:?}");
        assert!(!part.exists());
    }
    assert!(resolve_checkpoint(MODEL, &options(&server, cache.path())).is_ok());
    Ok(())
}

#[test]
fn refusals_are_named() -> Outcome {
    let cache = tempfile::tempdir()?;
    let server = Server::start(whole())?;
    let options = options(&server, cache.path());
    let error = resolve_checkpoint("owner/other", &options).expect_err("no such model");
    assert!(
        matches!(&error, HubError::NotFound { id, status: 404, .. } if id == "owner/other"),
        "{error}"
    );
    let error =
        resolve_checkpoint(MODEL, &options.clone().with_revision("v2")).expect_err("no such revision");
    assert!(error.to_string().contains("v2"), "{error}");
    for status in [401, 403] {
        server.trouble(Trouble {
            status: Some(status),
            ..Default::default()
        });
        let error = resolve_checkpoint(MODEL, &options).expect_err("no access");
        assert!(
            matches!(error, HubError::NotAuthorised { status: found, .. } if found == status),
            "{error}"
        );
        assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    }
    server.trouble(Trouble {
        status: Some(503),
        ..Default::default()
    });
    assert!(matches!(
        resolve_checkpoint(MODEL, &options),
        Err(HubError::Network { .. })
    ));
    server.trouble(Trouble {
        status: Some(418),
        ..Default::default()
    });
    assert!(matches!(
        resolve_checkpoint(MODEL, &options),
        Err(HubError::Answer { .. })
    ));
    let error = resolve_checkpoint("./no/such/folder", &options).expect_err("no such folder");
    assert!(matches!(error, HubError::Id { .. }), "{error}");
    Ok(())
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host() -> Outcome {
    let cache = tempfile::tempdir()?;
    let server = Server::start(whole())?;
    let options = options(&server, cache.path());
    let with_token = HubOptions {
        token: Some("secret".into()),
        ..options
    };
    resolve_checkpoint(MODEL, &with_token)?;
    let (store, hub): (Vec<_>, Vec<_>) = server
        .requests()
        .into_iter()
        .partition(|seen| seen.path.starts_with("/store"));
    let token = |request: &diffprune_test_hub::Request| request.headers.get("authorization").cloned();
    assert!(
        hub.len() > 3
            && hub
                .iter()
                .all(|seen| token(seen).as_deref() == Some("Bearer secret"))
    );
    assert!(!store.is_empty() && store.iter().all(|seen| token(seen).is_none()));
    Ok(())
}

#[test]
fn a_renamed_model_is_found_under_its_old_name() -> Outcome {
    let cache = tempfile::tempdir()?;
    let server = Server::start(whole())?;
    server.trouble(Trouble {
        old_name: Some("owner/old"),
        ..Default::default()
    });
    let dir = resolve_checkpoint("owner/old", &options(&server, cache.path()))?;
    assert_eq!(
        fs::read(dir.join("model.safetensors"))?,
        whole()["model.safetensors"]
    );
    Ok(())
}

#[test]
fn offline_opens_no_connection() -> Outcome {
    let cache = tempfile::tempdir()?;
    let server = Server::start(sharded())?;
    let online = options(&server, cache.path());
    let offline = HubOptions {
        offline: true,
        ..online.clone()
    };
    let missing = |outcome| match outcome {
        Err(HubError::Offline { missing, .. }) => missing,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(resolve_checkpoint(MODEL, &offline)), "the revision");
    assert_eq!(server.connections(), 0);
    let dir = resolve_checkpoint(MODEL, &online)?;
    let n = server.connections();
    assert_eq!(resolve_checkpoint(MODEL, &offline)?, dir);
    assert_eq!(
        resolve_checkpoint(MODEL, &offline.clone().with_revision(COMMIT))?,
        dir
    );
    // A link without its blob is not a file.
    fs::remove_file(dir.join(fs::read_link(dir.join(SHARDS[1]))?))?;
    assert_eq!(missing(resolve_checkpoint(MODEL, &offline)), SHARDS[1]);
    fs::remove_file(dir.join("config.json"))?;
    assert_eq!(missing(resolve_checkpoint(MODEL, &offline)), "config.json");
    assert_eq!(server.connections(), n, "offline, and yet connected");
    assert_eq!(resolve_checkpoint(MODEL, &online)?, dir);
    assert_eq!(resolve_checkpoint(MODEL, &offline)?, dir);
    Ok(())
}

/// The names of weight files in requests.
fn weights_asked_for(server: &Server) -> Vec<String> {
    let asked = server.requests().into_iter().map(|seen| seen.path);
    asked.filter(|path| path.contains(".safetensors")).collect()
}

#[test]
fn settings_come_without_weights() -> Outcome {
    for files in [whole(), sharded()] {
        let cache = tempfile::tempdir()?;
        let server = Server::start(files)?;
        let online = options(&server, cache.path());
        let offline = HubOptions {
            offline: true,
            ..online.clone()
        };
        let dir = resolve_settings(MODEL, &online)?;
        assert_eq!(listed(&dir)?, ["config.json", "tokenizer.json"]);
        let asked = weights_asked_for(&server);
        assert!(asked.is_empty(), "{asked:?}");
        // Offline the settings do, and the model is still known not to be there.
        let n = server.connections();
        assert_eq!(resolve_settings(MODEL, &offline)?, dir);
        let outcome = resolve_checkpoint(MODEL, &offline);
        assert!(matches!(outcome, Err(HubError::Offline { .. })), "{outcome:?}");
        assert_eq!(server.connections(), n, "offline, and yet connected");
        assert_eq!(resolve_checkpoint(MODEL, &online)?, dir);
        assert!(!weights_asked_for(&server).is_empty());
        assert_eq!(resolve_settings(MODEL, &offline)?, dir);
    }
    Ok(())
}

#[test]
fn interrupted_settings_are_fetched_to_the_end() -> Outcome {
    const ALL: [&str; 4] = [
        "config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    let mut files = whole();
    for name in [ALL[1], ALL[3]] {
        files.insert(name.into(), format!("{{\"of\": \"{name}\"}}").into_bytes());
    }
    let server = Server::start(files)?;
    for n in 1..ALL.len() {
        let cache = tempfile::tempdir()?;
        // A commit is never asked for again once it counts as cached.
        let online = options(&server, cache.path()).with_revision(COMMIT);
        let offline = HubOptions {
            offline: true,
            ..online.clone()
        };
        let mut arrived = 0;
        let outcome = resolve_settings_with(MODEL, &online, &mut |at| {
            arrived += usize::from(at.done == at.size);
            let status = (arrived == n).then_some(503);
            server.trouble(Trouble {
                status,
                ..Default::default()
            });
        });
        assert!(matches!(outcome, Err(HubError::Network { .. })), "{outcome:?}");
        let dir = cache
            .path()
            .join("models--owner--model-1.5/snapshots")
            .join(COMMIT);
        assert_eq!(listed(&dir)?.len(), n);
        let outcome = resolve_settings(MODEL, &offline);
        assert!(matches!(outcome, Err(HubError::Offline { .. })), "{outcome:?}");
        server.trouble(Trouble::default());
        assert_eq!(resolve_settings(MODEL, &online)?, dir);
        assert_eq!(listed(&dir)?, ALL);
        assert_eq!(resolve_settings(MODEL, &offline)?, dir);
        // As a tool leaves it that looks at configurations only.
        fs::remove_file(dir.join("tokenizer.json"))?;
        let outcome = resolve_settings(MODEL, &offline);
        assert!(
            matches!(&outcome, Err(HubError::Offline { missing, .. }) if missing == "tokenizer.json"),
            "{outcome:?}"
        );
        resolve_settings(MODEL, &online)?;
        assert_eq!(listed(&dir)?, ALL);
    }
    Ok(())
}

#[test]
fn newer_settings_do_not_hide_a_whole_model() -> Outcome {
    let cache = tempfile::tempdir()?;
    let server = Server::start(whole())?;
    let online = options(&server, cache.path());
    let dir = resolve_checkpoint(MODEL, &online)?;
    // The cache as if the branch had stood elsewhere when the model was fetched.
    let older = "f".repeat(40);
    fs::rename(&dir, dir.with_file_name(&older))?;
    let branch = cache.path().join("models--owner--model-1.5/refs/main");
    fs::write(&branch, &older)?;
    assert_eq!(resolve_settings(MODEL, &online)?, dir);
    assert_eq!(fs::read_to_string(&branch)?, older);
    let offline = HubOptions {
        offline: true,
        ..online.clone()
    };
    assert_eq!(resolve_checkpoint(MODEL, &offline)?, dir.with_file_name(&older));
    resolve_checkpoint(MODEL, &online)?;
    assert_eq!(fs::read_to_string(&branch)?, COMMIT);
    Ok(())
}

#[test]
fn a_busy_hub_is_asked_again() -> Outcome {
    let cache = tempfile::tempdir()?;
    let server = Server::start(whole())?;
    let options = HubOptions {
        retries: 2,
        ..options(&server, cache.path())
    };
    // The listing and, with what is left of the patience, the first description.
    for busy in [1, 2] {
        server.trouble(Trouble {
            busy,
            ..Default::default()
        });
        let fresh = tempfile::tempdir()?;
        let options = HubOptions {
            cache: fresh.path().into(),
            ..options.clone()
        };
        assert!(resolve_checkpoint(MODEL, &options).is_ok(), "{busy}");
    }
    server.trouble(Trouble {
        busy: 3,
        ..Default::default()
    });
    assert!(matches!(
        resolve_checkpoint(MODEL, &options),
        Err(HubError::Network { .. })
    ));
    Ok(())
}

#[test]
fn damaged_blobs_are_replaced_when_their_link_is_deleted() -> Outcome {
    let cache = tempfile::tempdir()?;
    let files = whole();
    let server = Server::start(files.clone())?;
    let options = options(&server, cache.path());
    let dir = resolve_checkpoint(MODEL, &options)?;
    for (name, damage) in [
        ("model.safetensors", weights(700_000, 9)),
        ("model.safetensors", weights(10, 1)),
        ("config.json", b"{\"model_type\": \"lla**\"}".to_vec()),
    ] {
        let link = dir.join(name);
        fs::write(fs::canonicalize(&link)?, damage)?;
        fs::remove_file(&link)?;
        assert_eq!(resolve_checkpoint(MODEL, &options)?, dir);
        assert_eq!(fs::read(&link)?, files[name], "{name}");
    }
    Ok(())
}

#[test]
fn a_whole_cache_is_not_written_to() -> Outcome {
    let cache = tempfile::tempdir()?;
    let server = Server::start(whole())?;
    let options = options(&server, cache.path());
    let dir = resolve_checkpoint(MODEL, &options)?;
    let reference = cache.path().join("models--owner--model-1.5/refs/main");
    let written = fs::metadata(&reference)?.modified()?;
    // Whoever may write everywhere (as in a container) is not stopped by permissions, so the time is looked at too.
    let refs = reference.parent().ok_or("no parent")?;
    let mut permissions = fs::metadata(refs)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(refs, permissions.clone())?;
    let outcome = resolve_checkpoint(MODEL, &options);
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "so that the folder can be removed"
    )]
    permissions.set_readonly(false);
    fs::set_permissions(refs, permissions)?;
    assert_eq!(outcome?, dir);
    assert_eq!(fs::metadata(&reference)?.modified()?, written);
    Ok(())
}

#[test]
fn without_the_hub_the_cache_serves() -> Outcome {
    let cache = tempfile::tempdir()?;
    let server = Server::start(whole())?;
    let options = options(&server, cache.path());
    let dir = resolve_checkpoint(MODEL, &options)?;
    server.trouble(Trouble {
        status: Some(500),
        ..Default::default()
    });
    assert_eq!(resolve_checkpoint(MODEL, &options)?, dir);
    // Nobody listens at a port that was given back.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let gone = HubOptions {
        endpoint: format!("http://{closed}"),
        ..options
    };
    assert_eq!(resolve_checkpoint(MODEL, &gone)?, dir);
    assert!(matches!(
        resolve_checkpoint("owner/other", &gone),
        Err(HubError::Network { .. })
    ));
    Ok(())
}

#[test]
fn two_at_a_time_download_once() -> Outcome {
    let cache = tempfile::tempdir()?;
    let server = Server::start(whole())?;
    let options = options(&server, cache.path());
    let dirs = std::thread::scope(|scope| {
        let start = || scope.spawn(|| resolve_checkpoint(MODEL, &options));
        [start(), start(), start()].map(|thread| thread.join().expect("no panic"))
    });
    let [a, b, c] = dirs;
    assert_eq!(a?, b?);
    assert_eq!(
        fs::read(c?.join("model.safetensors"))?,
        whole()["model.safetensors"]
    );
    let contents = server
        .requests()
        .into_iter()
        .filter(|seen| seen.path.starts_with("/store"))
        .count();
    assert_eq!(contents, 1);
    Ok(())
}

#[test]
fn a_folder_is_itself() -> Outcome {
    let dir = tempfile::tempdir()?;
    let options = HubOptions {
        offline: true,
        ..HubOptions::new("/nowhere")
    };
    assert_eq!(
        resolve_checkpoint(&dir.path().to_string_lossy(), &options)?,
        dir.path()
    );
    Ok(())
}
