//! `ferricorn cgi://PATH` as a client sees it, with real programs.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::support::server::Builder;
use crate::support::{Address, Client, Directory, SOON, Server, poll_until, process};

/// Writes a program.
fn program(directory: &Directory, name: &str, text: &str) -> PathBuf {
    let path = directory.write(name, text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    path
}

fn shell(directory: &Directory, name: &str, lines: &str) -> PathBuf {
    program(directory, name, &format!("#!/bin/sh\n{lines}"))
}

fn cgi(path: &Path) -> Builder {
    let mut application = OsString::from("cgi://");
    application.push(path);
    Server::serving(application)
}

fn post(client: &mut Client, target: &str, body: &[u8]) -> io::Result<crate::support::Answer> {
    client.send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len()))?;
    client.send(body)?;
    client.answer()
}

const SHOW: &str = "echo 'Content-Type: text/plain'; echo; env; echo \"arguments=$*\"; echo \"directory=$(pwd)\"\n";

/// The value of a variable in what [`SHOW`] has shown.
fn variable<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn a_program_gets_its_variables_and_nothing_of_the_servers() {
    let site = Directory::new();
    shell(&site, "bin/show", SHOW);
    let mut server = cgi(site.path()).env("SECRET", "of the server").args(&["--env", "WANTED=by the operator"]).start();
    let mut client = server.connect();
    let fields =
        "Proxy: evil\r\nAuthorization: Basic x\r\nX-Two: 1\r\nX-Two: 2\r\nX_Und: 1\r\nCookie: a=1\r\nCookie: b\r\n";
    let answer = client.ask("GET", "/bin/show/extra%20path/%2e?-s+--evil&a=%41", fields).expect("an answer");
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("text/plain")));
    let text = answer.text();
    let root = std::fs::canonicalize(site.path()).expect("its path").display().to_string();
    let (file, translated) = (format!("{root}/bin/show"), format!("{root}/extra path/."));
    let port = server.address.to_string().rsplit(':').next().expect("a port").to_owned();
    for (name, expected) in [
        ("GATEWAY_INTERFACE", Some("CGI/1.1")),
        ("REQUEST_METHOD", Some("GET")),
        ("SCRIPT_NAME", Some("/bin/show")),
        ("PATH_INFO", Some("/extra path/.")),
        ("PATH_TRANSLATED", Some(translated.as_str())),
        ("SCRIPT_FILENAME", Some(file.as_str())),
        ("DOCUMENT_ROOT", Some(root.as_str())),
        ("QUERY_STRING", Some("-s+--evil&a=%41")),
        ("REQUEST_URI", Some("/bin/show/extra%20path/%2e?-s+--evil&a=%41")),
        ("SERVER_PROTOCOL", Some("HTTP/1.1")),
        ("SERVER_NAME", Some("localhost")),
        ("SERVER_PORT", Some(port.as_str())),
        ("REMOTE_ADDR", Some("127.0.0.1")),
        ("HTTP_X_TWO", Some("1, 2")),
        ("HTTP_COOKIE", Some("a=1; b")),
        ("WANTED", Some("by the operator")),
        ("arguments", Some("")),
        ("directory", Some(format!("{root}/bin").as_str())),
        ("CONTENT_LENGTH", None),
        ("HTTP_PROXY", None),
        ("HTTP_AUTHORIZATION", None),
        ("HTTP_X_UND", None),
        ("HTTP_CONNECTION", None),
        ("SECRET", None),
    ] {
        assert_eq!(variable(&text, name), expected, "{name} in\n{text}");
    }
    server.stop();
}

