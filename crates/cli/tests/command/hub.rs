//! Models by their names on a hub, here one on the loopback interface.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use diffprune_test_hub::{MODEL, Server};

use crate::{diffprune, model, picture};

/// The files of a folder.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Runs with this hub and cache, `offline` as HF_HUB_OFFLINE has it.
fn run(line: &str, photo: &Path, server: &Server, cache: &Path, offline: &str) -> Output {
    let line = line.replace("MODEL", MODEL);
    diffprune(&line, &[photo])
        .env("HF_ENDPOINT", &server.endpoint)
        .env("HF_HUB_CACHE", cache)
        .env("HF_HUB_OFFLINE", offline)
        .env_remove("HF_TOKEN")
        .output()
        .expect("the program starts")
}

/// Standard output of a run that must succeed.
fn told(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Requests of weight files since the last call.
fn weights_asked_for(server: &Server) -> usize {
    let is_weights = |path: &str| path.contains(".safetensors");
    server
        .requests()
        .iter()
        .filter(|request| is_weights(&request.path))
        .count()
}

#[test]
fn a_model_of_the_hub_is_counted_without_weights_and_asked_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, photo, cache) = (
        dir.path().join("model"),
        dir.path().join("a.png"),
        dir.path().join("cache"),
    );
    model(&checkpoint, 32);
    picture(&photo);
    let server = Server::start(files(&checkpoint)).unwrap();
    let dry = "ask what? --dry-run --model MODEL --image {} --keep 16";
    let ask = "ask what? --model MODEL --image {} --keep 16 --max-new-tokens 2";

    let online = told(run(dry, &photo, &server, &cache, "0"));
    assert!(online.contains("16 of 144 visual tokens stay"), "{online}");
    assert!(online.contains("tokens of text the prompt takes"), "{online}");
    assert_eq!(weights_asked_for(&server), 0);
    // With the settings alone in the cache: offline counting works, asking tells what is missing.
    let connections = server.connections();
    assert_eq!(told(run(dry, &photo, &server, &cache, "1")), online);
    let refused = run(ask, &photo, &server, &cache, "1");
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("model.safetensors") && errors.contains("HF_HUB_OFFLINE"),
        "{errors}"
    );
    assert_eq!(server.connections(), connections, "offline, and yet connected");

    let answer = told(run(ask, &photo, &server, &cache, "0"));
    assert!(weights_asked_for(&server) > 0);
    assert_eq!(told(run(ask, &photo, &server, &cache, "1")), answer);
    // The folder itself answers alike.
    let local = ask.replace("MODEL", &checkpoint.to_string_lossy());
    assert_eq!(told(run(&local, &photo, &server, &cache, "1")), answer);
}
