//! `mim-lab images`: the OCI images of this repository, built from package registries alone, without a container engine.
//!
//! An image is a base layer of files from Debian packages (`images/bases/*.yaml`) and a layer with one program of the
//! workspace (`images/<name>/image.yaml`). Nothing of the packages is run: their files are read, those that the recipe
//! keeps are taken with the libraries that they need, and the rest, shells and package managers included, stays out.
//!
//! Into `--out` go, per image, `<name>.tar` (an OCI archive) and `<name>.cdx.json` (its bill of materials), and for all
//! `releases.yaml` (the catalogue that the operator reads), `operator.yaml` (values for the operator's chart) and `mosquitto.yaml`
//! (the same for the demo).
//!
//! The same inputs give the same digests. Inputs are the commit that last touched an image's sources, the recipes, the
//! locked packages and the Rust toolchain. Files of packages keep their packages' times, files of ours have the commit's
//! (or `SOURCE_DATE_EPOCH`).

mod archive;
mod base;
mod binary;
mod cache;
mod catalogue;
mod debian;
mod elf;
mod error;
mod layer;
mod lock;
mod process;
mod recipe;
mod sbom;
mod select;
mod source;
mod tree;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::BaseLayer;
use cache::{Cache, write_whole};
use debian::Architecture;
use layer::Layer;
use lock::PackageLock;
use recipe::{Base, Image};
use serde_json::json;
use source::{Revision, Sources};
use tree::{Entry, Tree};

pub use archive::LAB_REGISTRY;
pub use catalogue::{Catalogue, ImageReference, Release};
pub use error::Error;

use crate::progress::Progress;

/// Its version is that of all images.
const OPERATOR_CRATE: &str = "mim-operator";

/// Options of `mim-lab images`.
#[derive(Debug, Clone, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of a command line, independent of each other"
)]
pub struct Args {
    /// Folder to write archives, bills of materials and the catalogue to.
    #[arg(long, default_value = "dist/images")]
    pub out: PathBuf,
    /// Checkout to build; default: the one around the current folder.
    #[arg(long, default_value = ".")]
    pub workspace: PathBuf,
    /// Cargo profile of the programs.
    #[arg(long, default_value = "release")]
    pub profile: String,
    /// Folder for cargo's output; default: `images` in the workspace's target folder. It is not shared with other builds,
    /// whose flags differ.
    #[arg(long)]
    pub target_dir: Option<PathBuf>,
    /// Name of the release in the catalogue; default: the version in Cargo.toml.
    #[arg(long)]
    pub release: Option<String>,
    /// Revision label instead of git's commit.
    #[arg(long)]
    pub revision: Option<String>,
    /// Time of our files in seconds since 1970 instead of the commit's.
    #[arg(long, env = "SOURCE_DATE_EPOCH")]
    pub source_date_epoch: Option<u64>,
    /// Fail when the mirror no longer has the locked Debian packages, instead of taking what it has.
    #[arg(long)]
    pub locked: bool,
    /// Write a new lock with the mirror's newest Debian packages before the build.
    #[arg(long)]
    pub update_packages: bool,
    /// Build everything twice, programs too, and fail when a digest differs.
    #[arg(long)]
    pub check: bool,
    /// Write the release down as published (`images/releases`): from then on it cannot change.
    #[arg(long)]
    pub publish: bool,
}

/// One built image.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// Name of its recipe: `operator`, `broker` and so on.
    pub name: String,
    /// Whether releases name it.
    pub operand: bool,
    /// Repository and digest.
    pub reference: ImageReference,
    /// The OCI archive.
    pub archive: PathBuf,
    /// The bill of materials.
    pub sbom: PathBuf,
    /// Size of the archive in bytes.
    pub bytes: u64,
}

/// Builds all images as the options say and writes the catalogue.
pub fn run(args: &Args) -> Result<Vec<BuiltImage>, Error> {
    let progress = Progress::new(0);
    let builder = Builder::new(args, &progress)?;
    let built = builder.build(&args.out, &builder.target, false)?;
    if args.check {
        let again = tempfile::tempdir().map_err(Error::file("create a folder in", env::temp_dir()))?;
        let target = builder.target.with_extension("check");
        let second = builder.build(&again.path().join("out"), &target, true)?;
        compare(&built, &second)?;
        progress.say("Built twice, every digest is the same.");
    }
    builder.write_catalogue(args, &built)?;
    progress.done();
    drop(progress);
    for image in &built {
        println!(
            "{:<10} {}@{}  {:.1} MiB  {}",
            image.name,
            image.reference.repository,
            image.reference.digest,
            mebibytes(image.bytes),
            image.archive.display()
        );
    }
    Ok(built)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of images for people, to a tenth of a MiB"
)]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn compare(first: &[BuiltImage], second: &[BuiltImage]) -> Result<(), Error> {
    for (first, second) in first.iter().zip(second) {
        if first.reference != second.reference {
            return Err(Error::NotReproducible {
                image: first.name.clone(),
                first: first.reference.digest.clone(),
                second: second.reference.digest.clone(),
            });
        }
    }
    Ok(())
}

