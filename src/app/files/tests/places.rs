//! Which file a path leads to, and which it must not lead to.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo, setfsuid};

use super::*;

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
    mkfifo(&site.root().join("fifo"), Mode::from_bits_truncate(0o644)).unwrap();
    let _listener = UnixListener::bind(site.root().join("socket")).unwrap();
    let mut files = site.files(Options::default());
    for target in ["/fifo", "/fifo/", "/socket", "/d/", "/fifo?x"] {
        assert_eq!(get(&mut files, target).status(), 404, "{target}");
    }
}

#[test]
fn what_may_not_be_read_is_forbidden_and_a_directory_needs_only_to_be_searched() {
    let site =
        Site::with_files(&[("closed.txt", ""), ("shut/x", ""), ("search/index.html", "index"), ("search/x", "x")]);
    for (path, mode) in [("closed.txt", 0), ("shut", 0), ("search", 0o711)] {
        fs::set_permissions(site.root().join(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    let mut files = site.files(Options { listing: true, ..Options::default() });
    let checks = move || {
        // For root nothing is forbidden; the identity for file access is that of a thread.
        if Uid::effective().is_root() {
            setfsuid(Uid::from_raw(65534));
        }
        let cases = [
            ("/closed.txt", 403),
            ("/shut", 301),
            ("/shut/", 403),
            ("/shut/x", 403),
            ("/search", 301),
            ("/search/", 200),
            ("/search/x", 200),
        ];
        for (target, status) in cases {
            assert_eq!(get(&mut files, target).status(), status, "{target}");
        }
    };
    std::thread::spawn(checks).join().unwrap();
    fs::set_permissions(site.root().join("shut"), PermissionsExt::from_mode(0o755)).unwrap();
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
    fs::write(root.join(OsStr::from_bytes(b"latin-\xe9")), "").unwrap();
    symlink("z.txt", root.join("link")).unwrap();
    symlink("../secret.txt", root.join("escape")).unwrap();
    symlink("sub", root.join("sub-link")).unwrap();
    mkfifo(&root.join("fifo"), Mode::from_bits_truncate(0o644)).unwrap();

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
            "%3Cb%3E%26%22%27.txt\">&lt;b&gt;&amp;&quot;&#x27;.txt",
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
fn the_requests_of_one_batch_of_events_share_an_open_file() {
    let site = Site::with_files(&[("a", "old"), ("new", "new content")]);
    let mut files = site.files(Options::default());
    check(&mut files, "/a", &[], 200, &[], "old");
    fs::rename(site.root().join("new"), site.root().join("a")).unwrap();
    assert_eq!(body(&call_again(&mut files, "GET", "/a", &[])), b"old");
    check(&mut files, "/a", &[], 200, &[], "new content");
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
    for options in [
        Options { cache_control: Some("a\r\nSet-Cookie: b".to_owned()), ..Options::default() },
        Options { index: vec!["a/b".to_owned()], ..Options::default() },
        Options { index: vec![String::new()], ..Options::default() },
    ] {
        assert!(FilesFactory::new(site.root(), options.clone()).check().is_err(), "{options:?}");
    }
}
