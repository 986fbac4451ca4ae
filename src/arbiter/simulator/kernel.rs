//! The fake kernel: does what the arbiter decides, checks that it may decide that, and makes up what becomes of workers.

use std::time::Duration;

use super::{
    Death, Expected, Happening, Hearing, MILLISECOND, Process, Quality, SECOND, World, some_policy, some_quality,
};
use crate::arbiter::children::Generation;
use crate::arbiter::decision::{Action, Event, Notification, Policy, Sent};
use crate::arbiter::notice::Notice;

impl World {
    pub(super) fn perform(&mut self, action: Action) -> Result<Option<Event>, String> {
        let now = self.now;
        if let Some(answer) = self.perform_on_templates(&action)? {
            return Ok(answer);
        }
        match action {
            Action::Fork { nr, generation } => return self.fork(nr, generation).map(Some),
            Action::Send { pid, signal } if Some(pid) == self.upgrade => {
                self.check(!self.upgrade_ready, "killed an upgrade that serves")?;
                if signal == Sent::Kill || self.random.below(2) == 0 {
                    self.later(SECOND, Happening::UpgradeDies(pid, Death::Signal(9)));
                }
            }
            Action::Send { pid, signal } => {
                let process = self.known(pid)?;
                let hears = process.hearing != Hearing::OnlyKill;
                match signal {
                    Sent::Kill => {
                        process.killed = true;
                        self.later(10 * MILLISECOND, Happening::Dies(pid, Death::Signal(9)));
                    }
                    Sent::Abort => {
                        process.aborted = true;
                        process.cancelled = false;
                        process.leaving = true;
                        process.limit(now + Duration::from_millis(2100));
                        if hears {
                            self.later(50 * MILLISECOND, Happening::Dies(pid, Death::Signal(6)));
                        }
                    }
                    Sent::Reopen | Sent::Quit => {}
                }
            }
            Action::Drain { pid, queue } => {
                let shared = self.predecessor || self.upgrade.is_some();
                self.check(!queue || !shared, "emptied a queue that others serve as well")?;
                let graceful = self.graceful_timeout();
                let process = self.known(pid)?;
                let (again, hears) = (process.leaving, process.hearing == Hearing::All && process.in_call.is_none());
                process.leaving = true;
                process.limit(now + graceful);
                let serving = self.processes.iter().filter(|process| process.ready && !process.leaving).count();
                self.check(serving >= self.current.target || self.stopping, "drained a worker that is needed")?;
                self.check(!again, "drained twice")?;
                if hears {
                    self.later(4 * SECOND, Happening::Dies(pid, Death::Code(0)));
                }
            }
            Action::Cancel { pid } => {
                let process = self.known(pid)?;
                let hears = process.hearing == Hearing::All && process.in_call.is_none();
                process.leaving = true;
                process.cancelled = true;
                process.limit(now + Duration::from_secs(2));
                if hears {
                    self.later(100 * MILLISECOND, Happening::Dies(pid, Death::Code(0)));
                }
            }
            Action::Stop { pid } => {
                let stopping = self.stopping;
                let process = self.known(pid)?;
                process.cancelled = false;
                let (needed, hears) =
                    (process.ready && !stopping, process.hearing != Hearing::OnlyKill && process.in_call.is_none());
                process.leaving = true;
                process.limit(now + Duration::from_secs(2));
                self.check(!needed, "stopped a worker that serves")?;
                if hears {
                    self.later(100 * MILLISECOND, Happening::Dies(pid, Death::Code(0)));
                }
            }
            Action::Inspect { pid, nr } => {
                let process = self.known(pid)?;
                let (right, in_call_since) = (process.nr == nr, process.in_call);
                self.check(right, "inspected the slot of another")?;
                let at_rest = (in_call_since.is_none() && !(self.chaos && self.random.below(8) == 0)).then_some(0);
                return Ok(Some(Event::Inspected { pid, in_call_since, at_rest }));
            }
            Action::Weigh { pid } => {
                let resident = if self.known(pid)?.bloated { 2000 } else { 500 };
                return Ok(Some(Event::Weighed { pid, resident }));
            }
            Action::MeasureQueues => {
                let queued = if self.chaos { self.random.below(3) as u32 } else { 0 };
                return Ok(Some(Event::Measured { queued }));
            }
            Action::SayLeaving { pid } => {
                self.known(pid)?.told = true;
                self.check(self.farewell.is_some(), "spoke of a stop that nobody asked for")?;
            }
            Action::Log(Notice::OldAge { pid }) => {
                let process = self.known(pid)?;
                process.spent = Some(now);
                let old = process.policy.lifetime.is_some_and(|lifetime| now.since(process.forked) >= lifetime);
                self.check(old, "replaced a worker that is not old")?;
            }
            Action::Log(Notice::TooLarge { pid, .. }) => {
                let bloated = self.known(pid)?.bloated;
                self.check(bloated, "killed a worker that is not too large")?;
            }
            Action::Log(Notice::Scaled { from, to, .. }) => {
                let Expected { target, workers, most, .. } = self.current;
                self.check(from == target && (workers..=most).contains(&to), "scaled out of bounds")?;
                self.check(most > workers && !self.paused && !self.stopping, "scaled without a reason")?;
                self.current.target = to;
            }
            Action::LoadSettings { generation } => return self.load(generation).map(Some),
            Action::Keep { generation } => {
                self.qualities.retain(|other, _| *other == generation);
                self.check(self.qualities.len() == 1, "keeps a generation that is not there")?;
            }
            Action::StopIncoming => {
                let shared = self.predecessor || self.upgrade.is_some();
                self.check(!shared && self.stopping, "stopped a queue that others serve as well")?;
            }
            Action::Upgrade => return self.start_upgrade().map(Some),
            Action::EndUpgrade => {
                self.check(self.upgrade.is_none(), "forgot an upgrade that is there")?;
                self.upgrade_ready = false;
            }
            Action::Promote => self.check(!self.predecessor, "promoted too early")?,
            Action::Notify(Notification::Stopping | Notification::Successor(_)) => {
                let asked = self.stopping || self.farewell.is_some();
                self.check(asked || self.code != 0, "stopped without a reason")?;
                self.stopping |= self.farewell.is_none();
            }
            Action::Notify(Notification::Ready) => self.check(self.ever_ready, "ready without a worker")?,
            Action::Log(Notice::GivenUp { generation }) => {
                self.check(generation == self.current.generation && !self.current.proven, "gave up what was proven")?;
                match self.fallback.take() {
                    Some(fallback) => self.current = fallback,
                    None => self.check(false, "gave up the only generation")?,
                }
            }
            Action::Exit(_) => {
                self.check(self.processes.is_empty() && self.templates.is_empty(), "left children behind")?;
                self.check(self.orders.is_empty(), "left a worker behind that is about to be born")?;
                self.check(self.stopping, "exited without a reason")?;
                self.exited = true;
            }
            Action::Log(_) | Action::Notify(Notification::Reloading) | Action::ReopenLogs => {}
            Action::ForkTemplate { .. } | Action::Ask { .. } => {}
        }
        Ok(None)
    }