/// All that is the same for every image of one call.
struct Builder<'a> {
    sources: Sources,
    images: Vec<Image>,
    architecture: Architecture,
    lock: PackageLock,
    target: PathBuf,
    profile: &'a str,
    progress: &'a Progress,
}

impl<'a> Builder<'a> {
    fn new(args: &'a Args, progress: &'a Progress) -> Result<Self, Error> {
        progress.add_steps(1);
        progress.step("Read the recipes and the sources");
        let sources = Sources::find(&args.workspace, args.revision.clone(), args.source_date_epoch)?;
        let images = Image::read_all(&sources.images())?;
        let architecture = Architecture::of_host()?;
        let target = match &args.target_dir {
            Some(folder) => std::path::absolute(folder).map_err(Error::file("find", folder))?,
            None => sources.metadata.target_directory.as_std_path().join("images"),
        };
        let mut builder = Self {
            lock: PackageLock::default(),
            profile: &args.profile,
            sources,
            images,
            architecture,
            target,
            progress,
        };
        builder.read_lock(args)?;
        Ok(builder)
    }

    /// Reads the lock of Debian packages, after writing a new one if asked.
    fn read_lock(&mut self, args: &Args) -> Result<(), Error> {
        let path = PackageLock::path(&self.sources.images(), self.architecture.name);
        if args.update_packages {
            self.step("Lock the newest Debian packages");
            let mut names: Vec<String> = self
                .bases()?
                .into_values()
                .flat_map(|base| base.packages)
                .collect();
            names.sort();
            names.dedup();
            let mut lock = PackageLock::default();
            let cache = self.cache()?;
            for package in debian::download_newest(&cache, &names, self.architecture)? {
                lock.insert(package);
            }
            write_whole(&path, lock.to_text().as_bytes())?;
        }
        self.lock = PackageLock::read(&path)?;
        if !(args.locked || args.publish) {
            return Ok(());
        }
        let cache = self.cache()?;
        for base in self.bases()?.into_values() {
            let found = debian::obtain(&cache, &base.packages, &self.lock, self.architecture)?;
            if let Some(differences) = self.lock.differences(&found) {
                return Err(Error::Drift {
                    lock: path,
                    differences,
                });
            }
        }
        Ok(())
    }

    /// The bases of all images, each once.
    fn bases(&self) -> Result<BTreeMap<String, Base>, Error> {
        let mut bases = BTreeMap::new();
        for image in &self.images {
            let base = Base::read(&self.sources.images(), &image.base, self.architecture.multiarch)?;
            bases.insert(image.base.clone(), base);
        }
        Ok(bases)
    }

    /// The user's cache, when no other build holds it. Held while layers are made, not while cargo builds: that takes
    /// minutes, and other checkouts need not wait for it.
    fn cache(&self) -> Result<Cache, Error> {
        self.progress.waits_for("another build of images");
        let cache = Cache::open(&Cache::of_user()?)?;
        self.progress.waits_for("");
        Ok(cache)
    }

    /// The layer of every base; `fresh` uses none of an earlier build.
    fn layers(&self, fresh: bool) -> Result<BTreeMap<String, BaseLayer>, Error> {
        let cache = self.cache()?;
        let mut layers = BTreeMap::new();
        for (name, base) in self.bases()? {
            self.step(&format!("Base layer {name} from Debian packages"));
            let layer = base::base_layer(&cache, &base, &self.lock, self.architecture, fresh)?;
            if let Some(drift) = &layer.drift {
                self.progress.say(&format!(
                    "Base {name} is not made of the locked packages, so its digest is not that of other builds: {drift}"
                ));
            }
            layers.insert(name, layer);
        }
        Ok(layers)
    }

    /// Builds every image into `out`; `fresh` uses no layer of an earlier build.
    fn build(&self, out: &Path, target: &Path, fresh: bool) -> Result<Vec<BuiltImage>, Error> {
        let layers = self.layers(fresh)?;
        let packages: Vec<String> = self
            .images
            .iter()
            .filter_map(|image| image.package.clone())
            .collect();
        self.step(&format!("Programs with cargo, profile {}", self.profile));
        let programs = binary::build(&self.sources, &packages, self.profile, target)?;
        self.step("Images");
        let mut built = Vec::new();
        for image in &self.images {
            let base = layers.get(&image.base).ok_or_else(|| Error::Recipe {
                path: self.sources.images().join(&image.name),
                reason: format!("there is no base {}", image.base),
            })?;
            built.push(self.image(image, base, &programs, out)?);
        }
        Ok(built)
    }