#[test]
fn bodies_of_any_size_pass_both_ways_at_once() {
    let site = Directory::new();
    shell(&site, "cat", "echo 'Content-Type: application/octet-stream'; echo; exec cat\n");
    shell(&site, "deaf", "echo 'Content-Type: text/plain'; echo; echo done\n");
    shell(&site, "length", "echo 'Content-Type: text/plain'; echo; echo $CONTENT_LENGTH\n");
    let server = cgi(site.path()).start();
    let mut client = server.connect();
    for length in [0, 1, 65_536, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
        let answer = post(&mut client, "/cat", &body).expect("an answer");
        assert!(answer.status == 200 && answer.body == body, "{length} bytes");
        assert_eq!(post(&mut client, "/deaf", &body).expect("an answer").text(), "done\n", "{length} bytes");
    }
    client
        .send("POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        .expect("the server reads");
    assert_eq!(client.answer().expect("an answer").text(), "5\n");
}

/// Begins to send a body.
fn begin_put(client: &mut Client, target: &str, length: usize, first: &[u8]) {
    let head = format!("PUT {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    client.send(head).and_then(|()| client.send(first)).expect("the server reads");
}

#[test]
fn a_body_that_streams_is_read_by_its_program_while_it_comes() {
    let site = Directory::new();
    let first = site.join("first");
    let lines = format!(
        "word=$(head -c 5); echo $word $$ > {0}.new; mv {0}.new {0}; printf 'Content-Type: a/b\\n\\n'; exec cat\n",
        first.display()
    );
    shell(&site, "take", &lines);
    shell(&site, "deaf", "exec <&-; echo 'Content-Type: text/plain'; echo; echo done\n");
    let server = cgi(site.path()).args(&["--no-request-buffering", "--cgi-timeout", "0.5"]).start();
    let mut client = server.connect();
    let begun = |client: &mut Client| -> i32 {
        let _ = std::fs::remove_file(&first);
        begin_put(client, "/take", 3_000_005, b"first");
        let text = poll_until("the first bytes", SOON, || std::fs::read_to_string(&first).ok());
        text.strip_prefix("first ").expect("what was sent").trim().parse().expect("a pid")
    };
    begun(&mut client);
    // It is the client that takes longer than a program may.
    std::thread::sleep(std::time::Duration::from_millis(800));
    let rest: Vec<u8> = (0..3_000_000_u32).map(|at| at as u8).collect();
    let answer = std::thread::scope(|scope| {
        let mut writer = client.stream.try_clone().expect("another descriptor");
        let rest = &rest;
        scope.spawn(move || writer.write_all(rest).expect("the server reads"));
        client.answer().expect("an answer")
    });
    assert!(answer.status == 200 && answer.body == rest);

    let mut client = server.connect();
    let program = begun(&mut client);
    drop(client);
    process::wait_gone(&[program], SOON);

    let mut client = server.connect();
    begin_put(&mut client, "/deaf", 3_000_000, b"first");
    assert_eq!(client.answer().expect("an answer").text(), "done\n");
    let mut client = server.connect();
    assert_eq!(post(&mut client, "/deaf", b"short").expect("an answer").text(), "done\n");
}

#[test]
fn a_client_that_reads_nothing_while_it_sends_does_not_wait_forever_for_a_program_that_reads_nothing_while_it_answers()
{
    const SIZE: usize = 12_000_000;
    let site = Directory::new();
    let lines = format!("printf 'Content-Type: a/b\\n\\n'; head -c {SIZE} /dev/zero; exec cat > /dev/null\n");
    shell(&site, "rude", &lines);
    let head = format!("POST /rude HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n");
    for (options, finishes) in [(&[][..], true), (&["--no-request-buffering"], false)] {
        let server = cgi(site.path()).args(options).args(&["--send-timeout", "1"]).start();
        let mut client = server.connect();
        let sent = client.send(&head).and_then(|()| client.send(vec![0; SIZE]));
        if finishes {
            sent.expect("the server takes all of it first");
            assert_eq!(client.answer().expect("an answer").body.len(), SIZE);
        } else {
            // Both wait for each other, until the answer that is not being read is given up.
            let kind = sent.expect_err("the program takes nothing").kind();
            assert!(matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{kind}");
        }
    }
}

#[test]
fn responses_of_all_kinds_become_http() {
    let site = Directory::new();
    for (name, lines) in [
        ("status", "printf 'Status: 418 Short\\nContent-Type: text/plain\\n\\nteapot'"),
        ("away", "printf 'Location: http://elsewhere/\\n\\n'"),
        ("moved", "printf 'Status: 301\\nLocation: /relative\\nContent-Type: text/plain\\n\\nthere'"),
        ("nph-raw", "printf 'HTTP/1.1 202 Taken\\r\\nContent-Type: text/plain\\r\\nConnection: close\\r\\n\\r\\nraw'"),
        ("inside", "printf 'Location: /target/info?from=inside\\n\\n'"),
        ("loop", "printf 'Location: /loop\\n\\n'"),
        ("sized", "printf 'Content-Type: text/plain\\nContent-Length: 3\\n\\nabcdef'"),
        ("none", "printf 'Status: 204\\n\\n'"),
        ("target", "printf 'Content-Type: text/plain\\n\\n%s %s %s' $REQUEST_METHOD $PATH_INFO $QUERY_STRING; cat"),
    ] {
        shell(&site, name, lines);
    }
    let server = cgi(site.path()).start();
    let mut client = server.connect();
    for (target, status, reason, location, body) in [
        ("/status", 418, "Short", None, "teapot"),
        ("/away", 302, "Found", Some("http://elsewhere/"), ""),
        ("/moved", 301, "Moved Permanently", Some("/relative"), "there"),
        ("/nph-raw", 202, "Taken", None, "raw"),
        ("/inside", 200, "OK", None, "GET /info from=inside"),
        ("/sized", 200, "OK", None, "abc"),
        ("/none", 204, "No Content", None, ""),
    ] {
        let answer = server.get(target);
        let got = (answer.status, answer.reason.as_str(), answer.field("location"), answer.text());
        assert_eq!(got, (status, reason, location, body.to_owned()), "{target}");
    }
    // The other request is a GET without a body, whatever the first one was (RFC 3875 §6.2.2).
    assert_eq!(post(&mut client, "/inside", b"body").expect("an answer").text(), "GET /info from=inside");
    let head = client.ask("HEAD", "/sized", "").expect("an answer");
    assert_eq!((head.status, head.field("content-length")), (200, Some("3")));
    assert_eq!(client.get("/loop").status, 502);
    assert!(server.log().contains("cannot be redirected to \"/loop\""), "{}", server.log());
}

#[test]
fn a_broken_program_is_answered_with_502_and_its_fault_is_logged() {
    let site = Directory::new();
    for (name, lines) in [
        ("silent", "exit 3"),
        ("headless", "echo 'Traceback of something'; echo"),
        ("cut", "printf 'Content-Type: text/plain\\n'"),
        ("status", "printf 'Status: 99\\n\\n'"),
        ("killed", "kill -9 $$"),
    ] {
        shell(&site, name, lines);
    }
    program(&site, "uninterpreted", "no program at all");
    program(&site, "orphan", "#!/no/such/interpreter\n");
    site.write("data.txt", "not to be executed");
    let server = cgi(site.path()).start();
    let mut client = server.connect();
    for (target, status, logged) in [
        ("/silent", 502, "silent (pid:"),
        ("/silent", 502, "it has written nothing"),
        ("/headless", 502, "a line without a colon"),
        ("/cut", 502, "ended before the empty line"),
        ("/status", 502, "its status is no number"),
        ("/killed", 502, "was ended by SIGKILL"),
        ("/uninterpreted", 502, "Exec format error"),
        ("/orphan", 502, "cannot be run: No such file"),
        ("/data.txt", 403, "data.txt may not be executed"),
        ("/gone", 404, ""),
        ("/", 404, ""),
    ] {
        assert_eq!(client.get(target).status, status, "{target}");
        server.wait_for_log(logged);
    }
}

#[test]
fn output_streams_and_a_crash_in_its_middle_breaks_the_response_off() {
    let site = Directory::new();
    let gate = site.join("gate");
    std::fs::create_dir(&gate).expect("a directory");
    let wait = format!("while [ ! -e {}/$QUERY_STRING ]; do sleep 0.02; done", gate.display());
    shell(&site, "slow", &format!("printf 'Content-Type: text/plain\\n\\nfirst'; {wait}; printf second"));
    shell(&site, "crash", &format!("printf 'Content-Type: text/plain\\n\\nfirst'; {wait}; kill -9 $$"));
    let server = cgi(site.path()).start();
    for (target, complete) in [("/slow?a", true), ("/crash?b", false)] {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).expect("the server reads");
        let mut seen = Vec::new();
        poll_until("the first half", SOON, || {
            let mut bytes = [0; 4096];
            let count = io::Read::read(&mut client.stream, &mut bytes).expect("more");
            seen.extend_from_slice(&bytes[..count]);
            seen.windows(5).any(|window| window == b"first").then_some(())
        });
        // Others are served meanwhile.
        assert_eq!(server.get("/gone").status, 404);
        std::fs::write(gate.join(&target[target.len() - 1..]), "").expect("the gate");
        if complete {
            poll_until("the second half", SOON, || {
                let mut bytes = [0; 4096];
                let count = io::Read::read(&mut client.stream, &mut bytes).expect("more");
                seen.extend_from_slice(&bytes[..count]);
                seen.ends_with(b"6\r\nsecond\r\n0\r\n\r\n").then_some(())
            });
        } else {
            let rest = client.rest().expect("the end");
            assert!(!rest.ends_with(b"0\r\n\r\n"), "a broken response must not look complete");
        }
    }
}

#[test]
fn standard_error_goes_to_the_log_line_by_line() {
    let site = Directory::new();
    shell(&site, "noisy", "echo 'Content-Type: text/plain'; echo; printf 'one\\ntwo \\033[0m\\nthree' >&2; echo out");
    let server = cgi(site.path()).start();
    assert_eq!(server.get("/noisy").text(), "out\n");
    let line = server.wait_for_log(": three");
    assert!(line.contains("noisy (pid:"), "{line}");
    let log = server.log();
    assert!(log.contains(": one\n") && log.contains(": two \u{fffd}[0m\n"), "{log}");
}

#[test]
fn a_silent_program_is_ended_with_all_that_it_has_started() {
    let site = Directory::new();
    let pids = site.join("pids");
    let lines = format!("sleep 1000 & echo $$ $! > {0}.new; mv {0}.new {0}; trap '' TERM; wait; wait", pids.display());
    shell(&site, "hang", &lines);
    let server = cgi(site.path()).args(&["--cgi-timeout", "0.5"]).start();
    assert_eq!(server.get("/hang").status, 504);
    server.wait_for_log("has written nothing for 0.5 s");
    let pids: Vec<i32> = std::fs::read_to_string(pids)
        .expect("its pids")
        .split_ascii_whitespace()
        .map(|pid| pid.parse().expect("a pid"))
        .collect();
    assert_eq!(pids.len(), 2);
    process::wait_gone(&pids, SOON);
}

#[test]
fn a_program_ends_when_its_client_has_gone_and_with_its_worker() {
    let site = Directory::new();
    let pid = site.join("pid");
    shell(
        &site,
        "endless",
        &format!("echo $$ > {0}.new; mv {0}.new {0}; printf 'Content-Type: a/b\\n\\n'; exec yes", pid.display()),
    );
    shell(&site, "hang", &format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display()));
    let mut server = cgi(site.path()).start();
    let started = |client: &mut Client, target: &str| -> i32 {
        let _ = std::fs::remove_file(&pid);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).expect("the server reads");
        poll_until("the program", SOON, || std::fs::read_to_string(&pid).ok()).trim().parse().expect("a pid")
    };
    let mut client = server.connect();
    let endless = started(&mut client, "/endless");
    drop(client);
    process::wait_gone(&[endless], SOON);
    // One that writes nothing is ended long before cgi_timeout.
    let mut client = server.connect();
    let hanging = started(&mut client, "/hang");
    drop(client);
    process::wait_gone(&[hanging], SOON);
    let mut client = server.connect();
    let hanging = started(&mut client, "/hang");
    process::signal(server.workers()[0], Signal::SIGKILL);
    process::wait_gone(&[hanging], SOON);
    server.wait_workers(1);
    server.wait_ready(1);
    let mut client = server.connect();
    let hanging = started(&mut client, "/hang");
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait_code(SOON), 0);
    process::wait_gone(&[hanging], SOON);
}

