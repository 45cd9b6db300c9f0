//! The mounts of this machine, and how to end those below a folder.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

use crate::error::Error;
use crate::files;

/// One line of `/proc/self/mountinfo`.
pub(crate) struct Mount {
    pub path: PathBuf,
    /// The file system's type.
    pub kind: String,
}

/// All mounts, in the order in which they were made.
pub(crate) fn mounts() -> Result<Vec<Mount>, Error> {
    Ok(files::read(Path::new("/proc/self/mountinfo"))?
        .lines()
        .filter_map(parse)
        .collect())
}

/// `proc(5)`: `36 35 98:0 /root /mount/point options optional... - type source options`.
fn parse(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    Some(Mount {
        path: unescape(mount.split(' ').nth(4)?),
        kind: file_system.split(' ').next()?.to_owned(),
    })
}

/// Space, tab, newline and backslash are written in octal.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\').then(|| tail.get(..3)).flatten();
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() {
            tail.get(3..).unwrap_or_default()
        } else {
            tail
        };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Ends every mount at or below the folder, the newest first. Called before the folder is removed: a removal that
/// followed a mount would remove what is mounted.
pub(crate) fn unmount_below(folder: &Path) -> Result<(), Error> {
    loop {
        let inside: Vec<PathBuf> = mounts()?
            .into_iter()
            .map(|mount| mount.path)
            .filter(|path| path.starts_with(folder))
            .collect();
        let Some(last) = inside.last() else { return Ok(()) };
        // Detached: whoever still holds a file there keeps it, and the folder is free.
        unmount(last, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|errno| Error::file("unmount", last)(errno.into()))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let line = r"36 35 98:0 / /var/lib/a\040b\134c rw,noatime shared:1 - ext4 /dev/root rw";
        let mount = parse(line).unwrap();
        assert_eq!(mount.path, Path::new(r"/var/lib/a b\c"));
        assert_eq!(mount.kind, "ext4");
    }
}
