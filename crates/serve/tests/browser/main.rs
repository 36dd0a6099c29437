//! The page in a real browser: chromium, driven by chromedriver.

#[path = "../common/mod.rs"]
mod common;

mod driver;
mod story;
