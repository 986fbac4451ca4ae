//! An application that does what the tests ask of it: answer, fail, sleep, break rules, die.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::task::Waker;
use std::time::Duration;

use ferricorn::app::{LoadError, Pull, RequestBody, Source};
use ferricorn::{Application, Body, Factory, Reply, Request, Response};

struct Probe;

fn main() -> ExitCode {
    ferricorn::serve(Probe)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Factory for Probe {
    /// Notes the boot in the file that `BOOT_LOG` names, sleeps for `BOOT_SLEEP` milliseconds, and fails as `BOOT_FAIL`
    /// says: `exitN`, `panic`, `hang`, `error`, `application`, `threads`, or `WHAT:PATH` for as long as PATH exists.
    fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
        if let Some(path) = variable("BOOT_LOG") {
            append(&path, &format!("{}\n", std::process::id()));
        }
        let number = |text: String| text.parse().ok();
        if let Some(milliseconds) = variable("BOOT_SLEEP").and_then(number) {
            std::thread::sleep(Duration::from_millis(milliseconds));
        }
        // While the file that BOOT_SLEEP_FILE names exists, a boot takes as many milliseconds as it says.
        let file = variable("BOOT_SLEEP_FILE").and_then(|path| std::fs::read_to_string(path).ok());
        if let Some(milliseconds) = file.and_then(|text| text.trim().parse().ok()) {
            std::thread::sleep(Duration::from_millis(milliseconds));
        }
        let failure = variable("BOOT_FAIL").unwrap_or_default();
        let (what, condition) = failure.split_once(':').unwrap_or((&failure, ""));
        if !condition.is_empty() && !std::path::Path::new(condition).exists() {
            return Ok(Box::new(Self));
        }
        match what {
            "" => Ok(Box::new(Self)),
            "panic" => panic!("told to panic at boot"),
            "error" => Err(LoadError::boot("told to fail at boot")),
            "application" => Err(LoadError::application("told that there is no application")),
            "hang" => loop {
                std::thread::park();
            },
            "threads" => {
                std::thread::spawn(|| std::thread::sleep(Duration::from_secs(600)));
                Ok(Box::new(Self))
            }
            _ => std::process::exit(what.trim_start_matches("exit").parse().unwrap_or(1)),
        }
    }

    /// Notes the workers that go on with what a template has loaded in the file that `ADOPT_LOG` names.
    fn adopt(&mut self, application: Box<dyn Application>) -> Result<Box<dyn Application>, LoadError> {
        if let Some(path) = variable("ADOPT_LOG") {
            append(&path, &format!("{}\n", std::process::id()));
        }
        Ok(application)
    }
}

impl Application for Probe {
    fn streams(&self, request: &Request<'_>) -> bool {
        request.path().starts_with("/streamed-")
    }

    fn call(&mut self, request: &Request<'_>, mut reply: Reply<'_>) {
        let path = request.head().path_info().trim_start_matches('/');
        let (route, argument) = path.split_once('/').unwrap_or((path, ""));
        match route {
            "early-hints" => {
                let hints = [(b"Link".as_slice(), b"</style.css>; rel=preload".as_slice())];
                reply.early_hints(hints).expect("hints that may be sent");
                reply.send(Response::text("after the hints"));
            }
            // Reads the body in a thread of its own, and says what it was.
            "streamed-count" => {
                let later = reply.later();
                let read = match request.body() {
                    RequestBody::Stream(body) => Err(body.take().expect("the stream")),
                    _ => Ok(body(request)),
                };
                std::thread::spawn(move || {
                    let streams = read.is_err();
                    let bytes = read.unwrap_or_else(|mut stream| {
                        let mut bytes = Vec::new();
                        stream.read_to_end(&mut bytes).map(|_| bytes).unwrap_or_default()
                    });
                    later.send(Response::text(format!("{} {} {streams}", bytes.len(), checksum(&bytes))));
                });
            }
            // Sends it back while it comes.
            "streamed-echo" => match request.body() {
                RequestBody::Stream(body) => {
                    let stream = body.take().expect("the stream");
                    reply.send(Response::new(200).with_body(Body::Source(Box::new(stream))));
                }
                _ => reply.send(answer(request, "echo", argument)),
            },
            "drop" => drop(reply),
            "later" => {
                let (later, pause) = (reply.later(), milliseconds(argument));
                std::thread::spawn(move || {
                    std::thread::sleep(pause);
                    later.send(Response::text("later"));
                });
            }
            "channel" => {
                let (sender, body) = Body::channel(1 << 16);
                let pause = milliseconds(argument);
                std::thread::spawn(move || {
                    for _ in 0..10 {
                        std::thread::sleep(pause);
                        if sender.send("piece ".repeat(100)).is_err() {
                            return;
                        }
                    }
                    sender.finish();
                });
                reply.send(Response::text(body));
            }
            _ => reply.send(answer(request, route, argument)),
        }
    }
}

