#![allow(clippy::unwrap_used)]

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::stat::Mode;

use super::root::Resolution;
use super::*;
use crate::app::reply::{Exchange, Mailbox, Ticket};
use crate::app::{Address, Peer, RequestBody};
use crate::protocol::Head;
use crate::protocol::head::{FieldSpan, Span};

/// The time of all files of a [`Site`]: Sun, 09 Sep 2001 01:46:40.5 GMT
const TIME: Duration = Duration::new(1_000_000_000, 500_000_000);
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
    fn send(&mut self, response: Response) {
        assert!(self.0.replace(response).is_none(), "answered twice");
    }

    fn early_hints(&mut self, _fields: &[(&str, &str)]) {}

    fn defer(&mut self) -> (Arc<dyn Mailbox>, Ticket) {
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

fn call(files: &mut Files, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
    let head = head(method, target, fields);
    let peer = Peer { address: Address::Unix(None), trusted: true, secure: false };
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

#[test]
fn a_file_comes_with_its_type_validators_and_bytes() {
    let site = Site::with_files(&[("hello.txt", HELLO), ("empty.css", ""), ("a b/é", "accent")]);
    let mut files = site.files(Options { cache_control: Some("max-age=60".to_owned()), ..Options::default() });
    let fields = [
        ("Content-Type", Some("text/plain; charset=utf-8")),
        ("ETag", Some(HELLO_TAG)),
        ("Last-Modified", Some(DATE)),
        ("Accept-Ranges", Some("bytes")),
        ("Cache-Control", Some("max-age=60")),
        ("Vary", Some("Accept-Encoding")),
        ("X-Content-Type-Options", Some("nosniff")),
        ("Content-Encoding", None),
        ("Content-Range", None),
    ];
    check(&mut files, "/hello.txt", &[], 200, &fields, HELLO);
    check(&mut files, "/hello.txt?version=1", &[], 200, &fields, HELLO);
    check(&mut files, "/./x/..//hello%2etxt", &[], 200, &fields, HELLO);
    check(&mut files, "/empty.css", &[], 200, &[("Content-Type", Some("text/css; charset=utf-8"))], "");
    check(&mut files, "/a%20b/%C3%A9", &[], 200, &[("Content-Type", Some("application/octet-stream"))], "accent");
}

#[test]
fn small_files_are_in_memory_and_large_ones_are_not_read() {
    let site = Site::new();
    let (small, large) = (vec![b's'; IN_MEMORY as usize], vec![b'l'; IN_MEMORY as usize + 1]);
    site.write("small", &small);
    site.write("large", &large);
    let mut files = site.files(Options::default());
    let response = get(&mut files, "/small");
    assert!(matches!(response.body(), Body::Bytes(_)));
    assert_eq!(body(&response), small);
    let response = get(&mut files, "/large");
    assert!(matches!(response.body(), Body::Segments(segments) if matches!(segments.as_slice(), [Segment::File(_)])));
    assert_eq!(body(&response), large);
    let response = call(&mut files, "GET", "/large", &[("Range", "bytes=1-3")]);
    assert!(matches!(response.body(), Body::Bytes(bytes) if bytes.as_ref() == b"lll"));
}

#[test]
fn head_has_the_fields_and_length_of_get() {
    let site = Site::with_files(&[("hello.txt", HELLO), ("d/index.html", "index")]);
    let mut files = site.files(Options { listing: true, ..Options::default() });
    for (target, sent) in [
        ("/hello.txt", [].as_slice()),
        ("/d/", &[]),
        ("/d", &[]),
        ("/", &[]),
        ("/none", &[]),
        ("/hello.txt", &[("If-None-Match", HELLO_TAG)]),
        ("/hello.txt", &[("If-Match", "\"other\"")]),
    ] {
        let (get, head) = (call(&mut files, "GET", target, sent), call(&mut files, "HEAD", target, sent));
        assert_eq!(get.status(), head.status(), "{target}");
        assert!(get.fields().eq(head.fields()), "{target}");
        assert_eq!(get.body().len(), head.body().len(), "{target}");
    }
    // RFC 9110 §14.2: ranges are for GET.
    let response = call(&mut files, "HEAD", "/hello.txt", &[("Range", "bytes=0-0")]);
    assert_eq!((response.status(), response.body().len()), (200, Some(14)));
}

#[test]
fn files_can_only_be_read() {
    let site = Site::with_files(&[("hello.txt", HELLO)]);
    let mut files = site.files(Options::default());
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "PROPFIND"] {
        let response = call(&mut files, method, "/hello.txt", &[]);
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(field(&response, "Allow"), Some("GET, HEAD, OPTIONS"), "{method}");
    }
    for target in ["/hello.txt", "/none", "*"] {
        let response = call(&mut files, "OPTIONS", target, &[]);
        assert_eq!(response.status(), 204, "{target}");
        assert_eq!(field(&response, "Allow"), Some("GET, HEAD, OPTIONS"), "{target}");
        assert_eq!(response.body().len(), Some(0), "{target}");
    }
}

#[test]
fn nothing_outside_the_root_can_be_reached() {
    let site = Site::with_files(&[("hello.txt", HELLO), ("d/inner.txt", "inner"), ("back\\slash", "back")]);
    let root = site.root();
    let link = |target: &Path, name: &str| symlink(target, root.join(name)).unwrap();
    link(Path::new("hello.txt"), "inside");
    link(Path::new("../hello.txt"), "d/up-inside");
    link(Path::new("d"), "dir-inside");
    link(Path::new("../secret.txt"), "up");
    link(Path::new(".."), "dir-up");
    link(Path::new("../site/hello.txt"), "out-and-in");
    link(Path::new("/etc/passwd"), "absolute");
    link(&root.join("hello.txt"), "absolute-inside");
    link(Path::new("/"), "slash");
    link(Path::new("loop"), "loop");
    link(Path::new("nowhere"), "dangling");
    link(Path::new("/proc/self/root"), "magic");
    let long = format!("/{}", "a".repeat(300));
    let very_long = format!("/{}", "a/".repeat(4000));
    let mut cases = vec![
        ("/inside", 200),
        ("/d/up-inside", 200),
        ("/dir-inside/inner.txt", 200),
        ("/back%5Cslash", 200),
        ("/../secret.txt", 400),
        ("/%2e%2e/secret.txt", 400),
        ("/.%2E/secret.txt", 400),
        ("/d/../../secret.txt", 400),
        ("/d/%2e./%2e%2e/secret.txt", 400),
        ("//..//secret.txt", 400),
        ("/hello.txt/../../secret.txt", 400),
        ("/..%2fsecret.txt", 404),
        ("/%2e%2e%2fsecret.txt", 404),
        ("/d%2f..%2f..%2fsecret.txt", 404),
        ("/%2fetc%2fpasswd", 404),
        ("/..%5csecret.txt", 404),
        ("/%252e%252e/secret.txt", 404),
        ("/%252e%252e%252fsecret.txt", 404),
        ("/%c0%ae%c0%ae/secret.txt", 404),
        ("/%c0%ae%c0%ae%c0%afsecret.txt", 404),
        ("/%e0%80%ae%e0%80%ae/secret.txt", 404),
        ("/%uff0e%uff0e/secret.txt", 400),
        ("/hello.txt%00", 400),
        ("/hello.txt%00.html", 400),
        ("/hello.txt/", 404),
        ("/hello.txt/.", 404),
        ("/hello.txt/x", 404),
        ("/hello.txt%20", 404),
        ("/hello.txt%2f", 404),
        ("/hello.txt%", 400),
        ("/%gg", 400),
        ("/up", 404),
        ("/dir-up", 404),
        ("/dir-up/secret.txt", 404),
        ("/dir-up/site/hello.txt", 404),
        ("/out-and-in", 404),
        ("/absolute", 404),
        ("/absolute-inside", 404),
        ("/slash", 404),
        ("/slash/etc/passwd", 404),
        ("/loop", 404),
        ("/loop/x", 404),
        ("/dangling", 404),
        ("/magic/etc/passwd", 404),
        (&long, 404),
        (&very_long, 404),
        ("/etc/passwd", 404),
        ("etc/passwd", 400),
        ("http://localhost/hello.txt", 400),
    ];
    let mut files = site.files(Options { dotfiles: true, ..Options::default() });
    for (target, status) in &cases {
        assert_eq!(get(&mut files, target).status(), *status, "{target}");
    }
    // Where the kernel does not look after them, links inside are not followed either, and everything else is the same.
    for (target, status) in &mut cases {
        if matches!(*target, "/inside" | "/d/up-inside" | "/dir-inside/inner.txt") {
            *status = 404;
        }
    }
    cases.extend([("/hello.txt", 200), ("/d/inner.txt", 200)]);
    let mut files = site.stepwise();
    files.options.dotfiles = true;
    for (target, status) in cases {
        assert_eq!(get(&mut files, target).status(), status, "stepwise {target}");
    }
}

#[test]
fn magic_links_are_not_followed() {
    for resolution in [Resolution::Beneath, Resolution::Stepwise] {
        let root = Root::open(Path::new("/proc/self")).unwrap().with_resolution(resolution);
        let mut files = Files::new(root, Options::default());
        for target in ["/exe", "/cwd/", "/cwd/Cargo.toml", "/root/etc/passwd", "/fd/0", "/task/../exe"] {
            assert_eq!(get(&mut files, target).status(), 404, "{resolution:?} {target}");
        }
        assert_eq!(get(&mut files, "/status").status(), 200, "{resolution:?}");
    }
}

#[test]
fn only_regular_files_are_served_and_nothing_blocks() {
    let site = Site::with_files(&[("d/index.html/x", "index is a directory")]);
    nix::unistd::mkfifo(&site.root().join("fifo"), Mode::from_bits_truncate(0o644)).unwrap();
    let _listener = UnixListener::bind(site.root().join("socket")).unwrap();
    let mut files = site.files(Options::default());
    for target in ["/fifo", "/fifo/", "/socket", "/d/", "/fifo?x"] {
        assert_eq!(get(&mut files, target).status(), 404, "{target}");
    }
}

#[test]
fn dotfiles_are_not_there_unless_switched_on() {
    let site = Site::with_files(&[
        (".env", "password"),
        (".git/config", "config"),
        ("d/.hidden/x", "x"),
        (".well-known/security.txt", "contact"),
        (".well-known/.x", "x"),
    ]);
    for (dotfiles, hidden) in [(false, 404), (true, 200)] {
        let mut files = site.files(Options { dotfiles, ..Options::default() });
        for target in ["/.env", "/.git/config", "/%2egit/config", "/d/.hidden/x", "/.well-known/.x", "/d/../.env"] {
            assert_eq!(get(&mut files, target).status(), hidden, "{target}");
        }
        assert_eq!(get(&mut files, "/.well-known/security.txt").status(), 200);
    }
    let mut files = site.files(Options::default());
    for target in ["/.git", "/.git/", "/.nothing"] {
        assert_eq!(get(&mut files, target).status(), 404, "{target}");
    }
}

#[test]
fn directories_get_their_slash_and_no_redirect_leaves_the_host() {
    let site = Site::with_files(&[("d/e f/index.html", "index"), ("\\host/x", ""), ("host.example/x", "")]);
    let mut files = site.files(Options::default());
    let cases = [
        ("/d", "/d/"),
        ("/d?a=b&c=%20", "/d/?a=b&c=%20"),
        ("/d?", "/d/?"),
        ("/d/e%20f", "/d/e%20f/"),
        ("/d/./x/../e%20f", "/d/e%20f/"),
        ("//host.example", "/host.example/"),
        ("///host.example", "/host.example/"),
        ("/./host.example", "/host.example/"),
        ("/.//host.example", "/host.example/"),
        ("/d/..//host.example", "/host.example/"),
        ("/%5chost", "/%5Chost/"),
    ];
    for (target, location) in cases {
        let response = get(&mut files, target);
        assert_eq!((response.status(), field(&response, "Location")), (301, Some(location)), "{target}");
    }
    check(&mut files, "/d/e%20f/", &[], 200, &[("Content-Type", Some("text/html; charset=utf-8"))], "index");
}

#[test]
fn the_first_index_file_that_exists_answers_for_its_directory() {
    let site =
        Site::with_files(&[("index.htm", "htm"), ("both/index.htm", "htm"), ("both/index.html", "html"), ("d/x", "")]);
    let index = vec!["index.html".to_owned(), "index.htm".to_owned()];
    let mut files = site.files(Options { index, ..Options::default() });
    check(&mut files, "/", &[], 200, &[], "htm");
    check(&mut files, "/both/", &[], 200, &[], "html");
    check(&mut files, "/d/", &[], 404, &[], "");
    check(&mut files, "/none/", &[], 404, &[], "");
    let mut files = site.files(Options { index: Vec::new(), ..Options::default() });
    check(&mut files, "/", &[], 404, &[], "");
}

#[test]
fn a_listing_shows_what_is_served_and_escapes_it() {
    let site = Site::with_files(&[
        ("z.txt", HELLO),
        ("<b>&\"'.txt", ""),
        ("a:b", ""),
        (".hidden", ""),
        ("sub/x", ""),
        ("indexed/index.html", "index"),
    ]);
    let root = site.root();
    fs::write(root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"latin-\xe9")), "").unwrap();
    symlink("z.txt", root.join("link")).unwrap();
    symlink("../secret.txt", root.join("escape")).unwrap();
    symlink("sub", root.join("sub-link")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), Mode::from_bits_truncate(0o644)).unwrap();

    let mut files = site.files(Options { listing: true, ..Options::default() });
    let response = get(&mut files, "/");
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "Content-Type"), Some("text/html; charset=utf-8"));
    let page = String::from_utf8(body(&response)).unwrap();
    let links: Vec<_> = page.split("href=\"").skip(1).map(|rest| rest.split("</a>").next().unwrap()).collect();
    assert_eq!(
        links,
        [
            "indexed/\">indexed/",
            "sub/\">sub/",
            "sub-link/\">sub-link/",
            "%3Cb%3E%26%22%27.txt\">&lt;b&gt;&amp;&quot;&#39;.txt",
            "a%3Ab\">a:b",
            "latin-%E9\">latin-\u{fffd}",
            "link\">link",
            "z.txt\">z.txt",
        ]
    );
    assert!(page.contains("<td>09 Sep 2001 01:46</td><td>14</td>"), "{page}");
    for link in links {
        let target = format!("/{}", link.split('"').next().unwrap());
        let status = get(&mut files, &target).status();
        assert_eq!(status, 200, "{target}");
    }
    assert!(String::from_utf8(body(&get(&mut files, "/sub/"))).unwrap().contains("<a href=\"../\">"));
    check(&mut files, "/indexed/", &[], 200, &[], "index");
    check(&mut files, "/none/", &[], 404, &[], "");
    check(&mut files, "/z.txt/", &[], 404, &[], "");

    let mut files = site.stepwise();
    files.options.listing = true;
    let page = String::from_utf8(body(&get(&mut files, "/"))).unwrap();
    assert!(page.contains("z.txt") && !page.contains("link"), "{page}");
}