#[test]
fn programs_beyond_the_limit_wait_and_requests_beyond_the_backlog_are_refused() {
    let site = Directory::new();
    let gate = site.join("gate");
    let lines = format!(
        "while [ ! -e {} ]; do sleep 0.02; done; printf 'Content-Type: text/plain\\n\\nserved'",
        gate.display()
    );
    shell(&site, "wait", &lines);
    let server = cgi(site.path()).args(&["--cgi-programs", "2", "--cgi-backlog", "1"]).start();
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..4 {
        let mut client = server.connect();
        client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
        clients.push(client);
    }
    server.wait_for_log("2 programs run, and 1 wait");
    std::fs::write(&gate, "").expect("the gate");
    let mut statuses: Vec<u16> = clients.iter_mut().map(|client| client.answer().expect("an answer").status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 503]);
}

/// With room for one program, which runs until `open`: `mark` is run for a client that waits, and not for one that has gone.
/// Both leave their query in the file `marks`.
pub(crate) fn check_that_nothing_is_run_for_who_has_gone(
    server: &Server,
    paths: [&str; 2],
    marks: &Path,
    open: impl Fn(),
) {
    let [busy, mark] = paths;
    let ask = |target: &str| {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).expect("the server reads");
        client
    };
    let mut first = ask(busy);
    let leaving = ask(&format!("{mark}?gone"));
    let mut staying = ask(&format!("{mark}?here"));
    drop(leaving);
    // Who has closed after less than a second may still read.
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    open();
    for client in [&mut first, &mut staying] {
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    assert_eq!(server.get(&format!("{mark}?after")).status, 200);
    assert_eq!(std::fs::read_to_string(marks).expect("the marks"), "here after ");
}

