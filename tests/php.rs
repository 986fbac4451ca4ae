//! PHP by FastCGI: programs of the workers' own (`fastcgi-exec://php-cgi`), and php-fpm (`fastcgi://ADDRESS`).

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cgi::check_that_nothing_is_run_for_who_has_gone;
use crate::support::address::free_port;
use crate::support::programs::{Program, require};
use crate::support::server::Builder;
use crate::support::{Address, Answer, Client, Directory, SOON, Server, poll_until, process};

fn site() -> Directory {
    let site = Directory::new();
    site.write("index.php", "<?php echo 'home of ', $_SERVER['REQUEST_URI'];");
    site.write("pid.php", "<?php echo getmypid();");
    site.write("echo.php", "<?php readfile('php://input');");
    site.write("md5.php", "<?php echo strlen($body = file_get_contents('php://input')), ' ', md5($body);");
    site.write(
        "show.php",
        "<?php header('Content-Type: text/plain'); foreach ($_SERVER as $name => $value)
            if (is_string($value)) echo \"$name=$value\\n\";",
    );
    site.write("form.php", "<?php echo $_POST['name'], '|', $_GET['q'];");
    site.write(
        "upload.php",
        "<?php $file = $_FILES['file']; echo $file['name'], ' ', $file['size'], ' ', md5_file($file['tmp_name']);",
    );
    site.write(
        "session.php",
        "<?php session_save_path(__DIR__); session_start(); echo $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;",
    );
    site.write(
        "slow.php",
        "<?php while (ob_get_level()) ob_end_flush(); echo 'first '; flush();
            while (!file_exists(__DIR__ . '/' . $_GET['gate'])) { usleep(20000); clearstatcache(); }
            if (isset($_GET['crash'])) posix_kill(getmypid(), 9); echo 'second';",
    );
    site.write(
        "take.php",
        "<?php if (isset($_GET['gate'])) {
            file_put_contents(__DIR__ . '/begun', '');
            while (!file_exists(__DIR__ . '/' . $_GET['gate'])) { usleep(20000); clearstatcache(); }
        }
        $input = fopen('php://input', 'r'); $length = strlen(fread($input, 8192));
        file_put_contents(__DIR__ . '/first', '');
        while (!feof($input)) $length += strlen(fread($input, 8192)); echo $length;",
    );
    site.write(
        "both.php",
        "<?php while (ob_get_level()) ob_end_flush(); $input = fopen('php://input', 'r');
        while (!feof($input)) { echo fread($input, 8192); flush(); }",
    );
    site.write("crash.php", "<?php posix_kill(getmypid(), 9);");
    site.write("error.php", "<?php error_log('a line for the log'); echo 'done';");
    site.write("away.php", "<?php header('Location: /pid.php');");
    site.write("hang.php", "<?php sleep(1000);");
    site.write("large.php", "<?php for ($i = 0; $i < 3000; $i++) echo str_repeat(chr(65 + $i % 26), 1000);");
    site.write("style.css", "body {}");
    site.write("photo.jpg", "<?php echo 'executed';");
    site.write("sub/index.html", "plain");
    site.write("deep/index.php", "<?php echo 'deep';");
    site
}

fn php(root: &Path) -> Builder {
    let builder = Server::serving(format!("fastcgi-exec://{}", require("php-cgi").display()));
    builder.args(&["--document-root", &root.display().to_string()])
}

fn post(client: &mut Client, target: &str, content_type: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    client.send(head).expect("the server reads");
    client.send(body).expect("the server reads");
    client.answer().expect("an answer")
}

