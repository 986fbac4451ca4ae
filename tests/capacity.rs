//! How many workers there are, how long each serves, and how a server takes its leave.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Address, Client, SOON, Server, poll_until, process};

#[test]
fn workers_are_replaced_after_max_requests_and_no_request_is_lost() {
    let server = Server::probe().args(&["-w", "2", "--max-requests", "40", "--max-requests-jitter", "20"]).start();
    let mut pids = HashSet::new();
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    let mut round = 0;
    // A worker that is spent serves on until another is ready, which may be a while.
    poll_until("five workers", SOON, || {
        round += 1;
        for client in &mut clients {
            let answer = client.ask("GET", "/pid", "").unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(answer.status, 200);
            pids.insert(answer.text());
            if answer.closes() {
                *client = server.connect();
            }
        }
        (pids.len() > 4 && round > 100).then_some(())
    });
    server.wait_for_log("Autorestarting worker after current request.");
    server.wait_workers(2);
}

#[test]
fn a_worker_that_grows_is_replaced() {
    let server = Server::probe().args(&["-w", "1", "--worker-memory", "1m"]).start();
    let old = server.workers();
    // Every worker is larger than that, and serves until it is replaced.
    assert_eq!(server.get("/").text(), "hello");
    server.wait_replaced(&old, 1);
    server.wait_for_log("it occupies");
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn a_worker_that_grows_without_measure_is_killed() {
    let server = Server::probe().args(&["-w", "1", "--worker-memory-hard", "1m"]).start();
    let line = server.wait_for_log("more than worker_memory_hard");
    assert!(line.contains("[ERROR]"), "{line}");
    server.wait_for_log_times("Booting worker with pid", 2);
}

#[test]
fn old_workers_are_replaced() {
    let server = Server::probe().args(&["-w", "1", "--worker-lifetime", "1"]).start();
    let old = server.workers();
    server.wait_for_log("has reached worker_lifetime");
    server.wait_replaced(&old, 1);
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn the_number_of_workers_follows_the_load() {
    let server = Server::probe().args(&["-w", "1:4", "--worker-idle-timeout", "1"]).start();
    let first = server.workers();
    assert_eq!(first.len(), 1);
    let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("GET /sleep/1500 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent"));
    poll_until("more workers", SOON, || (server.workers().len() > 1).then_some(()));
    for client in &mut clients {
        assert_eq!(client.answer().expect("an answer").text(), "slept");
    }
    poll_until("one worker again", SOON, || (server.workers().len() == 1).then_some(()));
    assert_eq!(server.get("/").text(), "hello");
    server.wait_for_log("Workers: ");
}

#[test]
fn a_server_that_nobody_asks_has_no_worker_until_somebody_does() {
    for (unix, preload) in [(false, false), (true, true)] {
        let mut builder = Server::probe().args(&["-w", "0:2", "--worker-idle-timeout", "0.5"]);
        if preload {
            builder = builder.arg("--preload");
        }
        if unix {
            let path = builder.directory().join("socket");
            builder = builder.bind(Address::unix(&path));
        }
        let mut server = builder.start();
        let none = || {
            let workers = || process::children(server.pid).len() - server.templates().len();
            poll_until("no worker", SOON, || (workers() == 0).then_some(()));
        };
        for _ in 0..2 {
            assert_eq!(server.get("/").text(), "hello");
            none();
        }
        let mut kept = server.connect();
        assert_eq!(kept.get("/").text(), "hello");
        server.signal(Signal::SIGHUP);
        server.wait_for_log("Reloaded");
        assert_eq!(kept.get("/").text(), "hello", "handed over");
        drop(kept);
        none();
        assert_eq!(server.get("/").text(), "hello");
        server.stop();
    }
}

#[test]
fn a_server_that_is_about_to_stop_says_so_and_serves_on() {
    let mut server = Server::probe().args(&["-w", "2", "--shutdown-delay", "2", "--ready-path", "/-/ready"]).start();
    let ready = server.get("/-/ready");
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
    let mut kept = server.connect();
    assert_eq!(kept.get("/").text(), "hello");
    let began = Instant::now();
    server.signal(Signal::SIGTERM);
    poll_until("all workers to say that they are not ready", SOON, || {
        (0..8).all(|_| server.get("/-/ready").status == 503).then_some(())
    });
    for client in [&mut kept, &mut server.connect()] {
        let answer = client.get("/");
        assert!(answer.text() == "hello" && !answer.closes(), "{answer:?}");
    }
    assert_eq!(server.wait_code(SOON), 0);
    assert!(began.elapsed() >= Duration::from_secs(2), "after {:?}", began.elapsed());
}

#[test]
fn a_second_term_ends_the_delay() {
    let mut server = Server::probe().args(&["--shutdown-delay", "60"]).start();
    server.signal(Signal::SIGTERM);
    server.wait_for_log("Stopping in 60s");
    assert!(process::is_alive(server.pid));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_code(SOON), 0);
}