#[test]
fn programs_are_not_run_for_clients_that_have_gone() {
    let site = Directory::new();
    let (gate, marks) = (site.join("gate"), site.join("marks"));
    let wait = format!("while [ ! -e {} ]; do sleep 0.02; done; echo Status: 200; echo", gate.display());
    shell(&site, "wait", &wait);
    shell(&site, "mark", &format!("printf '%s ' $QUERY_STRING >>{}; echo Status: 200; echo", marks.display()));
    let server = cgi(site.path()).args(&["--cgi-programs", "1"]).start();
    check_that_nothing_is_run_for_who_has_gone(&server, ["/wait", "/mark"], &marks, || {
        std::fs::write(&gate, "").expect("the gate");
    });
}

#[test]
fn no_path_leads_out_of_the_directory_or_to_what_is_hidden() {
    let outer = Directory::new();
    shell(&outer, "outside", SHOW);
    shell(&outer, "site/inside", SHOW);
    shell(&outer, "site/.hidden", SHOW);
    shell(&outer, "site/deep/er", SHOW);
    std::os::unix::fs::symlink("../outside", outer.join("site/link")).expect("a link");
    std::os::unix::fs::symlink("inside", outer.join("site/within")).expect("a link");
    let server = cgi(&outer.join("site")).start();
    let mut client = server.connect();
    for (target, status) in [
        ("/inside", 200),
        ("/within", 200),
        ("/deep/er/more", 200),
        ("/deep//er", 200),
        ("/deep%2Fer", 404),
        ("/../outside", 404),
        ("/%2e%2e/outside", 404),
        ("/deep/../../outside", 404),
        ("/..%2foutside", 404),
        ("/link", 404),
        ("/.hidden", 404),
        ("/%2ehidden", 404),
        ("/inside%00", 400),
        ("/inside/%zz", 400),
    ] {
        assert_eq!(client.get(target).status, status, "{target}");
    }
}

