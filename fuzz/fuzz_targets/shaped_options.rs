//! The target `shaped_options` of `diffprune-fuzz-targets`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| diffprune_fuzz_targets::run("shaped_options", bytes));
