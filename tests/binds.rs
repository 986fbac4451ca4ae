//! Listening sockets of every form.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use crate::support::address::free_port;
use crate::support::{Address, Directory, Server, client};

#[test]
fn every_form_of_bind_is_served() {
    let port = free_port();
    let v6 = |port| Address::Tcp(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    let cases = [
        (format!("127.0.0.1:{port}"), Address::tcp(port)),
        (format!("localhost:{port}"), Address::tcp(port)),
        (format!("tcp://127.0.0.1:{port}"), Address::tcp(port)),
        (format!(":{port}"), Address::tcp(port)),
        (format!("0.0.0.0:{port}"), Address::tcp(port)),
        (format!("[::1]:{port}"), v6(port)),
    ];
    for (bind, address) in cases {
        let mut server = Server::probe().bound_to(address.clone()).args(&["--bind", &bind]).start();
        assert_eq!(client::get(&address, "/").text(), "hello", "{bind}");
        server.stop();
    }
}

#[test]
fn several_binds_are_served_at_once() {
    let directory = Directory::new();
    let (first, second) = (Address::tcp(free_port()), Address::unix(&directory.join("socket")));
    let server = Server::probe().bind(first.clone()).args(&["-b", &second.bind(), "-w", "2"]).start();
    for address in [&first, &second] {
        assert_eq!(client::get(address, "/").text(), "hello", "{address}");
    }
    let line = server.wait_for_log("Listening at: ");
    assert!(line.contains(&format!("http://{}", first.bind())), "{line}");
    assert!(line.contains(&second.bind()), "{line}");
    assert!(line.ends_with(&format!("({})", server.pid)), "{line}");
}

#[test]
fn a_unix_socket_is_not_for_everybody_whatever_the_umask_and_goes_with_the_server() {
    for umask in ["000", "077"] {
        let directory = Directory::new();
        let path = directory.join("socket");
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let mut server = Server::probe().bind(Address::unix(&path)).wrapper(&["sh", "-c", &script]).start();
        let metadata = fs::metadata(&path).expect("the socket");
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o660, "umask {umask}");
        server.stop();
        assert!(!path.exists(), "the socket is left behind");
    }
}

#[test]
fn a_live_unix_socket_is_never_stolen() {
    let directory = Directory::new();
    let address = Address::unix(&directory.join("socket"));
    let first = Server::probe().bind(address.clone()).start();
    let inode = fs::metadata(directory.join("socket")).expect("the socket").ino();
    let second = Server::probe().bind(address.clone()).run();
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("in use"), "{}", second.stderr);
    assert_eq!(fs::metadata(directory.join("socket")).expect("the socket").ino(), inode);
    assert_eq!(first.get("/").text(), "hello");
}

#[test]
fn a_stale_unix_socket_is_replaced_and_anything_else_is_left_alone() {
    let directory = Directory::new();
    let path = directory.join("socket");
    drop(UnixListener::bind(&path).expect("a socket that nobody will listen on"));
    let mut server = Server::probe().bind(Address::unix(&path)).start();
    server.stop();
    let file = directory.write("file", "precious");
    let end = Server::probe().bind(Address::unix(&file)).run();
    assert_eq!(end.code, Some(1), "{}", end.stderr);
    assert_eq!(fs::read_to_string(&file).expect("the file"), "precious");
}

#[test]
fn only_the_servers_own_socket_is_removed_at_the_end() {
    let directory = Directory::new();
    let path = directory.join("socket");
    let mut server = Server::probe().bind(Address::unix(&path)).start();
    fs::remove_file(&path).expect("somebody removes it");
    let other = UnixListener::bind(&path).expect("and listens there in its place");
    server.stop();
    assert!(path.exists(), "another's socket was removed");
    drop(other);
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    let end = Server::probe().bind(Address::tcp(port)).run();
    assert_eq!(end.code, Some(1), "{}", end.stderr);
    assert!(end.stderr.contains("Connection in use"), "{}", end.stderr);
    assert!(end.stderr.contains(&port.to_string()), "{}", end.stderr);
}

#[test]
fn inherited_descriptors_are_served_and_outlive_the_server() {
    for number in [0, 3] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = Address::Tcp(listener.local_addr().expect("its address"));
        let script = format!("exec \"$0\" \"$@\" {number}<&0");
        let mut server = Server::probe()
            .bound_to(address.clone())
            .args(&["--bind", &format!("fd://{number}"), "-w", "2"])
            .wrapper(&["sh", "-c", &script])
            .stdin(listener.try_clone().expect("the same listener"))
            .start();
        assert_eq!(client::get(&address, "/").text(), "hello", "fd://{number}");
        server.stop();
        // It is not the server's to shut: the next one gets it again.
        let mut next = Server::probe().bound_to(address.clone()).args(&["--bind", "fd://0"]).stdin(listener).start();
        next.stop();
    }
}

#[test]
fn a_descriptor_that_is_no_listener_is_a_clear_error() {
    let end = Server::command().args(&["--bind", "fd://0", "files:///"]).run();
    assert_eq!(end.code, Some(1), "{}", end.stderr);
    assert!(end.stderr.contains("fd://0") || end.stderr.contains("descriptor 0"), "{}", end.stderr);
}

#[test]
fn a_unix_socket_works_as_a_first_class_address() {
    let directory = Directory::new();
    let mut server = Server::probe().bind(Address::unix(&directory.join("socket"))).start();
    let peer = server.get("/peer").text();
    assert!(peer.contains("trusted=true"), "{peer}");
    let old = server.workers();
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_replaced(&old, 1);
    assert_eq!(server.get("/").text(), "hello");
    server.stop();
}
