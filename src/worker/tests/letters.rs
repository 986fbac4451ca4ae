//! Answers that come from other threads.

use super::*;
use crate::worker::connection::Next;

#[test]
fn an_answer_that_comes_while_a_thread_has_the_connection_is_not_lost() {
    let bind = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let listener = Listener::bind(&bind, &listener::Policy { backlog: 8, socket_mode: 0o660, owner: None }).unwrap();
    let Address::Ip(address) = *listener.local() else { panic!("not a TCP listener") };
    let (engine, common) = engine_of(&listener, Policy::from(&Settings::default()), 1);
    let (sender, laters) = std::sync::mpsc::channel();
    let mut world = World::new(Box::new(Keeps(sender)), 0, common);
    engine.start().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let later = loop {
        engine.turn(&mut world, Some(DEADLINE)).unwrap();
        if let Ok(later) = laters.try_recv() {
            break later;
        }
    };
    let key = engine.core().keys()[0];
    let connection = engine.check_out(key).unwrap();
    later.send(Response::text("later"));
    engine.turn(&mut world, Some(DEADLINE)).unwrap();
    engine.check_in(&mut world, connection, Next::Wait);
    engine.turn(&mut world, Some(Duration::ZERO)).unwrap();
    client.set_nonblocking(true).unwrap();
    let mut answer = [0; 1000];
    let count = client.read(&mut answer).expect("it has been sent");
    assert!(answer[..count].ends_with(b"later"));
}

struct Keeps(std::sync::mpsc::Sender<Later>);

impl Application for Keeps {
    fn call(&mut self, _: &Request<'_>, reply: Reply<'_>) {
        self.0.send(reply.later()).unwrap();
    }
}
