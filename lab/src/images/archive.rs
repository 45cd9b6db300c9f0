//! An image as an OCI archive: one tar file with the layout of the image specification, version 1.1.
//!
//! Its index names the one manifest twice, by tag and by digest, with the annotation that containerd's import reads
//! (`io.containerd.image.name`), both under the registry of the lab: after `ctr -n k8s.io images import <archive>` a pod
//! may use `lab.local/mim/broker@sha256:…` with no registry there. `skopeo copy oci-archive:<archive>:<version> …` takes
//! it to a registry.

use std::{collections::HashMap, io, str::FromStr as _};

use oci_spec::{
    OciSpecError,
    image::{
        Arch, ConfigBuilder, Descriptor, DescriptorBuilder, HistoryBuilder, ImageConfigurationBuilder,
        ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, PlatformBuilder,
        RootFsBuilder, Sha256Digest,
    },
};
use serde::Serialize;
use serde_json::Value;

use super::{
    debian::Architecture,
    error::Error,
    layer::{Layer, sha256_hex},
    recipe::Image,
    source::Revision,
};

/// Registry under which the lab's containerd knows the images; no such host exists.
pub const LAB_REGISTRY: &str = "lab.local";

/// What the image says about itself besides its recipe.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub version: &'a str,
    pub revision: &'a Revision,
    /// Where the sources are published, when the workspace says so.
    pub source: Option<&'a str>,
    pub architecture: Architecture,
}

/// An image, ready to be written.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    /// Digest of the manifest: the image's name in the catalogue.
    pub digest: String,
    /// The tar file.
    pub bytes: Vec<u8>,
}

/// Puts layers and what the image says about itself together.
pub(super) fn archive(image: &Image, about: About<'_>, layers: &[(&str, &Layer)]) -> Result<Archive, Error> {
    build(image, about, layers).map_err(|error| Error::document("OCI image")(error))
}

type Failure = Box<dyn std::error::Error>;

fn build(image: &Image, about: About<'_>, layers: &[(&str, &Layer)]) -> Result<Archive, Failure> {
    let created = timestamp(about.revision.epoch)?;
    let configuration = configuration(image, about, layers, &created)?;
    let mut blobs: Vec<(String, &[u8])> = Vec::new();
    let mut descriptors = Vec::new();
    for (_, layer) in layers {
        descriptors.push(descriptor(MediaType::ImageLayerGzip, &layer.blob)?);
        blobs.push((sha256_hex(&layer.blob), &layer.blob));
    }
    let manifest = canonical(
        &ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(descriptor(MediaType::ImageConfig, &configuration)?)
            .layers(descriptors)
            .annotations(labels(image, about, &created))
            .build()?,
    )?;
    let index = index(image, about, &manifest)?;
    blobs.push((sha256_hex(&configuration), &configuration));
    blobs.push((sha256_hex(&manifest), &manifest));
    blobs.sort();
    blobs.dedup();
    let layout = canonical(
        &OciLayoutBuilder::default()
            .image_layout_version("1.0.0")
            .build()?,
    )?;
    let mut files: Vec<(String, &[u8])> = blobs
        .into_iter()
        .map(|(name, bytes)| (format!("blobs/sha256/{name}"), bytes))
        .collect();
    files.push(("index.json".into(), &index));
    files.push(("oci-layout".into(), &layout));
    Ok(Archive {
        digest: format!("sha256:{}", sha256_hex(&manifest)),
        bytes: tar_of(&files, about.revision.epoch)?,
    })
}

fn configuration(
    image: &Image,
    about: About<'_>,
    layers: &[(&str, &Layer)],
    created: &str,
) -> Result<Vec<u8>, Failure> {
    let mut history = Vec::new();
    for (by, _) in layers {
        history.push(
            HistoryBuilder::default()
                .created(created)
                .created_by(*by)
                .build()?,
        );
    }
    let environment: Vec<String> = image
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let config = ConfigBuilder::default()
        .user(image.user.clone())
        .entrypoint(vec![image.entrypoint()])
        .env(environment)
        .exposed_ports(image.ports.clone())
        .working_dir("/")
        .stop_signal(image.stop_signal.clone())
        .labels(labels(image, about, created))
        .build()?;
    let rootfs = RootFsBuilder::default()
        .typ("layers")
        .diff_ids(
            layers
                .iter()
                .map(|(_, layer)| layer.diff_id.clone())
                .collect::<Vec<_>>(),
        )
        .build()?;
    canonical(
        &ImageConfigurationBuilder::default()
            .created(created)
            .architecture(Arch::from(about.architecture.name))
            .os(Os::Linux)
            .config(config)
            .rootfs(rootfs)
            .history(history)
            .build()?,
    )
}

fn index(image: &Image, about: About<'_>, manifest: &[u8]) -> Result<Vec<u8>, Failure> {
    let repository = format!("{LAB_REGISTRY}/{}", image.repository());
    let platform = PlatformBuilder::default()
        .architecture(Arch::from(about.architecture.name))
        .os(Os::Linux)
        .build()?;
    let by_tag = HashMap::from([
        (
            "io.containerd.image.name".to_owned(),
            format!("{repository}:{}", about.version),
        ),
        (
            "org.opencontainers.image.ref.name".to_owned(),
            about.version.to_owned(),
        ),
    ]);
    let by_digest = HashMap::from([(
        "io.containerd.image.name".to_owned(),
        format!("{repository}@sha256:{}", sha256_hex(manifest)),
    )]);
    let mut manifests = Vec::new();
    for annotations in [by_tag, by_digest] {
        manifests.push(
            DescriptorBuilder::default()
                .media_type(MediaType::ImageManifest)
                .digest(Sha256Digest::from_str(&sha256_hex(manifest))?)
                .size(manifest.len() as u64)
                .platform(platform.clone())
                .annotations(annotations)
                .build()?,
        );
    }
    canonical(
        &ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageIndex)
            .manifests(manifests)
            .build()?,
    )
}

/// The annotations of the image specification that apply here.
fn labels(image: &Image, about: About<'_>, created: &str) -> HashMap<String, String> {
    let mut labels = vec![
        ("title", image.title.as_str()),
        ("description", &image.description),
        ("licenses", &image.licenses),
        ("version", about.version),
        ("revision", &about.revision.name),
        ("created", created),
    ];
    labels.extend(about.source.map(|source| ("source", source)));
    labels
        .into_iter()
        .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned()))
        .collect()
}

fn descriptor(media_type: MediaType, bytes: &[u8]) -> Result<Descriptor, OciSpecError> {
    Ok(Descriptor::new(
        media_type,
        bytes.len() as u64,
        Sha256Digest::from_str(&sha256_hex(bytes))?,
    ))
}

/// JSON with sorted members: the specification's types keep labels in maps without an order.
fn canonical(document: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let mut value = serde_json::to_value(document)?;
    value.sort_all_objects();
    Ok(serde_json::to_vec::<Value>(&value)?)
}

fn tar_of(files: &[(String, &[u8])], epoch: u64) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(epoch);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path, *bytes)?;
    }
    builder.into_inner()
}

/// RFC 3339 in UTC.
pub(super) fn timestamp(epoch: u64) -> Result<String, Failure> {
    Ok(jiff::Timestamp::from_second(i64::try_from(epoch)?)?.to_string())
}
