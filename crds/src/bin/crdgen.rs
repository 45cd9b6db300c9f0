//! Writes `crds/*.yaml`, the chart's copies and `docs/kinds/*.md` from the types, or with `--check` tells which of them are out of date.

use std::{
    collections::BTreeMap,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use mim_crds::generate;

const USAGE: &str = "crdgen [--check] [--out <folder>] [--chart <folder>] [--docs <folder>]; with no folder: all three of this \
repository, seen from its root";

/// What `make generate` writes, from the root of the repository.
const DEFAULT_FOLDERS: [(&str, &str); 3] = [
    ("--out", "crds"),
    ("--chart", "charts/mim-crds/templates"),
    ("--docs", "docs/kinds"),
];

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("crdgen: {error}\nusage: {USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut folders = BTreeMap::new();
    let mut check = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--check" => check = true,
            "--out" | "--chart" | "--docs" => {
                let folder = arguments
                    .next()
                    .ok_or_else(|| format!("{argument} needs a folder"))?;
                folders.insert(argument, PathBuf::from(folder));
            }
            _ => return Err(format!("{argument} is no argument").into()),
        }
    }
    if folders.is_empty() {
        folders
            .extend(DEFAULT_FOLDERS.map(|(argument, folder)| (argument.to_owned(), PathBuf::from(folder))));
    }
    let mut wanted = BTreeMap::new();
    if let Some(folder) = folders.get("--out") {
        wanted.extend(
            generate::manifests()?
                .into_iter()
                .map(|(name, text)| (folder.join(name), text)),
        );
    }
    if let Some(folder) = folders.get("--chart") {
        wanted.extend(
            generate::chart_manifests()?
                .into_iter()
                .map(|(name, text)| (folder.join(name), text)),
        );
    }
    if let Some(folder) = folders.get("--docs") {
        wanted.extend(
            generate::pages()
                .into_iter()
                .map(|(name, text)| (folder.join(name), text)),
        );
    }
    let stale: Vec<_> = wanted
        .iter()
        .filter(|(path, text)| read(path).as_ref() != Some(text))
        .collect();
    for (path, text) in &stale {
        if check {
            eprintln!("{} is out of date: run make generate", path.display());
        } else {
            write(path, text)?;
            println!("wrote {}", path.display());
        }
    }
    Ok(if check && !stale.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}
