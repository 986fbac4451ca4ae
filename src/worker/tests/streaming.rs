//! Bodies that an application takes while they arrive.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex};
use std::task::{Wake, Waker};

use super::*;
use crate::app::{BodyFault, BodyStream, Pull, Source};
use crate::protocol::Protocol;
use crate::protocol::fastcgi::record::{self, Begin, Kind, Role};
use crate::worker::engine::Turned;
use crate::worker::pace::Pace;

/// Requests that the tests answer themselves, by their paths.
static GATE: Mutex<Option<HashMap<String, (Later, BodyStream)>>> = Mutex::new(None);
static CALLED: Condvar = Condvar::new();

/// The part of the application below `/in/`, which asks for streams.
pub(super) fn call(request: &Request<'_>, reply: Reply<'_>) {
    let path = request.path();
    let stream = match request.body() {
        RequestBody::Stream(body) => body.take().unwrap(),
        _ => return reply.send(Response::text("whole")),
    };
    match path {
        "/in/echo" => reply.send(Response::new(200).with_body(Body::Source(Box::new(stream)))),
        "/in/count" => {
            let later = reply.later();
            std::thread::spawn(move || {
                let count = std::io::copy(&mut { stream }, &mut std::io::sink());
                later.send(Response::text(count.map_or_else(|error| error.to_string(), |count| count.to_string())));
            });
        }
        "/in/wait" => {
            let read = { stream }.read(&mut [0; 10]);
            reply.send(Response::text(format!("{:?}", read.map_err(|error| error.kind()))));
        }
        "/in/ignored" => {
            drop(stream);
            let later = reply.later();
            std::thread::spawn(move || later.send(Response::text("ignored")));
        }
        "/in/refused" => reply.send(Response::error(403)),
        gate => {
            GATE.lock().unwrap().get_or_insert_default().insert(gate.to_owned(), (reply.later(), stream));
            CALLED.notify_all();
        }
    }
}

