//! Connections that move from one worker to another.

use super::*;
use crate::worker::core::Accepting;
use crate::worker::handover::Ends;

const GET: &[u8] = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";

/// Two workers that have a listener and a channel in common, on one thread.
struct Siblings {
    address: SocketAddr,
    engines: [Engine; 2],
    worlds: [World; 2],
}

impl Siblings {
    fn start() -> Self {
        let bind = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
        let listener =
            Listener::bind(&bind, &listener::Policy { backlog: 8, socket_mode: 0o660, owner: None }).unwrap();
        let Address::Ip(address) = *listener.local() else { panic!("not a TCP listener") };
        let slots: &'static [Slot] = crate::sys::shared_slots(2).unwrap();
        let ends = Ends::new().unwrap();
        let workers = [0, 1].map(|nr| {
            let slot = &slots[nr];
            let handover = Handover::new(ends.try_clone().unwrap(), slots, nr);
            let policy = Policy::from(&Settings::default());
            let (engine, common) = engine_beside(Some(handover), slot, &listener, policy, 1, false);
            let world = World::new(Box::new(Routes::default()), 0, common);
            engine.start().unwrap();
            (engine, world)
        });
        let [(first, one), (second, other)] = workers;
        Self { address, engines: [first, second], worlds: [one, other] }
    }

    /// One turn of one of them, which has something to do.
    fn turn(&mut self, nr: usize) {
        self.engines[nr].turn(&mut self.worlds[nr], Some(DEADLINE)).unwrap();
    }

    /// So many connections that the first of them has answered once.
    fn connect(&mut self, count: usize) -> Vec<Client> {
        let accept = |_| {
            let mut client = Client { socket: TcpStream::connect(self.address).unwrap(), received: Vec::new() };
            client.socket.set_read_timeout(Some(DEADLINE)).unwrap();
            client.send(GET);
            let answered = self.worlds[0].requests + 1;
            while self.worlds[0].requests < answered {
                self.turn(0);
            }
            client.answer();
            client
        };
        (0..count).map(accept).collect()
    }
}

/// Whether the first of two workers gives one of two requests to its sibling, which sleeps.
fn gives_work_away(drains: bool) -> bool {
    let mut siblings = Siblings::start();
    let mut clients = siblings.connect(3);
    if drains {
        let (engine, world) = (&siblings.engines[0], &mut siblings.worlds[0]);
        engine.drain(world, Drain::Stop);
    }
    siblings.worlds[1].slot.set_idle(Some(0));
    // It is looked for once in a tick of this clock.
    let tick = crate::sys::now_coarse();
    while crate::sys::now_coarse() == tick {
        std::thread::yield_now();
    }
    clients.iter_mut().for_each(|client| client.send(GET));
    let all = siblings.worlds[0].requests + 3;
    while siblings.worlds[0].requests < all {
        siblings.turn(0);
        if siblings.engines[1].handover.as_ref().unwrap().take().unwrap().is_some() {
            return true;
        }
    }
    false
}

#[test]
fn a_worker_that_drains_gives_no_work_to_siblings_that_may_do_so_too() {
    assert!((0..10).all(|_| !gives_work_away(true)));
    let end = Instant::now() + DEADLINE;
    while !gives_work_away(false) {
        assert!(Instant::now() < end, "one that does not drain gives none away, either");
    }
}

#[test]
fn a_server_that_stops_serves_what_one_worker_has_handed_over_while_others_have_connections() {
    let mut siblings = Siblings::start();
    let mut clients = siblings.connect(1);
    let (engine, world) = (&siblings.engines[1], &mut siblings.worlds[1]);
    engine.drain(world, Drain::Stop);
    assert_eq!(engine.core().accepting, Accepting::Ended);
    let (engine, world) = (&siblings.engines[0], &mut siblings.worlds[0]);
    engine.drain(world, Drain::Retire);
    assert_eq!(engine.connections(), 0, "it is handed over");
    clients[0].send(GET);
    let end = Instant::now() + DEADLINE;
    while siblings.worlds[1].requests == 0 {
        assert!(Instant::now() < end, "nobody takes it");
        siblings.turn(1);
    }
    assert!(clients[0].answer().head.contains("Connection: close"));
}
