//! What applications do: well, late, badly, or not at all. No application can break the wire, and few a worker.

use std::io::ErrorKind;

use crate::support::{Server, answer, client};

#[test]
fn a_panic_is_one_request_answered_with_500() {
    let server = Server::probe().args(&["-w", "1"]).start();
    let worker = server.answering();
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/panic").status, 500);
    }
    assert_eq!(server.answering(), worker);
    assert!(server.log().contains("told to panic"));
    let line = server.wait_for_log("Error handling request");
    assert!(line.contains("[ERROR]") && line.contains("/panic"), "{line}");
}

#[test]
fn an_application_that_does_not_answer_is_a_500() {
    let server = Server::probe().start();
    assert_eq!(server.get("/drop").status, 500);
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn responses_that_would_break_the_wire_are_a_500_and_said_in_the_log() {
    let server = Server::probe().args(&["-w", "1"]).start();
    let worker = server.answering();
    let bad = [
        "value",
        "value-nul",
        "value-lf",
        "name",
        "name-empty",
        "name-colon",
        "name-crlf",
        "reason",
        "content-type",
        "length-word",
        "length-twice",
        "0",
        "99",
        "100",
        "101",
        "199",
        "600",
        "999",
        "1000",
    ];
    for what in bad {
        let errors = server.count_log("[ERROR]");
        let bytes = client::exchange(
            &server.address,
            format!("GET /bad/{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .expect("an exchange");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("HTTP/1.1 500 "), "{what}: {text}");
        assert!(!text.contains("Injected"), "{what}: {text}");
        server.wait_for_log_times("[ERROR]", errors + 1);
        server.wait_for_log_times("(bad-response-", errors + 1);
    }
    assert_eq!(server.answering(), worker, "a worker was lost");
}

#[test]
fn a_content_length_that_is_not_the_bodys_cannot_get_the_connection_out_of_step() {
    let server = Server::probe().args(&["-w", "1"]).start();
    let worker = server.answering();
    for what in ["length-short", "length-long"] {
        let mut client = server.connect();
        match client.ask("GET", &format!("/bad/{what}"), "") {
            // Whatever is announced is what came; or the connection is gone, and that is seen.
            Ok(answer) if answer.status == 200 => {
                assert_eq!(answer.field("content-length"), Some(answer.body.len().to_string().as_str()));
            }
            Ok(answer) => assert_eq!(answer.status, 500, "{what}"),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error}")
            }
        }
        if let Ok(answer) = client.ask("GET", "/", "") {
            assert_eq!(answer.text(), "hello", "{what}");
        }
    }
    assert_eq!(server.answering(), worker);
}

#[test]
fn the_servers_own_fields_are_not_the_applications() {
    let server = Server::probe().start();
    let mut client = server.connect();
    let answer = client.get("/bad/transfer-encoding");
    assert_eq!((answer.text().as_str(), answer.field("transfer-encoding")), ("x", None));
    let answer = client.get("/bad/connection");
    assert_eq!((answer.text().as_str(), answer.field("upgrade")), ("x", None));
    let answer = client.get("/bad/server");
    assert_ne!(answer.field("date"), Some("never"));
    assert_ne!(answer.field("server"), Some("other"));
    for what in ["body-204", "body-304"] {
        assert_eq!(client.get(&format!("/bad/{what}")).body, b"");
        assert_eq!(client.get("/").text(), "hello", "in step after {what}");
    }
}

#[test]
fn early_hints_go_ahead_of_the_response_to_those_who_understand_them() {
    let server = Server::probe().start();
    let mut client = server.connect();
    let hints = client.get("/early-hints");
    assert_eq!(hints.status, 103);
    assert_eq!(hints.field("link"), Some("</style.css>; rel=preload"));
    assert_eq!(client.answer().expect("the response").text(), "after the hints");
    let mut old = server.connect();
    old.send("GET /early-hints HTTP/1.0\r\n\r\n").expect("sent");
    assert_eq!(old.answer().expect("the response").status, 200);
}

#[test]
fn responses_are_streamed_and_answered_later() {
    let server = Server::probe().args(&["-w", "1"]).start();
    let mut client = server.connect();
    for (target, length) in
        [("/stream/200", 200_000), ("/stream-known/200", 200_000), ("/channel/1", 6000), ("/later/50", 5)]
    {
        assert_eq!(client.get(target).body.len(), length, "{target}");
    }
    // One worker answers others while some wait.
    let mut slow: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for client in &mut slow {
        client.send("GET /later/600 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    }
    let began = std::time::Instant::now();
    assert_eq!(client.get("/").text(), "hello");
    assert!(began.elapsed().as_millis() < 500);
    for client in &mut slow {
        assert_eq!(client.answer().expect("an answer").text(), "later");
    }
    // To an HTTP/1.0 client a body of unknown length ends with the connection.
    let bytes = client::exchange(&server.address, b"GET /stream/3 HTTP/1.0\r\n\r\n").expect("an exchange");
    let (answer, _) = answer::parse(&bytes, false, true).expect("a response");
    assert_eq!(answer.body.len(), 3000);
}

#[test]
fn a_response_that_breaks_off_is_seen_to_be_incomplete() {
    let server = Server::probe().args(&["-w", "1"]).start();
    let worker = server.answering();
    for target in ["/stream-fail/5", "/stream-short/5"] {
        let error = server.connect().ask("GET", target, "").expect_err(target);
        assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{target}: {error}");
    }
    assert_eq!(server.answering(), worker);
}

#[test]
fn an_application_that_ends_the_process_costs_one_worker_and_its_own_request() {
    let mut server = Server::probe().args(&["-w", "2"]).start();
    for code in [0, 1, 3, 4] {
        let pids = server.wait_workers(2);
        client::try_get(&server.address, &format!("/exit/{code}")).expect_err("no answer");
        crate::support::poll_until("a new worker", crate::support::SOON, || {
            let now = server.workers();
            (now.len() == 2 && now != pids).then_some(())
        });
        assert_eq!(server.get("/").text(), "hello");
        assert!(server.exited().is_none(), "exit code {code} of a worker that had booted ends nothing");
    }
}
