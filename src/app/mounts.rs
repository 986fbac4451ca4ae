//! Several applications in one server, each below a path of its own.
//!
//! The longest prefix that ends where a segment of the path does decides; what it has matched is no part of what the
//! application is asked for, but of where it is ([`Request::mount`]).

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::{Application, Factory, Hook, LoadError, Reply, Request, Response, ThreadLife, Watcher, percent};

/// Makes [`Mounts`].
pub struct MountsFactory {
    mounts: Vec<Mounted>,
}

/// What is mounted somewhere.
struct Mounted {
    /// The decoded segments of the prefix.
    segments: Vec<Vec<u8>>,
    factory: Box<dyn Factory>,
}

impl MountsFactory {
    /// Serves each application below its prefix, `/like/this`, decoded; with an empty one it answers for everything else.
    pub fn new(mounts: impl IntoIterator<Item = (String, Box<dyn Factory>)>) -> Self {
        let segments = |prefix: &str| -> Vec<Vec<u8>> {
            prefix.split('/').filter(|segment| !segment.is_empty()).map(|segment| segment.as_bytes().to_vec()).collect()
        };
        let mut mounts: Vec<_> =
            mounts.into_iter().map(|(prefix, factory)| Mounted { segments: segments(&prefix), factory }).collect();
        mounts.sort_by_key(|mounted| Reverse(mounted.segments.len()));
        Self { mounts }
    }

    /// Mounts what `make` has of each factory.
    fn mount(
        &mut self,
        mut make: impl FnMut(&mut dyn Factory) -> Result<Box<dyn Application>, LoadError>,
    ) -> Result<Box<dyn Application>, LoadError> {
        let mut known = Vec::new();
        let mount = |Mounted { segments, factory }: &mut Mounted| {
            Ok(Mount {
                segments: segments.clone(),
                idles: is_first(factory.host(), &mut known),
                application: make(factory.as_mut())?,
            })
        };
        Ok(Box::new(Mounts { mounts: self.mounts.iter_mut().map(mount).collect::<Result<_, LoadError>>()? }))
    }

    /// The factories whose hooks count: the first of those that share a [host](Factory::host), and all that have none.
    fn hosts(&mut self) -> impl Iterator<Item = &mut Box<dyn Factory>> {
        let mut known = Vec::new();
        self.mounts
            .iter_mut()
            .map(|mounted| &mut mounted.factory)
            .filter(move |factory| is_first(factory.host(), &mut known))
    }
}

/// Whether a host has not been seen before; what has none stands for itself.
fn is_first(host: Option<&'static str>, known: &mut Vec<&'static str>) -> bool {
    match host {
        Some(host) if known.contains(&host) => false,
        Some(host) => {
            known.push(host);
            true
        }
        None => true,
    }
}

impl Factory for MountsFactory {
    fn check(&mut self) -> Result<(), LoadError> {
        self.mounts.iter_mut().try_for_each(|mounted| mounted.factory.check())
    }

    fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
        self.mount(|factory| factory.load())
    }

    fn adopt(&mut self, mut application: Box<dyn Application>) -> Result<Box<dyn Application>, LoadError> {
        let mut loaded = application.take_apart().into_iter();
        self.mount(|factory| match loaded.next() {
            Some(application) => factory.adopt(application),
            None => factory.load(),
        })
    }

    fn thread_life(&self) -> ThreadLife {
        let mut known = Vec::new();
        let factories = self.mounts.iter().map(|mounted| &mounted.factory);
        let lives: Vec<_> = factories
            .filter(|factory| is_first(factory.host(), &mut known))
            .map(|factory| factory.thread_life())
            .collect();
        Arc::new(move |live| inside(&lives, live))
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        let mut hosts: Vec<_> = self.hosts().collect();
        idle_inside(&mut hosts, wait);
    }

    fn within(&mut self, limit: Duration, work: &mut dyn FnMut()) -> bool {
        // One interpreter is interrupted; there are never two.
        match self.mounts.iter_mut().find(|mounted| mounted.factory.host().is_some()) {
            Some(mounted) => mounted.factory.within(limit, work),
            None => {
                work();
                false
            }
        }
    }

    fn watcher(&mut self) -> Option<Box<dyn Watcher>> {
        self.hosts().find_map(|factory| factory.watcher())
    }

    fn ready(&mut self) {
        self.mounts.iter_mut().for_each(|mounted| mounted.factory.ready());
    }

    fn reopened(&mut self) {
        self.hosts().for_each(|factory| factory.reopened());
    }

    fn drain(&mut self) {
        self.mounts.iter_mut().for_each(|mounted| mounted.factory.drain());
    }

    fn exit(&mut self) {
        self.hosts().for_each(|factory| factory.exit());
    }

    fn has_threads(&self) -> bool {
        self.mounts.iter().any(|mounted| mounted.factory.has_threads())
    }

    fn before_fork(&mut self) {
        self.hosts().for_each(|factory| factory.before_fork());
    }

    fn after_fork_parent(&mut self) {
        self.hosts().for_each(|factory| factory.after_fork_parent());
    }

    fn after_fork_child(&mut self) {
        self.hosts().for_each(|factory| factory.after_fork_child());
    }

    fn hook(&mut self, hook: Hook) {
        self.mounts.iter_mut().for_each(|mounted| mounted.factory.hook(hook));
    }

    fn hooks_exec(&self) -> bool {
        self.mounts.iter().any(|mounted| mounted.factory.hooks_exec())
    }
}

impl std::fmt::Debug for MountsFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.mounts.iter().map(|mounted| &mounted.segments)).finish()
    }
}

/// Lives inside all of them, one in the other.
fn inside(lives: &[ThreadLife], live: &mut dyn FnMut()) {
    match lives.split_first() {
        Some((first, others)) => first(&mut || inside(others, live)),
        None => live(),
    }
}

/// Waits inside the `idle` of all of them, one in the other.
fn idle_inside(factories: &mut [&mut Box<dyn Factory>], wait: &mut dyn FnMut()) {
    match factories.split_first_mut() {
        Some((first, others)) => first.idle(&mut || idle_inside(others, wait)),
        None => wait(),
    }
}

struct Mount {
    segments: Vec<Vec<u8>>,
    application: Box<dyn Application>,
    /// Its `idle` is called round every wait; that of others would do the same again.
    idles: bool,
}

/// Applications below their paths.
pub struct Mounts {
    /// Those with most segments first.
    mounts: Vec<Mount>,
}

impl Application for Mounts {
    fn streams(&self, request: &Request<'_>) -> bool {
        let path = request.path_below();
        let found = self.mounts.iter().find_map(|mount| Some((length(&mount.segments, path)?, mount)));
        found.is_some_and(|(length, mount)| mount.application.streams(&request.mounted(request.mount().len() + length)))
    }

    fn call(&mut self, request: &Request<'_>, reply: Reply<'_>) {
        let path = request.path_below();
        let found = self.mounts.iter_mut().find_map(|mount| Some((length(&mount.segments, path)?, mount)));
        match found {
            Some((length, mount)) => mount.application.call(&request.mounted(request.mount().len() + length), reply),
            None => reply.send(Response::error(404)),
        }
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        idle(&mut self.mounts, wait);
    }

    fn idles_dearly(&self) -> bool {
        self.mounts.iter().any(|mount| mount.idles)
            && self.mounts.iter().all(|mount| !mount.idles || mount.application.idles_dearly())
    }

    fn take_apart(&mut self) -> Vec<Box<dyn Application>> {
        std::mem::take(&mut self.mounts).into_iter().map(|mount| mount.application).collect()
    }
}

impl std::fmt::Debug for Mounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.mounts.iter().map(|mount| &mount.segments)).finish()
    }
}

/// Waits inside the `idle` of all that have one, one in the other.
fn idle(mounts: &mut [Mount], wait: &mut dyn FnMut()) {
    let Some((first, others)) = mounts.split_first_mut() else { return wait() };
    if first.idles { first.application.idle(&mut || idle(others, wait)) } else { idle(others, wait) }
}

