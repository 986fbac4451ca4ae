//! Which program a path names.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::app::files::root::Root;
use crate::app::percent;

/// A program below the root, and what of the path is left for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::app) struct Located {
    /// Its path below the root, decoded, without a leading slash.
    pub(in crate::app) file: Vec<u8>,
    /// What follows in the request's path, decoded: empty, or with a leading slash.
    pub(in crate::app) rest: Vec<u8>,
    /// Somebody may execute it.
    pub(in crate::app) executable: bool,
}

/// What a path comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) enum Lookup {
    /// A regular file.
    File(Located),
    /// A directory; whether the path ends in a slash.
    Directory { path: Vec<u8>, slash: bool },
    /// Nothing that is served.
    Nothing,
    /// The path is malformed.
    Malformed,
    /// The file system does not answer.
    Failed(Errno),
}

/// Looks for the first file on the way of `path`, which is percent-encoded.
///
/// The path is split at its slashes before it is decoded, so that an encoded slash separates nothing. Names that begin
/// with a dot are not served, and so are neither `.` nor `..`; links are followed as far as they stay below the root.
pub(in crate::app) fn locate(root: &Root, path: &str) -> Lookup {
    let Some(mut rest) = path.strip_prefix('/') else {
        return if path.is_empty() { Lookup::Directory { path: Vec::new(), slash: false } } else { Lookup::Malformed };
    };
    let mut file = Vec::with_capacity(path.len());
    loop {
        let (segment, below) = match rest.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (rest, None),
        };
        if segment.is_empty() {
            match below {
                Some(below) => rest = below,
                None => return Lookup::Directory { path: file, slash: true },
            }
            continue;
        }
        if !file.is_empty() {
            file.push(b'/');
        }
        let start = file.len();
        if percent::decode(segment.as_bytes(), &mut file).is_err() {
            return Lookup::Malformed;
        }
        let name = file.get(start..).unwrap_or_default();
        if name.first() == Some(&b'.') || name.contains(&b'/') {
            return Lookup::Nothing;
        }
        match root.locate(&file).and_then(|found| kind(&found)) {
            Ok(Kind::File { executable }) => {
                let mut decoded = Vec::new();
                if let Some(below) = below {
                    decoded.push(b'/');
                    if percent::decode(below.as_bytes(), &mut decoded).is_err() {
                        return Lookup::Malformed;
                    }
                }
                return Lookup::File(Located { file, rest: decoded, executable });
            }
            Ok(Kind::Directory) => match below {
                Some(below) => rest = below,
                None => return Lookup::Directory { path: file, slash: false },
            },
            Ok(Kind::Other) => return Lookup::Nothing,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EXDEV | Errno::ELOOP | Errno::ENAMETOOLONG | Errno::EACCES) => {
                return Lookup::Nothing;
            }
            Err(error) => return Lookup::Failed(error),
        }
    }
}

enum Kind {
    File { executable: bool },
    Directory,
    Other,
}

fn kind(found: &OwnedFd) -> Result<Kind, Errno> {
    let stat = fstat(found)?;
    Ok(match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => Kind::File { executable: stat.st_mode & 0o111 != 0 },
        libc::S_IFDIR => Kind::Directory,
        _ => Kind::Other,
    })
}
