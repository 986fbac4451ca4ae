//! Stopping: gracefully, quickly, and with clients of every kind in between.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Client, SOON, Server, poll_until, process, sockets};

#[test]
fn term_finishes_what_is_in_flight_and_says_so() {
    let mut server = Server::probe().args(&["-w", "2"]).start();
    let mut busy = server.connect();
    busy.send("GET /sleep/600 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut later = server.connect();
    later.send("GET /later/600 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    // The requests are being answered once nobody has them unread any more.
    wait_taken(&server);
    server.signal(Signal::SIGTERM);
    for (client, text) in [(&mut busy, "slept"), (&mut later, "later")] {
        let answer = client.answer().expect("an answer");
        assert_eq!(answer.text(), text);
        assert!(answer.closes(), "a draining worker announces that it closes: {answer:?}");
    }
    assert_eq!(server.wait_code(SOON), 0);
    for text in ["Handling signal: term", "Worker exiting (pid: ", "Shutting down: Master"] {
        assert!(server.count_log(text) > 0, "no {text:?} in the log");
    }
}

/// Waits until no connected socket of the server has anything unread and its accept queue is empty.
fn wait_taken(server: &Server) {
    let port = server.address.port();
    poll_until("the request to be taken", SOON, || {
        let taken = sockets::connected(port).iter().all(|socket| socket.unread == 0 && socket.inode != 0);
        (taken && sockets::accept_queue(port) == 0).then_some(())
    });
}

#[test]
fn a_response_that_is_being_streamed_is_finished() {
    let mut server = Server::probe().start();
    let mut reader = server.connect();
    reader.send("GET /channel/60 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    wait_taken(&server);
    server.signal(Signal::SIGTERM);
    let answer = reader.answer().expect("a whole answer");
    assert_eq!(answer.body.len(), 6000);
    assert_eq!(server.wait_code(SOON), 0);
}

#[test]
fn connections_in_the_accept_queue_are_served_before_the_last_worker_leaves() {
    let mut server = Server::probe().args(&["-w", "1"]).start();
    let mut busy = server.connect();
    busy.send("GET /sleep/700 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    wait_taken(&server);
    let mut waiting: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(busy.answer().expect("an answer").text(), "slept");
    for client in &mut waiting {
        assert_eq!(client.answer().expect("an answer to one that was queued").text(), "hello");
    }
    assert_eq!(server.wait_code(SOON), 0);
}

#[test]
fn a_late_request_on_an_idle_connection_is_answered_with_close() {
    let mut server = Server::probe().args(&["-w", "2"]).start();
    let mut idle: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for client in &mut idle {
        assert!(!client.get("/").closes());
    }
    server.signal(Signal::SIGTERM);
    server.wait_for_log("Handling signal: term");
    std::thread::sleep(Duration::from_millis(300));
    for client in &mut idle {
        let answer = client.get("/");
        assert_eq!(answer.text(), "hello");
        assert!(answer.closes(), "{answer:?}");
    }
    assert_eq!(server.wait_code(SOON), 0);
}

#[test]
fn idle_connections_hold_a_stop_up_for_the_grace_period_only() {
    let mut server = Server::probe().start();
    let mut idle = server.connect();
    idle.get("/");
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    assert_eq!(idle.rest().expect("an orderly end"), b"");
}

#[test]
fn a_request_that_outlives_graceful_timeout_is_cut_off() {
    let mut server = Server::probe().args(&["--graceful-timeout", "1", "-w", "2"]).start();
    let workers = server.wait_workers(2);
    let mut stuck = server.connect();
    stuck.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    wait_taken(&server);
    let began = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_code(SOON), 0);
    assert!(began.elapsed() >= Duration::from_millis(900), "it did not wait: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    process::wait_gone(&workers, SOON);
}

#[test]
fn int_and_quit_stop_at_once() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let mut server = Server::probe().args(&["-w", "2"]).start();
        let workers = server.wait_workers(2);
        let mut busy = server.connect();
        busy.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        wait_taken(&server);
        let began = Instant::now();
        server.signal(signal);
        assert_eq!(server.wait_code(SOON), 0, "{signal}");
        assert!(began.elapsed() < Duration::from_secs(4), "{signal} took {:?}", began.elapsed());
        process::wait_gone(&workers, SOON);
    }
}

#[test]
fn a_quick_stop_cuts_a_graceful_one_short() {
    let mut server = Server::probe().args(&["--graceful-timeout", "60"]).start();
    let mut busy = server.connect();
    busy.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    wait_taken(&server);
    server.signal(Signal::SIGTERM);
    server.wait_for_log("Handling signal: term");
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait_code(Duration::from_secs(8)), 0);
}

#[test]
fn a_stopped_server_refuses_connections() {
    let mut server = Server::probe().start();
    server.stop();
    let error = Client::connect(&server.address).expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_stop_while_workers_boot_does_not_wait_for_them() {
    let mut server = Server::probe().env("BOOT_SLEEP", "60000").args(&["-w", "2"]).spawn();
    server.wait_for_log_times("Booting worker", 2);
    let began = Instant::now();
    server.signal(Signal::SIGTERM);
    let _ = server.wait_exit(SOON);
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}
