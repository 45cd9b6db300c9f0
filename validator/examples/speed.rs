#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::indexing_slicing
)]
use mim_validator::{tape::*, *};
use std::time::Instant;
fn main() {
    let models = std::fs::read_to_string("/tmp/h/six/quick/models.ndjson").unwrap();
    let mut arena = Arena::default();
    let t = Instant::now();
    let lib = Library::new();
    let docs: Vec<serde_json::Value> = models.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    println!("json {:?}", t.elapsed());
    let t = Instant::now();
    let ids: Vec<NodeId> = docs
        .iter()
        .map(|d| {
            compile(
                &mut arena,
                Source {
                    schema: &d["simple"],
                    uri: "https://m.example/x",
                    level: Level::Entity,
                    type_name: d["type"].as_str(),
                    formats: true,
                },
                &lib,
            )
            .unwrap()
        })
        .collect();
    println!(
        "compile {} models {:?} nodes {}",
        ids.len(),
        t.elapsed(),
        arena.len()
    );
    drop(docs);
    arena.shrink();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|l| l.starts_with("VmRSS")).unwrap());
    let text = std::fs::read_to_string("/tmp/h/six/quick/entities.ndjson").unwrap();
    let ents: Vec<(usize, Vec<u8>)> = text
        .lines()
        .map(|l| {
            let v: serde_json::Value = serde_json::from_str(l).unwrap();
            (
                v["model"].as_u64().unwrap() as usize,
                serde_json::to_vec(&v["entity"]).unwrap(),
            )
        })
        .collect();
    let bytes: usize = ents.iter().map(|e| e.1.len()).sum();
    let reading = Reading {
        representation: Representation::Full,
        extent: Extent::Whole,
        names: None,
    };
    for _ in 0..3 {
        let t = Instant::now();
        let mut n = 0;
        let mut scratch = Scratch::default();
        for _ in 0..10 {
            for (m, b) in &ents {
                let tape = Tape::parse(b, &mut scratch).unwrap();
                std::hint::black_box(tape.root());
                n += 1;
            }
        }
        println!("parse {:?} per entity of {}", t.elapsed() / n, bytes / ents.len());
        let t = Instant::now();
        let mut n = 0;
        let mut bad = 0;
        for _ in 0..10 {
            for (m, b) in &ents {
                let tape = Tape::parse(b, &mut scratch).unwrap();
                if check(&arena, ids[*m], tape.root(), reading).is_err() {
                    bad += 1
                };
                n += 1;
            }
        }
        println!("check {:?} bad {}", t.elapsed() / n, bad as f64 / n as f64);
    }
}
