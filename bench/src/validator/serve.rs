//! Verdicts by an implementation in Rust, as [`super::peer`] asks for them.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::time::{Duration, Instant};

use mim_validator::tape::{Scratch, Tape};
use mim_validator::{Arena, Extent, Level, NodeId, Reading, Representation, Source, check, compile};
use serde_json::{Value, json};
use std::sync::Arc;

use super::Serve;
use crate::error::Error;

/// Says whether the bytes are an entity of the model.
type Judge = Box<dyn FnMut(usize, &[u8]) -> bool>;

/// Answers lines until there are no more.
pub fn serve(which: Serve, data: &Path) -> Result<(), Error> {
    if which == Serve::Load {
        return load(data);
    }
    let entities = entities(data)?;
    let types = entities
        .iter()
        .map(|(model, _)| model + 1)
        .max()
        .unwrap_or_default();
    let mut judge = match which {
        Serve::Jsonschema => by_crate(data, types)?,
        Serve::Parser => Box::new(parse()),
        _ => ours(data, types)?,
    };
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let Ok(seconds) = line.parse() else {
            let mut verdict =
                |(model, bytes): &(usize, Vec<u8>)| if judge(*model, bytes) { '1' } else { '0' };
            println!("{}", entities.iter().map(&mut verdict).collect::<String>());
            continue;
        };
        let answer = round(&mut judge, &entities, Duration::from_secs_f64(seconds))?;
        println!("{answer}");
    }
    Ok(())
}

fn round(judge: &mut Judge, entities: &[(usize, Vec<u8>)], time: Duration) -> Result<Value, Error> {
    let (begun, before) = (Instant::now(), crate::process::own_cpu()?);
    let mut count = 0_u32;
    while begun.elapsed() < time {
        for (model, bytes) in entities {
            std::hint::black_box(judge(*model, bytes));
            count += 1;
        }
    }
    let cpu = crate::process::own_cpu()? - before;
    Ok(json!({"count": count, "cpu": cpu}))
}

fn lines(path: &Path) -> Result<Lines<BufReader<File>>, Error> {
    let file = File::open(path).map_err(Error::file(path))?;
    Ok(BufReader::new(file).lines())
}

fn parsed(line: &str) -> Result<Value, Error> {
    serde_json::from_str(line).map_err(|problem| Error::Unexpected(format!("a line is no JSON: {problem}")))
}

fn entities(data: &Path) -> Result<Vec<(usize, Vec<u8>)>, Error> {
    let path = data.join("entities.ndjson");
    let mut entities = Vec::new();
    for line in lines(&path)? {
        let line = parsed(&line.map_err(Error::file(&path))?)?;
        let model = line.get("model").and_then(Value::as_u64).unwrap_or_default();
        let entity = line.get("entity").map(Value::to_string).unwrap_or_default();
        entities.push((usize::try_from(model).unwrap_or_default(), entity.into_bytes()));
    }
    Ok(entities)
}

/// Does something with so many models, each as it is read.
fn models(
    data: &Path,
    most: usize,
    mut each: impl FnMut(&str, &Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let path = data.join("models.ndjson");
    for line in lines(&path)?.take(most) {
        let line = line.map_err(Error::file(&path))?;
        each(&line, &parsed(&line)?)?;
    }
    Ok(())
}

fn add(arena: &mut Arena, schema: &Value, name: Option<&str>) -> Result<NodeId, Error> {
    let source = Source {
        schema,
        uri: "https://models.example/schema.json",
        level: Level::Entity,
        type_name: name,
        formats: true,
    };
    compile(arena, source, &Arc::default()).map_err(|refusal| Error::Unexpected(refusal.to_string()))
}

const READING: Reading<'static> = Reading {
    representation: Representation::Full,
    extent: Extent::Whole,
    names: None,
};

fn ours(data: &Path, types: usize) -> Result<Judge, Error> {
    let (mut arena, mut roots) = (Arena::default(), Vec::new());
    models(data, types, |_, model| {
        let schema = model.get("simplified").unwrap_or(&Value::Null);
        roots.push(add(
            &mut arena,
            schema,
            model.get("type").and_then(Value::as_str),
        )?);
        Ok(())
    })?;
    arena.shrink();
    let mut scratch = Scratch::default();
    Ok(Box::new(move |model, bytes| {
        let (Ok(tape), Some(root)) = (Tape::parse(bytes, &mut scratch), roots.get(model)) else {
            return false;
        };
        check(&arena, *root, tape.root(), READING).is_ok()
    }))
}

fn parse() -> impl FnMut(usize, &[u8]) -> bool {
    let mut scratch = Scratch::default();
    move |_, bytes| Tape::parse(bytes, &mut scratch).is_ok()
}

fn by_crate(data: &Path, types: usize) -> Result<Judge, Error> {
    let mut validators = Vec::new();
    models(data, types, |_, model| {
        let schema = model.get("normalized").unwrap_or(&Value::Null);
        let validator = jsonschema::options().should_validate_formats(true).build(schema);
        validators.push(validator.map_err(|problem| Error::Unexpected(problem.to_string()))?);
        Ok(())
    })?;
    Ok(Box::new(move |model, bytes| {
        let (Ok(entity), Some(validator)) = (serde_json::from_slice(bytes), validators.get(model)) else {
            return false;
        };
        validator.is_valid(&entity)
    }))
}

/// Loads all models, one after the other as an update of them would, and keeps what was compiled.
fn load(data: &Path) -> Result<(), Error> {
    let (mut arena, mut roots, mut size) = (Arena::default(), Vec::new(), 0);
    let begun = Instant::now();
    models(data, usize::MAX, |_, model| {
        let schema = model.get("simplified").unwrap_or(&Value::Null);
        size += schema.to_string().len();
        roots.push(add(
            &mut arena,
            schema,
            model.get("type").and_then(Value::as_str),
        )?);
        Ok(())
    })?;
    arena.shrink();
    let seconds = begun.elapsed().as_secs_f64();
    let memory = crate::process::own_memory()?;
    let size = crate::report::count(size) / crate::report::count(roots.len());
    println!(
        "{}",
        json!({"models": roots.len(), "size": size, "seconds": seconds, "mebibytes": memory.peak})
    );
    Ok(())
}
