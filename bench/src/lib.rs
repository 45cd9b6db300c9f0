//! Benchmarks and their peers.