/// How many bytes of the path the prefix takes, if the path lies below it.
///
/// Segments are compared after they are decoded, so `/a%62c` lies below `/abc`, but `/a%2Fb` not below `/a/b`.
fn length(segments: &[Vec<u8>], path: &str) -> Option<usize> {
    let mut length = 0;
    let mut decoded = Vec::new();
    for segment in segments {
        let rest = path.get(length..)?.strip_prefix('/')?;
        let end = rest.find('/').unwrap_or(rest.len());
        let encoded = rest.get(..end)?;
        decoded.clear();
        percent::decode(encoded.as_bytes(), &mut decoded).ok()?;
        if decoded != *segment {
            return None;
        }
        length += 1 + end;
    }
    Some(length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::{MountsFactory, length};
    use crate::app::{Address, Application, Factory, Handler, LoadError, Peer, Reply, Request, RequestBody, Response};
    use crate::protocol::{Head, Limits, Machine, Protocol};

    struct Noting(&'static str, Rc<RefCell<Vec<&'static str>>>);

    impl Factory for Noting {
        fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
            Handler(|_: &Request<'_>| Response::default()).load()
        }

        fn adopt(&mut self, application: Box<dyn Application>) -> Result<Box<dyn Application>, LoadError> {
            self.1.borrow_mut().push(self.0);
            Ok(application)
        }
    }

    #[test]
    fn each_application_is_adopted_by_its_own_factory() {
        let notes = Rc::new(RefCell::new(Vec::new()));
        let mount =
            |name: &'static str| (name.to_owned(), Box::new(Noting(name, Rc::clone(&notes))) as Box<dyn Factory>);
        let mut factory = MountsFactory::new([mount("/a"), mount("/a/b"), mount("")]);
        let loaded = factory.load().unwrap();
        let mut adopted = factory.adopt(loaded).unwrap();
        assert_eq!(*notes.borrow(), ["/a/b", "/a", ""]);
        assert_eq!(adopted.take_apart().len(), 3);
    }

    /// Wants streams of what is below its mount at `/in`.
    struct Streaming;

    impl Application for Streaming {
        fn streams(&self, request: &Request<'_>) -> bool {
            request.path_below() == "/in"
        }

        fn call(&mut self, _: &Request<'_>, reply: Reply<'_>) {
            drop(reply);
        }
    }

    impl Factory for Streaming {
        fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
            Ok(Box::new(Self))
        }
    }

    #[test]
    fn the_application_that_answers_is_asked_whether_it_wants_a_stream() {
        let handler = Handler(|_: &Request<'_>| Response::default());
        let mounted: [(_, Box<dyn Factory>); 2] =
            [("/a".to_owned(), Box::new(Streaming)), (String::new(), Box::new(handler))];
        let application = MountsFactory::new(mounted).load().unwrap();
        let peer = Peer { address: Address::Unix(None), destination: None, trusted: true, secure: false };
        for (path, expected) in [("/a/in", true), ("/a/out", false), ("/in", false)] {
            let mut head = Head::default();
            let bytes = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
            Machine::new(Protocol::Http).next_event(bytes.as_bytes(), &Limits::default(), &mut head).unwrap();
            let request = Request::new(&head, &RequestBody::Empty, &peer, &peer.address);
            assert_eq!(application.streams(&request), expected, "{path}");
        }
    }

    #[test]
    fn a_prefix_takes_whole_segments() {
        let cases = [
            ("/", "/anything", Some(0)),
            ("/", "", Some(0)),
            ("/", "*", Some(0)),
            ("/a", "/a", Some(2)),
            ("/a", "/a/", Some(2)),
            ("/a", "/a/b", Some(2)),
            ("/a", "/ab", None),
            ("/a", "/", None),
            ("/a", "//a", None),
            ("/a", "*", None),
            ("/a/b", "/a/b/c", Some(4)),
            ("/a/b", "/a%2Fb", None),
            ("/a/b", "/a", None),
            ("/a b", "/a%20b/c", Some(6)),
            ("/abc", "/a%62c/d", Some(6)),
            ("/abc", "/a%6/d", None),
            ("/é", "/%c3%a9", Some(7)),
            ("/a", "/%61/../b", Some(4)),
        ];
        for (prefix, path, expected) in cases {
            let segments: Vec<_> =
                prefix.split('/').filter(|part| !part.is_empty()).map(|part| part.as_bytes().to_vec()).collect();
            assert_eq!(length(&segments, path), expected, "{prefix} {path}");
        }
    }
}
