//! How many connections a wake of the listener takes.

use super::*;
use crate::worker::handover::Ends;

const CLOSES: &str = "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const STAYS: &str = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";

/// The most requests that one turn has answered of 16 that were there before, each on a connection of its own, while so many
/// siblings are in the midst of calls and so many have nothing to do.
fn most_in_one_turn(request: &str, busy: usize, idle: usize) -> u64 {
    most_in_one_turn_of(Box::new(Routes::default()), request, busy, idle)
}

fn most_in_one_turn_of(application: Box<dyn Application>, request: &str, busy: usize, idle: usize) -> u64 {
    let bind = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let listener = Listener::bind(&bind, &listener::Policy { backlog: 128, socket_mode: 0o660, owner: None }).unwrap();
    let Address::Ip(address) = *listener.local() else { panic!("not a TCP listener") };
    let slots: &'static [Slot] = crate::sys::shared_slots(8).unwrap();
    for (number, slot) in slots.iter().enumerate().take(1 + busy + idle) {
        slot.begin_threads(1);
        slot.set_idle((number > busy).then_some(0));
    }
    let handover = Handover::new(Ends::new().unwrap(), slots, 0);
    let policy = Policy::from(&Settings::default());
    let (engine, common) = engine_beside(Some(handover), &slots[0], &listener, policy, 1, false);
    let mut world = World::new(application, 0, common);
    engine.start().unwrap();
    let clients: Vec<_> = (0..16)
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

/// The same, of the first attempt that comes to `enough`: on a busy machine the clock may move on within any turn.
fn most_while_the_clock_stands_still(request: &str, busy: usize, idle: usize, enough: u64) -> u64 {
    let end = Instant::now() + DEADLINE;
    loop {
        let most = most_in_one_turn(request, busy, idle);
        if most >= enough || Instant::now() > end {
            return most;
        }
    }
}

#[test]
fn connections_that_end_at_once_are_served_together() {
    assert!(most_while_the_clock_stands_still(CLOSES, 0, 1, 4) >= 4);
}

#[test]
fn connections_that_stay_are_taken_one_by_one_while_a_sibling_idles() {
    assert_eq!(most_in_one_turn(STAYS, 0, 1), 1);
    assert_eq!(most_in_one_turn(STAYS, 2, 1), 1);
}

#[test]
fn connections_that_stay_are_taken_together_where_nobody_idles() {
    assert!(most_while_the_clock_stands_still(STAYS, 0, 0, 15) >= 15);
    assert_eq!(most_while_the_clock_stands_still(STAYS, 3, 0, 8), 8, "the others of four have their share");
}

/// Each of its calls lasts until the clock has moved on.
struct Slow;

impl Application for Slow {
    fn call(&mut self, _: &Request<'_>, reply: Reply<'_>) {
        let began = crate::sys::now_coarse();
        while crate::sys::now_coarse() == began {
            std::thread::yield_now();
        }
        reply.send(Response::text("slow"));
    }
}

#[test]
fn new_connections_do_not_keep_others_waiting_for_several_slow_calls() {
    assert_eq!(most_in_one_turn_of(Box::new(Slow), STAYS, 0, 0), 1);
    assert_eq!(most_in_one_turn_of(Box::new(Slow), CLOSES, 0, 0), 1);
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
