//! Where request bodies go that are too large for memory: unlinked files, within a quota.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The files of one worker's request bodies.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    directory: PathBuf,
    /// Bytes that all of them may hold together.
    quota: u64,
    used: Arc<AtomicU64>,
}

impl Storage {
    pub(crate) fn new(directory: PathBuf, quota: u64) -> Self {
        Self { directory, quota, used: Arc::default() }
    }

    /// An unlinked file, empty.
    pub(crate) fn file(&self) -> Result<Stored, Full> {
        let file = tempfile::tempfile_in(&self.directory).map_err(|error| self.failed(error))?;
        Ok(Stored { file, share: Share { length: 0, used: Arc::clone(&self.used) } })
    }

    fn failed(&self, error: io::Error) -> Full {
        log::error!("A request body cannot be stored in {}: {error}", self.directory.display());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Full::Disk,
            _ => Full::Failed,
        }
    }

    /// Bytes that the files hold at the moment.
    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// Why a body cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The worker's quota is used up.
    Quota,
    /// The disk is full, or its quota for us, or what one file may have (`RLIMIT_FSIZE`).
    Disk,
    /// Something else is wrong with it.
    Failed,
}

/// A file, and its share of the quota.
#[derive(Debug)]
pub(crate) struct Stored {
    file: File,
    share: Share,
}

/// Part of the quota, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    length: u64,
    used: Arc<AtomicU64>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.fetch_sub(self.length, Ordering::Relaxed);
    }
}

impl Stored {
    /// Adds bytes at the end.
    pub(crate) fn append(&mut self, bytes: &[u8], storage: &Storage) -> Result<(), Full> {
        let length = bytes.len() as u64;
        let used = self.share.used.fetch_add(length, Ordering::Relaxed);
        self.share.length += length;
        if used.saturating_add(length) > storage.quota {
            return Err(Full::Quota);
        }
        self.file.write_all(bytes).map_err(|error| storage.failed(error))
    }

    /// The file, the bytes in it, and what is to be kept as long as it is.
    pub(crate) fn into_parts(self) -> (File, u64, Share) {
        (self.file, self.share.length, self.share)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn files_share_a_quota_and_give_it_back() {
        let storage = Storage::new(std::env::temp_dir(), 10);
        let mut first = storage.file().unwrap();
        let mut second = storage.file().unwrap();
        assert_eq!(first.append(b"sixsix", &storage), Ok(()));
        assert_eq!(second.append(b"fivefive", &storage), Err(Full::Quota));
        drop(second);
        assert_eq!(storage.used(), 6);
        let mut third = storage.file().unwrap();
        assert_eq!(third.append(b"four", &storage), Ok(()));
        let (_file, length, share) = first.into_parts();
        assert_eq!((length, storage.used()), (6, 10));
        drop(share);
        assert_eq!(storage.used(), 4);
    }

    #[test]
    fn a_full_disk_is_told_from_other_faults() {
        let storage = Storage::new(std::env::temp_dir(), 10);
        let file = File::options().write(true).open("/dev/full").unwrap();
        let mut stored = Stored { file, ..storage.file().unwrap() };
        assert_eq!(stored.append(b"a", &storage), Err(Full::Disk));
    }

    #[test]
    fn a_directory_that_is_not_there_is_no_full_disk() {
        let storage = Storage::new(PathBuf::from("/nonexistent"), 10);
        assert_eq!(storage.file().err(), Some(Full::Failed));
    }
}
