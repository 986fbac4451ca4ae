//! No client waits for another's request: application threads, the relief thread, hand-over between workers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Client, Directory, SOON, Server, poll_until, process};

/// How long the slow requests take here. What must not wait for them has a third of it.
const SLOW: u64 = 3000;
const FAST: Duration = Duration::from_millis(SLOW / 3);

/// Connections that have been served once, by the worker that holds them.
fn by_worker(server: &Server, count: usize) -> BTreeMap<i32, Vec<Client>> {
    let mut workers: BTreeMap<i32, Vec<Client>> = BTreeMap::new();
    for _ in 0..count {
        let mut client = Client::to(&server.address);
        let pid = client.get("/pid").text().parse().expect("a pid");
        workers.entry(pid).or_default().push(client);
    }
    workers
}

/// So many of them that one worker has at least that many.
fn crowd(server: &Server, crowded: usize) -> (Vec<Client>, Vec<Client>) {
    let workers = by_worker(server, 2 * crowded);
    let most = workers.values().map(Vec::len).max().unwrap_or(0);
    let (mut one, mut others) = (Vec::new(), Vec::new());
    for clients in workers.into_values() {
        if one.is_empty() && clients.len() == most { one = clients } else { others.extend(clients) }
    }
    (one, others)
}

fn begin(client: &mut Client, target: &str) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).expect("a request can be sent");
}

/// Has the worker call what takes so many milliseconds; returns when the call has begun.
fn occupy(client: &mut Client, milliseconds: u64) {
    let directory = Directory::new();
    let begun = directory.join("begun");
    begin(client, &format!("/sleep/{milliseconds}/{}", begun.display()));
    poll_until("the call to begin", SOON, || begun.exists().then_some(()));
}

#[track_caller]
fn is_fast(what: &str, ask: impl FnOnce()) {
    let began = Instant::now();
    ask();
    assert!(began.elapsed() < FAST, "{what} took {:?}", began.elapsed());
}

#[test]
fn connections_of_a_busy_worker_are_served_by_another() {
    let server = Server::probe().args(&["-w", "2"]).start();
    let (mut busy, mut others) = crowd(&server, 4);
    let mut slow = busy.pop().expect("one of several");
    occupy(&mut slow, SLOW);
    for round in 0..3 {
        for client in busy.iter_mut().chain(&mut others) {
            is_fast(&format!("a request of round {round}"), || assert_eq!(client.get("/").status, 200));
        }
        is_fast("a new connection", || assert_eq!(Client::to(&server.address).get("/").status, 200));
    }
    assert_eq!(slow.answer().expect("the slow one").text(), "slept");
    assert_eq!(slow.get("/").status, 200, "its connection goes on");
}

#[test]
fn threads_of_one_worker_serve_beside_a_slow_request() {
    for threads in ["2", "4"] {
        let server = Server::probe().args(&["-w", "1", "--threads", threads]).start();
        let mut clients: Vec<_> = by_worker(&server, 6).into_values().flatten().collect();
        let mut slow: Vec<_> = clients.drain(..threads.parse::<usize>().unwrap_or(2) - 1).collect();
        slow.iter_mut().for_each(|client| begin(client, &format!("/sleep/{SLOW}")));
        for _ in 0..3 {
            for client in &mut clients {
                is_fast("a request", || assert_eq!(client.get("/").status, 200));
            }
            is_fast("a new connection", || assert_eq!(Client::to(&server.address).get("/").status, 200));
        }
        for mut client in slow {
            assert_eq!(client.answer().expect("a slow one").text(), "slept");
        }
    }
}

#[test]
fn two_slow_requests_leave_the_other_threads_of_two_workers_to_the_others() {
    let server = Server::probe().args(&["-w", "2", "--threads", "2"]).start();
    let (mut one, mut others) = crowd(&server, 4);
    let mut slow = [one.pop().expect("one of several"), one.pop().expect("another")];
    slow.iter_mut().for_each(|client| begin(client, &format!("/sleep/{SLOW}")));
    for _ in 0..3 {
        for client in one.iter_mut().chain(&mut others) {
            is_fast("a request", || assert_eq!(client.get("/").status, 200));
        }
    }
    for client in &mut slow {
        assert_eq!(client.answer().expect("a slow one").text(), "slept");
    }
}

