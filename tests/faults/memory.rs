//! Clients that have the server keep as much as it will.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::Outcome;
use super::slow::raise_limit;
use crate::support::{Address, Client, SOON, Server, poll_until, process};

/// What a worker keeps of one connection at most, in KiB: a head (`limit_request_head`), what stays in memory of a body
/// (`body_memory`), and what was collected of answers.
const CAP: u64 = 64 + 64 + 64;

/// How long a client goes on against a server that takes nothing.
const PATIENCE: Duration = Duration::from_millis(300);

/// What each client sends.
struct Attack {
    name: &'static str,
    clients: usize,
    /// Before what is repeated.
    first: String,
    repeated: String,
    times: usize,
}

fn attacks(share: usize) -> Vec<Attack> {
    let attack = |name, clients: usize, first: &str, repeated: String, times| Attack {
        name,
        clients: clients / share,
        first: first.to_owned(),
        repeated,
        times,
    };
    let post = |framing: &str| format!("POST /length HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
    let (known, chunked) = (post("Content-Length: 10485760"), post("Transfer-Encoding: chunked"));
    let field = |value: usize| format!("X-Field: {}\r\n", "x".repeat(value));
    let get = "GET /large/1000 HTTP/1.1\r\nHost: a\r\n\r\n";
    vec![
        attack("60 KiB of a head", 5000, "GET / HTTP/1.1\r\nHost: a\r\n", field(1000), 60),
        attack("half a body of 10 MiB", 1000, &known, "b".repeat(64 * 1024), 80),
        attack("chunks of a byte", 1000, &chunked, "1\r\nc\r\n".repeat(1000), 20),
        attack("100 trailers of 8 KB", 1000, &format!("{chunked}0\r\n"), field(8000), 100),
        attack("10,000 pipelined requests, not read", 1000, "", get.repeat(100), 100),
    ]
}

/// Each in turn, with a server of its own; one in `share` of the clients that the full figures have.
pub(crate) fn memory(share: usize) -> Outcome {
    raise_limit();
    let mut outcome = Outcome::default();
    for attack in attacks(share) {
        let server =
            Server::probe().args(&["-w", "1", "--worker-connections", "8000", "--log-level", "critical"]).start();
        let Address::Tcp(address) = server.address else { panic!("not TCP") };
        let worker = server.workers();
        assert_eq!(Client::to(&server.address).get("/").status, 200);
        let before = peak(worker[0]);
        eprintln!("{} x {}", attack.clients, attack.name);
        let clients = attacked(address, &attack);
        let mut probe = Client::to(&server.address);
        assert_eq!(probe.get("/").status, 200, "others are served beside {}", attack.name);
        let (after, bar) = (peak(worker[0]), (before + CAP * attack.clients as u64) * 12 / 10);
        outcome.figure(
            format!("{} x {}: peak of the worker", attack.clients, attack.name),
            format!("{:.1} MiB, {:.1} before", after as f64 / 1024.0, before as f64 / 1024.0),
            format!("<= 1.2 x ({:.1} + {CAP} KiB each) = {:.1} MiB", before as f64 / 1024.0, bar as f64 / 1024.0),
            after <= bar,
        );
        drop(clients);
        poll_until("a worker that has survived", SOON, || (server.workers() == worker).then_some(()));
    }
    outcome
}

/// The connections, when each has sent all that the server takes of it.
fn attacked(address: SocketAddr, attack: &Attack) -> Vec<TcpStream> {
    let send = |_| {
        let mut socket = TcpStream::connect(address).expect("a connection");
        socket.set_write_timeout(Some(PATIENCE)).expect("a deadline");
        // A server that has had enough closes, or takes nothing more.
        let _ = socket
            .write_all(attack.first.as_bytes())
            .and_then(|()| (0..attack.times).try_for_each(|_| socket.write_all(attack.repeated.as_bytes())));
        socket
    };
    let part = attack.clients.div_ceil(THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|nr| {
                scope.spawn(move || (nr * part..((nr + 1) * part).min(attack.clients)).map(send).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("clients")).collect()
    })
}

/// Clients that send at the same time.
const THREADS: usize = 32;

/// The most that a process has ever occupied, in KiB.
fn peak(pid: i32) -> u64 {
    let text = process::status(pid, "VmHWM").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[test]
fn clients_that_have_much_kept_do_not_have_more_kept_than_is_allowed() {
    let outcome = memory(20);
    let missed: Vec<_> = outcome.figures.iter().filter(|figure| !figure.holds).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}
