//! Which file a path names now, and one starter at a time in a directory.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

/// A file, whatever its path is called: sure as long as somebody keeps the file open, for then its number is not used
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// Whether `path` itself (no symbolic link followed) is this file.
    pub(crate) fn is_at(self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|metadata| Self::from(&metadata) == self)
    }
}

impl From<&Metadata> for Inode {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), number: metadata.ino() }
    }
}

/// Keeps other starters out of a directory until it is dropped.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _lock: Flock<File>,
}

impl DirectoryLock {
    /// How long another starter is waited for. It holds the lock for less than a millisecond, so whoever holds it
    /// longer is none.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Locks the directory of `path` (flock(2) on the directory itself leaves no lock file behind).
    ///
    /// `None` where that is impossible: the directory cannot be read, is on a file system without locks, or a stranger
    /// keeps it locked. A start must not fail for that; what the lock protects against needs two starts within
    /// microseconds.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut directory = File::open(directory).ok()?;
        let deadline = Instant::now() + Self::PATIENCE;
        loop {
            match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Some(Self { _lock: lock }),
                Err((unlocked, nix::Error::EAGAIN | nix::Error::EINTR)) if Instant::now() < deadline => {
                    directory = unlocked;
                    thread::sleep(Duration::from_millis(2));
                }
                Err(_) => return None,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::scenario::Scratch;

    #[test]
    fn an_inode_is_where_it_is_until_another_takes_its_place() {
        let scratch = Scratch::new();
        let (path, link) = (scratch.join("file"), scratch.join("link"));
        let file = File::create(&path).unwrap();
        let inode = Inode::from(&file.metadata().unwrap());
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(inode.is_at(&path) && !inode.is_at(&link));
        std::fs::remove_file(&path).unwrap();
        assert!(!inode.is_at(&path));
        let _other = File::create(&path).unwrap();
        assert!(!inode.is_at(&path), "the number is taken as long as the file is open");
    }

    #[test]
    fn a_directory_has_one_lock_and_starts_go_on_without_it() {
        let scratch = Scratch::new();
        let lock = DirectoryLock::of(&scratch.join("a")).unwrap();
        assert!(DirectoryLock::of(&scratch.join("b")).is_none(), "given up after a while");
        drop(lock);
        assert!(DirectoryLock::of(&scratch.join("b")).is_some());
        assert!(DirectoryLock::of(&scratch.join("missing/c")).is_none());
        assert!(DirectoryLock::of(Path::new("relative")).is_some());
    }
}
