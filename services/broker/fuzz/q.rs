//! Looks for a query that breaks [`mim_broker::properties::q`].

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| mim_broker::properties::q(text));
