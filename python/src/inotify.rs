//! Directories that are watched for changes, for `ferricorn._reload`.

use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use pyo3::prelude::*;

/// An instance of inotify(7).
#[pyclass(frozen, module = "ferricorn._core")]
pub(crate) struct Watches(Inotify);

#[pymethods]
impl Watches {
    #[new]
    fn new() -> PyResult<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(into_error)?;
        Ok(Self(inotify))
    }

    /// The descriptor, which is readable when something has changed.
    fn fileno(&self) -> i32 {
        self.0.as_fd().as_raw_fd()
    }

    /// Watches a directory.
    fn add(&self, directory: PathBuf) -> PyResult<()> {
        let changes = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_ONLYDIR;
        self.0.add_watch(&directory, changes).map(drop).map_err(into_error)
    }

    /// Forgets what has changed until now.
    fn clear(&self) -> PyResult<()> {
        loop {
            match self.0.read_events() {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(into_error(error)),
            }
        }
    }
}

fn into_error(error: Errno) -> PyErr {
    std::io::Error::from(error).into()
}