    fn fork(&mut self, nr: usize, generation: Generation) -> Result<Event, String> {
        self.check(!self.stopping, "forked while stopping")?;
        self.check(self.processes.iter().all(|process| process.nr != nr), "a slot for two")?;
        let Some((quality, policy)) = self.qualities.get(&generation).copied() else {
            return Err("forked for a generation that was dropped".to_owned());
        };
        self.check(!policy.preload, "forked a worker without its template")?;
        if self.fork_fails()? {
            return Ok(Event::ForkFailed { nr, errno: libc::EAGAIN });
        }
        if generation == self.current.generation {
            let stays = |process: &&Process| !process.leaving && process.generation == generation;
            let (staying, target) = (self.processes.iter().filter(stays).count(), self.current.target);
            let spent = self.processes.iter().filter(stays).filter(|process| process.spent.is_some()).count();
            let limit = target + spent.min(self.policy().at_once(target));
            self.check(staying < limit, "more workers than there should be")?;
        }
        Ok(self.spawn(nr, generation, quality, policy))
    }

    /// Whether a fork fails, which must not be tried again at once.
    pub(super) fn fork_fails(&mut self) -> Result<bool, String> {
        if self.forks_fail {
            let soon = self.failed_fork.is_some_and(|failed| self.now.since(failed) < Duration::from_millis(100));
            self.check(!soon, "tried to fork again at once")?;
        }
        self.failed_fork = self.forks_fail.then_some(self.now);
        Ok(self.forks_fail)
    }

