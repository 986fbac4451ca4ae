//! Calls the application without a server, on a directory made for the test.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod places;
mod responses;

use std::fs::{self, FileTimes};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use super::root::Resolution;
use super::*;
use crate::app::reply::{Deferred, Exchange};
use crate::app::{Address, Parts, Peer, RequestBody};
use crate::protocol::Head;
use crate::protocol::head::{FieldSpan, Span};
use crate::protocol::http1::ResponseError;

/// The time of all files of a [`Site`]: Sun, 09 Sep 2001 01:46:40.5 GMT
const TIME: Duration = Duration::from_millis(1_000_000_000_500);
const DATE: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
const SECOND_BEFORE: &str = "Sun, 09 Sep 2001 01:46:39 GMT";
const SECOND_AFTER: &str = "Sun, 09 Sep 2001 01:46:41 GMT";
/// The time in nanoseconds and the size, in hexadecimal.
const HELLO_TAG: &str = "\"de0b6b3c5316500-e\"";
const HELLO: &str = "Hello, files!\n";

/// A directory with files to serve, in a directory with files that must not be served.
struct Site {
    top: PathBuf,
}

impl Site {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nr = COUNT.fetch_add(1, Ordering::Relaxed);
        let top = std::env::temp_dir().join(format!("ferricorn-files-{}-{nr}", process::id()));
        fs::create_dir_all(top.join("site")).unwrap();
        let site = Self { top };
        site.write("../secret.txt", "secret");
        site
    }

    fn with_files(files: &[(&str, &str)]) -> Self {
        let site = Self::new();
        for (path, content) in files {
            site.write(path, content);
        }
        site
    }

    fn root(&self) -> PathBuf {
        self.top.join("site")
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        set_time(&path, TIME);
    }

    fn files(&self, options: Options) -> Files {
        Files::new(Root::open(&self.root()).unwrap(), options)
    }

    fn stepwise(&self) -> Files {
        Files::new(Root::open(&self.root()).unwrap().with_resolution(Resolution::Stepwise), Options::default())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.top);
    }
}

fn set_time(path: &Path, since_1970: Duration) {
    let time = SystemTime::UNIX_EPOCH + since_1970;
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[derive(Default)]
struct Caught(Option<Response>);

impl Exchange for Caught {
    fn send(&mut self, response: &mut Response) {
        assert!(self.0.replace(std::mem::take(response)).is_none(), "answered twice");
    }

    fn send_parts(&mut self, _parts: &mut Parts<'_, '_>) -> Result<(), ResponseError> {
        unreachable!("files are answered whole")
    }

    fn early_hints<'f>(
        &mut self,
        _fields: &mut dyn Iterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Result<(), ResponseError> {
        Ok(())
    }

    fn defer(&mut self) -> Deferred {
        unreachable!("files are answered at once")
    }
}

fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> Head {
    let mut head = Head::default();
    let mut put = |text: &str| {
        let start = head.bytes.len();
        head.bytes.extend_from_slice(text.as_bytes());
        Span { start: u32::try_from(start).unwrap(), end: u32::try_from(head.bytes.len()).unwrap() }
    };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let (method, path, query) = (put(method), put(path), query.map(&mut put));
    let spans = fields.iter().map(|(name, value)| {
        let id = FieldId::ALL.iter().find(|id| id.name().eq_ignore_ascii_case(name)).copied().unwrap_or_default();
        FieldSpan { name: put(name), value: put(value), id }
    });
    let fields = spans.collect();
    Head { method, target: path, path, query, fields, ..head }
}

/// One request in a batch of its own.
fn call(files: &mut Files, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
    files.idle(&mut || {});
    call_again(files, method, target, fields)
}

/// One more request of the same batch.
fn call_again(files: &mut Files, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
    let head = head(method, target, fields);
    let peer = Peer { address: Address::Unix(None), destination: None, trusted: true, secure: false };
    let mut caught = Caught::default();
    files.call(&Request::new(&head, &RequestBody::Empty, &peer, &peer.address), Reply::new(&mut caught));
    caught.0.expect("an answer")
}

fn get(files: &mut Files, target: &str) -> Response {
    call(files, "GET", target, &[])
}

fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let mut values = response.fields().filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
    let value = values.next().map(|(_, value)| std::str::from_utf8(value).unwrap());
    assert!(values.next().is_none(), "{name} is there twice");
    value
}

fn body(response: &Response) -> Vec<u8> {
    match response.body() {
        Body::Empty => Vec::new(),
        Body::Bytes(bytes) => bytes.to_vec(),
        Body::Segments(segments) => segments.iter().flat_map(content).collect(),
        Body::Source(_) => panic!("files are no source"),
    }
}

fn content(segment: &Segment) -> Vec<u8> {
    match segment {
        Segment::Bytes(bytes) => bytes.to_vec(),
        Segment::File(range) => {
            let mut bytes = vec![0; usize::try_from(range.length).unwrap()];
            range.file.read_exact_at(&mut bytes, range.offset).unwrap();
            bytes
        }
    }
}

/// Checks status, fields (`None` is absent) and body of the answer to a GET.
#[track_caller]
fn check(
    files: &mut Files,
    target: &str,
    sent: &[(&str, &str)],
    status: u16,
    fields: &[(&str, Option<&str>)],
    text: &str,
) {
    let response = call(files, "GET", target, sent);
    assert_eq!(response.status(), status, "{target} {sent:?}");
    for (name, value) in fields {
        assert_eq!(field(&response, name), *value, "{target} {sent:?} {name}");
    }
    if status < 300 {
        assert_eq!(String::from_utf8_lossy(&body(&response)), text, "{target} {sent:?}");
    }
}
