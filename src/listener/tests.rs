#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};

use super::*;
use crate::scenario::{self, Scratch};

const POLICY: Policy = Policy { backlog: 16, socket_mode: 0o660, owner: None };

fn tcp(host: &str, port: u16) -> Result<Listener, BindError> {
    Listener::bind(&BindAddress::Tcp { host: host.to_owned(), port }, &POLICY)
}

fn unix(path: &Path) -> Result<Listener, BindError> {
    Listener::bind(&BindAddress::Unix(path.to_owned()), &POLICY)
}

#[track_caller]
fn port(listener: &Listener) -> u16 {
    match listener.local() {
        Address::Ip(address) => address.port(),
        other @ Address::Unix(_) => panic!("{other}"),
    }
}

fn accept(listener: &Listener) -> io::Result<OwnedFd> {
    sys::accept(listener.as_fd(), true).map(|(fd, _)| fd)
}

fn has_flag(fd: impl AsFd, flag: FdFlag) -> bool {
    FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap()).contains(flag)
}

fn is_nonblocking(fd: impl AsFd) -> bool {
    fcntl(fd, FcntlArg::F_GETFL).unwrap() & libc::O_NONBLOCK != 0
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

/// Waits until there is something to accept.
fn wait(listener: &Listener) {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(5000_u16)), Ok(1));
}

// TCP

#[test]
fn a_host_is_an_address_a_name_or_every_address() {
    let cases = [
        ("127.0.0.1", "http://127.0.0.1:PORT"),
        ("", "http://0.0.0.0:PORT"),
        ("localhost", "http://127.0.0.1:PORT"),
        ("::1", "http://[::1]:PORT"),
        ("::", "http://[::]:PORT"),
    ];
    for (host, shown) in cases {
        if host.contains(':') && !has_ipv6() {
            continue;
        }
        let listener = tcp(host, 0).unwrap();
        assert_eq!(listener.to_string(), shown.replace("PORT", &port(&listener).to_string()));
        assert!(!listener.is_inherited());
    }
}

#[test]
fn an_address_that_cannot_be_had_is_named_with_the_reason() {
    let long = "x".repeat(300);
    for host in ["192.0.2.1", &long, "a b"] {
        let error = tcp(host, 20300).unwrap_err();
        assert!(!error.is_in_use(), "{error}");
        assert_eq!(error.address(), format!("('{host}', 20300)"));
        assert!(error.to_string().len() > error.address().len() + 20, "{error}");
    }
}

#[test]
fn an_address_in_use_is_told_from_other_errors() {
    let first = tcp("127.0.0.1", 0).unwrap();
    let error = tcp("127.0.0.1", port(&first)).unwrap_err();
    assert!(error.is_in_use());
    assert_eq!(error.address(), format!("('127.0.0.1', {})", port(&first)));
    assert!(error.reason().contains("in use"), "{error}");
    assert_eq!(Error::from(error).exit_code(), 1);

    let same = port(&first);
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, same)).unwrap();
    wait(&first);
    let connection = accept(&first).unwrap();
    drop((first, connection));
    // A child that another test is just starting may hold the listener until its exec.
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Err(error) = tcp("127.0.0.1", same) {
        assert!(error.is_in_use() && Instant::now() < deadline, "a former server's connection is in the way: {error}");
        thread::yield_now();
    }
    drop(client);
}

#[test]
fn accepted_connections_are_nonblocking_undelayed_and_stay_here() {
    let listener = tcp("127.0.0.1", 0).unwrap();
    assert!(is_nonblocking(&listener) && has_flag(&listener, FdFlag::FD_CLOEXEC));
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port(&listener))).unwrap();
    wait(&listener);
    let connection = accept(&listener).unwrap();
    assert!(is_nonblocking(&connection) && has_flag(&connection, FdFlag::FD_CLOEXEC));
    assert!(getsockopt(&connection, sockopt::TcpNoDelay).unwrap());
}

