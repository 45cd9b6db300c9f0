//! Looks for a scope query that breaks [`mim_broker::properties::scope`].

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| mim_broker::properties::scope(text));
