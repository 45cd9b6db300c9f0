//! The recipes under `images/`: what stands in an image, as data.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::error::Error;

/// Placeholder in recipes for the folder of libraries of this architecture.
const MULTIARCH: &str = "{multiarch}";

/// `images/<name>/image.yaml`: one image.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// Name of the folder; the repository is `mim/<name>`.
    #[serde(skip)]
    pub name: String,
    /// Crate of the workspace whose program of the same name is the entrypoint, as `/usr/bin/<package>`; absent: the image
    /// has no program of ours, and `entrypoint` says which of its base's is run.
    #[serde(default)]
    pub package: Option<String>,
    /// Path of the entrypoint, where it is a program of the base.
    #[serde(default)]
    entrypoint: Option<String>,
    /// Whether the image is an operand, so that releases name it.
    #[serde(default = "yes")]
    pub operand: bool,
    /// Folder in `images/bases` whose files stand below the program.
    pub base: String,
    /// `org.opencontainers.image.title`.
    pub title: String,
    /// `org.opencontainers.image.description`.
    pub description: String,
    /// `org.opencontainers.image.licenses`, an SPDX expression of all that the image holds.
    pub licenses: String,
    /// Numeric `uid:gid`, so that a cluster can prove that it is not root.
    pub user: String,
    /// Ports with protocol, e.g. `1026/tcp`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Environment of the first process.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Signal that asks the first process to end.
    pub stop_signal: String,
    /// Major version of PostgreSQL, where the image is a database.
    #[serde(default)]
    pub postgresql: Option<u32>,
}

/// `images/bases/<name>.yaml`: the files of Debian packages below a program.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Base {
    /// Name of the file without its ending.
    #[serde(skip)]
    pub name: String,
    /// Debian packages that files are taken from; their dependencies are not followed, but a needed library that is in
    /// none of them is an error.
    pub packages: Vec<String>,
    /// Files to take: a path, or a folder with a slash at its end. Libraries that these need come by themselves.
    pub keep: Vec<String>,
    /// Beginnings of paths not to take, although `keep` has them.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Symbolic links of our own, path to target.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Text files of our own, path to content.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Folders with an owner or mode of their own.
    #[serde(default)]
    pub folders: Vec<Folder>,
    /// Write `/etc/ssl/certs/ca-certificates.crt` from the packages' authorities.
    #[serde(default)]
    pub ca_bundle: bool,
}

/// A folder with an owner or mode of its own.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Path in the image.
    pub path: String,
    /// Permission bits as octal text, e.g. `"1777"`.
    pub mode: String,
    /// Owner.
    #[serde(default)]
    pub uid: u64,
    /// Group.
    #[serde(default)]
    pub gid: u64,
}

fn yes() -> bool {
    true
}

impl Image {
    /// Reads the recipe of one image.
    pub fn read(images: &Path, name: &str) -> Result<Self, Error> {
        let path = images.join(name).join("image.yaml");
        let mut image: Self = read_yaml(&path)?;
        name.clone_into(&mut image.name);
        let numeric = image.user.split_once(':').is_some_and(|(uid, gid)| {
            uid.parse::<u32>().is_ok_and(|uid| uid != 0) && gid.parse::<u32>().is_ok_and(|gid| gid != 0)
        });
        if !numeric {
            let reason = format!(
                "user is {:?}: write a numeric uid:gid, neither of them 0",
                image.user
            );
            return Err(Error::Recipe { path, reason });
        }
        if image.package.is_some() == image.entrypoint.is_some() {
            let reason =
                "write exactly one of package (a program of ours) and entrypoint (a program of the base)"
                    .into();
            return Err(Error::Recipe { path, reason });
        }
        Ok(image)
    }

    /// Path of the program that is run.
    pub fn entrypoint(&self) -> String {
        match (&self.package, &self.entrypoint) {
            (Some(package), _) => format!("/usr/bin/{package}"),
            (None, entrypoint) => entrypoint.clone().unwrap_or_default(),
        }
    }

    /// Repository without a registry, as the release catalogue has it.
    pub fn repository(&self) -> String {
        format!("mim/{}", self.name)
    }