#[test]
fn nothing_holds_back_what_stays_on_this_machine() {
    let system = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
    let system = system.trim();
    let unpaced = if system.starts_with("bbr") { "reno" } else { system };
    let of_accepted = |listener: &Listener, client: &str| {
        let _client = TcpStream::connect((client, port(listener))).unwrap();
        wait(listener);
        let name = getsockopt(&accept(listener).unwrap(), sockopt::TcpCongestion).unwrap();
        name.to_str().unwrap().trim_end_matches('\0').to_owned()
    };
    for (host, client, expected) in
        [("127.0.0.1", "127.0.0.1", unpaced), ("127.8.0.1", "127.8.0.1", unpaced), ("0.0.0.0", "127.0.0.1", system)]
    {
        let listener = tcp(host, 0).unwrap();
        assert_eq!(of_accepted(&listener, client), expected, "{host}");
        // As a version made it that did not know of this; a service manager's may be as the operator wants it.
        listener.socket.set_tcp_congestion(system.as_bytes()).unwrap();
        let inherited = Listener::inherit(passed(listener.socket.try_clone().unwrap())).unwrap();
        assert_eq!(of_accepted(&inherited, client), system, "{host}");
        assert_eq!(of_accepted(&upgrade(listener), client), expected, "{host}");
    }
}

#[test]
fn every_ipv6_address_is_every_ipv4_address_where_the_kernel_has_it_so() {
    if !has_ipv6() {
        return;
    }
    let only = fs::read_to_string("/proc/sys/net/ipv6/bindv6only").unwrap();
    let listener = tcp("::", 0).unwrap();
    assert_eq!(TcpStream::connect((Ipv4Addr::LOCALHOST, port(&listener))).is_ok(), only.trim() == "0");
}

type Stop = fn(BorrowedFd<'_>) -> io::Result<()>;

/// The ways to stop a TCP listener, and what a client notices. The first needs privileges on new kernels.
#[track_caller]
fn stops() -> Vec<(Stop, io::ErrorKind)> {
    let mut ways: Vec<(Stop, _)> = vec![(sys::refuse_incoming, io::ErrorKind::ConnectionRefused)];
    let probe = tcp("127.0.0.1", 0).unwrap();
    match sys::drop_incoming(probe.as_fd()) {
        Ok(()) => ways.push((sys::drop_incoming, io::ErrorKind::TimedOut)),
        Err(error) => assert!(error.kind() == io::ErrorKind::PermissionDenied && !Uid::effective().is_root()),
    }
    ways
}

#[test]
fn a_stopped_tcp_listener_keeps_its_queue_and_gets_nothing_new() {
    for (stop, noticed) in stops() {
        let listener = tcp("127.0.0.1", 0).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port(&listener)));
        let queued: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        stop(listener.as_fd()).unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(200)).unwrap_err();
        assert_eq!(late.kind(), noticed);
        for _ in &queued {
            accept(&listener).unwrap();
        }
        assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_handshake_under_way_completes_on_a_stopped_listener() {
    for (stop, _) in stops() {
        let listener = tcp("127.0.0.1", 0).unwrap();
        // With it the kernel keeps a handshake half open until data comes, as a long way to the client would.
        sys::defer_accept(listener.as_fd(), 5).unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port(&listener))).unwrap();
        stop(listener.as_fd()).unwrap();
        assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);

        io::Write::write_all(&mut client, b"request").unwrap();
        wait(&listener);
        let mut request = [0; 7];
        fs::File::from(accept(&listener).unwrap()).read_exact(&mut request).unwrap();
        assert_eq!(&request, b"request");
    }
}

