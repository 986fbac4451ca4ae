//! The request that an application answers before it serves anybody: nobody has sent it, nobody reads the answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::policy::Policy;
use crate::app::reply::{Deferred, Exchange, Mailbox, Ticket};
use crate::app::{Address, Application, Body, Factory, Parts, Peer, Pull, Reply, Request, RequestBody, Response};
use crate::protocol::http1::{Http1, ResponseError};
use crate::protocol::{Event, Head};
use crate::settings::{BindAddress, Settings};

/// How long an answer may take if calls of the application may take for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has the application answer `GET target`, within the time that any call may take. What goes wrong is logged: the first real
/// request may do better.
pub(super) fn warm_up(factory: &mut dyn Factory, application: &mut dyn Application, target: &str, settings: &Settings) {
    let limit = settings.timeout.unwrap_or(PATIENCE);
    let mut answered = Err("the application did not answer");
    let overdue = factory.within(limit, &mut || answered = answer(application, target, settings, limit));
    match answered {
        _ if overdue => log::warn!("Warm-up request {target} took longer than {limit:?} and was given up"),
        Ok(status) if status < 400 => log::info!("Warm-up request {target} was answered with {status}"),
        Ok(status) => {
            log::warn!(
                "Warm-up request {target} was answered with {status}: what other requests need may not be warm (it was for \
                 the host {}; http://HOST/PATH names another)",
                split(target, settings).0
            );
        }
        Err(problem) => log::warn!("Warm-up request {target} failed: {problem}"),
    }
}

fn answer(
    application: &mut dyn Application,
    target: &str,
    settings: &Settings,
    limit: Duration,
) -> Result<u16, &'static str> {
    let end = Instant::now() + limit;
    let head = head(target, settings).ok_or("it cannot be a request")?;
    let loopback = |port| Address::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let peer = Peer { address: loopback(0), destination: None, trusted: true, secure: false };
    let local = loopback(port(settings));
    let mut answered = Answered::By(end);
    let request = Request::new(&head, &RequestBody::Empty, &peer, &local);
    let called = catch_unwind(AssertUnwindSafe(|| application.call(&request, Reply::new(&mut answered))));
    called.map_err(|_| "the application panicked")?;
    let status = match answered {
        Answered::With(status) => status?,
        Answered::Later(letters, _claim) => {
            let mut response = None;
            application
                .idle(&mut || response = letters.recv_timeout(end.saturating_duration_since(Instant::now())).ok());
            let mut response = response.ok_or("no answer came")?;
            drain(std::mem::take(&mut response.body), end)?;
            response.status
        }
        Answered::By(_) => return Err("the application did not answer"),
    };
    Ok(status)
}

/// A head as a client would send it.
fn head(target: &str, settings: &Settings) -> Option<Head> {
    let (host, target) = split(target, settings);
    let text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ferricorn-warmup\r\nAccept: */*\r\n\r\n");
    let mut head = Head::default();
    let progress = Http1::new().next_event(text.as_bytes(), &Policy::from(settings).limits, &mut head).ok()?;
    matches!(progress.event, Event::Request).then_some(head)
}

/// The host and the path that are asked for.
fn split<'t>(target: &'t str, settings: &Settings) -> (String, &'t str) {
    let named = target.strip_prefix("http://").and_then(|rest| rest.split_at_checked(rest.find('/')?));
    match named {
        Some((host, path)) => (host.to_owned(), path),
        None => (local_host(settings), target),
    }
}

fn local_host(settings: &Settings) -> String {
    match settings.bind.first().map(|bind| &bind.address) {
        Some(BindAddress::Tcp { port, .. }) => format!("localhost:{port}"),
        _ => "localhost".to_owned(),
    }
}

fn port(settings: &Settings) -> u16 {
    match settings.bind.first().map(|bind| &bind.address) {
        Some(BindAddress::Tcp { port, .. }) => *port,
        _ => 0,
    }
}

/// Takes a response to its end, which must come by then.
fn drain(body: Body, end: Instant) -> Result<(), &'static str> {
    let Body::Source(mut source) = body else { return Ok(()) };
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut out = Vec::new();
    loop {
        out.clear();
        match source.pull(&waker, &mut out) {
            Pull::End => return Ok(()),
            Pull::Failed => return Err("its body broke off"),
            Pull::More | Pull::Pending if Instant::now() >= end => return Err("its body did not come to an end"),
            Pull::More => {}
            Pull::Pending => thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What has become of the request.
enum Answered {
    /// Nothing yet; it must have been by then.
    By(Instant),
    With(Result<u16, &'static str>),
    Later(std::sync::mpsc::Receiver<Response>, Arc<()>),
}

impl Answered {
    fn end(&self) -> Instant {
        match self {
            Self::By(end) => *end,
            _ => Instant::now(),
        }
    }
}

impl Exchange for Answered {
    fn send(&mut self, response: &mut Response) {
        let status = response.status;
        *self = Self::With(drain(std::mem::take(&mut response.body), self.end()).map(|()| status));
    }

    fn send_parts(&mut self, parts: &mut Parts<'_, '_>) -> Result<(), ResponseError> {
        *self = Self::With(drain(std::mem::take(&mut parts.rest), self.end()).map(|()| parts.status));
        Ok(())
    }

    fn early_hints<'f>(&mut self, _: &mut dyn Iterator<Item = (&'f [u8], &'f [u8])>) -> Result<(), ResponseError> {
        Ok(())
    }

    fn defer(&mut self) -> Deferred {
        let (sender, receiver) = channel();
        let claim = Arc::default();
        let wanted = Arc::downgrade(&claim);
        *self = Self::Later(receiver, claim);
        Deferred { mailbox: Arc::new(Letter(Mutex::new(sender))), ticket: Ticket { key: 0, serial: 0 }, wanted }
    }
}

struct Letter(Mutex<Sender<Response>>);

impl Mailbox for Letter {
    fn answer(&self, _: Ticket, response: Response) {
        // Nobody waits any more if it comes too late.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(response);
    }

    fn redirect(&self, ticket: Ticket, target: String) {
        self.answer(ticket, Response::new(302).with_field("Location", target));
    }
}
