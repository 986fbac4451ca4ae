//! Requests that wait for a worker that is busy.

use std::net::Shutdown;
use std::time::{Duration, Instant, SystemTime};

use super::{Client, DEADLINE, TestServer};
use crate::settings::TrustedPeers;

const GET: &str = "GET /queued HTTP/1.1\r\nHost: a\r\n\r\n";

/// Has the application sleep, and returns when it does.
fn occupy(server: &TestServer, milliseconds: u32) -> Client {
    let mut client = server.connect();
    client.send(format!("GET /slow?{milliseconds} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.answer().status, 103);
    client
}

fn milliseconds(text: &[u8]) -> u64 {
    String::from_utf8_lossy(text).parse().unwrap()
}

#[test]
fn the_time_that_a_request_has_waited_is_known_to_the_application() {
    let server = TestServer::start(|_| ());
    let mut waiting = server.connect();
    assert!(milliseconds(&waiting.get("/queued").body) < 300);
    let _busy = occupy(&server, 600);
    waiting.send(GET);
    // So does one whose connection was not accepted yet.
    let mut queued = server.connect();
    queued.send(GET);
    for client in [&mut waiting, &mut queued] {
        let waited = milliseconds(&client.answer().body);
        assert!((300..5_000).contains(&waited), "{waited} ms");
    }
    assert!(milliseconds(&waiting.get("/queued").body) < 300);
}

#[test]
fn a_request_that_has_waited_too_long_is_answered_with_503_and_not_run() {
    let server = TestServer::start(|policy| policy.queue_timeout = Some(Duration::from_millis(300)));
    let mut waiting = server.connect();
    assert_eq!(waiting.get("/mark").body, b"1");
    let mut busy = occupy(&server, 700);
    waiting.send("POST /mark HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    let answer = waiting.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("Retry-After: 1"), "{}", answer.head);
    assert_eq!(busy.answer().body, b"slow");
    assert_eq!(waiting.get("/mark").body, b"2", "the connection goes on, and the call was not made");
}

#[test]
fn a_client_that_has_gone_is_not_served_and_one_that_only_says_no_more_is() {
    let server = TestServer::start(|_| ());
    let (mut gone, mut patient) = (server.connect(), server.connect());
    assert_eq!(gone.get("/").status, 200);
    assert_eq!(patient.get("/").status, 200);
    let mut busy = occupy(&server, 1_300);
    gone.send("GET /mark HTTP/1.1\r\nHost: a\r\n\r\n");
    drop(gone);
    patient.send("GET /mark HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(busy.answer().body, b"slow");
    assert_eq!(patient.answer().body, b"1");
    // Half a second is no sign of anything.
    let mut half = server.connect();
    assert_eq!(half.get("/").status, 200);
    let _busy = occupy(&server, 500);
    half.send("GET /mark HTTP/1.1\r\nHost: a\r\n\r\n");
    half.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(half.answer().body, b"2");
}

#[test]
fn a_trusted_front_end_says_since_when_a_request_waits() {
    let since = |seconds: u64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        (now - Duration::from_secs(seconds)).as_millis()
    };
    let later = since(0) + 60_000;
    let start = |trusted: bool| {
        TestServer::start(move |policy| {
            policy.queue_timeout = Some(Duration::from_secs(60));
            if !trusted {
                policy.forwarders = TrustedPeers::Networks(Vec::new());
            }
        })
    };
    let (proxies, strangers) = (start(true), start(false));
    let cases = [
        (&proxies, format!("t={}", since(10)), 200, 10_000..15_000),
        (&proxies, format!("t={}", since(70)), 503, 0..0),
        // A clock that goes wrong, or no clock.
        (&proxies, format!("t={}", since(7_200)), 200, 0..300),
        (&proxies, format!("t={later}"), 200, 0..300),
        (&proxies, "yesterday".to_owned(), 200, 0..300),
        (&strangers, format!("t={}", since(70)), 200, 0..300),
    ];
    for (server, value, status, waited) in cases {
        let mut client = server.connect();
        client.send(format!("GET /queued HTTP/1.1\r\nHost: a\r\nX-Request-Start: {value}\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, status, "{value}");
        if status == 200 {
            assert!(waited.contains(&milliseconds(&answer.body)), "{value}: {:?}", answer.body);
        }
    }
}

#[test]
fn an_answer_that_does_not_come_in_time_is_504_and_finds_nobody_when_it_does() {
    let server = TestServer::start(|policy| policy.request_timeout = Some(Duration::from_millis(50)));
    let mut client = server.connect();
    assert_eq!(client.get("/never").status, 504);
    assert_eq!(client.get("/mark").body, b"1", "the connection goes on");
    assert_eq!(client.get("/release").body, b"released");
    assert_eq!(client.get("/mark").body, b"2", "the late answer was thrown away");
}

#[test]
fn whoever_answers_later_can_ask_whether_anybody_waits_for_it() {
    let server = TestServer::start(|_| ());
    let mut asking = server.connect();
    let mut wanted = |expected: &[u8]| {
        let end = Instant::now() + DEADLINE;
        while asking.get("/wanted").body != expected {
            assert!(Instant::now() < end, "never {}", String::from_utf8_lossy(expected));
        }
    };
    let later = || {
        let mut client = server.connect();
        client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
        client
    };
    let (mut staying, leaving, mut silent) = (later(), later(), later());
    wanted(b"3 of 3");
    drop(leaving);
    wanted(b"2 of 3");
    silent.socket.shutdown(Shutdown::Write).unwrap();
    wanted(b"1 of 3");
    assert_eq!(asking.get("/release").body, b"released");
    for client in [&mut staying, &mut silent] {
        assert_eq!(client.answer().body, b"too late", "what is not wanted is answered all the same");
    }
}

#[test]
fn an_answer_that_was_given_up_is_not_wanted() {
    let server = TestServer::start(|policy| policy.request_timeout = Some(Duration::from_millis(50)));
    let mut client = server.connect();
    assert_eq!(client.get("/never").status, 504);
    assert_eq!(client.get("/wanted").body, b"0 of 1");
}