/// Clients connect as fast as they can, the listener is stopped meanwhile: who got a connection is in the queue.
#[track_caller]
fn stop_under_load<C: Send>(
    listener: &Listener,
    stop: impl Fn(&Listener) -> io::Result<()>,
    connect: impl Fn() -> io::Result<C> + Sync,
) {
    let made = std::sync::atomic::AtomicUsize::new(0);
    let connections: Vec<C> = thread::scope(|scope| {
        let client = || {
            let mut connections = Vec::new();
            while let Ok(connection) = connect() {
                connections.push(connection);
                made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            connections
        };
        let clients = [scope.spawn(client), scope.spawn(client), scope.spawn(client)];
        while made.load(std::sync::atomic::Ordering::Relaxed) < 100 {
            thread::yield_now();
        }
        stop(listener).unwrap();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    for _ in &connections {
        wait(listener);
        accept(listener).unwrap();
    }
    assert_eq!(accept(listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_listener_stopped_under_load_loses_no_connection() {
    let policy = Policy { backlog: 4096, ..POLICY };
    let any_port = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let scratch = Scratch::new();
    for round in 0..3 {
        for (stop, _) in stops() {
            let listener = Listener::bind(&any_port, &policy).unwrap();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port(&listener)));
            let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
            stop_under_load(&listener, |listener| stop(listener.as_fd()), connect);
        }
        let path = scratch.join(format!("{round}.sock"));
        let listener = Listener::bind(&BindAddress::Unix(path.clone()), &policy).unwrap();
        stop_under_load(&listener, Listener::stop_incoming, || UnixStream::connect(&path));
    }
}

#[test]
fn whoever_runs_it_a_tcp_listener_can_be_stopped() {
    let listener = tcp("127.0.0.1", 0).unwrap();
    listener.stop_incoming().unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port(&listener)));
    TcpStream::connect_timeout(&address, Duration::from_millis(100)).unwrap_err();
}

// Unix sockets

#[test]
fn a_unix_socket_has_the_mode_that_was_set_whatever_the_umask() {
    let scratch = Scratch::new();
    for mode in [0o660, 0o600, 0o666, 0o777, 0o000] {
        let path = scratch.join(format!("{mode:o}.sock"));
        let policy = Policy { socket_mode: mode, ..POLICY };
        let listener = Listener::bind(&BindAddress::Unix(path.clone()), &policy).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        assert_eq!(listener.to_string(), format!("unix:{}", path.display()));
        assert_eq!(listener.local(), &Address::Unix(Some(path)));
        assert!(is_nonblocking(&listener) && has_flag(&listener, FdFlag::FD_CLOEXEC));
    }
}

#[test]
fn a_unix_socket_is_given_to_its_owner_or_not_made_at_all() {
    crate::root::needed();
    let scratch = Scratch::new();
    let path = scratch.join("app.sock");
    let policy = Policy { owner: Some((Uid::from_raw(65534), Gid::from_raw(33))), ..POLICY };
    let _listener = Listener::bind(&BindAddress::Unix(path.clone()), &policy).unwrap();
    let metadata = fs::symlink_metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (65534, 33));

    let directory = scratch.join("theirs");
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::chown(&directory, Some(65534), Some(65534)).unwrap();
    let output = scenario::command("bind for another owner").arg(directory.join("app.sock")).output().unwrap();
    let lines = scenario::lines(&output);
    assert!(lines[0].contains("can't give it to user 0"), "{lines:?}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

pub(crate) fn bind_for_another_owner() {
    nix::unistd::setuid(Uid::from_raw(65534)).unwrap();
    let policy = Policy { owner: Some((Uid::from_raw(0), Gid::from_raw(0))), ..POLICY };
    let path = std::env::args_os().nth(1).unwrap();
    scenario::print(Listener::bind(&BindAddress::Unix(path.into()), &policy).unwrap_err());
}

#[test]
fn a_live_unix_socket_is_never_stolen() {
    let scratch = Scratch::new();
    let path = scratch.join("app.sock");
    let first = unix(&path).unwrap();
    let inode = fs::symlink_metadata(&path).unwrap().ino();
    let error = unix(&path).unwrap_err();
    assert!(error.is_in_use(), "{error}");
    assert_eq!(error.address(), path.display().to_string());
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), inode);
    UnixStream::connect(&path).unwrap();
    drop(first);

    let full = scratch.join("full.sock");
    let policy = Policy { backlog: 0, ..POLICY };
    let _full = Listener::bind(&BindAddress::Unix(full.clone()), &policy).unwrap();
    let _fills_the_queue = UnixStream::connect(&full).unwrap();
    assert!(unix(&full).unwrap_err().is_in_use());

    let datagrams = scratch.join("log.sock");
    let _datagrams = UnixDatagram::bind(&datagrams).unwrap();
    assert!(unix(&datagrams).unwrap_err().is_in_use());
}

/// Leaves a socket's file behind. It never listens, so that no child which another test is just starting keeps it alive.
fn leave_dead_socket(path: &Path) {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::unix(path).unwrap()).unwrap();
}

#[test]
fn a_dead_unix_socket_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.join("app.sock");
    leave_dead_socket(&path);
    assert!(UnixStream::connect(&path).is_err());
    let listener = unix(&path).unwrap();
    UnixStream::connect(&path).unwrap();
    accept(&listener).unwrap();
    assert_eq!(scratch.names(), ["app.sock"]);
}

