//! OpenAI's own Python package against the server.

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;
use std::process::Command;

use common::{TestServer, config, small_model};

/// The program whose answers are compared.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openai/client.py");

#[test]
#[ignore = "needs the package `openai` of PyPI; .ci/run installs it and runs this"]
fn the_openai_package_works_unchanged() {
    let python = std::env::var("DIFFPRUNE_PYTHON").unwrap_or_else(|_| "python3".into());
    let has_package = Command::new(&python).args(["-c", "import openai"]).output();
    assert!(
        has_package.is_ok_and(|output| output.status.success()),
        "{python}: found no package `openai`, expected one; make an environment with `python3 -m venv target/openai && \
         target/openai/bin/pip install openai` and name its python in DIFFPRUNE_PYTHON"
    );
    let server = TestServer::of(config(|_| {}), vec![small_model()]);
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/scene.png");
    let output = Command::new(&python)
        .arg(SCRIPT)
        .arg(server.url("/v1"))
        .arg(picture)
        .output()
        .unwrap();
    let (said, wrong) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}{wrong}");
    assert_eq!(said.trim(), "chat, stream, image, error: as expected");
}
