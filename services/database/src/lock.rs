//! One process tree per data folder.
//!
//! PostgreSQL guards its data with the process id in `postmaster.pid`. In containers ids repeat, so after a hard kill
//! that file may name a process that lives and has nothing to do with it, and the server refuses to start. A lock on a
//! file beside the data has no such past: the kernel drops it with the last process that holds it. The children
//! inherit it, so that it also outlives us for as long as any process of the server lives. Once it is ours, a
//! `postmaster.pid` that is still there is stale and may be removed.

use std::fs::{File, OpenOptions};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::{Errno, FdFlags};

use crate::error::Error;
use crate::volume::Layout;

/// How long to wait for the lock of a process that is ending.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often to look.
const PACE: Duration = Duration::from_millis(200);

/// Held for as long as this value, or a child that was started after it, lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Waits for the lock, at most a minute; a pod that is being replaced ends within its grace period.
pub async fn acquire(layout: &Layout) -> Result<Lock, Error> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&layout.lock)
        .map_err(Error::file("open", &layout.lock))?;
    let begin = tokio::time::Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if begin.elapsed() < PATIENCE => tokio::time::sleep(PACE).await,
            Err(error) => return Err(refusal(error, layout)),
        }
    }
    rustix::io::fcntl_setfd(&file, FdFlags::empty())
        .map_err(|error| Error::file("share the lock", &layout.lock)(error.into()))?;
    Ok(Lock { _file: file })
}

/// Why the data is not served, where the lock cannot be had.
fn refusal(error: Errno, layout: &Layout) -> Error {
    match error {
        Errno::WOULDBLOCK => Error::InUse(layout.data.clone()),
        Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS => Error::Volume(
            "the volume's file system knows no locks, so a second pod on it would go unnoticed and damage the data; use a StorageClass whose file system has them".to_owned(),
        ),
        error => Error::file("lock", &layout.lock)(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_without_locks_is_refused_and_not_taken_for_one_in_use() {
        let layout = Layout {
            major: 15,
            home: "/v/15".into(),
            data: "/v/15/data".into(),
            partial: "/v/15/data.partial".into(),
            lock: "/v/15/lock".into(),
        };
        for without in [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS] {
            let told = refusal(without, &layout);
            assert!(
                matches!(&told, Error::Volume(words) if words.contains("StorageClass")),
                "{told}"
            );
        }
        assert!(matches!(refusal(Errno::WOULDBLOCK, &layout), Error::InUse(_)));
        assert!(refusal(Errno::IO, &layout).to_string().contains("lock"));
    }
}
