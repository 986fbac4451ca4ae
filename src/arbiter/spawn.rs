//! How a worker's process comes to be.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::children::Generation;
use super::decision::Event;
use super::fork::{BOOT_FAILED, fork_from};
use super::{Arbiter, Plan};
use crate::app::Hook;
use crate::channel::Channel;
use crate::process;
use crate::scoreboard::Slot;
use crate::sys;
use crate::worker::{self, Surroundings};

impl Arbiter<'_> {
    /// Forks a worker; in the worker, it never returns.
    pub(super) fn fork(&mut self, nr: usize, generation: Generation) -> Event {
        match self.try_fork(nr, generation) {
            Ok(pid) => Event::Forked { nr, pid },
            Err(error) => Event::ForkFailed { nr, errno: error.raw_os_error().unwrap_or_default() },
        }
    }

    fn try_fork(&mut self, nr: usize, generation: Generation) -> io::Result<i32> {
        let (Some(plan), Some(slot)) = (self.plans.get(&generation).map(Rc::clone), self.scoreboard.get(nr)) else {
            debug_assert!(false, "no plan for generation {generation}, or no slot {nr}");
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (ours, theirs) = Channel::pair()?;
        slot.clear();
        self.age += 1;
        let age = self.age;
        plan.borrow_mut().factory.hook(Hook::PreFork { age });
        let forked = fork_from(&plan);
        if let Ok(None) = forked {
            drop(ours);
            self.be_worker(nr, generation, &mut plan.borrow_mut(), theirs, slot);
        }
        plan.borrow_mut().factory.hook(Hook::Forked { age, pid: forked.as_ref().ok().copied().flatten() });
        let pid = forked?.ok_or(io::ErrorKind::Other)?;
        self.workers.insert(pid, Some(ours));
        Ok(pid)
    }

    fn be_worker(
        &mut self,
        nr: usize,
        generation: Generation,
        plan: &mut Plan,
        channel: Channel,
        slot: &'static Slot,
    ) -> ! {
        let life = AssertUnwindSafe(|| {
            plan.factory.after_fork_child();
            self.forget();
            log::info!("Booting worker with pid: {}", process::pid());
            plan.factory.hook(Hook::PostFork { age: self.age });
            let listeners = std::mem::take(&mut self.sockets).into_listeners(generation, &plan.settings);
            match self.settle(generation, plan, "worker") {
                Ok(()) => {
                    let surroundings = Surroundings {
                        nr,
                        channel,
                        listeners: &listeners,
                        slot,
                        scoreboard: self.scoreboard,
                        handover: self.handover.take(),
                        settings: &plan.settings,
                    };
                    worker::run(surroundings, plan.factory.as_mut(), None)
                }
                Err(error) => {
                    log::error!("Worker (pid:{}) failed to boot: {error}", process::pid());
                    BOOT_FAILED
                }
            }
        });
        // The panic hook has printed what it was.
        let code = catch_unwind(life).unwrap_or(1);
        let _ = io::stdout().flush();
        sys::exit_now(code);
    }
}
