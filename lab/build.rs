//! Tells the program which sources it was built from, so that a lab that other sources started is recognised.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

fn main() -> io::Result<()> {
    let mut hash = Sha256::new();
    for folder in ["src", "go"] {
        println!("cargo:rerun-if-changed={folder}");
        for file in files(Path::new(folder))? {
            let content = std::fs::read(&file)?;
            hash.update(file.as_os_str().as_encoded_bytes());
            hash.update((content.len() as u64).to_le_bytes());
            hash.update(&content);
        }
    }
    println!("cargo:rustc-env=MIM_LAB_SOURCES={:x}", hash.finalize());
    Ok(())
}

/// All files below a folder, sorted.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    let mut all = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            all.extend(files(&entry)?);
        } else {
            all.push(entry);
        }
    }
    Ok(all)
}
