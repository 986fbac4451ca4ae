//! A whole engine in a thread of the test, and raw sockets at its other end.

mod accepting;
mod after;
mod burst;
mod handover;
mod idling;
mod letters;
mod slow;
mod streaming;
mod unix;
mod waiting;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use std::sync::Arc;

use super::core::Drain;
use super::engine::Engine;
use super::handover::Handover;
use super::policy::Policy;
use super::world::{Common, World};
use crate::app::{Address, Application, Body, Later, Parts, Reply, Request, RequestBody, Response, Segment};
use crate::channel::{Channel, Message, Received};
use crate::listener::{self, Listener};
use crate::protocol::Length;
use crate::scoreboard::Slot;
use crate::settings::{BindAddress, Settings};

/// Longer than anything here takes, however busy the machine is.
const DEADLINE: Duration = Duration::from_secs(20);

struct TestServer {
    address: SocketAddr,
    channel: Channel,
    thread: Option<JoinHandle<u64>>,
}

impl TestServer {
    fn start(change: impl FnOnce(&mut Policy)) -> Self {
        let settings = Settings::default();
        let mut policy = Policy::from(&settings);
        change(&mut policy);
        let bind = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
        let listener =
            Listener::bind(&bind, &listener::Policy { backlog: 128, socket_mode: 0o660, owner: None }).unwrap();
        let Address::Ip(address) = *listener.local() else { panic!("not a TCP listener") };
        let (channel, other) = Channel::pair().unwrap();
        let thread = std::thread::spawn(move || run(policy, &listener, &other));
        Self { address, channel, thread: Some(thread) }
    }

    fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Client { socket, received: Vec::new() }
    }

    /// Drains it, and returns the number of requests that it has answered.
    fn drain(&mut self) -> u64 {
        self.channel.send(Message::Drain).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.channel.send(Message::Stop);
            let _ = thread.join();
        }
    }
}

/// An engine, and what worlds for so many threads have in common.
fn engine_of(listener: &Listener, policy: Policy, threads: usize) -> (Engine, Common) {
    engine_with(listener, policy, threads, false)
}

fn engine_with(listener: &Listener, policy: Policy, threads: usize, relief: bool) -> (Engine, Common) {
    engine_beside(None, &crate::sys::shared_slots(1).unwrap()[0], listener, policy, threads, relief)
}

fn engine_beside(
    handover: Option<Handover>,
    slot: &'static Slot,
    listener: &Listener,
    policy: Policy,
    threads: usize,
    relief: bool,
) -> (Engine, Common) {
    slot.begin_threads(threads);
    let (engine, letterbox) =
        Engine::new(std::slice::from_ref(listener), policy.connections, relief, handover).unwrap();
    let (lead, alarm) = (engine.lead(), engine.alarm());
    let locals = vec![Arc::new(listener.local().clone())];
    (engine, Common { policy, locals, slot, access: None, letterbox, lead, alarm, threads })
}

fn run(policy: Policy, listener: &Listener, channel: &Channel) -> u64 {
    use std::os::fd::{AsFd, AsRawFd};
    let (engine, common) = engine_of(listener, policy, 1);
    let mut world = World::new(Box::new(Routes::default()), 0, common);
    world.serve_here();
    engine.watch(channel.as_fd().as_raw_fd(), 0).unwrap();
    engine.start().unwrap();
    let end = Instant::now() + 3 * DEADLINE;
    while Instant::now() < end {
        let turned = engine.turn(&mut world, Some(DEADLINE)).unwrap();
        while turned.watched != 0 || world.draining {
            match channel.receive() {
                Received::Message(Message::Drain) => engine.drain(&mut world, Drain::Retire),
                Received::Message(Message::DrainQueue) => engine.drain(&mut world, Drain::StopQueue),
                Received::Nothing => break,
                _ => return world.requests,
            }
        }
        if world.draining && engine.connections() == 0 {
            return world.requests;
        }
    }
    panic!("the engine was not stopped in time");
}

#[derive(Default)]
struct Routes {
    kept: Vec<Later>,
    marks: u32,
}

impl Application for Routes {
    fn streams(&self, request: &Request<'_>) -> bool {
        request.path().starts_with("/in/")
    }

