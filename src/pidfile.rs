//! The file that holds the arbiter's pid.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::inode::{DirectoryLock, Inode};
use crate::process;

/// A pidfile of this process. It stays when this value is dropped (forked children drop it too): see [`Self::remove`].
#[derive(Debug)]
pub(crate) struct Pidfile {
    path: PathBuf,
    inode: Inode,
    pid: u32,
}

impl Pidfile {
    /// Writes this process's pid to `path`, which appears complete or not at all.
    ///
    /// # Errors
    /// Another process has it and lives, it holds something else than a pid, or it cannot be written.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let failed =
            |error: io::Error| Error::configuration(format!("Can't write pid file '{}': {error}", path.display()));
        let absolute = std::path::absolute(path).map_err(failed)?;
        let _lock = DirectoryLock::of(&absolute);
        match holder(path).map_err(failed)? {
            Some(pid) if pid != process::pid() && process::is_alive(pid) => {
                return Err(Error::configuration(format!(
                    "Already running on PID {pid} (or pid file '{}' is stale)",
                    path.display()
                )));
            }
            _ => {}
        }
        let pid = std::process::id();
        let inode = replace(&absolute, &format!("{pid}\n")).map_err(failed)?;
        Ok(Self { path: absolute, inode, pid })
    }

    /// Moves it to another path, as a successor does that has become the only arbiter.
    ///
    /// # Errors
    /// As for [`Self::create`]; the old file stays then.
    pub(crate) fn rename(&mut self, path: &Path) -> Result<(), Error> {
        let renamed = Self::create(path)?;
        if renamed.path != self.path {
            // A leftover under the old name is stale once this process has gone, and is replaced then.
            let _ = self.remove();
        }
        *self = renamed;
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, if it is still ours: this process made it, nobody has replaced it or written another pid to it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let _lock = DirectoryLock::of(&self.path);
        let ours = std::process::id() == self.pid
            && self.inode.is_at(&self.path)
            && holder(&self.path)? == i32::try_from(self.pid).ok();
        if ours { fs::remove_file(&self.path) } else { Ok(()) }
    }
}

/// The pid that a file holds; `None` if there is no file, or an empty one.
fn holder(path: &Path) -> io::Result<Option<i32>> {
    // Nonblocking, lest a FIFO of that name hold up the start.
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("there is something that is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(32).read_to_end(&mut bytes)?;
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    let pid = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).filter(|pid| *pid > 0);
    pid.map(Some).ok_or_else(|| io::Error::other("there is a file that holds no pid, which is left alone"))
}

/// Puts a file with `content` at `path`, over whatever is there.
fn replace(path: &Path, content: &str) -> io::Result<Inode> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it has no file name"))?;
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary_name);
    // A namesake can only be left over from a process with our pid, that is, one that has gone.
    let _ = fs::remove_file(&temporary);
    let write = || {
        let mut file: File = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        let inode = Inode::from(&file.metadata()?);
        fs::rename(&temporary, path)?;
        Ok(inode)
    };
    write().inspect_err(|_: &io::Error| {
        let _ = fs::remove_file(&temporary);
    })
}
