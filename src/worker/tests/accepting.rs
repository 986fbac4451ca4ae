//! How many connections a wake of the listener takes.

use super::*;

/// The most requests that one turn has answered of eight that were there before, each on a connection of its own.
fn most_in_one_turn(request: &str) -> u64 {
    let bind = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let listener = Listener::bind(&bind, &listener::Policy { backlog: 128, socket_mode: 0o660, owner: None }).unwrap();
    let Address::Ip(address) = *listener.local() else { panic!("not a TCP listener") };
    let (engine, common) = engine_of(&listener, Policy::from(&Settings::default()), 1);
    let mut world = World::new(Box::new(Routes::default()), 0, common);
    engine.start().unwrap();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.write_all(request.as_bytes()).unwrap();
            socket
        })
        .collect();
    let mut most = 0;
    while world.requests < clients.len() as u64 {
        let before = world.requests;
        engine.turn(&mut world, Some(DEADLINE)).unwrap();
        most = most.max(world.requests - before);
    }
    most
}

#[test]
fn connections_that_end_at_once_are_served_together_while_the_clock_stands_still() {
    // On a busy machine it may move on within a turn.
    let request = "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let end = Instant::now() + DEADLINE;
    while most_in_one_turn(request) < 4 {
        assert!(Instant::now() < end, "no turn took more than one or two");
    }
}

#[test]
fn connections_that_stay_are_taken_one_by_one_so_that_siblings_get_the_others() {
    assert_eq!(most_in_one_turn("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"), 1);
}

#[test]
fn a_draining_worker_does_not_end_while_another_of_its_threads_takes_a_connection() {
    let bind = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let listener = Listener::bind(&bind, &listener::Policy { backlog: 8, socket_mode: 0o660, owner: None }).unwrap();
    let (engine, common) = engine_of(&listener, Policy::from(&Settings::default()), 2);
    let mut world = World::new(Box::new(Routes::default()), 0, common);
    engine.start().unwrap();
    let key = engine.core().expect().unwrap();
    engine.drain(&mut world, Drain::Retire);
    assert_eq!(engine.core().expect(), None, "a connection is accepted after the end of accepting");
    assert!(!engine.is_finished(&mut world), "the connection is lost");
    engine.forget(key);
    assert!(engine.is_finished(&mut world));
}