    fn call(&mut self, request: &Request<'_>, mut reply: Reply<'_>) {
        match request.path() {
            path if path.starts_with("/in/") => streaming::call(request, reply),
            "/echo" => {
                let mut body = Vec::new();
                request.body().reader().read_to_end(&mut body).unwrap();
                reply.send(Response::text(body));
            }
            "/stored" => reply.send(Response::text(match request.body() {
                RequestBody::Empty => "empty",
                RequestBody::Memory(_) => "memory",
                RequestBody::File { .. } => "file",
                RequestBody::Stream(_) => "stream",
            })),
            "/large" => reply.send(Response::text(large())),
            "/panic" => panic!("as asked"),
            "/ignore" => {}
            "/split" => reply.send(Response::text("x").with_field("X-Bad", "a\r\nSet-Cookie: b=c")),
            "/hints" => {
                let hints = [(b"Link".as_slice(), b"</style.css>; rel=preload".as_slice())];
                reply.early_hints(hints).expect("hints that may be sent");
                reply.send(Response::text("hinted"));
            }
            "/parts" => {
                // The length that is promised, a field, and a body of five bytes: three copied, two behind them.
                let (length, name) = request.query().and_then(|query| query.split_once(',')).unwrap();
                let length = length.parse().map_or(Length::Unknown, Length::Known);
                let sent = reply.send_parts(Parts {
                    status: 201,
                    reason: Some(b"Made so"),
                    fields: &mut [(name.as_bytes(), b"value".as_slice())].into_iter(),
                    lines: None,
                    length,
                    first: b"abc",
                    rest: Body::Segments(vec![Segment::Bytes(Bytes::from_static(b"de"))]),
                    after: None,
                });
                assert_eq!(sent.is_err(), name == "X:Bad");
            }
            "/written" => {
                // How it ends, after more than a socket holds.
                let begin = |reply: &mut Reply<'_>, name: &[u8]| {
                    let fields = &mut [(name, b"value".as_slice())].into_iter();
                    let (length, rest) = (Length::Unknown, Body::Empty);
                    reply.begin(Parts {
                        status: 200,
                        reason: None,
                        fields,
                        lines: None,
                        length,
                        first: &[],
                        rest,
                        after: None,
                    })
                };
                let end = request.query().unwrap();
                let begun = begin(&mut reply, if end == "unsendable" { b"X:Bad" } else { b"X-Good" });
                assert_eq!(begun.is_err(), end == "unsendable");
                for piece in large().chunks(60_000) {
                    if reply.write(piece).is_ok_and(|waiting| waiting > 100_000) {
                        reply.wait_for_room().unwrap();
                    }
                }
                match end {
                    "finished" => reply.finish(b"the ", Body::from("end")),
                    "begun%20again" => assert!(begin(&mut reply, b"X-Good").is_err()),
                    "answered%20otherwise" => reply.send(Response::text("another")),
                    "later" => drop(reply.later()),
                    "panics" => panic!("as asked"),
                    _ => drop(reply),
                }
            }
            "/later" => {
                let later = reply.later();
                std::thread::spawn(move || later.send(Response::text("later")));
            }
            "/slow" => {
                // The hints say that the call has begun.
                reply.early_hints([(b"Link".as_slice(), b"</>".as_slice())]).expect("hints that may be sent");
                std::thread::sleep(Duration::from_millis(request.query().unwrap().parse().unwrap()));
                reply.send(Response::text("slow"));
            }
            "/mark" => {
                self.marks += 1;
                reply.send(Response::text(self.marks.to_string()));
            }
            "/queued" => reply.send(Response::text(request.queue_time().as_millis().to_string())),
            "/never" => self.kept.push(reply.later()),
            "/wanted" => {
                let wanted = self.kept.iter().filter(|later| later.is_wanted()).count();
                reply.send(Response::text(format!("{wanted} of {}", self.kept.len())));
            }
            "/release" => {
                self.kept.drain(..).for_each(|later| later.send(Response::text("too late")));
                reply.send(Response::text("released"));
            }
            "/forgotten" => drop(reply.later()),
            "/stream" => {
                let (sender, body) = Body::channel(1000);
                std::thread::spawn(move || {
                    for piece in large().chunks(700) {
                        if sender.send(piece.to_vec()).is_err() {
                            return;
                        }
                    }
                    sender.finish();
                });
                reply.send(Response::new(200).with_body(body));
            }
            "/broken" => {
                let (sender, body) = Body::channel(1000);
                sender.send("begun").unwrap();
                reply.send(Response::new(200).with_body(body));
            }
            _ => reply.send(Response::text("hello")),
        }
    }
}

