//! What an application leaves for after its response.

use std::sync::Mutex;

use super::*;
use crate::app::Parts;
use crate::protocol::Length;
use crate::scoreboard::Slot;

/// Notes when it is dropped whether the worker's slot says that the application is being called.
struct Look {
    slot: &'static Slot,
    in_call: Arc<Mutex<Option<bool>>>,
}

impl Drop for Look {
    fn drop(&mut self) {
        *self.in_call.lock().unwrap() = Some(self.slot.in_call_since().is_some());
    }
}

struct Leaves {
    slot: &'static Slot,
    in_call: Arc<Mutex<Option<bool>>>,
}

impl Application for Leaves {
    fn call(&mut self, _: &Request<'_>, reply: Reply<'_>) {
        let after: Box<dyn Send> = Box::new(Look { slot: self.slot, in_call: Arc::clone(&self.in_call) });
        let (fields, length) = (&mut std::iter::empty(), Length::Known(2));
        reply
            .send_parts(Parts {
                status: 200,
                reason: None,
                fields,
                lines: None,
                length,
                first: b"ok",
                rest: Body::Empty,
                after: Some(after),
            })
            .unwrap();
    }
}

#[test]
fn what_is_left_for_after_the_response_counts_as_a_call_that_may_take_too_long() {
    let bind = BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let listener = Listener::bind(&bind, &listener::Policy { backlog: 8, socket_mode: 0o660, owner: None }).unwrap();
    let Address::Ip(address) = *listener.local() else { panic!("not a TCP listener") };
    let (engine, common) = engine_of(&listener, Policy::from(&Settings::default()), 1);
    let (slot, in_call) = (common.slot, Arc::default());
    let mut world = World::new(Box::new(Leaves { slot, in_call: Arc::clone(&in_call) }), 0, common);
    engine.start().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    while in_call.lock().unwrap().is_none() {
        engine.turn(&mut world, Some(DEADLINE)).unwrap();
    }
    assert_eq!(*in_call.lock().unwrap(), Some(true));
    assert!(slot.in_call_since().is_none(), "it is over");
}
