//! Connections over unix sockets.

use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;

/// An engine that listens on a unix socket, and a client whose first request it has answered.
fn served() -> (Engine, World, UnixStream) {
    let path =
        std::env::temp_dir().join(format!("ferricorn-unix-{}-{:?}", std::process::id(), std::thread::current().id()));
    let bind = BindAddress::Unix(path.clone());
    let listener = Listener::bind(&bind, &listener::Policy { backlog: 8, socket_mode: 0o660, owner: None }).unwrap();
    let (engine, common) = engine_of(&listener, Policy::from(&Settings::default()), 1);
    let mut world = World::new(Box::new(Routes::default()), 0, common);
    engine.start().unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_nonblocking(true).unwrap();
    client.write_all(b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let end = Instant::now() + DEADLINE;
    let mut buffer = [0; 4096];
    while client.read(&mut buffer).is_err() {
        assert!(Instant::now() < end, "no answer");
        engine.turn(&mut world, Some(Duration::from_millis(1))).unwrap();
    }
    std::fs::remove_file(&path).unwrap();
    (engine, world, client)
}

#[test]
fn a_peer_that_reads_its_answer_wakes_nobody() {
    let (engine, _world, _client) = served();
    let mut fds = [PollFd::new(engine.fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::ZERO).unwrap(), 0, "there is nothing to do");
}

#[test]
fn a_peer_that_makes_room_gets_the_rest() {
    let (engine, mut world, mut client) = served();
    client.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (mut received, mut buffer) = (0, vec![0; 64 * 1024]);
    let end = Instant::now() + DEADLINE;
    while received < large().len() {
        assert!(Instant::now() < end, "{received} bytes came");
        // All that may make the engine go on is the room.
        engine.turn(&mut world, Some(Duration::from_millis(100))).unwrap();
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            received += count;
        }
    }
    let mut fds = [PollFd::new(engine.fd(), PollFlags::POLLIN)];
    engine.turn(&mut world, Some(Duration::ZERO)).unwrap();
    assert_eq!(poll(&mut fds, PollTimeout::ZERO).unwrap(), 0, "it is of no interest any more");
}
