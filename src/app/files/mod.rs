//! `files://DIR`: serves a directory.
//!
//! ```text
//!   request ──> path ──> root ──────> encoding ──────> conditional ──> range ──> Response
//!              decode    openat2,     the best of       304, 412       206, 416
//!              once      beneath      .br .zst .gz
//! ```
//!
//! A hit costs `openat2`, `fstat` and `close`, and one `read` if the file is small enough for its bytes to leave in the
//! same write as the head; larger ones are sent from the page cache by whoever sends the [`FileRange`]. Nothing is cached
//! beyond the batch of events that is being served: a file that was replaced is served as it is from the next one on.
//!
//! What the root is opened as when the application is loaded stays the root: if `DIR` is a symbolic link that a deployment
//! switches, reload the server afterwards.
//!
//! Architecture invariant: only `root` opens anything, and only below the root.

mod conditional;
mod content_type;
mod encoding;
mod listing;
mod page;
pub(super) mod path;
mod range;
mod recent;
pub(super) mod root;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat};

use super::{Application, Body, Factory, FileRange, LoadError, Reply, Request, Response, Segment};
use crate::protocol::FieldId;
use crate::sys;
use conditional::{Validators, Verdict};
use encoding::{Accepted, Coding};
use page::Refusal;
use path::RelativePath;
use range::{ByteRange, Ranges};
use recent::Recent;
use root::Root;

/// What may be chosen about how a directory is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Names of the files that answer for their directory; the first that exists is taken.
    pub index: Vec<String>,
    /// List directories that have no index file.
    pub listing: bool,
    /// Serve names that begin with a dot. Without it only `/.well-known/` is (RFC 8615).
    pub dotfiles: bool,
    /// The value of `Cache-Control` on files.
    pub cache_control: Option<String>,
    /// Serve `FILE.br`, `FILE.zst` or `FILE.gz` in place of `FILE` to clients that accept it, if it is as new as `FILE`.
    pub precompressed: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            index: vec!["index.html".to_owned()],
            listing: false,
            dotfiles: false,
            cache_control: None,
            precompressed: true,
        }
    }
}

/// Makes [`Files`].
#[derive(Clone, Debug)]
pub struct FilesFactory {
    root: PathBuf,
    options: Options,
}

impl FilesFactory {
    /// Serves the directory `root`.
    pub fn new(root: PathBuf, options: Options) -> Self {
        Self { root, options }
    }

    /// The application, for one that has it serve what it does not.
    pub(super) fn make(&self) -> Result<Files, LoadError> {
        Ok(Files::new(self.open()?, self.options.clone()))
    }

    fn open(&self) -> Result<Root, LoadError> {
        Root::open(&self.root).map_err(|error| {
            let message = format!("cannot serve the directory {}: {error}", self.root.display());
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied => {
                    LoadError::application(message)
                }
                _ => LoadError::boot(message),
            }
        })
    }
}

impl Factory for FilesFactory {
    fn check(&mut self) -> Result<(), LoadError> {
        if let Some(value) = &self.options.cache_control
            && !value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        {
            return Err(LoadError::application(format!("{value:?} cannot be the value of Cache-Control")));
        }
        if let Some(name) = self.options.index.iter().find(|name| name.is_empty() || name.contains(['/', '\0'])) {
            return Err(LoadError::application(format!("{name:?} cannot be the name of an index file")));
        }
        self.open().map(drop)
    }

    fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
        Ok(Box::new(self.make()?))
    }
}

/// Serves a directory to GET and HEAD requests.
#[derive(Debug)]
pub struct Files {
    root: Root,
    options: Options,
    /// Of the request that is being answered; kept for its memory.
    path: RelativePath,
    recent: Recent,
    boundaries: RandomState,
    /// Multipart bodies so far.
    multiparts: u64,
}

impl Application for Files {
    fn call(&mut self, request: &Request<'_>, reply: Reply<'_>) {
        let response = self.answer(request).unwrap_or_else(page::refusal);
        reply.send(response);
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        self.recent.clear();
        wait();
    }
}

/// A regular file that was found.
#[derive(Clone, Debug)]
struct Found {
    file: Arc<File>,
    stat: FileStat,
}

/// What is going to be sent, if the conditions of the request let it.
#[derive(Debug)]
struct Representation {
    found: Found,
    content_type: Cow<'static, str>,
    coding: Option<Coding>,
    /// Whether another request for the same path might get another representation.
    negotiated: bool,
}

impl Files {
    fn new(root: Root, options: Options) -> Self {
        Self {
            root,
            options,
            path: RelativePath::default(),
            recent: Recent::default(),
            boundaries: RandomState::new(),
            multiparts: 0,
        }
    }

