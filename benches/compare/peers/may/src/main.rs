//! may_minihttp with one worker: `peer-may PORT`. It does not know `Connection: close`.

use std::io;

use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};

struct Hello;

impl HttpService for Hello {
    fn call(&mut self, _request: Request, response: &mut Response) -> io::Result<()> {
        response.header("Content-Type: text/plain; charset=utf-8").body("Hello, World!");
        Ok(())
    }
}

struct PerConnection;

impl HttpServiceFactory for PerConnection {
    type Service = Hello;

    fn new_service(&self, _id: usize) -> Hello {
        Hello
    }
}

fn main() -> io::Result<()> {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("usage: peer-may PORT");
    // Stack sizes count words: 32 KiB, enough for a service that does nothing.
    let config = may::config();
    config.set_workers(1).set_pool_capacity(1000).set_stack_size(0x1000);
    config.set_worker_pin(false);
    let server = PerConnection.start(("127.0.0.1", port))?;
    server.join().map_err(|_| io::Error::other("the server's coroutine panicked"))
}
