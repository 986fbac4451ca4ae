//! systemd's protocols, with this test in its place: sockets by LISTEN_FDS, messages by NOTIFY_SOCKET.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Address, Directory, SOON, Server, client, process};

/// What a service manager hears.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn new(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        Self { socket, heard: Vec::new() }
    }

    /// Waits for a message with this line, and returns all its lines.
    #[track_caller]
    fn wait_for(&mut self, line: &str) -> Vec<String> {
        let deadline = Instant::now() + SOON;
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let lines: Vec<String> = message.lines().map(str::to_owned).collect();
            self.heard.push(message);
            if lines.iter().any(|heard| heard == line || heard.starts_with(&format!("{line}="))) {
                return lines;
            }
        }
        panic!("no {line:?} in {:?}", self.heard);
    }
}

#[test]
fn listening_sockets_are_taken_from_systemd() {
    let (first, second) =
        (TcpListener::bind("127.0.0.1:0").expect("a listener"), TcpListener::bind("127.0.0.1:0").expect("one more"));
    let addresses = [&first, &second].map(|listener| Address::Tcp(listener.local_addr().expect("its address")));
    let script = "LISTEN_FDS=2 LISTEN_FDNAMES=a:b LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 4<&1 0</dev/null 1>&2";
    let mut server = Server::probe()
        .bound_to(addresses[0].clone())
        .wrapper(&["sh", "-c", script])
        .stdin(first)
        .stdout(second)
        .args(&["-w", "2"])
        .start();
    for address in &addresses {
        assert_eq!(client::get(address, "/").text(), "hello");
        assert_eq!(client::get(address, "/environment/LISTEN_FDS").text(), "", "it is not the application's");
    }
    let old = server.workers();
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&old, 2);
    for address in &addresses {
        assert_eq!(client::get(address, "/").text(), "hello");
    }
    server.stop();
}

#[test]
fn a_socket_of_systemds_can_be_named_so_that_it_speaks_what_it_should() {
    let (http, uwsgi) =
        (TcpListener::bind("127.0.0.1:0").expect("a listener"), TcpListener::bind("127.0.0.1:0").expect("one more"));
    let [http_at, uwsgi_at] = [&http, &uwsgi].map(|listener| Address::Tcp(listener.local_addr().expect("its address")));
    let script = "LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 4<&1 0</dev/null 1>&2";
    let mut server = Server::probe()
        .bound_to(http_at.clone())
        .wrapper(&["sh", "-c", script])
        .stdin(http)
        .stdout(uwsgi)
        .args(&["--bind", "uwsgi://fd://4", "--bind", "fd://3"])
        .start();
    let check = || {
        assert_eq!(client::get(&http_at, "/").text(), "hello");
        assert!(client::get(&uwsgi_at, "/").text().contains("This port speaks uwsgi"));
    };
    check();
    let old = server.workers();
    server.signal(Signal::SIGHUP);
    server.wait_replaced(&old, 1);
    check();
    server.stop();
}

#[test]
fn sockets_meant_for_another_process_are_not_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let script = "LISTEN_FDS=1 LISTEN_PID=1 exec \"$0\" \"$@\" 3<&0 0</dev/null";
    let server = Server::probe().wrapper(&["sh", "-c", script]).stdin(listener).start();
    assert_eq!(server.get("/").text(), "hello", "it has bound its own address");
}

#[test]
fn the_service_manager_is_told_what_happens() {
    for is_abstract in [false, true] {
        let directory = Directory::new();
        let (socket, name) = if is_abstract {
            let name = format!("ferricorn-test-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(&name).expect("an abstract address");
            (UnixDatagram::bind_addr(&address).expect("a socket"), format!("@{name}"))
        } else {
            let path = directory.join("notify");
            (UnixDatagram::bind(&path).expect("a socket"), path.display().to_string())
        };
        let mut manager = Manager::new(socket);
        let builder = Server::probe();
        let slow = builder.directory().write("slow", "500");
        let mut server =
            builder.env("BOOT_SLEEP_FILE", &slow).env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "600000").spawn();
        let began = Instant::now();
        manager.wait_for("READY=1");
        assert!(began.elapsed() > Duration::from_millis(400), "ready before any worker was");
        manager.wait_for("WATCHDOG=1");
        manager.wait_for("WATCHDOG=1");
        assert_eq!(server.get("/environment/NOTIFY_SOCKET").text(), "", "it is not the application's");
        server.signal(Signal::SIGHUP);
        let lines = manager.wait_for("RELOADING=1");
        let stamp = lines.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("the time of the reload");
        assert!(stamp.parse::<u64>().is_ok_and(|stamp| stamp > 0), "{stamp}");
        let began = Instant::now();
        manager.wait_for("READY=1");
        assert!(began.elapsed() > Duration::from_millis(300), "ready before the new worker was");
        server.signal(Signal::SIGTERM);
        manager.wait_for("STOPPING=1");
        assert_eq!(server.wait_code(SOON), 0);
    }
}

#[test]
fn a_reload_that_fails_ends_with_ready_too() {
    let directory = Directory::new();
    let mut manager = Manager::new(UnixDatagram::bind(directory.join("notify")).expect("a socket"));
    let builder = Server::probe();
    let broken = builder.directory().join("broken");
    let mut server = builder
        .env("BOOT_FAIL", format!("exit3:{}", broken.display()))
        .env("NOTIFY_SOCKET", directory.join("notify"))
        .spawn();
    manager.wait_for("READY=1");
    server.directory.write("broken", "");
    server.signal(Signal::SIGHUP);
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
    assert_eq!(server.get("/").text(), "hello");
    std::fs::remove_file(broken).expect("the file that breaks it");
    server.stop();
}

#[test]
fn an_upgrade_tells_the_new_main_process() {
    let directory = Directory::new();
    let mut manager = Manager::new(UnixDatagram::bind(directory.join("notify")).expect("a socket"));
    let builder = Server::probe();
    let pidfile = builder.directory().join("pid");
    let mut server = builder.arg("--pid").arg(pidfile).env("NOTIFY_SOCKET", directory.join("notify")).spawn();
    manager.wait_for("READY=1");
    let old = server.pid;
    let new = crate::upgrade::upgrade(&mut server, old);
    server.signal(Signal::SIGTERM);
    let lines = manager.wait_for("MAINPID");
    assert!(lines.contains(&format!("MAINPID={new}")), "{lines:?}");
    server.wait_exit(SOON);
    assert_eq!(server.get("/").text(), "hello");
    process::signal(new, Signal::SIGTERM);
    process::wait_gone(&[new], SOON);
}
