//! What is answered about a file that was found.

use super::*;

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
    for range in ["bytes=0-0", "bytes=99-"] {
        let response = call(&mut files, "HEAD", "/hello.txt", &[("Range", range)]);
        assert_eq!((response.status(), response.body().len()), (200, Some(14)), "{range}");
    }
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
    type Case = (&'static [(&'static str, &'static str)], u16, Option<&'static str>, &'static str);
    let cases: &[Case] = &[
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
    for tag in [format!("W/{HELLO_TAG}"), format!("{HELLO_TAG}, {HELLO_TAG}"), HELLO_TAG.trim_matches('"').to_owned()] {
        check(&mut files, "/hello.txt", &[("Range", "bytes=0-4"), ("If-Range", &tag)], 200, &[], HELLO);
    }
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
