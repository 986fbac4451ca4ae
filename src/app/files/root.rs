//! Opens files below a directory, and nowhere else.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fstatat};

/// A directory; everything is opened below it.
#[derive(Debug)]
pub(in crate::app) struct Root {
    directory: File,
    resolution: Resolution,
}

/// How names are kept from leading out of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// By the kernel: `openat2` with `RESOLVE_BENEATH`. Symbolic links are followed as long as they stay below the root.
    Beneath,
    /// Segment by segment with `O_NOFOLLOW`, where a kernel before 5.6 or a container's seccomp profile has no `openat2`.
    /// No symbolic link is followed then.
    Stepwise,
}

impl Root {
    /// Opens the directory, which may be a symbolic link itself.
    ///
    /// # Errors
    /// It does not exist, is no directory, or may not be read.
    pub(in crate::app) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY;
        let directory = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        let mut root = Self { directory, resolution: Resolution::Beneath };
        match root.beneath(b".", SEARCH) {
            Ok(_) => {}
            Err(Errno::ENOSYS | Errno::EPERM) => {
                log::info!("openat2 is not to be had here: symbolic links in {} are not followed", path.display());
                root.resolution = Resolution::Stepwise;
                root.open_below(b"", SEARCH)?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(root)
    }

    /// Makes it do as where there is no `openat2`.
    #[cfg(test)]
    pub(super) fn with_resolution(self, resolution: Resolution) -> Self {
        Self { resolution, ..self }
    }

    /// Opens what may be a file, for reading.
    pub(super) fn file(&self, path: &[u8]) -> Result<File, Errno> {
        // A FIFO without a writer would block the open otherwise.
        self.open_below(path, OFlag::O_NONBLOCK | OFlag::O_NOCTTY).map(File::from)
    }

    /// Opens a directory, for reading.
    pub(super) fn directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_below(path, OFlag::O_DIRECTORY)
    }

    /// Whether it is a directory that may at least be searched.
    pub(super) fn is_directory(&self, path: &[u8]) -> bool {
        self.open_below(path, SEARCH).is_ok()
    }

    /// Takes hold of a file, a directory or whatever is there, without opening it.
    pub(in crate::app) fn locate(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_below(path, OFlag::O_PATH)
    }

    /// Whether there seems to be something, for half of what a failed open costs. Opening it decides.
    pub(super) fn seems_to_have(&self, path: &[u8]) -> bool {
        fstatat(&self.directory, path, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    fn open_below(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        match self.resolution {
            Resolution::Beneath => self.beneath(path, flags),
            Resolution::Stepwise => self.stepwise(path, flags),
        }
    }

    fn beneath(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_RDONLY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        for _ in 1..ATTEMPTS {
            match openat2(&self.directory, path, how) {
                // A `..` in a symbolic link met with a rename: the kernel wants it done again.
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                result => return result,
            }
        }
        openat2(&self.directory, path, how)
    }

    fn stepwise(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
        let common = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut directory: Option<OwnedFd> = None;
        let mut segments = path.split(|byte| *byte == b'/').peekable();
        while let Some(segment) = segments.next() {
            let parent = directory.as_ref().map_or(self.directory.as_fd(), AsFd::as_fd);
            if segment == b".." {
                return Err(Errno::EXDEV);
            }
            if segments.peek().is_none() {
                return openat(parent, segment, flags | OFlag::O_RDONLY | common, Mode::empty());
            }
            directory = Some(openat(parent, segment, SEARCH | common, Mode::empty())?);
        }
        Err(Errno::ENOENT)
    }
}

/// Opens a directory as a place to go on from: that needs no right to read it.
const SEARCH: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// How often an open that was disturbed is tried.
const ATTEMPTS: u32 = 4;