fn milliseconds(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap_or(0))
}

fn answer(request: &Request<'_>, route: &str, argument: &str) -> Response {
    let number = argument.parse().unwrap_or(0_usize);
    match route {
        "" => Response::text("hello"),
        "pid" => Response::text(std::process::id().to_string()),
        "echo" => Response::new(200).with_content_type("application/octet-stream").with_body(body(request)),
        "length" => Response::text(request.body().len().to_string()),
        "id" => note(request, argument),
        // With as much more time as it needs.
        "sleep-extended" => {
            let pause = milliseconds(argument);
            assert!(request.extend_deadline(pause + Duration::from_secs(5)), "a call");
            std::thread::sleep(pause);
            Response::text("slept")
        }
        // A file of that name tells when it begins.
        "sleep" => {
            let (pause, begun) = argument.split_once('/').unwrap_or((argument, ""));
            if !begun.is_empty() {
                std::fs::write(begun, "").expect("a file that can be made");
            }
            std::thread::sleep(milliseconds(pause));
            Response::text("slept")
        }
        // Ignores all signals that can be ignored by never coming back. A file tells here, too.
        "hang" => {
            if !argument.is_empty() {
                std::fs::write(argument, "").expect("a file that can be made");
            }
            loop {
                std::thread::park();
            }
        }
        "panic" => panic!("told to panic"),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(i32::try_from(number).unwrap_or(1)),
        "large" => Response::text("x".repeat(number)),
        "stream" => Response::text(Body::Source(Box::new(Pieces { left: number, fail_at: None, known: false }))),
        "stream-known" => Response::text(Body::Source(Box::new(Pieces { left: number, fail_at: None, known: true }))),
        "stream-fail" => {
            Response::text(Body::Source(Box::new(Pieces { left: number, fail_at: Some(1), known: false })))
        }
        "stream-hang" | "stream-panic" => {
            let end = if route == "stream-hang" { Misfortune::Hang } else { Misfortune::Panic };
            Response::text(Body::Source(Box::new(Unfortunate { pieces: 3, end })))
        }
        "stream-short" => {
            Response::text(Body::Source(Box::new(Pieces { left: number, fail_at: Some(1), known: true })))
        }
        "status" => Response::new(argument.parse().unwrap_or(200)).with_body("status"),
        "print" => {
            println!("printed to standard output");
            eprintln!("printed to standard error");
            Response::text("printed")
        }
        // Leaves a process behind whose parent is gone.
        "orphan" => {
            let done = std::process::Command::new("sh").args(["-c", "sleep 0.2 & sleep 0.1 & exit 0"]).status();
            Response::text(format!("{done:?}"))
        }
        "threads" => Response::text(std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count).to_string()),
        "directory" => Response::text(std::env::current_dir().unwrap_or_default().display().to_string()),
        "environment" => Response::text(variable(argument).unwrap_or_default()),
        "fields" => {
            let line = |field: ferricorn::protocol::Field<'_>| {
                format!("{}: {}\n", field.name, String::from_utf8_lossy(field.value))
            };
            Response::text(request.fields().map(line).collect::<String>())
        }
        "view" => Response::text(view(request)),
        "peer" => {
            let peer = request.peer();
            Response::text(format!("{} trusted={} secure={}", peer.address, peer.trusted, peer.secure))
        }
        "bad" => broken(argument),
        _ => Response::text("no such route").with_status(404),
    }
}

/// What an application sees of a request, one thing a line.
fn view(request: &Request<'_>) -> String {
    let head = request.head();
    let mut lines = vec![
        format!("method {}", request.method()),
        format!("target {}", request.target()),
        format!("path {}", request.path()),
        format!("query {:?}", request.query()),
        format!("script name {:?}", head.script_name()),
        format!("path info {:?}", head.path_info()),
        format!("protocol {}", head.protocol().name()),
        format!("server {:?} {:?}", head.server_name(), head.server_port()),
        format!("peer {} trusted={} secure={}", request.peer().address, request.peer().trusted, request.peer().secure),
        format!("body {} {}", request.body().len(), checksum(&body(request))),
    ];
    lines.extend(head.params().map(|(name, value)| format!("param {name}={}", String::from_utf8_lossy(value))));
    let mut fields = std::collections::BTreeMap::<String, String>::new();
    for field in request.fields() {
        let (name, value) = (field.name.to_lowercase(), String::from_utf8_lossy(field.value));
        match fields.get_mut(&name) {
            Some(values) => *values += &format!("{} {value}", if name == "cookie" { ";" } else { "," }),
            None => drop(fields.insert(name, value.into_owned())),
        }
    }
    lines.extend(fields.iter().map(|(name, value)| format!("field {name}: {value}")));
    lines.join("\n") + "\n"
}

