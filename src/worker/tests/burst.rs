//! Requests that are worked at together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use super::*;
use crate::app::Parts;
use crate::protocol::Length;
use crate::worker::pool::Finish;
use crate::worker::relief;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Where the clients' ends are watched from inside the calls.
#[derive(Default)]
struct Scene {
    clients: Mutex<Vec<TcpStream>>,
    /// How many clients had their answer when each call began.
    answered: Mutex<Vec<usize>>,
    /// Calls whose rest is not done.
    open: AtomicUsize,
    /// One of the calls is long.
    long: Option<Long>,
    engine: OnceLock<Arc<Engine>>,
}

/// A call that lasts until something has happened that the relief thread has to see to.
#[derive(Clone, Copy)]
enum Long {
    /// The second, until the first has been answered.
    Second,
    /// The first, until the requests that were read together with it are held for whoever may call.
    First,
}

impl Scene {
    fn answered(&self) -> usize {
        let mut byte = [0];
        self.clients.lock().unwrap().iter().filter(|client| matches!(client.peek(&mut byte), Ok(1))).count()
    }
}

struct Acts(Arc<Scene>);

struct Rest(Arc<Scene>);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Application for Acts {
    fn call(&mut self, _: &Request<'_>, reply: Reply<'_>) {
        let scene = &self.0;
        assert_eq!(scene.open.fetch_add(1, Ordering::Relaxed), 0, "a call began before the rest of another was done");
        let calls = {
            let answered = scene.answered();
            let mut calls = scene.answered.lock().unwrap();
            calls.push(answered);
            calls.len()
        };
        let end = Instant::now() + DEADLINE;
        let lasts = || match scene.long {
            Some(Long::Second) => calls == 2 && scene.answered() == 0,
            Some(Long::First) => calls == 1 && scene.engine.get().unwrap().core().held() < 2,
            None => false,
        };
        while lasts() {
            assert!(Instant::now() < end, "a request or an answer was kept for the time of a long call");
            std::thread::yield_now();
        }
        let (fields, length) = (&mut std::iter::empty(), Length::Known(2));
        let after: Option<Box<dyn Send>> = Some(Box::new(Rest(Arc::clone(scene))));
        let parts =
            Parts { status: 200, reason: None, fields, lines: None, length, first: b"ok", rest: Body::Empty, after };
        reply.send_parts(parts).unwrap();
    }
}

/// Three requests that are there when a turn begins, after calls of that length. How many of the clients had their answer
/// when each call began.
fn answered_before_calls(before: Duration, relief: bool, long: Option<Long>) -> Vec<usize> {
    let bind = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let listener = Listener::bind(&bind, &listener::Policy { backlog: 8, socket_mode: 0o660, owner: None }).unwrap();
    let Address::Ip(address) = *listener.local() else { panic!("not a TCP listener") };
    let (engine, common) = engine_with(&listener, Policy::from(&Settings::default()), 1, relief);
    let engine = Arc::new(engine);
    if relief {
        let channel = Arc::new(Channel::pair().unwrap().0);
        relief::start(&engine, World::relief(common.clone()), &channel, &Arc::new(Finish::new().unwrap())).unwrap();
    }
    let scene = Arc::new(Scene { long, ..Scene::default() });
    assert!(scene.engine.set(Arc::clone(&engine)).is_ok());
    let mut world = World::new(Box::new(Acts(Arc::clone(&scene))), 0, common);
    for _ in 0..4 {
        world.burst.measured(before);
    }
    engine.start().unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    while engine.connections() < clients.len() {
        engine.turn(&mut world, Some(DEADLINE)).unwrap();
    }
    *scene.clients.lock().unwrap() = clients.iter().map(|client| client.try_clone().unwrap()).collect();
    clients.iter_mut().for_each(|client| client.set_nonblocking(true).unwrap());
    clients.iter_mut().for_each(|client| client.write_all(GET).unwrap());
    let end = Instant::now() + DEADLINE;
    while scene.answered() < clients.len() {
        assert!(Instant::now() < end, "not all were answered");
        engine.turn(&mut world, Some(Duration::from_millis(10))).unwrap();
    }
    assert_eq!(scene.open.load(Ordering::Relaxed), 0);
    scene.answered.lock().unwrap().clone()
}

#[test]
fn answers_of_short_calls_leave_together_and_each_has_its_rest_done_before_the_next_call() {
    assert_eq!(answered_before_calls(Duration::from_micros(50), true, None), [0, 0, 0]);
}

#[test]
fn answers_of_long_calls_leave_at_once() {
    assert_eq!(answered_before_calls(Duration::from_millis(2), true, None), [0, 1, 2]);
}

#[test]
fn without_a_relief_thread_every_answer_leaves_at_once() {
    assert_eq!(answered_before_calls(Duration::from_micros(50), false, None), [0, 1, 2]);
}

#[test]
fn an_answer_that_is_kept_leaves_when_the_next_call_turns_out_to_be_long() {
    assert_eq!(
        answered_before_calls(Duration::from_micros(50), true, Some(Long::Second)).get(..2),
        Some([0, 0].as_slice())
    );
}

#[test]
fn requests_that_were_read_together_with_a_long_call_are_there_for_others_to_take() {
    let answered = answered_before_calls(Duration::from_micros(50), true, Some(Long::First));
    assert_eq!(answered.len(), 3);
}