#[test]
fn blocking_calls_run_in_as_many_threads_as_there_are() {
    let server = Server::probe().args(&["-w", "1", "--threads", "8"]).start();
    let mut clients: Vec<_> = by_worker(&server, 8).into_values().flatten().collect();
    let began = Instant::now();
    for _ in 0..2 {
        clients.iter_mut().for_each(|client| begin(client, "/sleep/500"));
        for client in &mut clients {
            assert_eq!(client.answer().expect("an answer").text(), "slept");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(4), "16 calls of 500 ms took {:?}", began.elapsed());
}

#[test]
fn a_busy_workers_sockets_are_looked_after() {
    let server = Server::probe().args(&["-w", "1", "--body-timeout", "1", "--header-timeout", "1"]).start();
    let mut clients: Vec<_> = by_worker(&server, 3).into_values().flatten().collect();
    let mut slow = clients.pop().expect("one of three");
    begin(&mut slow, "/sleep/6000");
    let began = Instant::now();
    let mut wrong = clients.pop().expect("one of two");
    wrong.send("GET\r\n\r\n").expect("a line");
    assert_eq!(wrong.answer().expect("a refusal").status, 400);
    let mut late = clients.pop().expect("the last");
    late.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").expect("half a request");
    assert_eq!(late.answer().expect("a refusal").status, 408);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(slow.answer().expect("the slow one").text(), "slept");
}

#[test]
fn requests_with_bodies_that_came_while_the_worker_was_busy_are_served() {
    let server = Server::probe().args(&["-w", "1"]).start();
    let mut clients: Vec<_> = by_worker(&server, 3).into_values().flatten().collect();
    let mut slow = clients.pop().expect("one of three");
    begin(&mut slow, "/sleep/1000");
    let body = "x".repeat(300_000);
    for client in &mut clients {
        client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n").expect("a head");
        client.send(&body).expect("a body, which nobody could read without a thread for it");
    }
    for client in &mut clients {
        assert_eq!(client.answer().expect("an echo").text(), body);
    }
    assert_eq!(slow.answer().expect("the slow one").text(), "slept");
}

#[test]
fn a_thread_that_hangs_is_seen_while_others_work() {
    let server = Server::probe().args(&["-w", "1", "--threads", "3", "--timeout", "2"]).start();
    let worker = server.answering();
    let mut hung = Client::to(&server.address);
    begin(&mut hung, "/hang");
    let began = Instant::now();
    let mut client = Client::to(&server.address);
    let mut answered = 0;
    // The others work all the time.
    while client.ask("GET", "/", "").is_ok_and(|answer| answer.status == 200) {
        answered += 1;
        assert!(began.elapsed() < SOON, "the worker was not ended");
    }
    assert!(answered > 10, "{answered} requests were answered beside it");
    assert!(began.elapsed() > Duration::from_millis(1500), "too early: {:?}", began.elapsed());
    server.wait_for_log("WORKER TIMEOUT");
    server.wait_replaced(&[worker], 1);
}

#[test]
fn a_slow_request_of_a_native_application_is_named_once_and_nothing_else_happens() {
    for threads in ["1", "2"] {
        let server = Server::probe().args(&["-w", "1", "--threads", threads, "--slow-request-timeout", "0.3"]).start();
        assert_eq!(server.get("/sleep/1000?how=long").text(), "slept");
        assert_eq!(server.get("/sleep/1").text(), "slept");
        let line = server.wait_for_log("SLOW REQUEST");
        assert!(line.contains("[WARNING]") && line.contains(": GET /sleep/1000?how=long has taken 0."), "{line}");
        assert_eq!(server.count_log("SLOW REQUEST"), 1);
    }
}

#[test]
fn a_native_application_is_not_interrupted_but_may_ask_for_more_time() {
    let server = Server::probe().args(&["-w", "1", "--request-timeout", "0.3", "--timeout", "1"]).start();
    let worker = server.answering();
    assert_eq!(server.get("/sleep/600").status, 504);
    server.wait_for_log("GET /sleep/600 cannot be interrupted");
    let timeouts = server.count_log("REQUEST TIMEOUT");
    assert_eq!(server.get("/sleep-extended/2500").text(), "slept");
    assert_eq!(server.count_log("REQUEST TIMEOUT"), timeouts);
    assert_eq!(server.answering(), worker);
    assert_eq!(server.get("/sleep/10000").status, 504, "the next call has no more time than any");
    server.wait_replaced(&[worker], 1);
}

#[test]
fn the_client_of_a_call_that_does_not_return_is_answered_without_it() {
    for threads in ["1", "4"] {
        let directory = Directory::new();
        let access = directory.join("access");
        let server = Server::probe()
            .args(&["-w", "1", "--threads", threads, "--request-timeout", "0.3"])
            .args(&["--access-logfile", &access.display().to_string()])
            .start();
        let worker = server.answering();
        // Long enough that nobody takes the call's end for the timeout.
        for (request, statuses) in [
            ("GET /sleep/2500 HTTP/1.1\r\nHost: x\r\n\r\n", &[504][..]),
            ("GET /pid HTTP/1.1\r\nHost: x\r\n\r\nGET /sleep/2500 HTTP/1.1\r\nHost: x\r\n\r\n", &[200, 504]),
            ("HEAD /sleep/2500 HTTP/1.1\r\nHost: x\r\n\r\n", &[504]),
        ] {
            let head_only = request.starts_with("HEAD");
            let before = server.count_log("REQUEST TIMEOUT");
            let mut client = server.connect();
            let began = Instant::now();
            client.send(request).expect("a request can be sent");
            for status in statuses {
                let answer = client.answer_to(head_only).expect("an answer");
                assert_eq!(answer.status, *status, "{request:?} with {threads} threads");
                let close = answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                assert_eq!(close, *status == 504);
            }
            assert!(began.elapsed() < Duration::from_millis(2000), "after the call: {:?}", began.elapsed());
            assert!(client.answer().is_err(), "the late result reaches nobody");
            assert!(began.elapsed() < Duration::from_millis(2200), "the connection ends after the call");
            poll_until("the call to return", SOON, || (server.answering() == worker).then_some(()));
            assert_eq!(server.count_log("REQUEST TIMEOUT"), before + 1);
        }
        poll_until("the log of all", SOON, || {
            let lines = std::fs::read_to_string(&access).unwrap_or_default();
            (lines.lines().filter(|line| line.contains("/sleep/2500 HTTP/1.1\" 504 ")).count() == 3).then_some(())
        });
        assert_eq!(server.workers(), [worker]);
    }
}

#[test]
fn a_source_that_hangs_is_a_call_that_is_overdue_and_one_that_panics_has_failed() {
    let server = Server::probe().args(&["-w", "1", "--timeout", "1"]).start();
    let worker = server.answering();
    let mut client = server.connect();
    begin(&mut client, "/stream-panic");
    assert!(client.answer().is_err(), "it is cut off");
    assert_eq!(server.answering(), worker);
    let mut client = server.connect();
    begin(&mut client, "/stream-hang");
    server.wait_replaced(&[worker], 1);
    assert!(server.log().contains("WORKER TIMEOUT"));
}

#[test]
fn requests_on_their_way_between_workers_outlive_all_of_them() {
    let server = Server::probe().args(&["-w", "2"]).start();
    let workers = server.wait_workers(2);
    let mut all = by_worker(&server, 24);
    // Both are blocked for good; the clients that each had send requests then.
    poll_until("both workers to have clients", SOON, || {
        for (pid, clients) in by_worker(&server, 4) {
            all.entry(pid).or_default().extend(clients);
        }
        (all.len() == 2).then_some(())
    });
    let directory = Directory::new();
    let mut hung = Vec::new();
    let mut clients = Vec::new();
    for (pid, mut of_one) in all {
        let mut first = of_one.pop().expect("a client of each");
        let begun = directory.join(&pid.to_string());
        begin(&mut first, &format!("/hang/{}", begun.display()));
        // A worker that is not in its call yet would take what the other one gives away.
        poll_until("the call to begin", SOON, || begun.exists().then_some(()));
        hung.push(first);
        clients.extend(of_one);
    }
    let sockets = || workers.iter().map(|pid| process::sockets(*pid).len()).sum::<usize>();
    let before = sockets();
    clients.iter_mut().for_each(|client| begin(client, "/"));
    poll_until("the requests to be in the channel", SOON, || (sockets() + clients.len() <= before).then_some(()));
    workers.iter().for_each(|pid| process::signal(*pid, Signal::SIGKILL));
    for client in &mut clients {
        assert_eq!(client.answer().expect("an answer of a successor").status, 200);
    }
    for mut client in hung {
        assert!(client.answer().is_err(), "what a worker had begun went with it");
    }
}

#[test]
fn idle_connections_of_a_draining_worker_move_to_its_successor() {
    let server = Server::probe().args(&["-w", "2", "--keep-alive-grace", "1"]).start();
    let old = server.wait_workers(2);
    let mut clients: Vec<_> = by_worker(&server, 12).into_values().flatten().collect();
    for _ in 0..2 {
        let old = server.workers();
        server.signal(Signal::SIGHUP);
        let new = server.wait_replaced(&old, 2);
        for client in &mut clients {
            let answer = client.get("/pid");
            assert_eq!(answer.status, 200);
            assert!(!answer.closes(), "it may go on");
            let pid: i32 = answer.text().parse().expect("a pid");
            assert!(new.contains(&pid), "served by {pid}");
        }
    }
    assert!(old.iter().all(|pid| !process::is_alive(*pid)));
}

#[test]
fn a_worker_that_has_all_connections_shares_them_with_an_idle_one() {
    let server = Server::probe().args(&["-w", "1"]).start();
    let mut clients: Vec<_> = by_worker(&server, 16).into_values().flatten().collect();
    let first = server.workers();
    server.signal(Signal::SIGTTIN);
    server.wait_workers(2);
    let began = Instant::now();
    let mut moved = 0;
    while moved < 4 {
        assert!(began.elapsed() < SOON, "{moved} of 16 connections have moved");
        clients.iter_mut().for_each(|client| begin(client, "/pid"));
        let pids: Vec<i32> = clients
            .iter_mut()
            .map(|client| client.answer().expect("an answer").text().parse().expect("a pid"))
            .collect();
        moved = pids.iter().filter(|pid| !first.contains(pid)).count();
    }
}

#[test]
fn a_stop_while_a_worker_is_busy_loses_nothing() {
    let mut server = Server::probe().args(&["-w", "2"]).start();
    let (mut busy, mut others) = crowd(&server, 4);
    let mut slow = busy.pop().expect("one of several");
    let mut other = others.pop();
    begin(&mut slow, "/sleep/1000");
    if let Some(client) = &mut other {
        begin(client, "/sleep/1000");
    }
    let mut clients: Vec<_> = busy.into_iter().chain(others).collect();
    clients.iter_mut().for_each(|client| begin(client, "/"));
    server.signal(Signal::SIGTERM);
    for client in &mut clients {
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    assert_eq!(slow.answer().expect("the slow one").text(), "slept");
    if let Some(client) = &mut other {
        assert_eq!(client.answer().expect("the other slow one").text(), "slept");
    }
    drop((clients, slow, other));
    assert_eq!(server.wait_code(SOON), 0);
}

#[test]
fn a_new_connection_that_has_waited_too_long_for_a_busy_worker_is_answered_with_503() {
    let server = Server::probe().args(&["-w", "1", "--queue-timeout", "1"]).start();
    let mut slow = Client::to(&server.address);
    assert_eq!(slow.get("/").status, 200);
    occupy(&mut slow, SLOW);
    let mut late = Client::to(&server.address);
    begin(&mut late, "/");
    assert_eq!(late.answer().expect("an answer").status, 503);
    assert_eq!(slow.answer().expect("the slow one").status, 200);
    assert_eq!(late.get("/").status, 200, "its connection goes on");
    let mut new = Client::to(&server.address);
    assert_eq!(new.get("/").status, 200, "a new one has not waited");
}

#[test]
fn whether_it_is_ready_is_answered_while_every_thread_is_in_a_call() {
    let server = Server::probe().args(&["-w", "1", "--ready-path", "/-/ready"]).start();
    let (mut slow, mut checks) = (Client::to(&server.address), Client::to(&server.address));
    assert_eq!(slow.get("/").status, 200);
    assert_eq!(checks.get("/").status, 200);
    occupy(&mut slow, SLOW);
    for _ in 0..3 {
        is_fast("a check", || assert_eq!(checks.get("/-/ready").text(), "ready\n"));
    }
    assert_eq!(slow.answer().expect("the slow one").text(), "slept");
    assert_eq!(checks.get("/").status, 200, "its connection goes on");
}