#[test]
fn preconditions_are_judged_in_their_order() {
    let site = Site::with_files(&[("hello.txt", HELLO)]);
    let mut files = site.files(Options { cache_control: Some("no-cache".to_owned()), ..Options::default() });
    let weak = format!("W/{HELLO_TAG}");
    let list = format!("\"a,b\" ,W/\"c\",, {HELLO_TAG}");
    let list_without = "\"a,b\", W/\"c\", \"d";
    let unquoted = HELLO_TAG.trim_matches('"');
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("If-None-Match", HELLO_TAG)], 304),
        (&[("If-None-Match", &weak)], 304),
        (&[("If-None-Match", &list)], 304),
        (&[("If-None-Match", "*")], 304),
        (&[("If-None-Match", "\"x\""), ("If-None-Match", HELLO_TAG)], 304),
        (&[("If-None-Match", list_without)], 200),
        (&[("If-None-Match", unquoted)], 200),
        (&[("If-None-Match", "")], 200),
        (&[("If-None-Match", "W/")], 200),
        (&[("If-Modified-Since", DATE)], 304),
        (&[("If-Modified-Since", SECOND_AFTER)], 304),
        (&[("If-Modified-Since", "Sunday, 09-Sep-01 01:46:40 GMT")], 304),
        (&[("If-Modified-Since", "Sun Sep  9 01:46:40 2001")], 304),
        (&[("If-Modified-Since", SECOND_BEFORE)], 200),
        (&[("If-Modified-Since", "yesterday")], 200),
        (&[("If-Modified-Since", "")], 200),
        // The tag counts, the date does not (§13.1.3).
        (&[("If-None-Match", "\"x\""), ("If-Modified-Since", DATE)], 200),
        (&[("If-Modified-Since", SECOND_BEFORE), ("If-None-Match", HELLO_TAG)], 304),
        (&[("If-Match", HELLO_TAG)], 200),
        (&[("If-Match", &list)], 200),
        (&[("If-Match", "*")], 200),
        (&[("If-Match", &weak)], 412),
        (&[("If-Match", "\"x\"")], 412),
        (&[("If-Match", unquoted)], 412),
        (&[("If-Unmodified-Since", DATE)], 200),
        (&[("If-Unmodified-Since", SECOND_AFTER)], 200),
        (&[("If-Unmodified-Since", SECOND_BEFORE)], 412),
        (&[("If-Unmodified-Since", "yesterday")], 200),
        (&[("If-Match", HELLO_TAG), ("If-Unmodified-Since", SECOND_BEFORE)], 200),
        (&[("If-Match", "\"x\""), ("If-Unmodified-Since", DATE)], 412),
        (&[("If-Match", "\"x\""), ("If-None-Match", HELLO_TAG)], 412),
        (&[("If-Match", HELLO_TAG), ("If-None-Match", HELLO_TAG)], 304),
        (&[("If-Unmodified-Since", SECOND_BEFORE), ("If-Modified-Since", DATE)], 412),
        (&[("If-Unmodified-Since", DATE), ("If-Modified-Since", DATE)], 304),
        // Conditions come before ranges (§14.2).
        (&[("If-None-Match", HELLO_TAG), ("Range", "bytes=0-0")], 304),
        (&[("If-Match", "\"x\""), ("Range", "bytes=99-")], 412),
    ];
    for (sent, status) in cases {
        check(&mut files, "/hello.txt", sent, *status, &[], HELLO);
    }
    let fields = [
        ("ETag", Some(HELLO_TAG)),
        ("Cache-Control", Some("no-cache")),
        ("Vary", Some("Accept-Encoding")),
        ("Content-Type", None),
        ("Last-Modified", None),
        ("Accept-Ranges", None),
    ];
    check(&mut files, "/hello.txt", &[("If-None-Match", "*")], 304, &fields, "");
    // §13.2.1: without the condition it would be no success, so the condition does not count.
    for sent in [("If-Match", "*"), ("If-None-Match", "*")] {
        check(&mut files, "/none", &[sent], 404, &[], "");
    }
}

