//! Looks for a temporal query that breaks [`mim_broker::properties::time`].

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| mim_broker::properties::time(text));