fn large() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| b'a' + (number % 23) as u8).collect()
}

struct Client {
    socket: TcpStream,
    received: Vec<u8>,
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Client {
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.answer()
    }

    fn fill(&mut self) -> usize {
        let mut buffer = [0; 65536];
        let count = self.socket.read(&mut buffer).unwrap();
        self.received.extend_from_slice(&buffer[..count]);
        count
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(self.fill() > 0, "closed in the middle of a response");
        }
        self.received.drain(..count).collect()
    }

    fn take_line(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                return String::from_utf8(self.take(end + 2)).unwrap();
            }
            assert!(self.fill() > 0, "closed in the middle of a line");
        }
    }

    fn answer(&mut self) -> Answer {
        let mut head = String::new();
        loop {
            let line = self.take_line();
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let lower = head.to_ascii_lowercase();
        let mut body = Vec::new();
        if let Some(rest) = lower.split("content-length: ").nth(1) {
            body = self.take(rest.lines().next().unwrap().parse().unwrap());
        } else if lower.contains("transfer-encoding: chunked") {
            loop {
                let size = usize::from_str_radix(self.take_line().trim(), 16).unwrap();
                body.extend(self.take(size));
                assert_eq!(self.take_line(), "\r\n");
                if size == 0 {
                    break;
                }
            }
        }
        Answer { status, head, body }
    }

    /// The server closes its side, having sent nothing more.
    fn expect_end(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.received), "");
        let count = self.fill();
        assert_eq!(count, 0, "{:?}", String::from_utf8_lossy(&self.received));
    }
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let mut server = TestServer::start(|_| ());
    let mut client = server.connect();
    for path in ["/", "/echo", "/panic", "/", "/split", "/ignore", "/forgotten", "/later", "/"] {
        let status = if matches!(path, "/panic" | "/split" | "/ignore" | "/forgotten") { 500 } else { 200 };
        let answer = client.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert!(!answer.head.contains("Set-Cookie"));
    }
    drop(client);
    assert_eq!(server.drain(), 9);
}

