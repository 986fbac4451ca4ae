//! Clients that are slow, silent or too many.

use std::io::Read;
use std::time::{Duration, Instant};

use super::{Client, DEADLINE, TestServer};
use crate::protocol::proxy_protocol::Versions;
use crate::settings::TrustedPeers;
use crate::worker::policy::Policy;
use crate::worker::storage::Storage;

const LONG: Duration = Duration::from_secs(600);

fn nobody() -> TrustedPeers {
    TrustedPeers::Networks(Vec::new())
}

#[test]
fn a_silent_connection_is_closed_but_a_proxys_is_kept_as_long_as_an_idle_one() {
    let silent = |trusted: bool| {
        TestServer::start(move |policy| {
            policy.first_byte = Duration::from_millis(50);
            if !trusted {
                policy.forwarders = nobody();
            }
        })
    };
    let (strangers, proxies) = (silent(false), silent(true));
    let mut ahead = proxies.connect();
    let mut client = strangers.connect();
    client.expect_end();
    assert_eq!(ahead.get("/").status, 200);
}

#[test]
fn a_proxy_header_that_does_not_end_is_closed() {
    let server = TestServer::start(|policy| {
        policy.proxy_protocol = Some(Versions::Either);
        policy.first_byte = Duration::from_millis(50);
        (policy.forwarders, policy.keepalive) = (nobody(), Duration::from_millis(50));
    });
    let mut client = server.connect();
    client.send("PROXY TCP4 ");
    let mut rest = Vec::new();
    // Reset or closed: either will do.
    let _ = client.socket.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn a_head_that_keeps_coming_buys_time_up_to_a_limit() {
    let start = |longest| {
        TestServer::start(move |policy| {
            policy.head.patience = Duration::from_millis(100);
            policy.head.minimum = 1;
            policy.head_longest = longest;
        })
    };
    let (generous, strict) = (start(LONG), start(Duration::from_millis(150)));
    let (mut slow, mut cut) = (generous.connect(), strict.connect());
    for client in [&mut slow, &mut cut] {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    }
    assert_eq!(cut.answer().status, 408);
    slow.send("\r\n");
    assert_eq!(slow.answer().status, 200);
}

#[test]
fn a_body_that_comes_at_the_minimum_rate_may_take_long_and_one_below_it_may_not() {
    let server = TestServer::start(|policy| {
        policy.body.patience = Duration::from_millis(400);
        policy.body.minimum = 1_000;
    });
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n";
    let (mut steady, mut trickling) = (server.connect(), server.connect());
    steady.send(post);
    trickling.send(post);
    trickling.socket.set_nonblocking(true).unwrap();
    let began = Instant::now();
    let mut cut = None;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        steady.send([b'x'; 100]);
        let _ = std::io::Write::write(&mut trickling.socket, b"x");
        let mut byte = [0];
        if cut.is_none() && trickling.socket.read(&mut byte).is_ok() {
            cut = Some(began.elapsed());
        }
    }
    assert_eq!(steady.answer().body.len(), 2000);
    assert!(cut.is_some(), "a byte every 50 ms is enough");
}

#[test]
fn a_response_that_is_read_steadily_is_not_given_up_while_the_socket_holds_it_back() {
    let server = TestServer::start(|policy| {
        policy.send.patience = Duration::from_secs(1);
        policy.send.minimum = 1_000;
    });
    let mut client = server.connect();
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4));
    let (mut got, mut buffer) = (0, vec![0; 16 * 1024]);
    let began = Instant::now();
    while got < 12_000_000 {
        // Slowly first, so that the socket has no room for longer than the patience, and then the rest.
        if began.elapsed() < Duration::from_secs(4) {
            std::thread::sleep(Duration::from_millis(25));
        }
        let count = client.socket.read(&mut buffer).unwrap();
        assert!(count > 0, "cut off after {got} bytes");
        got += count;
    }
}

#[test]
fn a_stream_that_is_not_read_is_given_up() {
    let mut server = TestServer::start(|policy| policy.send.patience = Duration::from_millis(100));
    let mut client = server.connect();
    client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20));
    // Drain returns only when the connection is gone, though its peer never reads.
    server.drain();
}

fn patient(policy: &mut Policy) {
    policy.connections = 16;
    policy.keepalive = LONG;
    policy.first_byte = LONG;
    policy.head.patience = LONG;
    policy.body.patience = LONG;
    policy.send.patience = LONG;
}

/// Whether a new client is served soon.
fn serves(server: &TestServer) -> bool {
    let mut client = server.connect();
    client.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    client.get("/").status == 200
}

#[test]
fn heads_that_do_not_come_to_an_end_make_room_in_a_full_worker() {
    for begun in ["", "GET / HTTP/1.1\r\nHost:"] {
        let server = TestServer::start(patient);
        let _attack: Vec<Client> = (0..40)
            .map(|_| {
                let mut client = server.connect();
                client.send(begun);
                client
            })
            .collect();
        assert!(serves(&server), "{begun:?}");
    }
}

#[test]
fn bodies_and_responses_that_are_far_behind_make_room_in_a_full_worker() {
    let unread = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20);
    for begun in ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", &unread] {
        let server = TestServer::start(|policy| {
            patient(policy);
            (policy.body.minimum, policy.send.minimum) = (1_000_000, 1_000_000);
        });
        let _attack: Vec<Client> = (0..20)
            .map(|_| {
                let mut client = server.connect();
                client.send(begun);
                client
            })
            .collect();
        assert!(serves(&server), "{begun:.20?}");
    }
}

#[test]
fn idle_connections_make_room_before_unfinished_ones() {
    let server = TestServer::start(patient);
    let mut idle: Vec<Client> = (0..12)
        .map(|_| {
            let mut client = server.connect();
            client.get("/");
            client
        })
        .collect();
    let mut begun = server.connect();
    begun.send("GET / HTTP/1.1\r\n");
    // Longer than a head may take in a worker that is full.
    std::thread::sleep(Duration::from_millis(1_200));
    let _more: Vec<Client> = (0..6)
        .map(|_| {
            let mut client = server.connect();
            client.get("/");
            client
        })
        .collect();
    idle[0].expect_end();
    begun.send("Host: a\r\n\r\n");
    assert_eq!(begun.answer().status, 200);
}

#[test]
fn bodies_in_files_share_a_quota() {
    let server = TestServer::start(|policy| {
        policy.body_memory = 1_000;
        policy.storage = Storage::new(std::env::temp_dir(), 100_000);
    });
    let post = |client: &mut Client, length: usize, sent: usize| {
        client.send(format!("POST /stored HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(vec![b'x'; sent]);
    };
    let mut held = server.connect();
    post(&mut held, 90_000, 80_000);
    // It is stored before what comes after it on the same thread.
    assert_eq!(server.connect().get("/").status, 200);
    let mut refused = server.connect();
    post(&mut refused, 30_000, 30_000);
    assert_eq!(refused.answer().status, 503);
    let mut small = server.connect();
    post(&mut small, 900, 900);
    assert_eq!(small.answer().body, b"memory");
    held.send(vec![b'x'; 10_000]);
    assert_eq!(held.answer().body, b"file");
    let mut later = server.connect();
    post(&mut later, 90_000, 90_000);
    assert_eq!(later.answer().body, b"file");
}
