//! The real programs in front of and around a server: nginx, supervisord, curl, wrk.

use nix::sys::signal::Signal;

use crate::support::address::free_port;
use crate::support::programs::{nginx, output, supervisorctl, supervisord};
use crate::support::server::ferricorn;
use crate::support::{Address, Client, Directory, SOON, Server, client, gateways, poll_until, process, sockets};

fn upstreams() -> [Server; 2] {
    let unix = Server::probe();
    let path = unix.directory().join("socket");
    [Server::probe().start(), unix.bind(Address::unix(&path)).start()]
}

#[test]
fn nginx_serves_the_application_over_tcp_and_over_a_unix_socket() {
    for server in upstreams() {
        let (_nginx, front) = nginx(&server.address);
        let mut client = Client::to(&front);
        assert_eq!(client.get("/").text(), "hello");
        let body = "b".repeat(200_000);
        client
            .send(format!("POST /echo HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
            .expect("sent");
        assert_eq!(client.answer().expect("an answer").text(), body);
        client
            .send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n")
            .expect("sent");
        assert_eq!(client.answer().expect("an answer").text(), "abcde");
        assert_eq!(client.get("/stream/100").body.len(), 100_000);
        let head = client.ask("HEAD", "/large/77", "").expect("an answer");
        assert_eq!(head.field("content-length"), Some("77"));
        let peer = client.get("/peer").text();
        assert!(peer.contains("trusted=true secure=false"), "{peer}");
        let fields =
            client.ask("GET", "/fields", "X-Forwarded-For: 192.0.2.1\r\n").expect("an answer").text().to_lowercase();
        assert!(fields.contains("x-forwarded-for: 192.0.2.1, 127.0.0.1\n"), "{fields}");
        assert!(fields.contains("host: localhost\n"), "{fields}");
        assert_eq!(client.get("/gone").status, 404);
    }
}

#[test]
fn nginx_keeps_its_connections_to_the_server() {
    let server = Server::probe().start();
    let (_nginx, front) = nginx(&server.address);
    let mut client = Client::to(&front);
    client.get("/");
    let ports = || -> Vec<u16> {
        sockets::connected(server.address.port())
            .iter()
            .map(|socket| socket.peer_port)
            .filter(|port| *port != server.address.port())
            .collect()
    };
    let before = ports();
    for _ in 0..20 {
        client.get("/");
    }
    assert_eq!(ports(), before, "it had to connect again");
    assert!(!before.is_empty());
}

#[test]
fn curl_gets_what_it_asks_for() {
    let server = Server::probe().start();
    let url = |target: &str| format!("http://{}{target}", server.address);
    let (done, text) = output("curl", &["-sS", "-i", &url("/large/5")]);
    assert!(done && text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nxxxxx"), "{text}");
    let file = server.directory.write("upload", "u".repeat(100_000));
    let upload = format!("@{}", file.display());
    for extra in [["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"], ["--http1.0", "-sS"]] {
        let (done, text) = output("curl", &[&["-sS", "--data-binary", &upload, &url("/length")], &extra[..]].concat());
        assert!(done && text == "100000", "{extra:?}: {text}");
    }
    let (done, text) = output("curl", &["-sS", "-I", &url("/")]);
    assert!(done && text.to_lowercase().contains("content-length: 5"), "{text}");
    let (done, text) = output("curl", &["-sS", &url("/"), &url("/"), "-w", "%{num_connects} "]);
    assert!(done && text == "hello1 hello0 ", "the second comes over the same connection: {text}");
}

#[test]
fn wrk_finds_no_errors() {
    let mut server = Server::probe().args(&["-w", "2"]).start();
    let pids = server.wait_workers(2);
    let (done, text) = output("wrk", &["-t1", "-c64", "-d2s", &format!("http://{}/", server.address)]);
    assert!(done, "{text}");
    assert!(!text.contains("errors") && !text.contains("Non-2xx"), "{text}");
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in")).expect("wrk's sum").0;
    assert!(requests.parse::<u64>().is_ok_and(|count| count > 2000), "{text}");
    assert_eq!(server.workers(), pids);
    server.stop();
}

#[test]
fn supervisord_runs_it_as_a_program() {
    let site = Directory::new();
    site.write("index.html", "supervised");
    let address = Address::tcp(free_port());
    let supervisord = supervisord("program:site]", ferricorn(), site.path(), &address);
    assert_eq!(client::get(&address, "/").text(), "supervised");
    poll_until("supervisord to call it running", SOON, || {
        supervisorctl(&supervisord, &["status", "site"]).contains("RUNNING").then_some(())
    });
    let pid: i32 = supervisorctl(&supervisord, &["pid", "site"]).trim().parse().expect("a pid");
    let old = process::children(pid);
    // Deploy as the file says.
    supervisorctl(&supervisord, &["signal", "HUP", "site"]);
    poll_until("new workers", SOON, || {
        let now = process::children(pid);
        (now.len() == old.len() && now.iter().all(|pid| !old.contains(pid))).then_some(())
    });
    assert_eq!(client::get(&address, "/").text(), "supervised");
    supervisorctl(&supervisord, &["restart", "site"]);
    poll_until("it to serve again", SOON, || client::try_get(&address, "/").ok());
    let answer = supervisorctl(&supervisord, &["stop", "site"]);
    assert!(answer.contains("stopped"), "{answer}");
    client::try_get(&address, "/").expect_err("it is stopped");
    let log = std::fs::read_to_string(supervisord.directory.join("site.log")).expect("its log");
    assert!(log.contains("Shutting down: Master"), "{log}");
}

#[test]
fn supervisord_runs_it_as_a_fcgi_program_whose_socket_it_has_made() {
    let site = Directory::new();
    site.write("index.html", "supervised");
    for address in [Address::tcp(free_port()), Address::unix(&site.join("socket"))] {
        let supervisord = supervisord("fcgi-program:site-socket]", ferricorn(), site.path(), &address);
        assert_eq!(client::get(&address, "/").text(), "supervised");
        poll_until("supervisord to call it running", SOON, || {
            supervisorctl(&supervisord, &["status", "site-socket:*"]).contains("RUNNING").then_some(())
        });
        supervisorctl(&supervisord, &["signal", "HUP", "site-socket:*"]);
        poll_until("the reload", SOON, || {
            assert_eq!(client::get(&address, "/").text(), "supervised");
            let log = std::fs::read_to_string(supervisord.directory.join("site-socket.log")).unwrap_or_default();
            log.contains("Worker exiting").then_some(())
        });
        let answer = supervisorctl(&supervisord, &["restart", "site-socket:*"]);
        assert!(answer.contains("started"), "{answer}");
        poll_until("it to serve again", SOON, || client::try_get(&address, "/").ok());
    }
}

#[test]
fn supervisord_runs_it_as_a_fcgi_program_that_speaks_fastcgi() {
    let site = Directory::new();
    site.write("index.html", "supervised");
    for address in [Address::tcp(free_port()), Address::unix(&site.join("socket"))] {
        let supervisord = supervisord("fcgi-program:site-fastcgi]", ferricorn(), site.path(), &address);
        let (_nginx, front) = gateways::nginx("fastcgi", &address);
        assert_eq!(client::get(&front, "/").text(), "supervised");
        supervisorctl(&supervisord, &["signal", "HUP", "site-fastcgi:*"]);
        poll_until("the reload", SOON, || {
            assert_eq!(client::get(&front, "/").text(), "supervised");
            let log = std::fs::read_to_string(supervisord.directory.join("site-fastcgi.log")).unwrap_or_default();
            log.contains("Worker exiting").then_some(())
        });
        let answer = supervisorctl(&supervisord, &["stop", "site-fastcgi:*"]);
        assert!(answer.contains("stopped"), "{answer}");
    }
}

#[test]
fn a_terminals_interrupt_reaches_everybody_and_ends_it_in_order() {
    let mut server = Server::probe().args(&["-w", "2"]).start();
    let workers = server.wait_workers(2);
    nix::sys::signal::killpg(nix::unistd::Pid::from_raw(server.pid), Signal::SIGINT).expect("the process group");
    assert_eq!(server.wait_code(SOON), 0);
    process::wait_gone(&workers, SOON);
    assert_eq!(server.count_log("[ERROR]"), 0, "{}", server.log());
}
