//! How often an application is left idle that lets go of something then.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::clock::Moment;
use crate::worker::lead::Relieved;

/// Counts how often it is left idle.
struct Idles {
    count: Arc<AtomicUsize>,
    dearly: bool,
}

impl Application for Idles {
    fn call(&mut self, _: &Request<'_>, reply: Reply<'_>) {
        reply.send(Response::new(200).with_body("ok"));
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        self.count.fetch_add(1, Ordering::Relaxed);
        wait();
    }

    fn idles_dearly(&self) -> bool {
        self.dearly
    }
}

/// An engine, its world, how often the application was left idle, and where it listens.
fn idling(dearly: bool, threads: usize) -> (Engine, World, Arc<AtomicUsize>, SocketAddr, Listener) {
    let bind = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let listener = Listener::bind(&bind, &listener::Policy { backlog: 8, socket_mode: 0o660, owner: None }).unwrap();
    let Address::Ip(address) = *listener.local() else { panic!("not a TCP listener") };
    let (engine, common) = engine_of(&listener, Policy::from(&Settings::default()), threads);
    let count = Arc::new(AtomicUsize::new(0));
    let world = World::new(Box::new(Idles { count: Arc::clone(&count), dearly }), 0, common);
    engine.start().unwrap();
    (engine, world, count, address, listener)
}

/// Turns with always two requests at a time. Of each: whether the clock had moved since the turn before began, and how often
/// the application was left idle in it.
fn turns(dearly: bool, threads: usize) -> Vec<(bool, usize)> {
    let (engine, mut world, count, address, _listener) = idling(dearly, threads);
    let mut clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
    let mut noted = Vec::new();
    let mut before = world.now;
    while noted.len() < 1_000 {
        clients.iter_mut().for_each(|client| client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap());
        let answered = world.requests;
        while world.requests < answered + 2 {
            let (began, idled) = (world.now, count.load(Ordering::Relaxed));
            engine.turn(&mut world, Some(DEADLINE)).unwrap();
            noted.push((began != before, count.load(Ordering::Relaxed) - idled));
            before = began;
        }
        for client in &mut clients {
            let mut answer = [0; 1_024];
            assert!(client.read(&mut answer).unwrap() > 0);
        }
    }
    // The clients are served twice before they are looked at.
    noted.split_off(10)
}

#[test]
fn an_application_is_left_idle_once_in_a_tick_while_there_is_always_something_to_do() {
    let turns = turns(true, 1);
    assert!(turns.iter().any(|(_, idles)| *idles == 0), "never spared");
    assert!(turns.iter().all(|(moved, idles)| !moved || *idles == 1), "not left idle in a new tick: {turns:?}");
}

#[test]
fn an_application_is_always_left_idle_where_that_costs_nothing_or_others_wait() {
    for (dearly, threads) in [(false, 1), (true, 2)] {
        assert!(turns(dearly, threads).iter().all(|(_, idles)| *idles == 1), "dearly: {dearly}, threads: {threads}");
    }
}

/// One turn of a worker that has just had much to do, with a connection that waits to be accepted; how often it was left idle.
fn turn_with_a_connection(before: impl FnOnce(&Engine)) -> (Engine, World, usize) {
    let (engine, mut world, count, address, _listener) = idling(true, 1);
    let _client = TcpStream::connect(address).unwrap();
    before(&engine);
    world.has_idled(true);
    engine.turn(&mut world, Some(DEADLINE)).unwrap();
    let idles = count.load(Ordering::Relaxed);
    (engine, world, idles)
}

#[test]
fn a_look_without_a_wait_knows_since_when_connections_may_have_waited() {
    let long_ago = Moment::from_nanos(1);
    let (engine, world, idles) = turn_with_a_connection(|engine| engine.core().unwatched = Some(long_ago));
    assert_eq!((world.earlier, idles, engine.connections()), (long_ago, 0, 1));
    assert_eq!(engine.core().unwatched, None, "it is said once");
}

#[test]
fn a_leader_takes_the_lead_back_before_it_looks_for_more() {
    let (engine, world, idles) =
        turn_with_a_connection(|engine| assert_eq!(engine.lead.relieve(), Relieved::Leads, "nobody waits"));
    assert_eq!((engine.lead.is_led_by(world.thread), idles), (true, 1));
}
