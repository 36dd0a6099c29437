//! The page in a real browser: chromium, driven by chromedriver.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod driver;
mod problems;
mod story;