/// The call for that path, when it has come.
fn called(path: &str) -> (Later, BodyStream) {
    let mut gate = GATE.lock().unwrap();
    loop {
        if let Some(call) = gate.get_or_insert_default().remove(path) {
            return call;
        }
        let (next, timeout) = CALLED.wait_timeout(gate, DEADLINE).unwrap();
        assert!(!timeout.timed_out(), "{path} was not called");
        gate = next;
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Pulls until so many bytes have come, or until it is over.
fn pull(stream: &mut BodyStream, count: usize) -> (Vec<u8>, Pull) {
    let waker: Waker = Arc::new(Unpark(std::thread::current())).into();
    let (mut bytes, end) = (Vec::new(), Instant::now() + DEADLINE);
    while bytes.len() < count {
        match stream.pull(&waker, &mut bytes) {
            Pull::More => {}
            Pull::Pending => std::thread::park_timeout(end - Instant::now()),
            over => return (bytes, over),
        }
    }
    (bytes, Pull::More)
}

fn uwsgi(variables: &[(&str, &str)], opening: &mut Vec<u8>) {
    let mut packet = Vec::new();
    for text in variables.iter().flat_map(|(name, value)| [name, value]) {
        packet.extend_from_slice(&(text.len() as u16).to_le_bytes());
        packet.extend_from_slice(text.as_bytes());
    }
    opening.push(0);
    opening.extend_from_slice(&(packet.len() as u16).to_le_bytes());
    opening.push(0);
    opening.append(&mut packet);
}

fn scgi(variables: &[(&str, &str)], opening: &mut Vec<u8>) {
    let mut packet = Vec::new();
    for (name, value) in variables {
        packet.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    opening.extend_from_slice(format!("{}:", packet.len()).as_bytes());
    opening.append(&mut packet);
    opening.push(b',');
}

/// Wraps bytes of a body, which are the last or not.
type Wrap = fn(&[u8], bool) -> Vec<u8>;

/// The beginning of a request with a body of ten bytes, in each protocol, and how the bytes of the body are wrapped.
fn requests(path: &str) -> Vec<(Protocol, Vec<u8>, Wrap)> {
    let variables = [
        ("CONTENT_LENGTH", "10"),
        ("SCGI", "1"),
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", path),
        ("PATH_INFO", path),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("HTTP_HOST", "a"),
    ];
    let plain = |bytes: &[u8], _: bool| bytes.to_vec();
    let (mut of_uwsgi, mut of_scgi, mut of_fastcgi) = (Vec::new(), Vec::new(), Vec::new());
    uwsgi(&variables, &mut of_uwsgi);
    scgi(&variables, &mut of_scgi);
    Begin { role: Role::Responder, keep: true }.write(1, &mut of_fastcgi);
    let mut pairs = Vec::new();
    for (name, value) in variables {
        record::pair(name.as_bytes(), value.as_bytes(), &mut pairs);
    }
    record::stream(Kind::Params, 1, &pairs, &mut of_fastcgi);
    record::end_stream(Kind::Params, 1, &mut of_fastcgi);
    vec![
        (Protocol::Http, format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").into_bytes(), plain),
        (
            Protocol::Http,
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes(),
            |bytes, last| {
                let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                chunk.extend_from_slice(bytes);
                chunk.extend_from_slice(if last { b"\r\n0\r\nX-Trailer: a\r\n\r\n" } else { b"\r\n" });
                chunk
            },
        ),
        (Protocol::Uwsgi, of_uwsgi, plain),
        (Protocol::Scgi, of_scgi, plain),
        (Protocol::FastCgi, of_fastcgi, |bytes, last| {
            let mut records = Vec::new();
            record::stream(Kind::Stdin, 1, bytes, &mut records);
            if last {
                record::end_stream(Kind::Stdin, 1, &mut records);
            } else {
                // What is asked beside it does not disturb it.
                let mut asked = Vec::new();
                record::pair(b"FCGI_MPXS_CONNS", b"", &mut asked);
                record::record(Kind::GetValues, record::MANAGEMENT, &asked, &mut records);
            }
            records
        }),
    ]
}

#[test]
fn the_application_has_the_first_bytes_before_the_last_are_sent_by_each_protocol() {
    for (number, (protocol, ..)) in requests("").into_iter().enumerate() {
        let path = format!("/in/first/{number}");
        let (_, opening, wrap) = requests(&path).swap_remove(number);
        let server = TestServer::start(|policy| policy.protocols = vec![protocol]);
        let mut client = server.connect();
        client.send([opening, wrap(b"first", false)].concat());
        let (later, mut stream) = called(&path);
        assert_eq!(pull(&mut stream, 5).0, b"first", "{protocol:?}");
        client.send(wrap(b" last", true));
        assert_eq!(pull(&mut stream, 6), (b" last".to_vec(), Pull::End), "{protocol:?}");
        later.send(Response::text("all of it"));
        let mut answer = Vec::new();
        while !answer.windows(9).any(|part| part == b"all of it") {
            assert!(client.fill() > 0, "{protocol:?}");
            answer.append(&mut client.received);
        }
    }
}

#[test]
fn a_body_that_begins_while_the_relief_thread_leads_streams_when_a_thread_is_there_that_calls() {
    for (number, (protocol, ..)) in requests("").into_iter().enumerate() {
        let path = format!("/in/relief/{number}");
        let (_, opening, wrap) = requests(&path).swap_remove(number);
        let bind = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
        let listener =
            Listener::bind(&bind, &listener::Policy { backlog: 8, socket_mode: 0o660, owner: None }).unwrap();
        let Address::Ip(address) = *listener.local() else { panic!("not a TCP listener") };
        let policy = Policy { protocols: vec![protocol], ..Policy::from(&Settings::default()) };
        let (engine, common) = engine_of(&listener, policy, 1);
        let mut relief = World::relief(common.clone());
        let mut world = World::new(Box::new(Routes::default()), 0, common);
        engine.start().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(&[opening, wrap(b"first", false)].concat()).unwrap();
        while !engine.core().has_work() {
            let (count, _) = engine.collect(Some(DEADLINE)).unwrap();
            assert!(count > 0, "{protocol:?}: nothing is left for the thread that calls");
            engine.work(&mut relief, &mut Turned::default());
        }
        engine.turn(&mut world, Some(DEADLINE)).unwrap();
        let (_later, mut stream) = called(&path);
        assert_eq!(pull(&mut stream, 5).0, b"first", "{protocol:?}");
    }
}

#[test]
fn what_fastcgi_asks_beside_a_body_that_is_buffered_does_not_disturb_it() {
    let server = TestServer::start(|policy| policy.protocols = vec![Protocol::FastCgi]);
    let (_, opening, wrap) = requests("/echo").swap_remove(4);
    let mut client = server.connect();
    client.send([opening, wrap(b"first", false), wrap(b" last", true)].concat());
    while !client.received.windows(10).any(|part| part == b"first last") {
        assert!(client.fill() > 0);
    }
}

#[test]
fn a_fastcgi_request_that_waits_for_its_answer_ends_when_it_is_aborted() {
    let server = TestServer::start(|policy| policy.protocols = vec![Protocol::FastCgi]);
    let request = |path: &str| {
        let (_, opening, wrap) = requests(path).swap_remove(4);
        [opening, wrap(b"ten bytes.", true)].concat()
    };
    let until = |client: &mut super::Client, part: &[u8]| {
        while !client.received.windows(part.len()).any(|window| window == part) {
            assert!(client.fill() > 0);
        }
        client.received.clear();
    };
    let (mut client, mut other) = (server.connect(), server.connect());
    client.send(request("/never"));
    let end = std::time::Instant::now() + DEADLINE;
    loop {
        other.send(request("/wanted"));
        assert!(other.fill() > 0 && std::time::Instant::now() < end);
        if other.received.windows(6).any(|window| window == b"1 of 1") {
            break;
        }
        until(&mut other, b"\x01\x03\0\x01");
    }
    let mut abort = Vec::new();
    record::record(Kind::AbortRequest, 1, b"", &mut abort);
    client.send(abort);
    until(&mut client, b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0");
    client.send(request("/wanted"));
    until(&mut client, b"0 of 1");
}

#[test]
fn a_body_goes_back_while_it_comes() {
    let server = TestServer::start(|_| ());
    let mut client = server.connect();
    client.send("POST /in/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for word in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{word}\r\n", word.len()));
        while !client.received.windows(word.len()).any(|part| part == word.as_bytes()) {
            assert!(client.fill() > 0);
        }
    }
    client.send("0\r\n\r\n");
    let mut rest = Vec::new();
    client.socket.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"));

    let mut client = server.connect();
    client.send(format!("POST /in/echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", large().len()));
    let mut writer = client.socket.try_clone().unwrap();
    let writer = std::thread::spawn(move || writer.write_all(&large()).unwrap());
    assert!(client.answer().body == large());
    writer.join().unwrap();
}

#[test]
fn an_application_that_takes_nothing_stops_the_client_for_as_long_as_it_likes() {
    let server = TestServer::start(|policy| {
        policy.body = Pace { patience: Duration::from_millis(100), minimum: 1 << 20 };
    });
    let mut client = server.connect();
    let length = 64 << 20;
    client.send(format!("POST /in/full HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
    let (later, mut stream) = called("/in/full");
    // Far longer than the client is given itself.
    client.socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (piece, mut sent) = (vec![b'x'; 1 << 16], 0);
    while let Ok(count) = client.socket.write(&piece) {
        sent += count;
        assert!(sent < length / 2, "nobody stops it");
    }
    let reader = std::thread::spawn(move || {
        let (bytes, over) = pull(&mut stream, usize::MAX);
        later.send(Response::text(bytes.len().to_string()));
        over
    });
    client.socket.set_write_timeout(Some(DEADLINE)).unwrap();
    client.send(vec![b'x'; length - sent]);
    assert_eq!(client.answer().body, length.to_string().as_bytes());
    assert_eq!(reader.join().unwrap(), Pull::End);
    assert_eq!(client.get("/").status, 200, "the connection goes on");
}

#[test]
fn a_body_that_breaks_off_is_told_to_the_application_and_the_client_why() {
    let limited = || {
        TestServer::start(|policy| {
            policy.limits.body_size = 100_000;
            policy.body = Pace { patience: Duration::from_millis(50), minimum: 1000 };
        })
    };
    let chunks = format!("ea60\r\n{}\r\n", "x".repeat(60_000)).repeat(2);
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let cases = [
        ("slow", "Content-Length: 10\r\n\r\n", "part", 4, Some(408), BodyFault::TooSlow),
        ("large", chunked, &chunks, 60_000, Some(413), BodyFault::TooLarge),
        ("garbled", chunked, "4\r\npartx", 4, Some(400), BodyFault::Malformed),
        ("gone", "Content-Length: 10\r\n\r\n", "part", 4, None, BodyFault::Disconnected),
    ];
    for (name, framing, body, length, status, fault) in cases {
        let server = limited();
        let mut client = server.connect();
        client.send(format!("POST /in/{name} HTTP/1.1\r\nHost: a\r\n{framing}"));
        let (later, mut stream) = called(&format!("/in/{name}"));
        client.send(body);
        if status.is_none() {
            client.socket.shutdown(Shutdown::Write).unwrap();
        }
        let (bytes, over) = pull(&mut stream, usize::MAX);
        assert_eq!((over, bytes.len(), stream.fault()), (Pull::Failed, length, Some(fault)), "{name}");
        // Whatever it answers now comes too late.
        later.send(Response::text("too late"));
        match status {
            Some(status) => assert_eq!(client.answer().status, status, "{name}"),
            None => client.expect_end(),
        }
    }
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on_when_the_application_asks_for_the_body() {
    let server = TestServer::start(|policy| policy.body.patience = Duration::from_millis(100));
    let head = |path| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    let mut client = server.connect();
    client.send(head("/in/asks"));
    let (later, mut stream) = called("/in/asks");
    client.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(client.socket.read(&mut [0]).is_err(), "nobody has asked for the body");
    client.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let reader = std::thread::spawn(move || pull(&mut stream, usize::MAX));
    assert_eq!(client.answer().status, 100);
    client.send("abc");
    assert_eq!(reader.join().unwrap(), (b"abc".to_vec(), Pull::End));
    later.send(Response::text("thanks"));
    assert_eq!(client.answer().body, b"thanks");

    let mut client = server.connect();
    client.send(head("/in/refused"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.head.contains("Connection: close")), (403, true));
    client.expect_end();
}

#[test]
fn what_follows_a_streamed_body_on_its_connection_is_the_next_request() {
    let server = TestServer::start(|_| ());
    let mut client = server.connect();
    for (path, length, expected) in
        [("/in/count", 300_000, "300000"), ("/in/ignored", 300_000, "ignored"), ("/in/count", 5, "whole")]
    {
        let mut requests = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        requests.resize(requests.len() + length, b'x');
        requests.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let end = Instant::now() + DEADLINE;
        loop {
            client.send(&requests);
            let answer = client.answer();
            assert_eq!(answer.body, expected.as_bytes());
            if !answer.head.contains("Connection: close") {
                break;
            }
            assert!(
                path == "/in/ignored" && Instant::now() < end,
                "{path}: the answer came before the end of the body"
            );
            client.expect_end();
            client = server.connect();
        }
        assert_eq!(client.answer().body, b"hello");
    }
}

#[test]
fn an_answer_before_the_end_of_the_body_reaches_a_client_that_sends_on() {
    let server = TestServer::start(|_| ());
    let mut client = server.connect();
    client.send("POST /in/refused HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    client.send(vec![b'x'; 300_000]);
    assert_eq!(client.answer().status, 403);
    client.expect_end();
}

#[test]
fn a_thread_that_calls_the_application_does_not_wait_for_a_client() {
    let server = TestServer::start(|_| ());
    let mut client = server.connect();
    client.send("POST /in/wait HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    assert_eq!(client.answer().body, b"Err(WouldBlock)");
}

#[test]
fn a_draining_worker_receives_a_streamed_body_to_its_end() {
    let mut server = TestServer::start(|_| ());
    let mut client = server.connect();
    client.send("POST /in/drained HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst");
    let (later, mut stream) = called("/in/drained");
    server.channel.send(Message::Drain).unwrap();
    assert_eq!(pull(&mut stream, 5).0, b"first");
    client.send(" last");
    assert_eq!(pull(&mut stream, usize::MAX), (b" last".to_vec(), Pull::End));
    later.send(Response::text("done"));
    assert_eq!(client.answer().body, b"done");
    drop(client);
    assert_eq!(server.thread.take().unwrap().join().unwrap(), 1);
}