    /// Makes a worker.
    pub(super) fn spawn(&mut self, nr: usize, generation: Generation, quality: Quality, policy: Policy) -> Event {
        let pid = self.next_pid;
        self.next_pid += 1;
        let hearing = match self.random.below(16) {
            _ if !self.chaos => Hearing::All,
            0 => Hearing::OnlyKill,
            1 | 2 => Hearing::NoDrain,
            _ => Hearing::All,
        };
        self.processes.push(Process {
            pid,
            nr,
            generation,
            policy,
            hearing,
            boot_by: policy.boot_timeout.map(|timeout| self.now + timeout),
            halted: false,
            known_halted: None,
            in_call: None,
            forked: self.now,
            spent: None,
            bloated: false,
            told: false,
            dead: false,
            ready: false,
            leaving: false,
            cancelled: false,
            kill_by: None,
            aborted: false,
            killed: false,
        });
        self.boot(pid, quality, &policy);
        Event::Forked { nr, pid }
    }

    /// Decides what is going to become of a worker.
    fn boot(&mut self, pid: i32, quality: Quality, policy: &Policy) {
        let quality = match quality {
            // It is its template that fails, or has not.
            Quality::BootFails(_) | Quality::BootHangs if policy.preload => Quality::Good,
            Quality::Flaky if self.random.below(2) == 0 => Quality::BootFails(1),
            other => other,
        };
        let boot = match quality {
            Quality::SlowBoot => 40 * SECOND,
            _ => 50 * MILLISECOND,
        };
        let boot = self.now + Duration::from_nanos(self.random.below(boot));
        match quality {
            Quality::BootFails(code) if code >= 0 => return self.at(boot, Happening::Dies(pid, Death::Code(code))),
            Quality::BootFails(code) => return self.at(boot, Happening::Dies(pid, Death::Signal(-code))),
            Quality::BootHangs if policy.boot_timeout.is_none() => {
                return self.later(100 * SECOND, Happening::Dies(pid, Death::Code(1)));
            }
            Quality::BootHangs => return,
            _ => {}
        }
        self.at(boot, Happening::ReadyArrives(pid));
        let soon = boot + Duration::from_nanos(self.random.below(2 * SECOND));
        match quality {
            Quality::CrashesSoon => self.at(soon, Happening::Dies(pid, Death::Signal(11))),
            Quality::HangsSoon => self.at(soon, Happening::CallBegins(pid)),
            _ => {}
        }
    }

    fn load(&mut self, generation: Generation) -> Result<Event, String> {
        let early = self.last_load.is_some_and(|last| self.now.since(last) < Duration::from_millis(500));
        self.check(!early, "reloads pile up")?;
        self.check(!self.stopping, "reloaded while stopping")?;
        self.check(!self.qualities.contains_key(&generation), "a generation twice")?;
        self.last_load = Some(self.now);
        self.reload_wanted = false;
        if self.chaos && self.random.below(5) == 0 {
            return Ok(Event::SettingsFailed);
        }
        let policy = some_policy(&mut self.random, self.daemon);
        let quality = if self.chaos { some_quality(&mut self.random) } else { Quality::Good };
        self.qualities.insert(generation, (quality, policy));
        let mut expected = Expected::new(generation, &policy);
        if policy.most > policy.workers {
            expected.target = self.current.target.clamp(policy.first(), policy.most);
        }
        let old = std::mem::replace(&mut self.current, expected);
        if old.proven {
            self.fallback = Some(old);
        }
        self.paused = false;
        let rebound = self.random.below(3) == 0;
        Ok(Event::SettingsLoaded { generation, policy, rebound })
    }

    fn start_upgrade(&mut self) -> Result<Event, String> {
        self.check(self.upgrade.is_none() && !self.predecessor && !self.stopping, "an upgrade too many")?;
        if self.random.below(4) == 0 {
            return Ok(Event::UpgradeFailed);
        }
        let pid = self.next_pid;
        self.next_pid += 1;
        self.upgrade = Some(pid);
        self.upgrade_ready = false;
        match self.random.below(4) {
            0 => self.later(30 * SECOND, Happening::UpgradeDies(pid, Death::Code(3))),
            1 => self.later(SECOND, Happening::UpgradeIsLost),
            2 => {}
            _ => {
                self.later(10 * SECOND, Happening::UpgradeIsReady);
                self.later(60 * SECOND, Happening::UpgradeDies(pid, Death::Code(0)));
            }
        }
        Ok(Event::UpgradeStarted { pid })
    }
}