#[test]
fn one_program_may_answer_everything_and_an_interpreter_may_run_files() {
    let site = Directory::new();
    let one = shell(&site, "one", "printf 'Content-Type: text/plain\\n\\n%s|%s' \"$SCRIPT_NAME\" \"$PATH_INFO\"");
    site.write("hello.py", "print('Content-Type: text/plain')\nprint()\nprint('hello from python', end='')\n");
    site.write("data.txt", "data");
    let server = cgi(&one).start();
    assert_eq!(server.get("/a%2Fb/../c").text(), "|/a/b/../c");
    let server = cgi(Path::new(".py=python3")).args(&["--chdir", &site.path().display().to_string()]).start();
    assert_eq!(server.get("/hello.py/info").text(), "hello from python");
    assert_eq!(server.get("/data.txt").status, 404);
    assert_eq!(server.get("/one").status, 404);
    let server = cgi(site.path()).args(&["--cgi-interpreter", ".py=python3"]).start();
    assert_eq!(server.get("/hello.py").text(), "hello from python");
    assert_eq!(server.get("/one/x").text(), "/one|/x");
    for (application, problem) in [
        (site.join("gone"), "cannot run programs from"),
        (site.join("data.txt"), "is no program that may be executed"),
        (PathBuf::from(".x=no-such-interpreter"), "there is no program no-such-interpreter"),
    ] {
        let finished = cgi(&application).bind(Address::tcp(crate::support::address::free_port())).run();
        assert!(finished.code.is_some_and(|code| code > 0), "{}", finished.stderr);
        assert!(finished.stderr.contains(problem), "{}", finished.stderr);
    }
}

#[test]
fn a_reload_loses_no_program_that_runs() {
    let site = Directory::new();
    let gate = site.join("gate");
    let lines = format!(
        "printf 'Content-Type: text/plain\\n\\nfirst '; while [ ! -e {} ]; do sleep 0.02; done; printf second",
        gate.display()
    );
    shell(&site, "slow", &lines);
    let mut server = cgi(site.path()).start();
    let old = server.workers();
    let mut client = server.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
    // The program runs once its head is here.
    let mut head = [0; 1];
    io::Read::read_exact(&mut client.stream, &mut head).expect("its answer begins");
    server.signal(Signal::SIGHUP);
    poll_until("a new worker", SOON, || server.workers().iter().any(|pid| !old.contains(pid)).then_some(()));
    std::fs::write(&gate, "").expect("the gate");
    let rest = client.rest().expect("the end");
    assert!(rest.ends_with(b"6\r\nsecond\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    server.wait_replaced(&old, 1);
    server.stop();
}