#[test]
fn ranges_are_served_alone_or_as_multipart() {
    let site = Site::with_files(&[("hello.txt", HELLO), ("empty", "")]);
    let mut files = site.files(Options::default());
    let cases: &[(&[(&str, &str)], u16, Option<&str>, &str)] = &[
        (&[("Range", "bytes=0-4")], 206, Some("bytes 0-4/14"), "Hello"),
        (&[("Range", "bytes=7-")], 206, Some("bytes 7-13/14"), "files!\n"),
        (&[("Range", "bytes=-2")], 206, Some("bytes 12-13/14"), "!\n"),
        (&[("Range", "bytes=0-99")], 206, Some("bytes 0-13/14"), HELLO),
        (&[("Range", "bytes=0-2,3-4")], 206, Some("bytes 0-4/14"), "Hello"),
        (&[("Range", "bytes=14-")], 416, Some("bytes */14"), ""),
        (&[("Range", "bytes=4-3")], 200, None, HELLO),
        (&[("Range", "lines=0-1")], 200, None, HELLO),
        (&[("Range", "bytes=0-4"), ("If-Range", HELLO_TAG)], 206, Some("bytes 0-4/14"), "Hello"),
        (&[("Range", "bytes=0-4"), ("If-Range", DATE)], 206, Some("bytes 0-4/14"), "Hello"),
        (&[("Range", "bytes=0-4"), ("If-Range", "\"x\"")], 200, None, HELLO),
        (&[("Range", "bytes=0-4"), ("If-Range", SECOND_AFTER)], 200, None, HELLO),
        (&[("Range", "bytes=0-4"), ("If-Range", "*")], 200, None, HELLO),
        (&[("Range", "bytes=14-"), ("If-Range", "\"x\"")], 200, None, HELLO),
        (&[("If-Range", HELLO_TAG)], 200, None, HELLO),
    ];
    for (sent, status, content_range, text) in cases {
        check(&mut files, "/hello.txt", sent, *status, &[("Content-Range", *content_range)], text);
    }
    let weak = format!("W/{HELLO_TAG}");
    check(&mut files, "/hello.txt", &[("Range", "bytes=0-4"), ("If-Range", &weak)], 200, &[], HELLO);
    check(&mut files, "/empty", &[("Range", "bytes=0-4")], 200, &[("Content-Range", None)], "");
    let fields = [("ETag", Some(HELLO_TAG)), ("Content-Type", Some("text/plain; charset=utf-8"))];
    check(&mut files, "/hello.txt", &[("Range", "bytes=0-0")], 206, &fields, "H");

    let mut boundaries = Vec::new();
    for _ in 0..2 {
        let response = call(&mut files, "GET", "/hello.txt", &[("Range", "bytes=-2,0-0")]);
        assert_eq!((response.status(), field(&response, "Content-Range")), (206, None));
        let boundary =
            field(&response, "Content-Type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
        let part = |range: &str, text: &str| {
            format!(
                "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes {range}/14\r\n\r\n{text}\r\n"
            )
        };
        let expected = part("12-13", "!\n") + &part("0-0", "H") + &format!("--{boundary}--\r\n");
        assert_eq!(String::from_utf8(body(&response)).unwrap(), expected);
        boundaries.push(boundary.to_owned());
    }
    assert_ne!(boundaries[0], boundaries[1]);
}

#[test]
fn large_parts_of_a_multipart_body_are_not_read() {
    let site = Site::new();
    let bytes: Vec<u8> = (0..100_000_u32).map(|nr| u8::try_from(nr % 251).unwrap()).collect();
    site.write("large", &bytes);
    let mut files = site.files(Options::default());
    let response = call(&mut files, "GET", "/large", &[("Range", "bytes=0-49999,60000-60001")]);
    let Body::Segments(segments) = response.body() else { panic!("no segments") };
    let kinds: Vec<_> = segments.iter().map(|segment| matches!(segment, Segment::File(_))).collect();
    assert_eq!(kinds, [false, true, false, false, false]);
    assert_eq!(content(&segments[1]), &bytes[..50_000]);
    assert_eq!(content(&segments[3]), &bytes[60_000..60_002]);
}

#[test]
fn a_precompressed_sibling_is_served_to_whom_accepts_it() {
    let site = Site::with_files(&[
        ("all.js", "plain"),
        ("all.js.br", "BR"),
        ("all.js.zst", "ZST"),
        ("all.js.gz", "GZ"),
        ("stale.css", "plain"),
        ("stale.css.gz", "GZ"),
        ("photo.png", "plain"),
        ("photo.png.gz", "GZ"),
        ("odd.txt", "plain"),
        ("odd.txt.gz/x", "a directory"),
        ("d/index.html", "plain"),
        ("d/index.html.gz", "GZ"),
        ("alone.txt.gz", "GZ"),
    ]);
    set_time(&site.root().join("stale.css.gz"), TIME - Duration::from_secs(1));
    // As of compressors that hand on seconds only.
    set_time(&site.root().join("all.js.br"), Duration::from_secs(TIME.as_secs()));
    let mut files = site.files(Options::default());
    let cases = [
        ("/all.js", "gzip, deflate, br, zstd", Some("br"), "BR"),
        ("/all.js", "gzip, zstd", Some("zstd"), "ZST"),
        ("/all.js", "gzip", Some("gzip"), "GZ"),
        ("/all.js", "deflate", None, "plain"),
        ("/all.js", "", None, "plain"),
        ("/all.js", "br;q=0.1, gzip;q=0.2", Some("gzip"), "GZ"),
        ("/all.js", "identity;q=0, gzip", Some("gzip"), "GZ"),
        ("/all.js", "identity, gzip;q=0.5", None, "plain"),
        ("/stale.css", "gzip", None, "plain"),
        ("/photo.png", "gzip", None, "plain"),
        ("/odd.txt", "gzip", None, "plain"),
        ("/d/", "gzip", Some("gzip"), "GZ"),
        ("/all.js.gz", "gzip", None, "GZ"),
    ];
    for (target, accepted, coding, text) in cases {
        check(&mut files, target, &[("Accept-Encoding", accepted)], 200, &[("Content-Encoding", coding)], text);
    }
    let gzip = ("Accept-Encoding", "gzip");
    check(&mut files, "/alone.txt", &[gzip], 404, &[], "");
    check(&mut files, "/all.js", &[], 200, &[("Vary", Some("Accept-Encoding")), ("Content-Encoding", None)], "plain");
    check(&mut files, "/photo.png", &[gzip], 200, &[("Vary", None)], "plain");
    let refused = [("Accept-Encoding", "identity;q=0")];
    check(&mut files, "/all.js", &refused, 406, &[("Vary", Some("Accept-Encoding"))], "");

    // It is a representation of its own, of the same type.
    let tag = "\"de0b6b3c5316500-2-gzip\"";
    let fields = [("ETag", Some(tag)), ("Content-Type", Some("text/javascript; charset=utf-8"))];
    check(&mut files, "/all.js", &[gzip], 200, &fields, "GZ");
    check(&mut files, "/all.js", &[gzip, ("If-None-Match", tag)], 304, &[("ETag", Some(tag))], "");
    check(&mut files, "/all.js", &[("If-None-Match", tag)], 200, &[], "plain");
    let fields = [("Content-Range", Some("bytes 1-1/2")), ("Content-Encoding", Some("gzip"))];
    check(&mut files, "/all.js", &[gzip, ("Range", "bytes=1-")], 206, &fields, "Z");

    let mut files = site.files(Options { precompressed: false, ..Options::default() });
    let fields = [("Vary", None), ("Content-Encoding", None)];
    check(&mut files, "/all.js", &[gzip], 200, &fields, "plain");
    check(&mut files, "/all.js", &refused, 200, &fields, "plain");
}

#[test]
fn odd_times_do_not_matter() {
    let site = Site::with_files(&[("a", "a")]);
    let mut files = site.files(Options::default());
    let path = site.root().join("a");
    let tags: Vec<_> = [Duration::ZERO, Duration::from_secs(300_000_000_000), TIME, TIME + Duration::from_nanos(1)]
        .into_iter()
        .map(|time| {
            set_time(&path, time);
            let response = call(&mut files, "GET", "/a", &[("If-Modified-Since", SECOND_BEFORE)]);
            assert!(matches!(response.status(), 200 | 304), "{time:?}");
            field(&response, "ETag").unwrap().to_owned()
        })
        .collect();
    assert_eq!(tags.iter().collect::<std::collections::HashSet<_>>().len(), tags.len(), "{tags:?}");

    // Before 1970 there is no HTTP date; after now, it is now (RFC 9110 §8.8.2.1).
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(5);
    File::options().write(true).open(&path).unwrap().set_times(FileTimes::new().set_modified(before)).unwrap();
    check(&mut files, "/a", &[], 200, &[("Last-Modified", None)], "a");
    set_time(&path, SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(3600));
    let response = get(&mut files, "/a");
    let modified = httpdate::parse_http_date(field(&response, "Last-Modified").unwrap()).unwrap();
    assert!(modified <= SystemTime::now());
}

#[test]
fn a_file_that_is_replaced_or_removed_is_served_as_it_is_now() {
    let site = Site::with_files(&[("a", "old"), ("new", "new content")]);
    let mut files = site.files(Options::default());
    check(&mut files, "/a", &[], 200, &[], "old");
    fs::rename(site.root().join("new"), site.root().join("a")).unwrap();
    check(&mut files, "/a", &[], 200, &[], "new content");
    fs::remove_file(site.root().join("a")).unwrap();
    check(&mut files, "/a", &[], 404, &[], "");
}

#[test]
fn refusals_are_small_pages_in_gunicorns_form() {
    let site = Site::new();
    let mut files = site.files(Options::default());
    for (target, status, reason) in [("/none", 404, "Not Found"), ("/%00", 400, "Bad Request")] {
        let response = get(&mut files, target);
        assert_eq!(response.status(), status);
        assert_eq!(field(&response, "Content-Type"), Some("text/html; charset=utf-8"));
        assert_eq!(field(&response, "Cache-Control"), None);
        let page = String::from_utf8(body(&response)).unwrap();
        let start = format!(
            "<html>\n  <head>\n    <title>{reason}</title>\n  </head>\n  <body>\n    <h1><p>{reason}</p></h1>\n    "
        );
        assert!(page.starts_with(&start) && page.ends_with("\n  </body>\n</html>\n"), "{page}");
    }
}

#[test]
fn every_error_of_opening_a_file_has_its_answer() {
    use Errno::{EACCES, EIO, ELOOP, EMFILE, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV};
    for error in [ENOENT, ENOTDIR, ENAMETOOLONG, EXDEV, ELOOP] {
        assert_eq!(Refusal::from(error), Refusal::NotFound, "{error}");
    }
    assert_eq!(Refusal::from(EACCES), Refusal::Forbidden);
    assert_eq!(Refusal::from(EMFILE), Refusal::Unavailable);
    assert_eq!(Refusal::from(EIO), Refusal::Internal);
}

#[test]
fn the_factory_says_what_is_wrong_with_the_directory() {
    let site = Site::with_files(&[("file", "")]);
    let factory = |name: &str| FilesFactory::new(site.root().join(name), Options::default());
    assert_eq!(factory("").check(), Ok(()));
    assert!(factory("").load().is_ok());
    for (name, reason) in [("none", "No such file or directory"), ("file", "Not a directory")] {
        let error = factory(name).check().unwrap_err();
        assert_eq!(error.exit_code(), 4, "{name}");
        let text = error.to_string();
        assert!(text.contains("cannot serve the directory") && text.contains(name) && text.contains(reason), "{text}");
        assert_eq!(factory(name).load().err(), Some(error));
    }
    let options = Options { cache_control: Some("a\r\nSet-Cookie: b".to_owned()), ..Options::default() };
    assert!(FilesFactory::new(site.root(), options).check().is_err());
}