    fn image(
        &self,
        image: &Image,
        base: &BaseLayer,
        programs: &Path,
        out: &Path,
    ) -> Result<BuiltImage, Error> {
        let of = self
            .sources
            .package(image.package.as_deref().unwrap_or(OPERATOR_CRATE))?;
        let revision = self.sources.revision(image)?;
        let version = of.version.to_string();
        let own = if let Some(package) = &image.package {
            Some(program_layer(package, image, base, programs, revision.epoch)?)
        } else {
            let recipe = self.sources.images().join(&image.name).join("image.yaml");
            base.check_entrypoint(&image.entrypoint(), &image.base, &recipe)?;
            None
        };
        let about = archive::About {
            version: &version,
            revision: &revision,
            source: of.repository.as_deref(),
            architecture: self.architecture,
        };
        let packages = format!("files of Debian packages, images/bases/{}.yaml", image.base);
        let mut layers = vec![(packages.as_str(), &base.layer)];
        layers.extend(own.iter().map(|own| ("program of this repository", own)));
        let archive = archive::archive(image, about, &layers)?;
        let subject = sbom::Subject {
            image,
            digest: &archive.digest,
            version: &version,
            revision: &revision,
        };
        let sbom = sbom::sbom(subject, &self.sources, &base.description.packages)?;
        let paths = (
            out.join(format!("{}.tar", image.name)),
            out.join(format!("{}.cdx.json", image.name)),
        );
        write_whole(&paths.0, &archive.bytes)?;
        write_whole(&paths.1, &sbom)?;
        Ok(BuiltImage {
            name: image.name.clone(),
            operand: image.operand,
            reference: ImageReference {
                repository: image.repository(),
                digest: archive.digest,
            },
            archive: paths.0,
            sbom: paths.1,
            bytes: archive.bytes.len() as u64,
        })
    }

    /// Writes `releases.yaml`, and a file for each image that is no operand (`operator.yaml`, `mosquitto.yaml`); with `--publish` also `images/releases/<name>.yaml`.
    fn write_catalogue(&self, args: &Args, built: &[BuiltImage]) -> Result<(), Error> {
        let name = match &args.release {
            Some(name) => name.clone(),
            None => self.sources.package(OPERATOR_CRATE)?.version.to_string(),
        };
        let release = Release {
            name,
            postgresql: self
                .images
                .iter()
                .find_map(|image| image.postgresql)
                .ok_or_else(|| Error::Recipe {
                    path: self.sources.images(),
                    reason: "no image.yaml says `postgresql: <major version>`".into(),
                })?,
            images: built
                .iter()
                .filter(|image| image.operand)
                .map(|image| (image.name.clone(), image.reference.clone()))
                .collect(),
        };
        let catalogue = catalogue::catalogue(&self.sources.images(), release.clone())?;
        if args.publish {
            self.check_publishable(&release, &args.profile)?;
            catalogue::publish(&self.sources.images(), &release)?;
        }
        write_whole(
            &args.out.join("releases.yaml"),
            catalogue::to_yaml(&catalogue)?.as_bytes(),
        )?;
        // No operands: each has a file of its own.
        for image in built.iter().filter(|image| !image.operand) {
            let values = catalogue::to_yaml(&json!({"image": image.reference}))?;
            let file = format!("{}.yaml", image.name);
            write_whole(&args.out.join(file), values.as_bytes())?;
        }
        Ok(())
    }

    /// Users must be able to build a published release again from its commit.
    fn check_publishable(&self, release: &Release, profile: &str) -> Result<(), Error> {
        let refuse = |reason: String| {
            Err(Error::NotPublishable {
                release: release.name.clone(),
                reason,
            })
        };
        if profile != "release" {
            return refuse(format!(
                "its programs are built with profile {profile}, not release"
            ));
        }
        for image in &self.images {
            let revision: Revision = self.sources.revision(image)?;
            if !revision.is_clean() {
                return refuse(format!("the sources of {} are not committed", image.name));
            }
        }
        Ok(())
    }

    fn step(&self, name: &str) {
        self.progress.add_steps(1);
        self.progress.step(name);
    }
}

/// The layer of one program of ours.
fn program_layer(
    package: &str,
    image: &Image,
    base: &BaseLayer,
    programs: &Path,
    epoch: u64,
) -> Result<Layer, Error> {
    let program = programs.join(package);
    let bytes: Arc<[u8]> = fs::read(&program).map_err(Error::file("read", &program))?.into();
    select::check_program(package, &bytes, &base.description.libraries, &image.base)?;
    let mut tree = Tree::default();
    tree.insert(&format!("usr/bin/{package}"), Entry::program(bytes, epoch));
    for folder in ["usr", "usr/bin"] {
        tree.insert(folder, Entry::folder(epoch));
    }
    layer::pack(&tree)
}