#[test]
fn pipelined_requests_are_answered_in_order_whatever_their_kind() {
    let server = TestServer::start(|_| ());
    let mut client = server.connect();
    let kinds = ["/", "/later", "/large", "/stream", "/echo"];
    let mut requests = String::new();
    for round in 0..60 {
        let body = format!("body {round}");
        let path = kinds[round % kinds.len()];
        requests += &format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
    let mut writer = client.socket.try_clone().unwrap();
    let writer = std::thread::spawn(move || writer.write_all(requests.as_bytes()).unwrap());
    for round in 0..60 {
        let answer = client.answer();
        let expected = match kinds[round % kinds.len()] {
            "/" => b"hello".to_vec(),
            "/later" => b"later".to_vec(),
            "/echo" => format!("body {round}").into_bytes(),
            _ => large(),
        };
        assert_eq!(answer.status, 200);
        assert!(answer.body == expected, "round {round}: a body of {} bytes", answer.body.len());
    }
    writer.join().unwrap();
}

#[test]
fn a_large_body_goes_to_a_file_and_a_small_one_stays_in_memory() {
    let server = TestServer::start(|policy| policy.body_memory = 1000);
    let mut client = server.connect();
    for (length, place) in [(0, "empty"), (1000, "memory"), (1001, "file"), (300_000, "file")] {
        client.send(format!("POST /stored HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(vec![b'x'; length]);
        assert_eq!(client.answer().body, place.as_bytes(), "{length} bytes");
    }
    client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", large().len()));
    client.send(large());
    assert!(client.answer().body == large());
    client
        .send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n");
    assert_eq!(client.answer().body, b"hello!");
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let server = TestServer::start(|_| ());
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer().status, 100);
    client.send("abc");
    assert_eq!(client.answer().body, b"abc");
}

#[test]
fn early_hints_come_before_the_response_and_not_to_http_10() {
    let server = TestServer::start(|_| ());
    let mut client = server.connect();
    let hints = client.get("/hints");
    assert_eq!((hints.status, hints.head.contains("Link: ")), (103, true));
    assert_eq!(client.answer().body, b"hinted");
    let mut client = server.connect();
    client.send("GET /hints HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    client.expect_end();
}

#[test]
fn a_response_that_the_call_writes_itself_ends_well_or_is_broken_off() {
    let server = TestServer::start(|_| ());
    let mut client = server.connect();
    for _ in 0..2 {
        let answer = client.get("/written?finished");
        assert!(answer.status == 200 && answer.head.contains("X-Good: value"));
        assert!(answer.body.ends_with(b"the end") && answer.body.starts_with(&large()));
    }
    assert_eq!(client.get("/written?unsendable").status, 500);
    for end in ["dropped", "begun%20again", "answered%20otherwise", "later", "panics"] {
        let mut client = server.connect();
        client.send(format!("GET /written?{end} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let mut received = Vec::new();
        client.socket.read_to_end(&mut received).unwrap();
        assert!(received.starts_with(b"HTTP/1.1 200") && received.len() > 3_000_000, "{end}");
        assert!(!received.ends_with(b"0\r\n\r\n"), "{end}");
    }
    assert_eq!(server.connect().get("/").body, b"hello");
}

#[test]
fn a_response_in_parts_is_framed_by_the_length_that_it_promises() {
    let server = TestServer::start(|_| ());
    let mut client = server.connect();
    for length in ["5", "unknown"] {
        let answer = client.get(&format!("/parts?{length},X-Good"));
        assert_eq!((answer.status, answer.body), (201, b"abcde".to_vec()));
        assert!(answer.head.starts_with("HTTP/1.1 201 Made so\r\n") && answer.head.contains("X-Good: value"));
    }
    // What cannot be sent is a 500, and nothing of it is on the wire.
    let answer = client.get("/parts?5,X:Bad");
    assert_eq!((answer.status, answer.head.contains("X:Bad")), (500, false));
    assert_eq!(client.get("/parts?3,X-Good").body, b"abc");
    client.expect_end();
    let mut client = server.connect();
    client.send("HEAD /parts?5,X-Good HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    client.socket.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("Content-Length: 5") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn a_refusal_ends_the_connection_and_nothing_behind_it_is_served() {
    let mut server = TestServer::start(|_| ());
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost : b\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let refusal = client.answer();
    assert_eq!((refusal.status, refusal.head.contains("Connection: close")), (400, true));
    client.expect_end();
    drop(client);
    assert_eq!(server.drain(), 2);
}

#[test]
fn a_slow_reader_suspends_its_own_body_and_nobody_else() {
    let server = TestServer::start(|_| ());
    let mut slow: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for (client, path) in slow.iter_mut().zip(["/stream", "/large", "/stream", "/large"]) {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    let mut quick = server.connect();
    for _ in 0..100 {
        assert_eq!(quick.get("/").status, 200);
    }
    for client in &mut slow {
        assert!(client.answer().body == large());
    }
}

#[test]
fn a_body_that_breaks_off_is_seen_as_broken() {
    let server = TestServer::start(|_| ());
    let mut client = server.connect();
    client.send("GET /broken HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut received = Vec::new();
    client.socket.read_to_end(&mut received).unwrap();
    let text = String::from_utf8_lossy(&received);
    assert!(text.contains("begun"), "{text}");
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
}

#[test]
fn a_client_that_closes_its_side_early_still_gets_its_answers() {
    let server = TestServer::start(|_| ());
    for path in ["/", "/later", "/large"] {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.answer().status, 200, "{path}");
        client.expect_end();
    }
}

#[test]
fn a_head_that_does_not_come_in_time_is_answered_with_408() {
    let server = TestServer::start(|policy| policy.head.patience = Duration::from_millis(50));
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHo");
    assert_eq!(client.answer().status, 408);
    client.expect_end();
}

#[test]
fn a_body_that_comes_too_slowly_is_answered_with_408() {
    let server = TestServer::start(|policy| policy.body.patience = Duration::from_millis(50));
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab");
    assert_eq!(client.answer().status, 408);
    client.expect_end();
}

#[test]
fn a_response_that_is_not_read_is_given_up() {
    let mut server = TestServer::start(|policy| policy.send.patience = Duration::from_millis(100));
    let mut client = server.connect();
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20));
    // Drain returns only when the connection is gone, though its peer never reads.
    server.drain();
}

#[test]
fn an_idle_connection_ends_after_its_time() {
    let server = TestServer::start(|policy| policy.keepalive = Duration::from_millis(50));
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    client.expect_end();
}

#[test]
fn no_keepalive_means_a_close_after_each_response() {
    let server = TestServer::start(|policy| policy.keepalive = Duration::ZERO);
    let mut client = server.connect();
    assert!(client.get("/").head.contains("Connection: close"));
    client.expect_end();
}

#[test]
fn a_draining_worker_answers_a_late_request_and_says_that_it_closes() {
    let mut server = TestServer::start(|policy| policy.grace = Duration::from_secs(5));
    let mut idle = server.connect();
    assert_eq!(idle.get("/").status, 200);
    server.channel.send(Message::Drain).unwrap();
    let answer = loop {
        let answer = idle.get("/");
        if answer.head.contains("Connection: close") {
            break answer;
        }
    };
    assert_eq!(answer.status, 200);
    idle.expect_end();
    drop(idle);
    server.thread.take().unwrap().join().unwrap();
}

#[test]
fn a_draining_worker_finishes_what_is_in_flight() {
    let mut server = TestServer::start(|policy| policy.grace = Duration::from_millis(10));
    let mut streaming = server.connect();
    streaming.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut posting = server.connect();
    posting.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(posting.answer().status, 100);
    server.channel.send(Message::Drain).unwrap();
    posting.send("abcd");
    assert_eq!(posting.answer().body, b"abcd");
    assert!(streaming.answer().body == large());
    drop((streaming, posting));
    server.thread.take().unwrap().join().unwrap();
}

#[test]
fn the_last_worker_serves_everything_in_the_accept_queue() {
    let mut server = TestServer::start(|_| ());
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    server.channel.send(Message::DrainQueue).unwrap();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    drop(clients);
    server.thread.take().unwrap().join().unwrap();
}

#[test]
fn over_the_limit_of_busy_connections_others_wait_in_the_queue() {
    let server = TestServer::start(|policy| policy.connections = 2);
    let mut busy: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for client in &mut busy {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.answer().status, 100);
    }
    let mut third = server.connect();
    third.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    third.socket.set_nonblocking(true).unwrap();
    let error = third.socket.read(&mut [0]).expect_err("the third connection was served over the limit");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    busy[0].send("x");
    assert_eq!(busy[0].answer().status, 200);
    third.socket.set_nonblocking(false).unwrap();
    assert_eq!(third.answer().status, 200, "an idle connection makes room");
}

#[test]
fn the_longest_idle_connections_make_room_for_new_ones() {
    let server = TestServer::start(|policy| policy.connections = 3);
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..10 {
        let mut client = server.connect();
        assert_eq!(client.get("/").status, 200);
        clients.push(client);
    }
    clients[0].expect_end();
    let last = clients.len() - 1;
    assert_eq!(clients[last].get("/").status, 200, "the latest one is kept");
}

#[test]
fn a_foreign_loop_can_own_the_thread() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let bind = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let policy = listener::Policy { backlog: 128, socket_mode: 0o660, owner: None };
    let listener = Listener::bind(&bind, &policy).unwrap();
    let Address::Ip(address) = *listener.local() else { panic!("not a TCP listener") };
    let (engine, common) = engine_of(&listener, Policy::from(&Settings::default()), 1);
    let mut world = World::new(Box::new(Routes::default()), 0, common);
    engine.start().unwrap();
    let client = std::thread::spawn(move || {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut client = Client { socket, received: Vec::new() };
        [client.get("/").status, client.get("/later").status]
    });
    let end = Instant::now() + DEADLINE;
    while !client.is_finished() {
        assert!(Instant::now() < end, "the client was not answered");
        let mut fds = [PollFd::new(engine.fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(50_u8)).unwrap() > 0 {
            engine.turn(&mut world, Some(Duration::ZERO)).unwrap();
        }
    }
    assert_eq!(client.join().unwrap(), [200, 200]);
}

#[test]
fn an_idle_connection_costs_little_memory() {
    // With its place in the slab and in the timer wheel, and malloc's own overhead, below 512 bytes.
    assert!(size_of::<super::connection::Connection>() <= 304);
}
