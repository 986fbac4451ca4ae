//! Log lines that are Gunicorn's, files that are reopened, and disks and readers that fail.

use std::fs;
use std::io::Read;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{SOON, Server, poll_until, root};

/// Whether a text has a shape: `9` stands for a digit, `A` for a letter, everything else for itself.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.chars().zip(shape.chars()).all(|(letter, shape)| match shape {
            '9' => letter.is_ascii_digit(),
            'A' => letter.is_ascii_alphabetic(),
            '+' => matches!(letter, '+' | '-'),
            other => letter == other,
        })
}

#[test]
fn the_access_line_is_gunicorns() {
    let mut server = Server::probe().args(&["--access-logfile", "-"]).start();
    let mut client = server.connect();
    client
        .ask("GET", "/large/12?a=b", "Referer: http://example.org/\r\nUser-Agent: test \"1\"\r\n")
        .expect("an answer");
    client.ask("HEAD", "/nothing", "Authorization: Basic YWxpY2U6c2VjcmV0\r\n").expect("an answer");
    client.send("POST /status/204 HTTP/1.0\r\nContent-Length: 2\r\n\r\nab").expect("sent");
    client.answer().expect("an answer");
    server.stop();
    let out = server.stdout();
    let lines: Vec<&str> = out.lines().filter(|line| !line.contains("\"GET / HTTP/1.1\"")).collect();
    let expected = [
        ("- -", r#""GET /large/12?a=b HTTP/1.1" 200 12 "http://example.org/" "test \"1\"""#),
        ("- alice", r#""HEAD /nothing HTTP/1.1" 404 "#),
        ("- -", r#""POST /status/204 HTTP/1.0" 204 "#),
    ];
    assert_eq!(lines.len(), expected.len(), "{out}");
    for (line, (user, end)) in lines.iter().zip(expected) {
        let rest = line.strip_prefix(&format!("127.0.0.1 {user} ")).unwrap_or_else(|| panic!("{line}"));
        let (time, rest) = rest.split_at(28);
        assert!(has_shape(time, "[99/AAA/9999:99:99:99 +9999]"), "{time:?} in {line}");
        assert!(rest.strip_prefix(' ').is_some_and(|rest| rest.starts_with(end)), "{rest:?} is not {end:?}");
        assert!(line.ends_with('"'), "{line}");
    }
}

#[test]
fn every_atom_of_the_access_log_is_known() {
    let format = "h=%(h)s l=%(l)s u=%(u)s r=%(r)s m=%(m)s U=%(U)s q=%(q)s H=%(H)s s=%(s)s B=%(B)s b=%(b)s f=%(f)s \
        a=%(a)s T=%(T)s M=%(M)s D=%(D)s L=%(L)s p=%(p)s i=%({X-Test}i)s o=%({Content-Type}o)s none=%({X-None}i)s";
    let mut server = Server::probe().args(&["--access-logfile", "-", "--access-logformat", format]).start();
    let worker = server.answering();
    server.connect().ask("GET", "/sleep/30?q=1", "X-Test: field\r\n").expect("an answer");
    server.stop();
    let out = server.stdout();
    let line = out.lines().find(|line| line.contains("/sleep/30")).expect("the line");
    let value = |name: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let at =
            words.iter().position(|word| word.starts_with(&format!("{name}="))).unwrap_or_else(|| panic!("{name}"));
        words[at].split_once('=').map_or("", |(_, value)| value).to_owned()
    };
    let expected = [
        ("h", "127.0.0.1"),
        ("l", "-"),
        ("u", "-"),
        ("r", "GET"),
        ("m", "GET"),
        ("U", "/sleep/30"),
        ("q", "q=1"),
        ("H", "HTTP/1.1"),
        ("s", "200"),
        ("B", "5"),
        ("b", "5"),
        ("f", "-"),
        ("a", "-"),
        ("T", "0"),
        ("i", "field"),
        ("o", "text/plain;"),
        ("none", "-"),
    ];
    for (name, expected) in expected {
        assert_eq!(value(name), expected, "{name} in {line}");
    }
    assert_eq!(value("p"), format!("<{worker}>"), "{line}");
    let (milliseconds, microseconds): (u64, u64) =
        (value("M").parse().expect("milliseconds"), value("D").parse().expect("microseconds"));
    assert!(milliseconds >= 30 && microseconds >= 30_000, "{line}");
    assert!(has_shape(&value("L"), "9.999999"), "{line}");
}

#[test]
fn no_client_can_forge_a_log_line() {
    let mut server = Server::probe().args(&["--access-logfile", "-"]).start();
    let mut client = server.connect();
    // What may stand in a field value or a target, but would break out of a line or a quotation.
    client.send(b"GET /x HTTP/1.1\r\nHost: x\r\nUser-Agent: a\" 200 \\ \x85\xe2\x80\xa8\tb\r\n\r\n").expect("sent");
    client.answer().expect("an answer");
    let _ = server.connect().ask("GET", "/\u{1b}[31mred", "");
    server.stop();
    for (name, text) in [("access", server.stdout()), ("error", server.log())] {
        for line in text.lines() {
            assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{name} log: {line:?}");
        }
    }
    let out = server.stdout();
    let line = out.lines().find(|line| line.contains("GET /x")).expect("the line");
    assert!(line.contains(r#"a\" 200 "#), "{line}");
}

#[test]
fn error_log_lines_have_gunicorns_form() {
    let mut server = Server::probe().args(&["-w", "1"]).start();
    server.stop();
    let log = server.log();
    for line in log.lines() {
        assert!(line.len() > 27 && has_shape(&line[..27], "[9999-99-99 99:99:99 +9999]"), "{line}");
        assert!(line[27..].starts_with(" ["), "{line}");
    }
    let pid = server.pid;
    for text in [
        format!("[{pid}] [INFO] Starting ferricorn {}", env!("CARGO_PKG_VERSION")),
        format!("[{pid}] [INFO] Listening at: http://{} ({pid})", server.address),
        "[INFO] Booting worker with pid: ".to_owned(),
        format!("[{pid}] [INFO] Handling signal: term"),
        format!("[{pid}] [INFO] Shutting down: Master"),
    ] {
        assert!(log.contains(&text), "no {text:?} in\n{log}");
    }
}

#[test]
fn rotated_logs_are_reopened_by_usr1_and_not_before() {
    let builder = Server::probe();
    let (access, error) = (builder.directory().join("access.log"), builder.directory().join("error.log"));
    let server =
        builder.args(&["-w", "2"]).arg("--access-logfile").arg(&access).arg("--error-logfile").arg(&error).start();
    server.wait_workers(2);
    let (old_access, old_error) = (access.with_extension("1"), error.with_extension("1"));
    fs::rename(&access, &old_access).expect("rotated");
    fs::rename(&error, &old_error).expect("rotated");
    server.get("/large/1");
    poll_until("the line in the old file", SOON, || read(&old_access).contains("/large/1 ").then_some(()));
    assert!(!access.exists());
    let pids = server.workers();
    server.signal(Signal::SIGUSR1);
    // Every worker has reopened it once each has been heard from in the new file.
    poll_until("lines in the new file", SOON, || {
        server.get("/large/2");
        (read(&access).matches("/large/2 ").count() > 5).then_some(())
    });
    server.signal(Signal::SIGTTIN);
    server.wait_workers(3);
    poll_until("the arbiter's lines in the new file", SOON, || {
        read(&error).contains("Handling signal: ttin").then_some(())
    });
    assert!(pids.iter().all(|pid| server.workers().contains(pid)), "reopening replaces nobody");
    let settled = read(&old_access);
    for _ in 0..10 {
        server.get("/large/3");
    }
    assert_eq!(read(&old_access), settled, "somebody still writes to the old file");
}

fn read(path: &std::path::Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_full_disk_costs_log_lines_and_no_requests() {
    let server =
        Server::probe().args(&["--access-logfile", "/dev/full", "--error-logfile", "/dev/full", "-w", "2"]).start();
    let pids = server.wait_workers(2);
    for _ in 0..50 {
        assert_eq!(server.get("/").text(), "hello");
    }
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&pids, 2);
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn a_pipe_that_nobody_reads_costs_log_lines_and_no_requests() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let server = Server::probe().args(&["--access-logfile", "-"]).stdout(writer).start();
    let mut client = server.connect();
    // More than the pipe holds.
    let agent = "a".repeat(4000);
    for _ in 0..60 {
        let answer = client.ask("GET", "/", &format!("User-Agent: {agent}\r\n")).expect("an answer");
        assert_eq!(answer.text(), "hello");
    }
    assert_eq!(server.answering(), server.workers()[0]);
    // What did get through is whole lines.
    let worker = server.workers();
    server.signal(Signal::SIGTERM);
    crate::support::process::wait_gone(&worker, SOON);
    let mut text = String::new();
    std::thread::sleep(Duration::from_millis(50));
    drop(server);
    reader.read_to_string(&mut text).expect("text");
    assert!(text.lines().all(|line| line.starts_with("127.0.0.1 ") && line.ends_with('"')), "{text}");
}

#[test]
fn lines_of_several_workers_do_not_mix_in_a_pipe() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut server = Server::probe().args(&["--access-logfile", "-", "-w", "4"]).stdout(writer).start();
    let lines = std::thread::spawn(move || {
        let lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
        lines.map(|line| line.expect("a line")).collect::<Vec<_>>()
    });
    let asked = std::thread::scope(|scope| {
        let server = &server;
        let clients: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = server.connect();
                    let letter = char::from(b'a' + number);
                    for round in 1..=20 {
                        let agent = letter.to_string().repeat(round * 70);
                        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\n\r\n");
                        client.send(request.repeat(20)).expect("sent");
                        (0..20).for_each(|_| assert_eq!(client.answer().expect("an answer").status, 200));
                    }
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().map_or(0, |()| 400)).sum::<usize>()
    });
    server.stop();
    let lost: usize = server.count_log("lost");
    let lines = lines.join().expect("the reader");
    for line in &lines {
        let agent = line.rsplit('"').nth(1).unwrap_or_default();
        let whole = line.starts_with("127.0.0.1 - - [") && line.ends_with('"') && line.matches("GET").count() == 1;
        let same = agent.bytes().all(|byte| Some(&byte) == agent.as_bytes().first());
        assert!(whole && same && agent.len() % 70 == 0, "{line}");
    }
    assert!(lines.len() == asked || lost > 0, "{} lines of {asked}", lines.len());
}

#[test]
fn workers_that_gave_up_root_reopen_their_logs_too() {
    root::needed();
    let builder = Server::probe();
    // Only root may make files here.
    let access = builder.directory().join("access.log");
    let mut server = builder
        .args(&["-w", "2", "--user", "nobody", "--group", "nogroup"])
        .arg("--access-logfile")
        .arg(&access)
        .start();
    server.get("/large/1");
    poll_until("the line", SOON, || read(&access).contains("/large/1 ").then_some(()));
    let old = access.with_extension("1");
    fs::rename(&access, &old).expect("rotated");
    server.signal(Signal::SIGUSR1);
    poll_until("lines in the new file", SOON, || {
        server.get("/large/2");
        (read(&access).matches("/large/2 ").count() > 5).then_some(())
    });
    assert!(server.exited().is_none());
}

#[test]
fn a_reader_that_goes_away_kills_nobody() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let server = Server::probe()
        .args(&["--access-logfile", "-", "-w", "2"])
        .stdout(writer.try_clone().expect("the pipe"))
        .stderr(writer)
        .start();
    let pids = server.wait_workers(2);
    drop(reader);
    for _ in 0..20 {
        assert_eq!(server.get("/").text(), "hello");
    }
    assert_eq!(server.wait_workers(2), pids);
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&pids, 2);
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn the_log_level_is_heeded() {
    let mut quiet = Server::probe().args(&["--log-level", "error"]).start();
    quiet.stop();
    assert_eq!(quiet.log(), "");
    let mut loud = Server::probe().args(&["--log-level", "debug"]).start();
    loud.stop();
    assert!(loud.log().contains("[DEBUG]"), "{}", loud.log());
}

#[test]
fn what_the_application_prints_can_be_captured() {
    let builder = Server::probe();
    let log = builder.directory().join("error.log");
    let mut server = builder.args(&["--capture-output"]).arg("--error-logfile").arg(&log).start();
    server.get("/print");
    server.stop();
    let text = read(&log);
    assert!(text.contains("printed to standard output") && text.contains("printed to standard error"), "{text}");
    assert_eq!(server.stdout(), "");
}
