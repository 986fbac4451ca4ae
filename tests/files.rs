//! `ferricorn files://DIR` as a client sees it; the details are tested where they are implemented.

use crate::support::{Directory, Server};

fn site() -> Directory {
    let directory = Directory::new();
    directory.write("index.html", "<h1>home</h1>");
    directory.write("page.txt", "0123456789");
    directory.write("deep/er/page.css", "body {}");
    directory.write(".secret", "secret");
    directory.write("large.bin", (0..3_000_000_u32).map(|at| at as u8).collect::<Vec<u8>>());
    directory
}

#[test]
fn files_are_served_with_type_length_and_validators() {
    let site = site();
    let mut server = Server::files(site.path()).start();
    let mut client = server.connect();
    let home = client.get("/");
    assert_eq!((home.status, home.text().as_str()), (200, "<h1>home</h1>"));
    assert!(home.field("content-type").is_some_and(|value| value.starts_with("text/html")));
    let page = client.get("/page.txt");
    assert_eq!(page.text(), "0123456789");
    let (etag, modified) = (page.field("etag").expect("ETag"), page.field("last-modified").expect("Last-Modified"));
    for condition in [format!("If-None-Match: {etag}\r\n"), format!("If-Modified-Since: {modified}\r\n")] {
        let answer = client.ask("GET", "/page.txt", &condition).expect("an answer");
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{condition}");
        assert_eq!(answer.field("etag"), Some(etag));
    }
    assert!(client.get("/deep/er/page.css").field("content-type").is_some_and(|value| value.starts_with("text/css")));
    assert_eq!(client.get("/gone").status, 404);
    assert_eq!(client.ask("DELETE", "/page.txt", "").expect("an answer").status, 405);
    let head = client.ask("HEAD", "/large.bin", "").expect("an answer");
    assert_eq!((head.field("content-length"), head.body.len()), (Some("3000000"), 0));
    server.stop();
}

#[test]
fn ranges_are_cut_out_of_files_of_any_size() {
    let site = site();
    let server = Server::files(site.path()).start();
    let mut client = server.connect();
    let whole = client.get("/large.bin").body;
    assert!(whole.len() == 3_000_000 && whole.iter().enumerate().all(|(at, byte)| *byte == at as u8));
    for (range, expected) in [("0-99", 0..100), ("2999990-", 2_999_990..3_000_000), ("-5", 2_999_995..3_000_000)] {
        let answer = client.ask("GET", "/large.bin", &format!("Range: bytes={range}\r\n")).expect("an answer");
        assert_eq!(answer.status, 206, "{range}");
        let shown = format!("bytes {}-{}/3000000", expected.start, expected.end - 1);
        assert_eq!(answer.field("content-range"), Some(shown.as_str()));
        assert!(answer.body == whole[expected], "{range}");
    }
    let answer = client.ask("GET", "/page.txt", "Range: bytes=1-2,5-6\r\n").expect("an answer");
    assert!(answer.field("content-type").is_some_and(|value| value.starts_with("multipart/byteranges")), "{answer:?}");
    let answer = client.ask("GET", "/page.txt", "Range: bytes=10-\r\n").expect("an answer");
    assert_eq!((answer.status, answer.field("content-range")), (416, Some("bytes */10")));
}

#[test]
fn nothing_outside_the_directory_and_nothing_hidden_is_served() {
    let outer = Directory::new();
    outer.write("outside.txt", "outside");
    outer.write("site/index.html", "inside");
    outer.write("site/.env", "secret");
    std::os::unix::fs::symlink("../outside.txt", outer.join("site/link.txt")).expect("a link");
    std::os::unix::fs::symlink("/etc", outer.join("site/etc")).expect("a link");
    let server = Server::files(&outer.join("site")).start();
    let mut client = server.connect();
    for target in [
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/..%2foutside.txt",
        "/%2e%2e%2foutside.txt",
        "/a/../../outside.txt",
        "/link.txt",
        "/etc/passwd",
        "/.env",
        "/%2eenv",
        "//etc/passwd",
        "/..%5coutside.txt",
        "/index.html%00.txt",
        "/index.html/",
        "/%c0%ae%c0%ae/outside.txt",
    ] {
        let answer = client.ask("GET", target, "").unwrap_or_else(|error| panic!("{target}: {error}"));
        assert!(matches!(answer.status, 400 | 403 | 404), "{target}: {} {}", answer.status, answer.text());
        if answer.closes() {
            client = server.connect();
        }
    }
    assert_eq!(client.get("/").text(), "inside");
}

#[test]
fn precompressed_files_are_used_when_the_client_takes_them() {
    let site = site();
    site.write("app.js", "x".repeat(100));
    site.write("app.js.gz", "gzipped");
    site.write("app.js.br", "brotli");
    let server = Server::files(site.path()).start();
    let mut client = server.connect();
    for (accept, coding, body) in [
        ("gzip", Some("gzip"), "gzipped".to_owned()),
        ("br, gzip", Some("br"), "brotli".to_owned()),
        ("br;q=0", None, "x".repeat(100)),
        ("identity", None, "x".repeat(100)),
    ] {
        let answer = client.ask("GET", "/app.js", &format!("Accept-Encoding: {accept}\r\n")).expect("an answer");
        assert_eq!((answer.field("content-encoding"), answer.text()), (coding, body), "{accept}");
        assert!(answer.field("vary").is_some_and(|value| value.eq_ignore_ascii_case("accept-encoding")), "{accept}");
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_seen_to_be_incomplete() {
    let site = site();
    let path = site.write("shrinking.bin", vec![b'x'; 30_000_000]);
    let server = Server::files(site.path()).start();
    let worker = server.workers();
    let mut client = server.connect();
    client.send("GET /shrinking.bin HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    crate::support::poll_until("the first bytes", crate::support::SOON, || {
        let sockets = crate::support::sockets::connected(server.address.port());
        (!sockets.is_empty()).then_some(())
    });
    std::thread::sleep(std::time::Duration::from_millis(100));
    std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(1000)).expect("it shrinks");
    client.answer().expect_err("the rest cannot come");
    assert_eq!(server.get("/page.txt").status, 200);
    assert_eq!(server.workers(), worker);
}
