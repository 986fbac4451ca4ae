//! `ferricorn exec://COMMAND`: programs that serve the listening socket themselves.

use nix::sys::signal::Signal;

use crate::support::programs::require;
use crate::support::server::Builder;
use crate::support::{Address, Directory, SOON, Server, client, poll_until, process};

/// Serves the socket that is its standard input, one connection at a time, and finishes what it does when told to exit.
const PROGRAM: &str = r#"
import os, signal, socket, sys, time
listener = socket.socket(fileno=0)
busy = stopping = False
def stop(*_):
    global stopping
    if not busy:
        sys.exit(0)
    stopping = True
signal.signal(signal.SIGTERM, stop)
print("serving", file=sys.stderr, flush=True)
while not stopping:
    connection, _ = listener.accept()
    busy = True
    target = connection.recv(65536).split()[1]
    if target == b"/crash":
        os.kill(os.getpid(), 9)
    if target == b"/exit":
        sys.exit(0)
    while target.startswith(b"/wait") and not os.path.exists(target[5:]):
        time.sleep(0.02)
    body = str(os.getpid()).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    connection.close()
    busy = False
"#;

fn serving(site: &Directory) -> Builder {
    let script = site.write("program.py", PROGRAM);
    Server::serving(format!("exec://python3 {}", script.display()))
}

/// Waits until that many programs serve.
fn wait_serving(server: &Server, count: usize) {
    server.wait_for_log_times("serving", count);
}

#[test]
fn programs_share_the_socket_and_are_reloaded_scaled_and_replaced() {
    let site = Directory::new();
    let server = serving(&site).args(&["--workers", "2"]).spawn();
    wait_serving(&server, 2);
    let workers = server.wait_workers(2);
    let programs: Vec<i32> = workers.iter().flat_map(|worker| process::children(*worker)).collect();
    assert_eq!(programs.len(), 2);
    let pid = || server.get("/").text().parse::<i32>().expect("a pid");
    assert!(programs.contains(&pid()));

    server.signal(Signal::SIGTTIN);
    wait_serving(&server, 3);
    assert_eq!(server.wait_workers(3).len(), 3);
    server.signal(Signal::SIGTTOU);
    server.wait_workers(2);

    // One that crashes is replaced; one that exits because it has had enough is, too.
    client::try_get(&server.address, "/crash").expect_err("no answer");
    server.wait_for_log("was ended by SIGKILL");
    wait_serving(&server, 4);
    client::try_get(&server.address, "/exit").expect_err("no answer");
    server.wait_for_log("has exited");
    wait_serving(&server, 5);

    // A reload finishes what a program does.
    let old = server.wait_workers(2);
    let gate = site.join("gate");
    let mut client = server.connect();
    client.send(format!("GET /wait{} HTTP/1.1\r\n\r\n", gate.display())).expect("the program reads");
    poll_until("the connection to be accepted", SOON, || {
        let busy = old.iter().flat_map(|worker| process::children(*worker));
        busy.into_iter().find(|pid| process::sockets(*pid).len() > 1)
    });
    server.signal(Signal::SIGHUP);
    wait_serving(&server, 7);
    std::fs::write(&gate, "").expect("the gate");
    assert_eq!(client.answer().expect("an answer").status, 200);
    let new = server.wait_replaced(&old, 2);
    let programs: Vec<i32> = new.iter().flat_map(|worker| process::children(*worker)).collect();
    assert!(programs.contains(&pid()));

    // They end with their worker, and with the server.
    process::signal(new[0], Signal::SIGKILL);
    process::wait_gone(&programs[..1], SOON);
    wait_serving(&server, 8);
    let workers = server.wait_workers(2);
    let programs: Vec<i32> = workers.iter().flat_map(|worker| process::children(*worker)).collect();
    let mut server = server;
    server.stop();
    process::wait_gone(&programs, SOON);
}

#[test]
fn a_program_that_cannot_run_is_said_and_given_up() {
    for (command, problem) in [
        ("no-such-program", "there is no program no-such-program"),
        ("false", "exited with 1"),
        ("/etc/passwd", "Permission denied"),
    ] {
        let finished = Server::serving(format!("exec://{command}")).run();
        assert!(finished.code.is_some_and(|code| code > 0), "{command}: {}", finished.stderr);
        assert!(finished.stderr.contains(problem), "{command}: {}", finished.stderr);
    }
}

#[test]
fn php_is_kept_for_a_web_server_in_front() {
    let site = Directory::new();
    site.write("index.php", "<?php echo 'php of ', $_SERVER['REQUEST_URI'];");
    let socket = Address::Unix(site.join("php.sock"));
    let mut programs = Server::serving(format!("exec://{}", require("php-cgi").display()))
        .args(&["--workers", "2", "--env", "PHP_FCGI_MAX_REQUESTS=20"])
        .bind(socket.clone())
        .spawn();
    programs.wait_workers(2);
    poll_until("the socket", SOON, || socket.connect(SOON).ok());
    let path = socket.bind();
    let mut front = Server::serving(format!("fastcgi://{path}"))
        .args(&["--document-root", &site.path().display().to_string()])
        .start();
    // Each program exits after 20 requests, and is replaced.
    for number in 0..100 {
        let answer = front.get(&format!("/?{number}"));
        assert_eq!((answer.status, answer.text()), (200, format!("php of /?{number}")), "{}", front.log());
    }
    front.stop();
    programs.stop();
}