    fn answer(&mut self, request: &Request<'_>) -> Result<Response, Refusal> {
        match request.method() {
            "GET" | "HEAD" => {}
            "OPTIONS" => return Ok(Response::new(204).with_field("Allow", page::ALLOW)),
            _ => return Err(Refusal::MethodNotAllowed),
        }
        self.path.assign(request.path_below())?;
        if !self.options.dotfiles && self.path.is_hidden() {
            return Err(Refusal::NotFound);
        }
        if request.path_below().is_empty() && !request.mount().is_empty() {
            return Ok(self.redirect_to_directory(request));
        }
        let found = if self.path.names_directory() {
            match self.index()? {
                Some(found) => found,
                None if self.options.listing => return listing::list(&self.root, &self.path, self.options.dotfiles),
                None => return Err(Refusal::NotFound),
            }
        } else {
            match self.open()? {
                Some(found) => found,
                None => return Ok(self.redirect_to_directory(request)),
            }
        };
        let representation = self.choose(request, found)?;
        Ok(self.respond(request, representation))
    }

    /// The first index file that exists. The path becomes that of the file.
    fn index(&mut self) -> Result<Option<Found>, Refusal> {
        for name in &self.options.index {
            let length = self.path.append_segment(name);
            match self.root.file(self.path.as_bytes()).map_err(Refusal::from).and_then(regular_file) {
                Ok(found) => return Ok(Some(found)),
                Err(Refusal::NotFound) => self.path.truncate(length),
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(None)
    }

    /// The file that the path names, `None` if it names a directory.
    fn open(&mut self) -> Result<Option<Found>, Refusal> {
        let path = self.path.as_bytes();
        if let Some(found) = self.recent.find(path) {
            return Ok(Some(found));
        }
        let file = match self.root.file(path) {
            Ok(file) => file,
            // A directory that may be searched but not read is one that has files all the same.
            Err(Errno::EACCES) if self.root.is_directory(path) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&file)?;
        match kind_of(&stat) {
            libc::S_IFREG => {
                let found = Found { file: Arc::new(file), stat };
                self.recent.keep(path, &found);
                Ok(Some(found))
            }
            libc::S_IFDIR => Ok(None),
            _ => Err(Refusal::NotFound),
        }
    }

    /// The same path with a slash, so that relative references in the index file work.
    ///
    /// The location begins with the mount and then exactly one slash, and what a browser might take for another is percent-encoded, so it
    /// never names another host.
    fn redirect_to_directory(&self, request: &Request<'_>) -> Response {
        let mut location = format!("{}/", request.mount());
        path::encode(self.path.as_bytes(), path::Slash::Keep, &mut location);
        if !location.ends_with('/') {
            location.push('/');
        }
        if let Some(query) = request.query() {
            location.push('?');
            location.push_str(query);
        }
        page::moved(location)
    }

    /// Chooses between a file and its precompressed siblings (RFC 9110 §12.5.3).
    fn choose(&mut self, request: &Request<'_>, original: Found) -> Result<Representation, Refusal> {
        let content_type = content_type::of(self.path.as_bytes());
        let negotiated = self.options.precompressed && !content_type::is_compressed(&content_type);
        let identity = |found| Representation { found, content_type: content_type.clone(), coding: None, negotiated };
        if !negotiated || request.known(FieldId::AcceptEncoding).is_none() {
            return Ok(identity(original));
        }
        let accepted = Accepted::from_fields(values(request, FieldId::AcceptEncoding));
        for coding in accepted.codings() {
            let length = self.path.append(coding.suffix());
            let sibling = self.sibling();
            self.path.truncate(length);
            // Seconds, as not every compressor that hands on the time of its input hands on all of it.
            if let Some(found) = sibling.filter(|found| found.stat.st_mtime >= original.stat.st_mtime) {
                return Ok(Representation { found, content_type, coding: Some(coding), negotiated });
            }
        }
        if accepted.identity() { Ok(identity(original)) } else { Err(Refusal::NotAcceptable) }
    }

    /// The file at the path, which may well not exist: that it cannot be had is no reason not to serve the original.
    fn sibling(&self) -> Option<Found> {
        let path = self.path.as_bytes();
        if !self.root.seems_to_have(path) {
            return None;
        }
        self.root.file(path).map_err(Refusal::from).and_then(regular_file).ok()
    }

    fn respond(&mut self, request: &Request<'_>, representation: Representation) -> Response {
        let Representation { found: Found { file, stat }, content_type, coding, negotiated } = representation;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let validators = Validators::new(&stat, coding, sys::unix_time_coarse());
        let verdict = validators.judge(request);

        let mut response = Response::new(200);
        response.fields.reserve_exact(8);
        if negotiated {
            response = response.with_field("Vary", "Accept-Encoding");
        }
        if let Some(value) = &self.options.cache_control {
            response = response.with_field("Cache-Control", value.clone());
        }
        let ranges = match verdict {
            Verdict::Failed => return page::refusal(Refusal::PreconditionFailed),
            // RFC 9110 §15.4.5: these fields and no others.
            Verdict::NotModified => return response.with_status(304).with_field("ETag", validators.into_etag()),
            Verdict::Send { ranges } => ranges,
        };
        let ranges = match request.known(FieldId::Range) {
            Some(field) if ranges && request.method() == "GET" => Ranges::parse(field, size),
            _ => Ranges::Whole,
        };
        if ranges == Ranges::Unsatisfiable {
            return page::refusal(Refusal::RangeNotSatisfiable).with_field("Content-Range", format!("bytes */{size}"));
        }
        if let Some(coding) = coding {
            response = response.with_field("Content-Encoding", coding.token());
        }
        if let Some(modified) = validators.last_modified() {
            response = response.with_field("Last-Modified", modified);
        }
        response = response
            .with_content_type(content_type)
            .with_field("ETag", validators.into_etag())
            .with_field("Accept-Ranges", "bytes")
            .with_field("X-Content-Type-Options", "nosniff");
        match ranges {
            // The length is all that is asked for.
            _ if request.method() == "HEAD" => response.with_body(whole(file, size)),
            Ranges::Whole | Ranges::Unsatisfiable => response.with_body(body(file, ByteRange::all(size))),
            Ranges::One(range) => response
                .with_status(206)
                .with_field("Content-Range", range.content_range(size))
                .with_body(body(file, range)),
            Ranges::Several(ranges) => self.multipart(response, file, size, &ranges),
        }
    }

    /// `multipart/byteranges` (RFC 9110 §14.6).
    fn multipart(&mut self, response: Response, file: Arc<File>, size: u64, ranges: &[ByteRange]) -> Response {
        // Whoever wrote the file cannot have guessed the boundary, so no part of it looks like another one.
        self.multiparts = self.multiparts.wrapping_add(1);
        let halves = [self.boundaries.hash_one(self.multiparts), self.boundaries.hash_one(!self.multiparts)];
        let boundary = format!("{:016x}{:016x}", halves[0], halves[1]);
        let part_type = response.content_type.as_deref().unwrap_or_default();
        let mut segments = Vec::with_capacity(ranges.len() * 2 + 1);
        let mut separator = "--";
        for range in ranges {
            let content_range = range.content_range(size);
            let head =
                format!("{separator}{boundary}\r\nContent-Type: {part_type}\r\nContent-Range: {content_range}\r\n\r\n");
            segments.push(Segment::Bytes(head.into()));
            segments.push(match read(&file, *range) {
                Some(bytes) => Segment::Bytes(bytes.into()),
                None => Segment::File(file_range(Arc::clone(&file), *range)),
            });
            separator = "\r\n--";
        }
        segments.push(Segment::Bytes(format!("\r\n--{boundary}--\r\n").into()));
        let mut response =
            response.with_status(206).with_content_type(format!("multipart/byteranges; boundary={boundary}"));
        response.body = Body::Segments(segments);
        response
    }
}

fn values<'a>(request: &Request<'a>, id: FieldId) -> impl Iterator<Item = &'a [u8]> {
    request.fields().filter(move |field| field.id == id).map(|field| field.value)
}

