//! How a worker's process comes to be.

use std::cell::RefCell;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::children::Generation;
use super::decision::Event;
use super::template::Nursery;
use super::{Arbiter, Plan};
use crate::app::Hook;
use crate::channel::Channel;
use crate::process;
use crate::scoreboard::Slot;
use crate::signals;
use crate::sys::{self, Fork};
use crate::systemd::Notifier;
use crate::worker::{self, Surroundings};

/// The exit code of a worker that cannot boot, as Gunicorn's.
pub(super) const BOOT_FAILED: i32 = 3;

/// Forks the arbiter's process, with the hooks of the application's factory; `None` in the child, all of whose signals are
/// blocked.
pub(super) fn fork_from(plan: &RefCell<Plan>) -> io::Result<Option<i32>> {
    let blocked = signals::block_all()?;
    plan.borrow_mut().factory.before_fork();
    let beside_threads = plan.borrow().factory.has_threads();
    let forked = if beside_threads { sys::fork_beside_threads() } else { sys::fork() };
    if matches!(forked, Ok(Fork::Child)) {
        blocked.keep();
        return Ok(None);
    }
    plan.borrow_mut().factory.after_fork_parent();
    drop(blocked);
    match forked? {
        Fork::Parent(pid) => Ok(Some(pid)),
        Fork::Child => Ok(None),
    }
}

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

    /// Closes what is the arbiter's.
    pub(super) fn forget(&mut self) {
        if let Some(signals) = self.signals.take() {
            signals.forget();
        }
        self.workers.clear();
        self.nursery = Nursery::default();
        self.predecessor = None;
        self.successor = None;
        self.pidfile = None;
        self.notifier = Notifier::default();
    }

    /// Makes the process what the settings want a worker to be, or a template, whose workers are the same.
    pub(super) fn settle(&self, generation: Generation, plan: &Plan, role: &str) -> io::Result<()> {
        let settings = &plan.settings;
        plan.set_title(role);
        if generation != self.followed {
            std::env::set_current_dir(&plan.directory)?;
        }
        if let Some(mask) = settings.umask {
            process::set_umask(mask);
        }
        for (name, value) in &settings.raw_env {
            sys::set_variable(name, value)?;
        }
        if let Some(identity) = &plan.identity {
            identity.assume()?;
        }
        process::forbid_new_privileges()?;
        // Only now: a change of the user clears it. If the arbiter has gone meanwhile, nobody tells us any more.
        sys::die_with_parent()?;
        if nix::unistd::getppid().as_raw() != self.pid {
            log::info!("Parent changed, shutting down: <{role} {}>", process::pid());
            sys::exit_now(0);
        }
        Ok(())
    }
}