#[test]
fn of_several_starters_at_once_one_has_the_unix_socket() {
    let scratch = Scratch::new();
    for round in 0..50 {
        let path = scratch.join(format!("{round}.sock"));
        if round % 2 == 0 {
            leave_dead_socket(&path);
        }
        let barrier = Barrier::new(4);
        let start = || {
            barrier.wait();
            unix(&path)
        };
        let results: Vec<Result<Listener, BindError>> = thread::scope(|scope| {
            let starters = [scope.spawn(start), scope.spawn(start), scope.spawn(start), scope.spawn(start)];
            starters.into_iter().map(|starter| starter.join().unwrap()).collect()
        });
        let mut winners = results.iter().filter_map(|result| result.as_ref().ok());
        let winner = winners.next().expect("a winner");
        assert!(winners.next().is_none(), "round {round}: two winners");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(error.is_in_use(), "{error}");
        }
        UnixStream::connect(&path).unwrap();
        wait(winner);
        accept(winner).unwrap();
    }
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let scratch = Scratch::new();
    fs::write(scratch.join("file"), "precious").unwrap();
    fs::create_dir(scratch.join("directory")).unwrap();
    symlink(scratch.join("file"), scratch.join("link")).unwrap();
    symlink(scratch.join("nowhere"), scratch.join("dangling")).unwrap();
    let before = scratch.names();
    for name in &before {
        let error = unix(&scratch.join(name)).unwrap_err();
        assert!(!error.is_in_use() && error.reason().contains("not a socket"), "{error}");
    }
    assert_eq!(scratch.names(), before);
    assert_eq!(fs::read_to_string(scratch.join("file")).unwrap(), "precious");
}

#[test]
fn a_unix_path_that_cannot_be_a_socket_is_explained() {
    let scratch = Scratch::new();
    let directory = scratch.join("");
    let stem = directory.as_os_str().len();
    let longest = scratch.join("x".repeat(107 - stem));
    let listener = unix(&longest).unwrap();
    assert_eq!(listener.local(), &Address::Unix(Some(longest)));

    let cases = [
        (scratch.join("x".repeat(108 - stem)), "the path has 108 bytes"),
        (scratch.join("missing/app.sock"), "there is no such directory"),
        (PathBuf::new(), "neither empty"),
        (PathBuf::from("a\0b"), "nor has it a NUL"),
    ];
    for (path, reason) in cases {
        let error = unix(&path).unwrap_err();
        assert!(!error.is_in_use() && error.reason().contains(reason), "{error}");
    }
}

#[test]
fn only_our_own_file_is_unlinked() {
    let scratch = Scratch::new();
    let path = scratch.join("app.sock");
    let ours = unix(&path).unwrap();
    ours.unlink().unwrap();
    assert!(scratch.names().is_empty());
    ours.unlink().expect("a file that has gone is no error");

    let first = unix(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let second = unix(&path).unwrap();
    first.unlink().unwrap();
    UnixStream::connect(&path).expect("another's socket stays");
    second.unlink().unwrap();
    assert!(scratch.names().is_empty());
}

#[test]
fn a_stopped_unix_listener_keeps_its_queue_and_refuses_what_is_new() {
    let scratch = Scratch::new();
    let path = scratch.join("app.sock");
    let listener = unix(&path).unwrap();
    let queued: Vec<UnixStream> = (0..5).map(|_| UnixStream::connect(&path).unwrap()).collect();
    listener.stop_incoming().unwrap();
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    for _ in &queued {
        accept(&listener).unwrap();
    }
    assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock, "the end of the queue");
    // What the documentation of `stop_incoming` warns event loops of.
    wait(&listener);

    let successor = unix(&path).expect("a stopped one is no longer in use");
    listener.unlink().unwrap();
    UnixStream::connect(&path).unwrap();
    accept(&successor).unwrap();
}

// Inherited sockets

/// A descriptor as it would come through an exec.
fn passed(fd: impl Into<OwnedFd>) -> RawFd {
    let fd = fd.into();
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    fd.into_raw_fd()
}