/// Responses that must not reach the wire as they are.
fn broken(what: &str) -> Response {
    match what {
        "value" => Response::text("x").with_field("X-Bad", "one\r\nX-Injected: two"),
        "value-nul" => Response::text("x").with_field("X-Bad", "one\0two"),
        "value-lf" => Response::text("x").with_field("X-Bad", "one\ntwo"),
        "name" => Response::text("x").with_field("X Bad", "one"),
        "name-empty" => Response::text("x").with_field("", "one"),
        "name-colon" => Response::text("x").with_field("X-Bad:", "one"),
        "name-crlf" => Response::text("x").with_field("X\r\nInjected", "one"),
        "reason" => Response::text("x").with_reason("OK\r\nX-Injected: two"),
        "content-type" => Response::text("x").with_content_type("text/plain\r\nX-Injected: two"),
        "length-short" => Response::text("twelve bytes").with_field("Content-Length", "5"),
        "length-long" => Response::text("twelve bytes").with_field("Content-Length", "50"),
        "length-word" => Response::text("twelve bytes").with_field("Content-Length", "many"),
        "length-twice" => Response::text("x").with_field("Content-Length", "1").with_field("Content-Length", "2"),
        "transfer-encoding" => Response::text("x").with_field("Transfer-Encoding", "chunked"),
        "connection" => Response::text("x").with_field("Connection", "upgrade").with_field("Upgrade", "h2c"),
        "server" => Response::text("x").with_field("Server", "other").with_field("Date", "never"),
        "body-204" => Response::new(204).with_body("must not be sent"),
        "body-304" => Response::new(304).with_body("must not be sent"),
        _ => Response::text("x").with_status(what.parse().unwrap_or(0)),
    }
}

fn body(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.body().reader().read_to_end(&mut bytes).expect("the body can be read");
    bytes
}

fn append(path: &str, line: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the file can be written");
}

/// Notes that the id was answered, then says so: the id, the process, length and checksum of the body, padding.
fn note(request: &Request<'_>, id: &str) -> Response {
    if let Some(path) = variable("LEDGER_FILE") {
        append(&path, &format!("{id} {}\n", std::process::id()));
    }
    let query = request.query().unwrap_or_default();
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<usize>().ok()).unwrap_or(0)
    };
    let body = body(request);
    let pid = std::process::id();
    let mut text = format!("{id} {pid} {} {}\n", body.len(), checksum(&body)).into_bytes();
    if value("stream") == 0 {
        text.resize(text.len() + value("size"), b'x');
        return Response::text(text);
    }
    Response::text(Body::Source(Box::new(Padded { text, left: value("size") })))
}

/// FNV-1a; zero stands for no body.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
    if bytes.is_empty() { 0 } else { bytes.iter().fold(0xCBF2_9CE4_8422_2325, step) }
}

/// A number of pieces of a thousand bytes.
struct Pieces {
    left: usize,
    /// Breaks off with that many pieces left.
    fail_at: Option<usize>,
    known: bool,
}

impl Source for Pieces {
    fn pull(&mut self, _waker: &Waker, out: &mut Vec<u8>) -> Pull {
        if self.left == 0 {
            return Pull::End;
        }
        if self.fail_at == Some(self.left) {
            return Pull::Failed;
        }
        self.left -= 1;
        out.resize(out.len() + 1000, b's');
        Pull::More
    }

    fn length(&self) -> Option<u64> {
        self.known.then_some(self.left as u64 * 1000)
    }
}

/// How a source does not go on.
#[derive(Clone, Copy)]
enum Misfortune {
    Hang,
    Panic,
}

/// Some pieces, and no good end.
struct Unfortunate {
    pieces: usize,
    end: Misfortune,
}

impl Source for Unfortunate {
    fn pull(&mut self, _waker: &Waker, out: &mut Vec<u8>) -> Pull {
        if self.pieces > 0 {
            self.pieces -= 1;
            out.extend_from_slice(b"piece");
            return Pull::More;
        }
        match self.end {
            Misfortune::Hang => loop {
                std::thread::park();
            },
            Misfortune::Panic => panic!("told to panic"),
        }
    }
}

/// A text and padding after it, in pieces.
struct Padded {
    text: Vec<u8>,
    left: usize,
}

impl Source for Padded {
    fn pull(&mut self, _waker: &Waker, out: &mut Vec<u8>) -> Pull {
        out.append(&mut self.text);
        let count = self.left.min(7000);
        self.left -= count;
        out.resize(out.len() + count, b'x');
        if self.left == 0 { Pull::End } else { Pull::More }
    }
}
