//! Looks for a geo-query that breaks [`mim_broker::properties::geo`].

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| mim_broker::properties::geo(text));
