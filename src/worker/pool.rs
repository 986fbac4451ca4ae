//! The threads of a worker that has several to call the application with.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::engine::Engine;
use super::world::World;
use crate::app::ThreadLife;
use crate::channel::{Channel, Message};

/// As much as a main thread has, as a rule.
const STACK: usize = 8 << 20;

/// How application threads tell the main thread that the worker is at its end.
#[derive(Debug)]
pub(crate) struct Finish {
    bell: EventFd,
    done: AtomicBool,
    failed: AtomicBool,
}

impl Finish {
    pub(crate) fn new() -> io::Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { bell, done: AtomicBool::new(false), failed: AtomicBool::new(false) })
    }

    fn tell(&self, place: &AtomicBool) {
        place.store(true, Ordering::Release);
        // It is refused only when it was told 2^64 times.
        let _ = self.bell.write(1);
    }

    /// Tells it if a draining worker has no connections any more.
    pub(crate) fn tell_if_done(&self, engine: &Engine, world: &mut World) {
        if world.draining && engine.is_finished(world) {
            self.tell(&self.done);
        }
    }

    /// The exit code, if it is over.
    pub(crate) fn code(&self) -> Option<i32> {
        if self.failed.load(Ordering::Acquire) {
            return Some(1);
        }
        self.done.load(Ordering::Acquire).then_some(0)
    }
}

/// Readable when it is over.
impl AsFd for Finish {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// Starts an application thread. It ends with the process only: whoever waited for it might wait for a call without end.
///
/// # Errors
/// The system has no room for another thread.
pub(crate) fn start(
    engine: Arc<Engine>,
    mut world: World,
    life: ThreadLife,
    channel: &Arc<Channel>,
    finish: &Arc<Finish>,
) -> io::Result<()> {
    let (channel, finish) = (Arc::clone(channel), Arc::clone(finish));
    let name = format!("application {}", world.thread);
    let run = move || life(&mut || run(&engine, &mut world, &channel, &finish));
    std::thread::Builder::new().name(name).stack_size(STACK).spawn(run).map(drop)
}

fn run(engine: &Engine, world: &mut World, channel: &Channel, finish: &Finish) {
    world.serve_here();
    loop {
        match engine.turn(world, None) {
            Ok(turned) => {
                if turned.swallowed {
                    tell_siblings(channel);
                }
                finish.tell_if_done(engine, world);
            }
            Err(error) => {
                log::error!("The event loop has failed: {error}");
                return finish.tell(&finish.failed);
            }
        }
    }
}

/// Has the siblings look into the accept queues.
pub(crate) fn tell_siblings(channel: &Channel) {
    // An arbiter that does not listen is gone, and so are the siblings.
    let _ = channel.send(Message::Look);
}
