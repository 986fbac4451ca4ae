//! What clients send: right, wrong, slow, halved, all at once. Wrong ones get a clear answer and a log line with the
//! reason's code, and nothing that a client sends costs a worker.

use std::time::{Duration, Instant};

use crate::support::answer::parse;
use crate::support::client::exchange;
use crate::support::{Client, SOON, Server, poll_until, process};

/// What is sent after `GET / HTTP/1.1\r\n`, unless it begins with `=`: then it is all; the status; the reason's code.
const REFUSED: &[(&str, u16, &str)] = &[
    ("=GET /\r\n\r\n", 400, "bad-request-line"),
    ("=GET\r\n\r\n", 400, "bad-request-line"),
    ("=GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request-line"),
    ("=G@T / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-method"),
    ("=\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400, ""),
    ("=GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, "version-not-supported"),
    ("=PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version-not-supported"),
    ("=GET / http/1.1\r\nHost: x\r\n\r\n", 400, "bad-version"),
    ("=GET /a\x7fb HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-target"),
    ("=GET http://user@x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""),
    ("=GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-target"),
    ("=CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 501, "connect"),
    ("=GET / HTTP/1.1\nHost: x\n\n", 400, "bare-lf"),
    ("=GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "transfer-encoding-in-http10"),
    ("\r\n", 400, "host-missing"),
    ("Host: x\r\nHost: x\r\n\r\n", 400, "host-repeated"),
    ("Host: x, y\r\n\r\n", 400, "bad-host"),
    ("Host: user@x\r\n\r\n", 400, "bad-host"),
    ("Host : x\r\n\r\n", 400, "blank-before-colon"),
    ("Host: x\r\nNo colon\r\n\r\n", 400, "bad-field-name"),
    ("Host: x\r\n: empty\r\n\r\n", 400, "bad-field-name"),
    ("Host: x\r\nA: b\r\n c\r\n\r\n", 400, "obsolete-folding"),
    ("Host: x\r\nA: b\0c\r\n\r\n", 400, "bad-field-value"),
    ("Host: x\r\nA: b\rc\r\n\r\n", 400, ""),
    ("Host: x\r\nContent-Length: +5\r\n\r\nabcde", 400, "bad-content-length"),
    ("Host: x\r\nContent-Length: 5, 5\r\n\r\nabcde", 400, "bad-content-length"),
    ("Host: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413, "body-too-large"),
    ("Host: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", 400, "content-length-repeated"),
    (
        "Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "content-length-with-transfer-encoding",
    ),
    ("Host: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, "bad-transfer-encoding"),
    ("Host: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, "bad-transfer-encoding"),
    ("Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "unsupported-transfer-coding"),
    (
        "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "transfer-encoding-repeated",
    ),
    ("Host: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n", 400, "bad-chunk-size"),
    ("Host: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", 400, "bad-chunk-size"),
    ("Host: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nabcde\r\n0\r\n\r\n", 400, "bad-chunk-line"),
    ("Host: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX0\r\n\r\n", 400, "bad-chunk-end"),
    ("Host: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", 400, "forbidden-trailer"),
    ("Host: x\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\n", 417, "unknown-expectation"),
    ("Host: x\r\nContent-Length: 2000000\r\n\r\n", 413, "body-too-large"),
];

#[test]
fn wrong_requests_get_a_clear_answer_and_a_log_line_with_the_reasons_code() {
    let server = Server::probe().args(&["-w", "1", "--limit-request-body", "1000000"]).start();
    let worker = server.answering();
    let long = format!("=GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000));
    let large = format!("Host: x\r\nA: {}\r\n\r\n", "a".repeat(9000));
    let many = format!("Host: x\r\n{}\r\n", "A: b\r\n".repeat(120));
    let trailers = format!(
        "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}\r\n",
        format!("A: {}\r\n", "a".repeat(8000)).repeat(20)
    );
    let more = [
        (long.as_str(), 414, "request-line-too-long"),
        (&large, 431, "field-too-large"),
        (&many, 431, "too-many-fields"),
        (&trailers, 431, "trailers-too-large"),
    ];
    for (text, status, reason) in REFUSED.iter().copied().chain(more) {
        let bytes = match text.strip_prefix('=') {
            Some(whole) => whole.as_bytes().to_vec(),
            None => format!("GET / HTTP/1.1\r\n{text}").into_bytes(),
        };
        let shown = &text[..text.len().min(80)];
        let before = server.count_log("Invalid request from ip=127.0.0.1");
        // A request behind a wrong one must not be answered.
        let got = exchange(&server.address, &[bytes.as_slice(), b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n"].concat())
            .unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        let (answer, taken) = parse(&got, false, true)
            .unwrap_or_else(|flaw| panic!("{shown:?}: {flaw:?} in {:?}", String::from_utf8_lossy(&got)));
        assert_eq!(answer.status, status, "{shown:?}: {}", answer.text());
        assert!(answer.closes(), "{shown:?}");
        assert_eq!(taken, got.len(), "{shown:?}: more than one answer");
        assert!(!answer.body.is_empty(), "{shown:?}: no explanation");
        let line = server.wait_for_log_times("Invalid request from ip=127.0.0.1", before + 1);
        assert!(line.contains("[WARNING]") && line.contains(reason), "{shown:?}: {line}");
    }
    assert_eq!(server.answering(), worker, "a worker was lost");
}

#[test]
fn unusual_but_valid_requests_are_served() {
    let server = Server::probe().start();
    let cases: &[(&str, u16, &str)] = &[
        ("GET / HTTP/1.0\r\n\r\n", 200, "hello"),
        ("\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, "hello"),
        ("GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", 200, "hello"),
        ("GET http://x/ HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n", 200, "hello"),
        ("GET / HTTP/1.1\r\nhOsT:x\r\ncOnNeCtIoN:   ClOsE  \r\n\r\n", 200, "hello"),
        ("GET / HTTP/1.1\r\nHost: x\r\nX: \u{e9}\r\nConnection: close\r\n\r\n", 200, "hello"),
        ("BREW / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, "hello"),
        ("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: close, upgrade\r\n\r\n", 200, "hello"),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 005\r\nConnection: close\r\n\r\nabcde", 200, "abcde"),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n\
             2;a=\"b\"\r\nab\r\n03\r\ncde\r\n0\r\nX-Sum: 1\r\n\r\n",
            200,
            "abcde",
        ),
    ];
    for (text, status, body) in cases {
        let got = exchange(&server.address, text.as_bytes()).expect("an exchange");
        let (answer, _) = parse(&got, false, true).unwrap_or_else(|flaw| panic!("{text:?}: {flaw:?}"));
        assert_eq!((answer.status, answer.text().as_str()), (*status, *body), "{text:?}");
    }
}

#[test]
fn a_request_may_arrive_in_pieces_of_any_size() {
    let server = Server::probe().start();
    let request =
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let mut client = server.connect();
    for piece in [1, 2, 7, 40] {
        for part in request.chunks(piece) {
            client.send(part).expect("sent");
            std::thread::sleep(Duration::from_micros(300));
        }
        assert_eq!(client.answer().expect("an answer").text(), "abcde", "in pieces of {piece}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::probe().args(&["-w", "2"]).start();
    let mut client = server.connect();
    let requests: String = (0..300)
        .map(|number| format!("POST /id/{number}?size=10 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"))
        .collect();
    client.send(requests).expect("sent");
    for number in 0..300 {
        let text = client.answer().expect("an answer").text();
        assert_eq!(text.split(' ').next(), Some(number.to_string().as_str()));
    }
    // A mistake in the middle ends it there.
    client
        .send("GET / HTTP/1.1\r\nHost: x\r\n\r\nG@T / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    assert_eq!(client.answer().expect("the first answer").status, 200);
    assert_eq!(client.answer().expect("the refusal").status, 400);
    assert_eq!(client.rest().expect("the end"), b"");
}

#[test]
fn many_pipelined_large_answers_are_held_back_until_they_are_read() {
    let server = Server::probe().start();
    let worker = server.answering();
    let before = process::resident(worker);
    let mut client = server.connect();
    client.send("GET /large/1000000 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100)).expect("sent");
    std::thread::sleep(Duration::from_millis(500));
    let grown = process::resident(worker).saturating_sub(before);
    assert!(grown < 30_000, "{grown} KiB for answers that nobody reads");
    for _ in 0..100 {
        assert_eq!(client.answer().expect("an answer").body.len(), 1_000_000);
    }
}

#[test]
fn head_has_no_body_and_the_same_fields() {
    let server = Server::probe().start();
    let mut client = server.connect();
    let get = client.get("/large/1234");
    let head = client.ask("HEAD", "/large/1234", "").expect("an answer");
    assert_eq!(head.field("content-length"), Some("1234"));
    let names =
        |answer: &crate::support::Answer| answer.fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&get), names(&head));
    assert_eq!(client.get("/").text(), "hello", "the connection is still in step");
    let streamed = client.ask("HEAD", "/stream/3", "").expect("an answer");
    assert_eq!(streamed.status, 200);
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn a_client_that_expects_100_continue_gets_it_before_it_sends_the_body() {
    let server = Server::probe().start();
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").expect("sent");
    assert_eq!(client.answer().expect("the interim answer").status, 100);
    client.send("abcde").expect("sent");
    assert_eq!(client.answer().expect("the answer").text(), "abcde");
    client
        .send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nabcde")
        .expect("sent");
    let first = client.answer().expect("an answer");
    let last = if first.status == 100 { client.answer().expect("the answer") } else { first };
    assert_eq!(last.text(), "abcde");
}

#[test]
fn large_bodies_arrive_whole_by_way_of_a_file() {
    let server = Server::probe().start();
    let mut client = server.connect();
    let body = vec![b'b'; 3_000_000];
    client.send(format!("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len())).expect("sent");
    client.send(&body).expect("sent");
    assert_eq!(client.answer().expect("an answer").text(), "3000000");
    client.send(format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len())).expect("sent");
    client.send(&body).expect("sent");
    assert!(client.answer().expect("an answer").body == body);
}

#[test]
fn a_body_that_cannot_be_stored_is_refused_and_that_is_all() {
    let builder = Server::probe().args(&["-w", "1", "--worker-tmp-dir"]);
    let directory = builder.directory().join("tmp");
    std::fs::create_dir(&directory).expect("a directory");
    let server = builder.arg(&directory).start();
    let worker = server.answering();
    std::fs::remove_dir(&directory).expect("it is gone");
    let mut client = server.connect();
    let body = "b".repeat(200_000);
    let _ = client.send(format!("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n{body}"));
    let answer = client.answer().expect("an answer");
    assert!(matches!(answer.status, 500 | 503 | 507), "{answer:?}");
    server.wait_for_log("[ERROR]");
    let mut client = server.connect();
    client.send("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab").expect("sent");
    assert_eq!(client.answer().expect("an answer").text(), "2", "a small one needs no file");
    assert_eq!(server.answering(), worker);
}

#[test]
fn a_full_disk_refuses_what_does_not_fit_and_that_is_all() {
    // Without SIGXFSZ, a file over `ulimit -f` is refused as by a full disk: here with 614400 bytes or, if the shell is
    // bash, twice that.
    let small = "trap '' XFSZ && ulimit -f 1200 && exec \"$0\" \"$@\"";
    let server = Server::probe().args(&["-w", "1"]).wrapper(&["sh", "-c", small]).start();
    let worker = server.answering();
    for (length, status) in [(200_000, 200), (3_000_000, 507), (200_000, 200)] {
        let mut client = server.connect();
        let body = "b".repeat(length);
        let _ = client.send(format!("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"));
        assert_eq!(client.answer().expect("an answer").status, status, "{length} bytes");
    }
    server.wait_for_log("body-disk-full");
    assert_eq!(server.answering(), worker);
}

#[test]
fn clients_that_are_slow_or_silent_are_told_so_and_hold_up_nobody() {
    let server = Server::probe()
        .args(&["-w", "1", "--first-byte-timeout", "1", "--keep-alive", "1", "--header-timeout", "1"])
        .args(&["--body-timeout", "1", "--send-timeout", "1"])
        .start();
    let worker = server.answering();
    let mut silent = server.connect();
    let mut half_head = server.connect();
    half_head.send("GET / HTTP/1.1\r\nHost: x\r\n").expect("sent");
    let mut half_body = server.connect();
    half_body.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc").expect("sent");
    let mut no_reader = server.connect();
    no_reader.send("GET /large/30000000 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let began = Instant::now();
    assert_eq!(server.get("/").text(), "hello");
    assert!(began.elapsed() < Duration::from_secs(1), "others wait for them");
    assert_eq!(half_head.answer().expect("an answer").status, 408);
    server.wait_for_log("head-timeout");
    assert_eq!(half_body.answer().expect("an answer").status, 408);
    server.wait_for_log("body-timeout");
    let got = silent.rest().expect("the end");
    assert!(got.is_empty() || got.starts_with(b"HTTP/1.1 408 "), "{got:?}");
    poll_until("the one that does not read to be cut off", SOON, || {
        crate::support::sockets::connected(server.address.port()).is_empty().then_some(())
    });
    assert_eq!(server.answering(), worker);
}

#[test]
fn a_trickle_is_no_way_around_the_deadlines() {
    let server = Server::probe().args(&["--header-timeout", "1"]).start();
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\n").expect("sent");
    let began = Instant::now();
    while client.send("X: y\r\n").is_ok() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(began.elapsed() < Duration::from_secs(4), "a head may take {:?}", began.elapsed());
}

#[test]
fn idle_connections_are_closed_after_keepalive() {
    let server = Server::probe().args(&["--keep-alive", "1"]).start();
    let mut client = server.connect();
    assert!(!client.get("/").closes());
    let began = Instant::now();
    assert_eq!(client.rest().expect("an orderly end"), b"");
    let took = began.elapsed();
    assert!(took > Duration::from_millis(800) && took < Duration::from_secs(4), "after {took:?}");
    let never = Server::probe().args(&["--keep-alive", "0"]).start();
    assert!(never.connect().get("/").closes());
}

#[test]
fn clients_that_vanish_at_any_moment_cost_nothing() {
    let server = Server::probe().args(&["-w", "1"]).start();
    let worker = server.answering();
    let before = process::descriptors(worker).len();
    let request = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd";
    for length in 0..=request.len() {
        for reset in [false, true] {
            let mut client = server.connect();
            client.send(&request[..length]).expect("sent");
            if reset {
                client.stream.reset();
            }
        }
    }
    for target in ["/large/5000000", "/stream/5000", "/sleep/20", "/channel/5", "/later/20"] {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).expect("sent");
        client.stream.reset();
    }
    poll_until("the connections to be forgotten", SOON, || {
        (process::descriptors(worker).len() <= before + 1).then_some(())
    });
    assert_eq!(server.answering(), worker);
}

#[test]
fn a_client_that_has_nothing_more_to_say_still_gets_its_answer() {
    let server = Server::probe().start();
    for target in ["/", "/sleep/100", "/later/100", "/large/2000000", "/channel/10"] {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).expect("sent");
        client.stream.shutdown_write().expect("the half close");
        let answer = client.answer().unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(client.rest().expect("the end"), b"", "{target}");
    }
}

#[test]
fn an_answer_with_close_reaches_a_client_that_goes_on_sending() {
    // Closing with unread bytes would reset the connection, and the answer with it (RFC 9112 §9.6).
    let server = Server::probe().args(&["--limit-request-body", "1000"]).start();
    for _ in 0..10 {
        let mut client = server.connect();
        client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n").expect("sent");
        for _ in 0..50 {
            if client.send([b'x'; 10_000]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        assert_eq!(client.answer().expect("the answer is not lost").status, 413);
    }
}

#[test]
fn more_connections_than_a_worker_holds_wait_for_their_turn() {
    let server = Server::probe().args(&["-w", "1", "--worker-connections", "5"]).start();
    let mut first: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for client in &mut first {
        assert_eq!(client.get("/").text(), "hello");
    }
    let mut late = server.connect();
    late.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    first.truncate(2);
    assert_eq!(late.answer().expect("an answer").text(), "hello");
}

#[test]
fn a_worker_that_is_busy_keeps_nobody_from_its_sibling() {
    let server = Server::probe().args(&["-w", "2"]).start();
    let mut busy = server.connect();
    busy.send("GET /sleep/2500 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    poll_until("the call", SOON, || {
        let waiting = server.workers().into_iter().filter(|pid| process::is_waiting(*pid)).count();
        (waiting == 1).then_some(())
    });
    let began = Instant::now();
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    }
    for client in &mut clients {
        assert_eq!(client.answer().expect("an answer").text(), "hello");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "they waited {:?}", began.elapsed());
    assert_eq!(busy.answer().expect("an answer").text(), "slept");
}

#[test]
fn forwarded_fields_and_proxy_headers_count_only_from_trusted_peers() {
    let trusting = Server::probe().start();
    let answer = trusting.connect().ask("GET", "/peer", "X-Forwarded-Proto: https\r\n").expect("an answer");
    assert!(answer.text().ends_with("trusted=true secure=true"), "{}", answer.text());
    let both = "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n";
    assert_eq!(trusting.connect().ask("GET", "/peer", both).expect("an answer").status, 400);
    trusting.wait_for_log("contradictory-scheme");
    let wary = Server::probe().args(&["--forwarded-allow-ips", "10.0.0.1"]).start();
    let answer = wary.connect().ask("GET", "/peer", "X-Forwarded-Proto: https\r\n").expect("an answer");
    assert!(answer.text().ends_with("trusted=false secure=false"), "{}", answer.text());

    let proxied = Server::probe().args(&["--proxy-protocol", "auto"]).start();
    let mut client = proxied.connect();
    client.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nGET /peer HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let text = client.answer().expect("an answer").text();
    assert!(text.starts_with("192.0.2.7:4711 "), "{text}");
    // Where one is expected, a connection without it is somebody else's.
    let got = exchange(&proxied.address, b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").expect("an exchange");
    let text = String::from_utf8_lossy(&got);
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("Invalid PROXY line: it is missing"), "{text}");
    proxied.wait_for_log("proxy-header-missing");
    let got = exchange(&proxied.address, b"PROXY TCP4 192.0.2.7\r\nGET /peer HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        got.is_ok_and(|got| got.starts_with(b"HTTP/1.1 400 ") && got.ends_with(b"</html>\n")),
        "and nothing after it"
    );
    proxied.wait_for_log("bad-proxy-line");
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([192, 0, 2, 8, 192, 0, 2, 1]);
    v2.extend(4712_u16.to_be_bytes());
    v2.extend(80_u16.to_be_bytes());
    v2.extend(b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut client = proxied.connect();
    client.send(v2).expect("sent");
    let text = client.answer().expect("an answer").text();
    assert!(text.starts_with("192.0.2.8:4712 "), "{text}");
    let distrusted = Server::probe().args(&["--proxy-protocol", "auto", "--proxy-allow-from", "10.0.0.1"]).start();
    let mut client = distrusted.connect();
    client.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nGET /peer HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(client.answer().expect("an answer").status, 403);
    distrusted.wait_for_log("proxy-header-forbidden");
}
