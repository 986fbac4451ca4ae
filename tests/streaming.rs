//! Request bodies that stream into an application, in workers with one thread, several, and while they are replaced.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::ledger::checksum;
use crate::support::{Client, SOON, Server, poll_until};

fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + seed) as u8).collect()
}

#[test]
fn a_worker_whose_only_thread_is_busy_goes_on_receiving() {
    let server = Server::probe().args(&["-w", "1"]).start();
    let (mut client, mut slow) = (server.connect(), server.connect());
    let body = bytes(3_000_000, 1);
    client
        .send(format!(
            "POST /streamed-count HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        ))
        .expect("the server reads");
    assert_eq!(client.answer().expect("the thread has asked for the body").status, 100);
    slow.send("GET /sleep/3000 HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
    let began = Instant::now();
    client.send(&body).expect("the server reads");
    let answer = client.answer().expect("an answer").text();
    assert!(began.elapsed() < Duration::from_secs(2), "it has waited for another's call");
    assert_eq!(answer, format!("{} {} true", body.len(), checksum(&body)));
    assert_eq!(slow.answer().expect("the slow one").text(), "slept");
}

#[test]
fn uploads_stream_through_threads_and_reloads_and_none_is_lost() {
    let server = Server::probe().args(&["-w", "2", "--threads", "3"]).start();
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..6 {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                for round in 0..15 {
                    let body = bytes(10_000 + 77_777 * ((number + round) % 7), number);
                    let target = if round % 2 == 0 { "/streamed-count" } else { "/streamed-echo" };
                    let mut client = Client::to(&server.address);
                    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
                    client.send(head).expect("the server reads");
                    let mut writer = client.stream.try_clone().expect("another descriptor");
                    let answer = thread::scope(|scope| {
                        scope.spawn(|| writer.write_all(&body).expect("the server reads"));
                        client.answer().expect("an answer")
                    });
                    if round % 2 == 0 {
                        let expected = format!("{} {} ", body.len(), checksum(&body));
                        assert!(answer.text().starts_with(&expected), "{} is not {expected}", answer.text());
                    } else {
                        assert!(answer.body == body);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for part in 1..4 {
            poll_until("some answers", SOON, || (done.load(Ordering::Relaxed) >= 20 * part).then_some(()));
            server.signal(Signal::SIGHUP);
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), 90);
}
