//! Looks for an entity that breaks [`mim_broker::properties::json_ld`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mim_broker::properties::json_ld(bytes));
