//! Unix sockets and their files: never a live one stolen, never a file removed that is not ours.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Uid, fchownat};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{BindError, Policy};
use crate::inode::{DirectoryLock, Inode};

/// Bytes of a path at most: sun_path of unix(7) less its NUL.
const PATH_MAX: usize = 107;

/// The file of a socket that we made.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: Inode,
}

impl SocketFile {
    /// The file at `path` of a socket that was made by a predecessor and is open; `None` if it may be another's by now.
    pub(super) fn of_predecessor(path: &Path) -> Option<Self> {
        if listeners_at(path) != 1 {
            return None;
        }
        let path = std::path::absolute(path).ok()?;
        let metadata = fs::symlink_metadata(&path).ok()?;
        metadata.file_type().is_socket().then(|| Self { inode: Inode::from(&metadata), path })
    }

    /// Removes it, unless another has taken its place. The socket must still be open: until then no other file can have
    /// its inode number.
    pub(super) fn remove(&self) -> io::Result<()> {
        let _lock = DirectoryLock::of(&self.path);
        if self.inode.is_at(&self.path) { fs::remove_file(&self.path) } else { Ok(()) }
    }
}

/// How many sockets listen that were bound to `path`, reachable there or not.
fn listeners_at(path: &Path) -> usize {
    let sockets = fs::read("/proc/net/unix").unwrap_or_default();
    let path = path.to_string_lossy();
    String::from_utf8_lossy(&sockets).lines().filter(|line| listens_at(line) == Some(&path)).count()
}

/// The path of a listening socket, from a line of /proc/net/unix.
fn listens_at(line: &str) -> Option<&str> {
    const LISTENING: &str = "00010000";
    let mut rest = line;
    let mut next = || {
        let (column, after) = rest.trim_ascii_start().split_once(' ')?;
        rest = after;
        Some(column)
    };
    let [_number, _references, _protocol, flags, _type, _state, _inode] =
        [next()?, next()?, next()?, next()?, next()?, next()?, next()?];
    (flags == LISTENING).then_some(rest)
}

/// What is at a path.
enum Occupant {
    Nothing,
    /// A socket that nobody listens on.
    Dead,
}

/// Binds and listens at `path`.
///
/// Starters exclude each other by a lock on the directory, so between looking at what is there and listening nothing
/// changes. The socket is bound where it belongs, not renamed into place: the kernel would show the old name for ever
/// (`ss`, a successor's getsockname(2)).
pub(super) fn bind(path: &Path, policy: &Policy) -> Result<(Socket, SocketFile), BindError> {
    let name = path.display().to_string();
    let failed = |error: io::Error| BindError::from_io(&*name, &error);
    let length = path.as_os_str().len();
    if length == 0 || path.as_os_str().as_bytes().contains(&0) {
        return Err(BindError::new(name, "a socket's path is neither empty nor has it a NUL"));
    }
    if length > PATH_MAX {
        return Err(BindError::new(&*name, format!("the path has {length} bytes, a socket's has {PATH_MAX} at most")));
    }
    let absolute = std::path::absolute(path).map_err(failed)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None).map_err(failed)?;
    // The file is made with these bits at most, whatever the umask: nobody gets in before owner and mode are right.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|error| failed(error.into()))?;

    let _lock = DirectoryLock::of(&absolute);
    if let Occupant::Dead = occupant(path)? {
        fs::remove_file(path).map_err(failed)?;
    }
    socket.bind(&SockAddr::unix(path).map_err(failed)?).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BindError::new(&*name, "there is no such directory"),
        _ => failed(error),
    })?;
    let finish = || {
        let inode = hand_to(path, policy)?;
        socket.listen(policy.queue_length())?;
        Ok(inode)
    };
    match finish() {
        Ok(inode) => Ok((socket, SocketFile { path: absolute, inode })),
        Err(error) => {
            // Ours: it has just been made, under the lock. That it cannot be removed is no news beside the error.
            let _ = fs::remove_file(path);
            Err(failed(error))
        }
    }
}

fn occupant(path: &Path) -> Result<Occupant, BindError> {
    let name = path.display().to_string();
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nothing),
        Err(error) => return Err(BindError::from_io(name, &error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::new(name, "there is something that is not a socket"));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)
        .and_then(|probe| probe.connect(&SockAddr::unix(path)?));
    match probe {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Occupant::Dead),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Occupant::Nothing),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(BindError::new(name, "there is a socket, and no permission to see whether it is in use"))
        }
        // Connected; or a full queue (EAGAIN), or another type of socket (EPROTOTYPE): somebody is there.
        _ => Err(BindError::in_use(name, "another process listens there")),
    }
}

/// Gives the new file at `path` its owner and mode, through a descriptor, so that what is changed is a socket of ours
/// even where others may write to the directory.
fn hand_to(path: &Path, policy: &Policy) -> io::Result<Inode> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.file_type().is_socket() || metadata.nlink() != 1 || metadata.uid() != Uid::effective().as_raw() {
        return Err(io::Error::other("another file was put in the socket's place"));
    }
    if let Some((owner, group)) = policy.owner {
        fchownat(&file, "", Some(owner), Some(group), AtFlags::AT_EMPTY_PATH)
            .map_err(|error| io::Error::other(format!("can't give it to user {owner}, group {group}: {error}")))?;
    }
    set_mode(&file, path, policy.socket_mode)?;
    Ok(Inode::from(&metadata))
}

/// chmod(2) by descriptor, the long way round: fchmod(2) refuses one opened with `O_PATH`.
fn set_mode(file: &File, path: &Path, mode: u32) -> io::Result<()> {
    let permissions = Permissions::from_mode(mode & 0o777);
    match fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), permissions.clone()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::set_permissions(path, permissions),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_of_sockets_is_understood() {
        let cases = [
            ("Num       RefCount Protocol Flags    Type St Inode Path", None),
            ("000000009e6d1c3b: 00000002 00000000 00010000 0001 01 21450 /run/a b.sock", Some("/run/a b.sock")),
            ("0000000000000000: 00000002 00000000 00010000 0001 01    45 @name", Some("@name")),
            ("0000000000000000: 00000003 00000000 00000000 0001 03 21450 /run/connected.sock", None),
            ("0000000000000000: 00000002 00000000 00010000 0001 01 21450", None),
            ("", None),
        ];
        for (line, path) in cases {
            assert_eq!(listens_at(line), path, "{line}");
        }
    }
}
