//! The bill of materials of an image: CycloneDX 1.6 JSON with the crates that were linked into the program and the
//! Debian packages that gave files.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId, TargetKind};
use packageurl::PackageUrl;
use serde_json::{Value, json};

use super::{
    archive::timestamp,
    base::DebianPackage,
    error::Error,
    lock::SUITE,
    recipe::Image,
    source::{Revision, Sources},
};

/// What the document is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub image: &'a Image,
    /// Digest of the image's manifest.
    pub digest: &'a str,
    pub version: &'a str,
    pub revision: &'a Revision,
}

/// The document, pretty-printed; the same for the same image.
pub(super) fn sbom(
    subject: Subject<'_>,
    sources: &Sources,
    debian: &[DebianPackage],
) -> Result<Vec<u8>, Error> {
    let root = match &subject.image.package {
        Some(package) => Some(&sources.package(package)?.id),
        None => None,
    };
    build(subject, &sources.metadata, root, debian).map_err(|error| Error::document("SBOM")(error))
}

type Failure = Box<dyn std::error::Error>;

fn build(
    subject: Subject<'_>,
    metadata: &Metadata,
    root: Option<&PackageId>,
    debian: &[DebianPackage],
) -> Result<Vec<u8>, Failure> {
    let linked = linked(metadata, root);
    let mut names = BTreeMap::new();
    for package in metadata
        .packages
        .iter()
        .filter(|package| linked.contains_key(&package.id))
    {
        names.insert(&package.id, crate_url(package)?);
    }
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for package in metadata
        .packages
        .iter()
        .filter(|package| linked.contains_key(&package.id))
    {
        let url = names.get(&package.id).cloned().unwrap_or_default();
        components.push(crate_component(package, &url));
        let needs: BTreeSet<&String> = linked
            .get(&package.id)
            .into_iter()
            .flatten()
            .filter_map(|id| names.get(*id))
            .collect();
        dependencies.push(json!({"ref": url, "dependsOn": needs}));
    }
    for package in debian {
        components.push(debian_component(package)?);
    }
    let by_ref = |value: &Value, member: &str| value.get(member).map(ToString::to_string);
    components.sort_by_key(|component| by_ref(component, "bom-ref"));
    dependencies.sort_by_key(|dependency| by_ref(dependency, "ref"));
    let mut url = PackageUrl::new("oci", subject.image.name.as_str())?;
    url.with_version(subject.digest)?;
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(subject.revision.epoch)?,
            "tools": {"components": [
                {"type": "application", "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")},
            ]},
            "component": {
                "type": "container",
                "bom-ref": url.to_string(),
                "name": subject.image.repository(),
                "version": subject.version,
                "description": subject.image.description,
                "purl": url.to_string(),
                "licenses": [{"expression": subject.image.licenses}],
                "properties": [{"name": "mim.city:revision", "value": subject.revision.name}],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_vec_pretty(&document)?)
}

/// The crates that are part of the program, each with those it needs: what only a build script or a macro uses runs at
/// build time and is not in the image.
fn linked<'a>(
    metadata: &'a Metadata,
    root: Option<&'a PackageId>,
) -> BTreeMap<&'a PackageId, Vec<&'a PackageId>> {
    let at_build_time: BTreeSet<&PackageId> = metadata
        .packages
        .iter()
        .filter(|package| {
            package
                .targets
                .iter()
                .any(|target| target.kind.contains(&TargetKind::ProcMacro))
        })
        .map(|package| &package.id)
        .collect();
    let nodes: BTreeMap<&PackageId, _> = metadata
        .resolve
        .iter()
        .flat_map(|resolve| &resolve.nodes)
        .map(|node| (&node.id, node))
        .collect();
    let mut linked = BTreeMap::new();
    let mut waiting = Vec::from_iter(root);
    while let Some(id) = waiting.pop() {
        if linked.contains_key(id) {
            continue;
        }
        let needs: Vec<&PackageId> = nodes
            .get(id)
            .into_iter()
            .flat_map(|node| &node.deps)
            .filter(|dependency| {
                dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal)
            })
            .map(|dependency| &dependency.pkg)
            .filter(|id| !at_build_time.contains(id))
            .collect();
        waiting.extend(&needs);
        linked.insert(id, needs);
    }
    linked
}

fn crate_url(package: &Package) -> Result<String, Failure> {
    let mut url = PackageUrl::new("cargo", package.name.as_str())?;
    url.with_version(package.version.to_string())?;
    Ok(url.to_string())
}

fn crate_component(package: &Package, url: &str) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": url,
        "name": package.name.as_str(),
        "version": package.version.to_string(),
        "purl": url,
    });
    if let (Some(members), Some(license)) = (component.as_object_mut(), &package.license) {
        // Old crates write `MIT/Apache-2.0`, which was never SPDX and means OR.
        members.insert(
            "licenses".into(),
            json!([{"expression": license.replace('/', " OR ")}]),
        );
    }
    component
}

fn debian_component(package: &DebianPackage) -> Result<Value, Failure> {
    let mut url = PackageUrl::new("deb", package.locked.name.as_str())?;
    url.with_namespace("debian")?
        .with_version(package.locked.version.as_str())?;
    url.add_qualifier("arch", package.architecture.as_str())?
        .add_qualifier("distro", SUITE)?;
    Ok(json!({
        "type": "library",
        "bom-ref": url.to_string(),
        "name": package.locked.name,
        "version": package.locked.version,
        "purl": url.to_string(),
        "hashes": [{"alg": "SHA-256", "content": package.locked.sha256}],
    }))
}