    /// Reads all recipes in the order of their names.
    pub fn read_all(images: &Path) -> Result<Vec<Self>, Error> {
        let mut names = Vec::new();
        for entry in fs::read_dir(images).map_err(Error::file("read", images))? {
            let entry = entry.map_err(Error::file("read", images))?;
            if entry.path().join("image.yaml").is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        names.iter().map(|name| Self::read(images, name)).collect()
    }
}

impl Base {
    /// Reads the recipe of one base and puts this architecture's library folder into its paths.
    pub fn read(images: &Path, name: &str, multiarch: &str) -> Result<Self, Error> {
        let mut base: Self = read_yaml(&Self::path(images, name))?;
        name.clone_into(&mut base.name);
        base.packages.sort();
        base.packages.dedup();
        for path in base.keep.iter_mut().chain(base.drop.iter_mut()) {
            *path = path.replace(MULTIARCH, multiarch);
        }
        Ok(base)
    }

    /// Where the recipe of a base stands.
    pub fn path(images: &Path, name: &str) -> PathBuf {
        images.join("bases").join(format!("{name}.yaml"))
    }
}

fn read_yaml<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    serde_yaml::from_str(&text).map_err(|error| Error::Recipe {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = "{package: p, base: b, title: t, description: d, licenses: MIT, stopSignal: SIGTERM";

    fn image_with(rest: &str) -> Result<Image, Error> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("broker")).unwrap();
        fs::write(
            folder.path().join("broker/image.yaml"),
            format!("{RECIPE}, {rest}}}"),
        )
        .unwrap();
        Image::read(folder.path(), "broker")
    }

    #[test]
    fn a_recipe_names_its_repository() {
        assert_eq!(
            image_with("user: '65532:65532'").unwrap().repository(),
            "mim/broker"
        );
    }

    #[test]
    fn an_image_that_would_run_as_root_or_by_name_is_refused() {
        for user in ["root", "0:0", "999", "999:0", "postgres:postgres"] {
            let error = image_with(&format!("user: '{user}'")).unwrap_err().to_string();
            assert!(error.contains("write a numeric uid:gid"), "{error}");
        }
    }

    #[test]
    fn an_image_runs_a_program_of_ours_or_one_of_its_base() {
        let user = "user: '1:1'";
        assert_eq!(image_with(user).unwrap().entrypoint(), "/usr/bin/p");
        let error = image_with(&format!("{user}, entrypoint: /usr/sbin/x")).unwrap_err();
        assert!(error.to_string().contains("exactly one of package"), "{error}");
    }

    /// The instructions of a Containerfile's last stage, which is the image: continued lines are one.
    fn last_stage(containerfile: &str) -> Vec<(String, String)> {
        let text = containerfile.replace("\\\n", " ");
        let instructions = text.lines().filter_map(|line| line.trim().split_once(' '));
        let mut stage = Vec::new();
        for (instruction, arguments) in instructions {
            if instruction == "FROM" {
                stage.clear();
            }
            stage.push((instruction.to_owned(), arguments.trim().to_owned()));
        }
        stage
    }

    #[test]
    fn a_containerfile_makes_what_its_recipe_says() {
        let images = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../images"));
        let recipes = Image::read_all(images).unwrap();
        assert!(!recipes.is_empty());
        for image in recipes {
            let name = &image.name;
            let text = fs::read_to_string(images.join(name).join("Containerfile")).unwrap();
            let stage = last_stage(&text);
            let says = |instruction: &str| -> Vec<&str> {
                let of = stage.iter().filter(|(word, _)| word == instruction);
                of.map(|(_, arguments)| arguments.as_str()).collect()
            };
            assert_eq!(says("USER"), [image.user.as_str()], "{name}");
            assert_eq!(says("STOPSIGNAL"), [image.stop_signal.as_str()], "{name}");
            assert_eq!(
                says("ENTRYPOINT"),
                [format!("[{:?}]", image.entrypoint())],
                "{name}"
            );
            assert_eq!(says("EXPOSE"), [image.ports.join(" ")], "{name}");
            let env: Vec<_> = image
                .env
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            assert_eq!(says("ENV"), [env.join(" ")], "{name}");
            let labels = says("LABEL").join(" ");
            for (label, value) in [
                ("title", &image.title),
                ("description", &image.description),
                ("licenses", &image.licenses),
            ] {
                let label = format!("org.opencontainers.image.{label}={value:?}");
                assert!(labels.contains(&label), "{name}: no {label} in {labels}");
            }
            if let Some(package) = &image.package {
                let build = format!("cargo build --release --locked --package {package}\n");
                assert!(text.contains(&build), "{name}: no {build}");
            }
        }
    }

    #[test]
    fn an_unknown_member_is_refused() {
        let error = image_with("user: '1:1', entrypiont: x").unwrap_err().to_string();
        assert!(
            error.contains("entrypiont") && error.contains("image.yaml"),
            "{error}"
        );
    }
}
