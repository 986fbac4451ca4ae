//! Where log lines go: a file, a pipe, a terminal or a socket, none of which can make the server wait.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::{Gid, Group, Uid, User, fchown, geteuid, write};

use crate::settings::Settings;

/// What a pipe takes in one piece, or not at all (`PIPE_BUF`): longer writes may be split, and the lines of several
/// processes mixed, so that a client could make the end of its line look like a line of its own.
pub(super) const PIECE: usize = 4096;

/// Bytes of a line in a file at most.
const LONGEST: usize = 64 * 1024;

/// One of the streams that every process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standard {
    Output,
    Error,
}

/// Where a log goes, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Standard(Standard),
    /// An absolute path: the server may change its directory.
    File(PathBuf),
}

impl Destination {
    /// `-` is `standard`. `/dev/stdout` and the like, and symbolic links to them, are the same streams: to open them fails
    /// if they are sockets, as they are under systemd.
    pub(super) fn named(name: &str, standard: Standard) -> io::Result<Self> {
        if name == "-" {
            return Ok(Self::Standard(standard));
        }
        let path = std::path::absolute(name)?;
        let stream = |path: &Path| match path.to_str()? {
            "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Some(Standard::Output),
            "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Some(Standard::Error),
            _ => None,
        };
        let stream = stream(&path).or_else(|| stream(&fs::read_link(&path).ok()?));
        Ok(stream.map_or(Self::File(path), Self::Standard))
    }
}

/// Whom log files belong to that root makes, so that workers can open them again once they are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    user: Option<Uid>,
    group: Option<Gid>,
}

impl Owner {
    /// `None` where this process is not root, or its workers are, too.
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        if !geteuid().is_root() || settings.user.is_none() && settings.group.is_none() {
            return None;
        }
        let user = settings.user.as_deref().and_then(|name| match name.parse() {
            Ok(number) => Some(Uid::from_raw(number)),
            Err(_) => User::from_name(name).ok().flatten().map(|user| user.uid),
        });
        let group = settings.group.as_deref().and_then(|name| match name.parse() {
            Ok(number) => Some(Gid::from_raw(number)),
            Err(_) => Group::from_name(name).ok().flatten().map(|group| group.gid),
        });
        Some(Self { user, group })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Takes any number of bytes, at once.
    File,
    /// An open file description of our own that does not block.
    NonBlocking,
    /// A socket: asked not to block at each write.
    Socket,
    /// A description that others share, whose flags are not ours to set: asked before each write.
    Shared,
}

/// An open log.
#[derive(Debug)]
pub(super) struct Sink {
    fd: OwnedFd,
    kind: Kind,
    /// The last line was not written to its end.
    torn: bool,
}

/// What became of some lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Bytes that are done with.
    pub(super) bytes: usize,
    /// Lines among them that did not arrive whole.
    pub(super) lost: u64,
}

impl Sink {
    pub(super) fn open(destination: &Destination, owner: Option<Owner>) -> io::Result<Self> {
        match destination {
            Destination::Standard(Standard::Output) => Self::shared(io::stdout().as_fd()),
            Destination::Standard(Standard::Error) => Self::shared(io::stderr().as_fd()),
            Destination::File(path) => {
                let file = open(path, owner)?;
                let kind = if file.metadata()?.is_file() { Kind::File } else { Kind::NonBlocking };
                Ok(Self { fd: file.into(), kind, torn: false })
            }
        }
    }

    /// A log on a descriptor that other processes have as well.
    fn shared(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let file = File::from(fd.try_clone_to_owned()?);
        let file_type = file.metadata()?.file_type();
        // A file is left as it is: whoever opened it without O_APPEND has its offset in common with us.
        let kind = if file_type.is_file() {
            Kind::File
        } else if file_type.is_socket() {
            Kind::Socket
        } else {
            // O_NONBLOCK belongs to the open file description, which the shell and other programs share: it is set on
            // one of our own.
            let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
            let own = OpenOptions::new()
                .append(true)
                .custom_flags(flags.bits())
                .open(format!("/proc/self/fd/{}", file.as_raw_fd()));
            match own {
                Ok(own) => return Ok(Self { fd: own.into(), kind: Kind::NonBlocking, torn: false }),
                Err(_) => Kind::Shared,
            }
        };
        Ok(Self { fd: file.into(), kind, torn: false })
    }

    /// Bytes of a line at most, with its end.
    pub(super) fn longest(&self) -> usize {
        match self.kind {
            Kind::File => LONGEST,
            _ => PIECE,
        }
    }

    /// Writes some of `lines`, which end with a newline each, in one piece and never a part of a line. Without an error, at
    /// least one line is done with.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<Written, Errno> {
        if self.torn {
            self.write_once(b"\n")?;
            self.torn = false;
        }
        let piece = match self.kind {
            Kind::File => lines,
            _ => piece(lines),
        };
        let bytes = self.write_once(piece)?;
        let (done, rest) = lines.split_at_checked(bytes).unwrap_or((lines, &[]));
        if bytes >= piece.len() || done.ends_with(b"\n") {
            return Ok(Written { bytes, lost: 0 });
        }
        // A disk that is full in the middle of a line, say. Its end would come after lines of other processes.
        self.torn = true;
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        Ok(Written { bytes: bytes + end, lost: 1 })
    }

    fn write_once(&self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            let result = match self.kind {
                Kind::File | Kind::NonBlocking => write(&self.fd, bytes),
                Kind::Socket => send(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
                Kind::Shared => {
                    let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut fds, PollTimeout::ZERO) {
                        Ok(0) => Err(Errno::EAGAIN),
                        Ok(_) => write(&self.fd, bytes),
                        Err(error) => Err(error),
                    }
                }
            };
            match result {
                Err(Errno::EINTR) => {}
                Ok(0) if !bytes.is_empty() => return Err(Errno::EIO),
                result => return result,
            }
        }
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open(path: &Path, owner: Option<Owner>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    options.append(true).mode(0o644).custom_flags(flags.bits());
    let Some(owner) = owner else { return options.create(true).open(path) };
    // Root opens a file for others to write to, maybe in a directory of theirs. It gives away only what it has just made,
    // and goes only where root itself has pointed.
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            fchown(&file, owner.user, owner.group)?;
            return Ok(file);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    if fs::symlink_metadata(path)?.uid() == 0 {
        return options.create(true).open(path);
    }
    let file = options.clone().custom_flags((flags | OFlag::O_NOFOLLOW).bits()).open(path);
    file.map_err(|error| match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
        Errno::ELOOP => io::Error::other("root does not follow a symbolic link that belongs to somebody else"),
        _ => error,
    })
}

/// As many whole lines as a pipe takes in one piece, but one at least.
fn piece(lines: &[u8]) -> &[u8] {
    let first = lines.get(..PIECE).unwrap_or(lines);
    let end = memchr::memrchr(b'\n', first).or_else(|| memchr::memchr(b'\n', lines));
    end.and_then(|end| lines.get(..=end)).unwrap_or(lines)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