fn kind_of(stat: &FileStat) -> libc::mode_t {
    stat.st_mode & libc::S_IFMT
}

fn regular_file(file: File) -> Result<Found, Refusal> {
    let stat = fstat(&file)?;
    if kind_of(&stat) == libc::S_IFREG { Ok(Found { file: Arc::new(file), stat }) } else { Err(Refusal::NotFound) }
}

fn body(file: Arc<File>, range: ByteRange) -> Body {
    match read(&file, range) {
        Some(bytes) => Body::Bytes(bytes.into()),
        None => file_range(file, range).into(),
    }
}

fn whole(file: Arc<File>, size: u64) -> Body {
    file_range(file, ByteRange::all(size)).into()
}

fn file_range(file: Arc<File>, range: ByteRange) -> FileRange {
    FileRange { file, offset: range.start, length: range.length() }
}

/// The bytes themselves if they are few.
///
/// `None` also when they cannot be read, or are not there any more: then whoever sends the file finds out, after a head
/// that has promised them, and breaks the connection off, as with a large file.
fn read(file: &File, range: ByteRange) -> Option<Vec<u8>> {
    if range.length() > IN_MEMORY {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(range.length()).ok()?];
    file.read_exact_at(&mut bytes, range.start).ok()?;
    Some(bytes)
}

/// Up to this many bytes, one `read` and one write of head and body cost less than a write and a `sendfile`.
const IN_MEMORY: u64 = 16 * 1024;