#[test]
fn only_a_listening_stream_socket_is_inherited() {
    let scratch = Scratch::new();
    let unconnected = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let connected = UnixStream::pair().unwrap().0;
    let cases = [
        (passed(fs::File::open("/dev/null").unwrap()), "not a socket"),
        (passed(UnixDatagram::unbound().unwrap()), "not a stream socket"),
        (passed(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()), "not a stream socket"),
        (passed(unconnected), "not listening"),
        (passed(connected), "not listening"),
        (UnixListener::bind(scratch.join("own.sock")).unwrap().into_raw_fd(), "not inherited"),
        (19_999, "Bad file descriptor"),
        (-1, "Bad file descriptor"),
    ];
    for (fd, reason) in cases {
        let error = Listener::inherit(fd).unwrap_err();
        assert!(error.to_string().starts_with(&format!("fd://{fd}: ")), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        let error = Listener::bind(&BindAddress::Fd(fd), &POLICY).unwrap_err();
        assert!(!error.is_in_use() && error.reason().contains(reason), "what is refused stays open: {error}");
    }
}

#[test]
fn an_inherited_socket_shows_its_address_and_is_made_ready() {
    let scratch = Scratch::new();
    let path = scratch.join("app.sock");
    let v4 = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let v4_address = v4.local_addr().unwrap();
    let v6 = std::net::TcpListener::bind(if has_ipv6() { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
    let v6_address = v6.local_addr().unwrap();
    let file = UnixListener::bind(&path).unwrap();
    let cases = [
        (passed(v4), format!("http://{v4_address}")),
        (passed(v6), format!("http://{v6_address}")),
        (passed(file), format!("unix:{}", path.display())),
    ];
    for (fd, shown) in cases {
        let listener = Listener::bind(&BindAddress::Fd(fd), &POLICY).unwrap();
        assert_eq!(listener.to_string(), shown);
        assert!(listener.is_inherited() && is_nonblocking(&listener) && has_flag(&listener, FdFlag::FD_CLOEXEC));
        let twice = Listener::inherit(fd).unwrap_err();
        assert!(twice.to_string().contains("named twice"), "{twice}");
        if let Address::Ip(_) = listener.local() {
            assert!(getsockopt(&listener, sockopt::TcpNoDelay).unwrap());
        }
    }
}

#[test]
fn an_inherited_socket_is_neither_stopped_nor_unlinked() {
    let scratch = Scratch::new();
    let path = scratch.join("app.sock");
    let theirs = UnixListener::bind(&path).unwrap();
    let ours = Listener::inherit(passed(theirs.try_clone().unwrap())).unwrap();
    ours.stop_incoming().unwrap();
    ours.unlink().unwrap();
    UnixStream::connect(&path).expect("it goes on for its other users");
}

/// Hands a listener over as an exec would.
fn upgrade(old: Listener) -> Listener {
    Listener::take_over(passed(OwnedFd::from(old.socket))).unwrap().with_file()
}

#[test]
fn a_socket_that_was_taken_over_is_stopped_and_unlinked_like_our_own() {
    let scratch = Scratch::new();
    let path = scratch.join("app server.sock");
    let new = upgrade(upgrade(unix(&path).unwrap()));
    assert_eq!(new.to_string(), format!("unix:{}", path.display()));
    assert!(!new.is_inherited() && has_flag(&new, FdFlag::FD_CLOEXEC));
    let _client = UnixStream::connect(&path).unwrap();
    new.unlink().unwrap();
    assert!(scratch.names().is_empty());
    new.stop_incoming().unwrap();
    accept(&new).unwrap();
    assert_eq!(accept(&new).unwrap_err().kind(), io::ErrorKind::WouldBlock);

    let new = upgrade(tcp("127.0.0.1", 0).unwrap());
    assert!(!new.is_inherited());
    TcpStream::connect((Ipv4Addr::LOCALHOST, port(&new))).unwrap();
}

#[test]
fn a_socket_that_was_taken_over_does_not_unlink_anothers_file() {
    let scratch = Scratch::new();
    let path = scratch.join("app.sock");
    let old = unix(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    upgrade(old).unlink().unwrap();
    UnixStream::connect(&path).unwrap();

    let error = Listener::take_over(-1).unwrap_err().to_string();
    assert!(error.starts_with("inherited socket -1: "), "{error}");
}

#[test]
fn a_listener_on_standard_input_moves_and_leaves_dev_null_behind() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let output =
        scenario::command("inherit standard input").stdin(Stdio::from(OwnedFd::from(listener))).output().unwrap();
    assert_eq!(scenario::lines(&output), [format!("http://{address}"), "/dev/null".to_owned(), "true".to_owned()]);
}

pub(crate) fn inherit_standard_input() {
    let listener = Listener::bind(&BindAddress::Fd(0), &POLICY).unwrap();
    scenario::print(&listener);
    scenario::print(fs::read_link("/proc/self/fd/0").unwrap().display());
    scenario::print(listener.as_fd().as_raw_fd() > 2 && has_flag(&listener, FdFlag::FD_CLOEXEC));
}
