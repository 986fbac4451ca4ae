//! What is common to the forks of the arbiter, whether a worker or a template comes of them.

use std::cell::RefCell;
use std::io;

use super::children::Generation;
use super::nursery::Nursery;
use super::{Arbiter, Plan};
use crate::process;
use crate::signals;
use crate::sys::{self, Fork};
use crate::systemd::Notifier;

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

/// In the new process.
impl Arbiter<'_> {
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