fn variable<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// What any site of PHP's does, whoever runs PHP.
fn check_site(server: &Server, site: &Directory) {
    let mut client = server.connect();
    let form = "application/x-www-form-urlencoded";
    assert_eq!(post(&mut client, "/form.php?q=%41", form, b"name=two+words").text(), "two words|A");
    for length in [0, 1, 65_536, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
        let answer = post(&mut client, "/echo.php", "application/octet-stream", &body);
        assert!(answer.status == 200 && answer.body == body, "{length} bytes: {answer:?}");
    }
    let file: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let mut body = b"--xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.bin\"\r\n\r\n".to_vec();
    body.extend_from_slice(&file);
    body.extend_from_slice(b"\r\n--xx--\r\n");
    let uploaded = post(&mut client, "/upload.php", "multipart/form-data; boundary=xx", &body).text();
    let expected = post(&mut client, "/md5.php", "application/octet-stream", &file).text();
    assert_eq!(uploaded, format!("f.bin {expected}"));

    let first = client.get("/session.php");
    let cookie = first.field("set-cookie").expect("a cookie").split(';').next().unwrap_or_default().to_owned();
    let fields = format!("Cookie: {cookie}\r\n");
    let counts = [1, 2].map(|_| client.ask("GET", "/session.php", &fields).expect("an answer").text());
    assert_eq!((first.text().as_str(), counts), ("1", ["2".to_owned(), "3".to_owned()]));

    let shown = client.ask("GET", "/show.php/path%20info/x?a=b", "Authorization: Basic YTpi\r\n").expect("an answer");
    let text = shown.text();
    let root = std::fs::canonicalize(site.path()).expect("its path").display().to_string();
    for (name, expected) in [
        ("SCRIPT_NAME", "/show.php"),
        ("PATH_INFO", "/path info/x"),
        ("SCRIPT_FILENAME", &format!("{root}/show.php")),
        ("DOCUMENT_ROOT", &root),
        ("QUERY_STRING", "a=b"),
        ("REQUEST_URI", "/show.php/path%20info/x?a=b"),
        ("PHP_AUTH_USER", "a"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ] {
        assert_eq!(variable(&text, name), Some(expected), "{name} in\n{text}");
    }
    let away = client.get("/away.php");
    assert_eq!((away.status, away.field("location")), (302, Some("/pid.php")));
    let head = client.ask("HEAD", "/large.php", "").expect("an answer");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let large = client.get("/large.php");
    assert!(large.body.len() == 3_000_000 && large.body.ends_with(b"JJJ"), "{}", large.body.len());
}

#[test]
fn php_does_forms_uploads_sessions_and_path_info() {
    let site = site();
    let mut server = php(site.path()).start();
    check_site(&server, &site);
    server.get("/error.php");
    server.wait_for_log("a line for the log");
    let programs = process::children(server.workers()[0]);
    assert_eq!(programs.len(), 4);
    server.stop();
    process::wait_gone(&programs, SOON);
    assert!(!server.log().contains("[ERROR]"), "{}", server.log());
}

#[test]
fn scripts_are_run_files_are_sent_and_no_source_is() {
    let site = site();
    let root = site.path().display();
    std::os::unix::fs::symlink("/etc", site.join("etc")).expect("a link");
    let server = php(site.path()).start();
    let mut client = server.connect();
    for (target, status, body) in [
        ("/", 200, Some("home of /")),
        ("/index.php", 200, Some("home of /index.php")),
        ("/index%2ephp", 200, Some("home of /index%2ephp")),
        ("/style.css", 200, Some("body {}")),
        ("/photo.jpg", 200, Some("<?php echo 'executed';")),
        ("/deep/", 200, Some("deep")),
        ("/deep", 301, None),
        ("/sub/", 200, Some("plain")),
        ("/gone.php", 404, None),
        ("/gone", 404, None),
        // The trick that has pictures executed: there is no script, so nothing is run.
        ("/photo.jpg/x.php", 404, None),
        ("/photo.jpg%00.php", 400, None),
        // Other spellings of a script's name do not show it.
        ("/./index.php", 404, None),
        ("/deep/../index.php", 404, None),
        ("/%2e/index.php", 404, None),
        ("//index.php", 200, Some("home of //index.php")),
        ("/index.php/", 200, Some("home of /index.php/")),
        ("/index.php%2f", 404, None),
        ("/etc/passwd", 404, None),
    ] {
        let answer = client.get(target);
        assert_eq!(answer.status, status, "{target}");
        if let Some(body) = body {
            assert_eq!(answer.text(), body, "{target}");
        }
    }
    let fallback = php(site.path()).args(&["--script-fallback", "/index.php"]).start();
    for (target, body) in [("/any/path?q", "home of /any/path?q"), ("/style.css", "body {}"), ("/sub/", "plain")] {
        assert_eq!(fallback.get(target).text(), body, "{target}");
    }
    let mounted = Server::command_for_mounts()
        .arg(format!("--mount=/blog=fastcgi-exec://php-cgi?root={root}"))
        .arg(format!("--mount=/static=files://{root}/sub"))
        .start();
    assert_eq!(mounted.get("/blog/?x").text(), "home of /blog/?x");
    assert_eq!(mounted.get("/static/").text(), "plain");
    assert_eq!(variable(&mounted.get("/blog/show.php/a").text(), "SCRIPT_NAME"), Some("/blog/show.php"));
    let away = mounted.get("/blog");
    assert_eq!((away.status, away.field("location")), (301, Some("/blog/")));
    let finished = Server::command().args(&["fastcgi-exec://php-cgi"]).run();
    assert!(finished.stderr.contains("--document-root"), "{}", finished.stderr);
}

/// Reads until the answer has shown `text`.
fn wait_for(client: &mut Client, text: &str) {
    let mut seen = Vec::new();
    poll_until(text, SOON, || {
        let mut bytes = [0; 4096];
        let count = client.stream.read(&mut bytes).expect("more");
        seen.extend_from_slice(&bytes[..count]);
        String::from_utf8_lossy(&seen).contains(text).then_some(())
    });
}

#[test]
fn output_streams_and_a_crash_costs_one_request() {
    let site = site();
    let server = php(site.path()).args(&["--fastcgi-programs", "2"]).start();
    let mut streaming = server.connect();
    streaming.send("GET /slow.php?gate=a HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
    wait_for(&mut streaming, "first");
    let mut crashing = server.connect();
    crashing.send("GET /slow.php?gate=b&crash HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
    wait_for(&mut crashing, "first");
    site.write("b", "");
    let rest = crashing.rest().expect("the end");
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a broken response must not look complete");
    server.wait_for_log("was ended by SIGKILL");
    for _ in 0..3 {
        assert_eq!(server.get("/crash.php").status, 502);
        assert_eq!(server.get("/").status, 200);
    }
    site.write("a", "");
    let rest = streaming.rest_until(b"second\r\n0\r\n\r\n").expect("the rest");
    assert!(rest.ends_with(b"second\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(server.count_log("Booting worker"), 1);
}

#[test]
fn a_program_that_hangs_is_replaced_and_requests_wait_for_one_that_is_free() {
    let site = site();
    let server = php(site.path()).args(&["--fastcgi-programs", "1", "--fastcgi-timeout", "1"]).start();
    let program = server.get("/pid.php").text();
    let mut hanging = server.connect();
    hanging.send("GET /hang.php HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
    assert_eq!(hanging.answer().expect("an answer").status, 504);
    process::wait_gone(&[program.parse().expect("a pid")], SOON);
    let another = server.get("/pid.php");
    assert_eq!(another.status, 200);
    assert_ne!(another.text(), program);
    let busy = php(site.path()).args(&["--fastcgi-programs", "1", "--fastcgi-backlog", "1"]).start();
    let mut clients: Vec<Client> = (0..3).map(|_| busy.connect()).collect();
    for client in &mut clients {
        client.send("GET /slow.php?gate=c HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
    }
    busy.wait_for_log("all connections are busy, and 1 requests wait");
    site.write("c", "");
    let mut statuses: Vec<u16> = clients.iter_mut().map(|client| client.answer().expect("an answer").status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503]);
}

#[test]
fn programs_are_not_asked_for_clients_that_have_gone() {
    let site = site();
    let marks = site.join("marks");
    site.write("mark.php", "<?php file_put_contents('marks', $_SERVER['QUERY_STRING'].' ', FILE_APPEND);");
    let server = php(site.path()).args(&["--fastcgi-programs", "1"]).start();
    check_that_nothing_is_run_for_who_has_gone(&server, ["/slow.php?gate=e", "/mark.php"], &marks, || {
        site.write("e", "");
    });
}

#[test]
fn programs_end_with_their_worker_and_a_reload_loses_none_of_their_answers() {
    let site = site();
    let mut server = php(site.path()).start();
    let worker = server.workers()[0];
    let programs =
        poll_until("four programs", SOON, || Some(process::children(worker)).filter(|programs| programs.len() == 4));
    process::signal(worker, Signal::SIGKILL);
    process::wait_gone(&programs, SOON);
    server.wait_replaced(&[worker], 1);
    server.wait_ready(1);
    let old = server.workers();
    let programs = process::children(old[0]);
    let mut client = server.connect();
    client.send("GET /slow.php?gate=d HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
    wait_for(&mut client, "first");
    server.signal(Signal::SIGHUP);
    server.wait_for_log("Reloaded: 1 new workers serve");
    site.write("d", "");
    wait_for(&mut client, "second\r\n0\r\n\r\n");
    server.wait_replaced(&old, 1);
    process::wait_gone(&programs, SOON);
    server.stop();
}

/// Clients that ask on and on until they are told to stop; returns how many answers there were, and what was none.
fn ask_on_and_on(address: &Address, targets: &[&str], work: impl FnOnce()) -> (usize, Vec<String>) {
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let asking = |target: &str| -> io::Result<()> {
        let mut client = Client::connect(address)?;
        while !stop.load(Ordering::Relaxed) {
            let answer = client.ask("GET", target, "")?;
            if answer.status != 200 {
                return Err(io::Error::other(format!("{target}: {}", answer.status)));
            }
            answers.fetch_add(1, Ordering::Relaxed);
            if answer.closes() {
                client = Client::connect(address)?;
            }
        }
        Ok(())
    };
    let lost = thread::scope(|scope| {
        let clients: Vec<_> = targets.iter().map(|target| scope.spawn(|| asking(target))).collect();
        work();
        stop.store(true, Ordering::Relaxed);
        let results = clients.into_iter().map(|client| client.join().expect("a client"));
        results.filter_map(Result::err).map(|error| error.to_string()).collect()
    });
    (answers.load(Ordering::Relaxed), lost)
}

#[test]
#[ignore = "a soak: `make soak`"]
fn soak_reloads_lose_no_request_of_cgi_or_php() {
    let wanted = std::env::var("SOAK").unwrap_or_default();
    if !wanted.is_empty() && !wanted.split(',').any(|wanted| wanted == "php") {
        return;
    }
    let site = site();
    let script = site.write("cgi/hello", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello'");
    std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
    let root = site.path().display();
    let mut server = Server::command_for_mounts()
        .args(&["--workers", "2"])
        .arg(format!("--mount=/php=fastcgi-exec://php-cgi?root={root}"))
        .arg(format!("--mount=/cgi=cgi://{root}/cgi"))
        .start();
    let address = server.address.clone();
    let (answers, lost) =
        ask_on_and_on(&address, &["/php/index.php", "/cgi/hello", "/php/pid.php", "/cgi/hello"], || {
            for _ in 0..100 {
                let old = server.workers();
                server.signal(Signal::SIGHUP);
                server.wait_replaced(&old, 2);
            }
        });
    eprintln!("100 reloads: {answers} answers, {} lost", lost.len());
    assert_eq!(lost, Vec::<String>::new());
    server.stop();
}

/// Begins to send a body of that many bytes: PHP takes what is put to it in pieces of 16 KiB, and waits for one to be full.
fn put(client: &mut Client, target: &str, length: usize, sent: usize) {
    let head = format!("PUT {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    client.send(head).expect("the server reads");
    client.send(vec![b'x'; sent]).expect("the server reads");
}

#[test]
fn an_upload_that_is_buffered_keeps_no_program_and_one_that_streams_is_seen_at_once() {
    let site = site();
    let buffering = php(site.path()).args(&["--fastcgi-programs", "1"]).start();
    let mut slow = buffering.connect();
    put(&mut slow, "/take.php", 100_000, 40_000);
    assert_eq!(buffering.get("/").status, 200, "the program is free");
    assert!(!site.join("first").exists());
    slow.send(vec![b'x'; 60_000]).expect("the server reads");
    assert_eq!(slow.answer().expect("an answer").text(), "100000");

    let streaming = php(site.path())
        .args(&["--fastcgi-programs", "1", "--no-request-buffering", "--fastcgi-timeout", "0.5"])
        .start();
    let mut client = streaming.connect();
    for _ in 0..2 {
        std::fs::remove_file(site.join("first")).expect("the one before");
        put(&mut client, "/take.php", 100_000, 40_000);
        poll_until("the first bytes", SOON, || site.join("first").exists().then_some(()));
        // It is the client that takes longer than a program may.
        let before = process::cpu_ticks(streaming.workers()[0]);
        thread::sleep(Duration::from_millis(800));
        let spent = process::cpu_ticks(streaming.workers()[0]) - before;
        assert!(spent < 20, "{spent} ticks of waiting");
        client.send(vec![b'x'; 60_000]).expect("the server reads");
        assert_eq!(client.answer().expect("an answer").text(), "100000");
    }
    // Nothing of what a client leaves behind stands in another's way.
    std::fs::remove_file(site.join("first")).expect("the one before");
    put(&mut client, "/take.php", 100_000, 40_000);
    poll_until("the first bytes", SOON, || site.join("first").exists().then_some(()));
    drop(client);
    let mut client = streaming.connect();
    assert_eq!(client.ask("GET", "/pid.php", "").expect("an answer").status, 200);
    client
        .send("PUT /take.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .and_then(|()| client.send("2\r\nde\r\n0\r\n\r\n"))
        .expect("the server reads");
    assert_eq!(client.answer().expect("an answer").text(), "5", "a length that is known at the end is known to PHP");
}

#[test]
fn a_body_and_an_answer_stream_through_php_at_the_same_time() {
    let site = site();
    let server = php(site.path()).args(&["--fastcgi-programs", "1", "--no-request-buffering"]).start();
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at * 31) as u8).collect();
    for _ in 0..2 {
        let mut client = server.connect();
        put(&mut client, "/both.php", body.len(), 0);
        let mut writer = client.stream.try_clone().expect("another descriptor");
        let answer = thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&body).expect("the server reads"));
            client.answer().expect("an answer")
        });
        assert!(answer.status == 200 && answer.body == body);
    }
}

#[test]
fn a_program_that_takes_nothing_stops_the_client_and_not_the_memory() {
    let site = site();
    let server = php(site.path()).args(&["--no-request-buffering"]).start();
    assert_eq!(server.get("/").status, 200);
    let (worker, mut client) = (server.workers()[0], server.connect());
    let before = process::resident(worker);
    let length = 256 << 20;
    put(&mut client, "/take.php?gate=take", length, 0);
    poll_until("the program", SOON, || site.join("begun").exists().then_some(()));
    client.stream.set_timeout(Duration::from_millis(500)).expect("a timeout");
    let (piece, mut sent) = (vec![b'x'; 1 << 16], 0);
    while let Ok(count) = client.stream.write(&piece) {
        sent += count;
        assert!(sent < length / 2, "nobody stops it");
    }
    let ticks = process::cpu_ticks(worker);
    thread::sleep(Duration::from_millis(500));
    let spent = process::cpu_ticks(worker) - ticks;
    assert!(spent < 20, "{spent} ticks of waiting");
    let grown = process::resident(worker).saturating_sub(before);
    assert!(grown < 4 << 10, "the worker has grown by {grown} KiB");
    site.write("take", "");
    client.stream.set_timeout(SOON).expect("a timeout");
    client.send(vec![b'x'; length - sent]).expect("the server reads");
    assert_eq!(client.answer().expect("an answer").text(), length.to_string());
}

#[test]
fn php_fpm_answers_behind_one_address_or_several() {
    let site = site();
    let directory = Directory::new();
    let (one, two) = (Address::tcp(free_port()), directory.join("fpm.sock"));
    let pool = |name: &str, listen: &str| {
        format!(
            "[{name}]\nlisten = {listen}\npm = static\npm.max_children = 3\nclear_env = yes\ncatch_workers_output = yes\n"
        )
    };
    let user = if nix::unistd::geteuid().is_root() { "user = root\n" } else { "" };
    let conf = format!(
        "[global]\nerror_log = /proc/self/fd/2\ndaemonize = no\n{}{user}{}{user}",
        pool("one", &one.to_string()),
        pool("two", &two.display().to_string())
    );
    let conf = directory.write("fpm.conf", conf).display().to_string();
    let fpm = ["php-fpm", "php-fpm8.4", "php-fpm8.3", "php-fpm8.2", "php-fpm8.1"]
        .into_iter()
        .find(|name| crate::support::programs::find(name).is_some())
        .unwrap_or("php-fpm");
    let root = ["-R"].into_iter().filter(|_| nix::unistd::geteuid().is_root());
    let arguments: Vec<&str> = ["-F", "-y", &conf].into_iter().chain(root).collect();
    let fpm = Program::start(&require(fpm), &arguments, Directory::new());
    poll_until("php-fpm", SOON, || one.connect(SOON).ok().filter(|_| two.exists()));
    for addresses in
        [one.to_string(), format!("unix:{}", two.display()), format!("127.0.0.1:1,{one},unix:{}", two.display())]
    {
        for keepalive in ["0", "30"] {
            let mut server = Server::serving(format!("fastcgi://{addresses}"))
                .args(&["--document-root", &site.path().display().to_string(), "--fastcgi-keepalive", keepalive])
                .args(&["--fastcgi-connections", "2"])
                .args(if keepalive == "0" { &[] as &[&str] } else { &["--no-request-buffering"] })
                .start();
            check_site(&server, &site);
            assert_eq!(server.get("/error.php").text(), "done");
            assert_eq!(server.get("/crash.php").status, 502, "{}", server.log());
            server.stop();
        }
    }
    drop(fpm);
    let server = Server::serving(format!("fastcgi://{one}")).start();
    assert_eq!(server.get("/").status, 502);
    server.wait_for_log("no FastCGI program answers");
}
