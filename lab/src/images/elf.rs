//! What an ELF file needs at run time: its interpreter, libraries and the versions of their symbols.

use std::collections::{BTreeMap, BTreeSet};

use elf::{ElfBytes, abi, endian::AnyEndian};

use super::error::Error;

/// The run-time needs and offers of one ELF file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Links {
    /// The loader, for a program.
    pub interpreter: Option<String>,
    /// Names of libraries (`DT_NEEDED`).
    pub needed: Vec<String>,
    /// Symbol versions needed, by name of library, e.g. `libc.so.6` → `GLIBC_2.34`.
    pub versions_needed: BTreeMap<String, BTreeSet<String>>,
    /// Symbol versions that this library offers.
    pub versions_offered: BTreeSet<String>,
}

/// Whether these are the first bytes of an ELF file.
pub(super) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Reads what `path`, whose content is `bytes`, needs and offers. A file without a dynamic section needs nothing.
pub(super) fn links(path: &str, bytes: &[u8]) -> Result<Links, Error> {
    read(bytes).map_err(|reason| Error::Elf {
        path: path.to_owned(),
        reason: reason.to_string(),
    })
}

fn read(bytes: &[u8]) -> Result<Links, elf::ParseError> {
    let file = ElfBytes::<AnyEndian>::minimal_parse(bytes)?;
    let mut links = Links::default();
    if let Some(segments) = file.segments()
        && let Some(header) = segments.iter().find(|header| header.p_type == abi::PT_INTERP)
    {
        let raw = file.segment_data(&header)?;
        let text = raw.split(|byte| *byte == 0).next().unwrap_or_default();
        links.interpreter = Some(String::from_utf8_lossy(text).into_owned());
    }
    let (Some(dynamic), Some((symbols, strings))) = (file.dynamic()?, file.dynamic_symbol_table()?) else {
        return Ok(links);
    };
    for entry in dynamic.iter().filter(|entry| entry.d_tag == abi::DT_NEEDED) {
        let offset = usize::try_from(entry.d_val())?;
        links.needed.push(strings.get(offset)?.to_owned());
    }
    let Some(versions) = file.symbol_version_table()? else {
        return Ok(links);
    };
    for index in 0..symbols.len() {
        if let Some(requirement) = versions.get_requirement(index)? {
            if requirement.flags & abi::VER_FLG_WEAK != 0 {
                continue;
            }
            links
                .versions_needed
                .entry(requirement.file.to_owned())
                .or_default()
                .insert(requirement.name.to_owned());
        } else if let Some(definition) = versions.get_definition(index)? {
            for name in definition.names {
                links.versions_offered.insert(name?.to_owned());
            }
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_loader_and_its_libraries() {
        let path = std::env::current_exe().unwrap();
        let links = links("test", &std::fs::read(path).unwrap()).unwrap();
        assert!(links.interpreter.unwrap().contains("ld-linux"));
        assert!(links.needed.contains(&"libc.so.6".to_owned()));
        assert!(
            links.versions_needed["libc.so.6"]
                .iter()
                .any(|version| version.starts_with("GLIBC_2."))
        );
    }

    #[test]
    fn a_text_is_no_elf_file() {
        assert!(!is_elf(b"#!/bin/sh"));
        assert!(matches!(links("x", b"#!/bin/sh"), Err(Error::Elf { .. })));
    }
}
