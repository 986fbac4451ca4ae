//! Templates in the fake kernel: they load, hang, crash and are killed, and fork workers or do not.

use std::time::Duration;

use super::{Death, Expected, Happening, MILLISECOND, Quality, SECOND, Verdict, World};
use crate::arbiter::children::{Generation, Status};
use crate::arbiter::decision::{Action, Event, Policy, Sent};
use crate::clock::Moment;

#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) pid: i32,
    generation: Generation,
    /// It takes orders and does nothing about them.
    mute: bool,
    /// It takes notice of nothing but KILL.
    deaf: bool,
    boot_by: Option<Moment>,
    kill_by: Option<Moment>,
    /// The arbiter has heard that it is ready.
    ready: bool,
    /// The arbiter has told it to go.
    leaving: bool,
    killed: bool,
    dead: bool,
}

/// A worker that a template was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) nr: usize,
    template: i32,
    generation: Generation,
    quality: Quality,
    policy: Policy,
    /// When the arbiter must have lost its patience.
    by: Moment,
}

impl Template {
    fn limit(&mut self, deadline: Moment) {
        self.kill_by = Some(self.kill_by.map_or(deadline, |old| old.min(deadline)));
    }
}

/// What the arbiter decides.
impl World {
    /// Performs what concerns templates; `None` if it does not.
    pub(super) fn perform_on_templates(&mut self, action: &Action) -> Result<Option<Option<Event>>, String> {
        let now = self.now;
        match *action {
            Action::ForkTemplate { generation } => self.fork_template(generation).map(|event| Some(Some(event))),
            Action::Ask { template, nr, generation } => self.order(template, nr, generation).map(|()| Some(None)),
            Action::Send { pid, signal } => {
                let Some(template) = self.find_template(pid) else { return Ok(None) };
                let hears = !template.deaf;
                match signal {
                    Sent::Kill => {
                        template.killed = true;
                        self.later(10 * MILLISECOND, Happening::TemplateDies(pid, Death::Signal(9)));
                    }
                    Sent::Abort => {
                        template.leaving = true;
                        template.limit(now + Duration::from_millis(2100));
                        if hears {
                            self.later(50 * MILLISECOND, Happening::TemplateDies(pid, Death::Signal(6)));
                        }
                    }
                    Sent::Reopen | Sent::Quit => {}
                }
                Ok(Some(None))
            }
            Action::Stop { pid } => {
                let Some(template) = self.find_template(pid) else { return Ok(None) };
                let (again, hears) = (template.leaving, !template.deaf);
                template.leaving = true;
                template.limit(now + Duration::from_secs(2));
                let generation = template.generation;
                if hears {
                    self.later(100 * MILLISECOND, Happening::TemplateDies(pid, Death::Code(0)));
                }
                self.check(!again, "stopped a template twice")?;
                self.check(self.stopping || !self.needs_template(generation), "stopped a template that is needed")?;
                Ok(Some(None))
            }
            _ => Ok(None),
        }
    }

    fn needs_template(&self, generation: Generation) -> bool {
        let preloads = self.qualities.get(&generation).is_some_and(|(_, policy)| policy.preload);
        let mut cohorts = [Some(self.current), self.fallback].into_iter().flatten();
        let needs = |cohort: Expected| cohort.target > 0 || (cohort.workers == 0 && !self.paused);
        preloads && cohorts.any(|cohort| cohort.generation == generation && needs(cohort))
    }

    fn fork_template(&mut self, generation: Generation) -> Result<Event, String> {
        self.check(!self.stopping, "forked a template while stopping")?;
        let twice = |template: &Template| template.generation == generation && !template.leaving;
        self.check(!self.templates.iter().any(twice), "two templates for a generation")?;
        let Some((quality, policy)) = self.qualities.get(&generation).copied() else {
            return Err("forked a template for a generation that was dropped".to_owned());
        };
        self.check(policy.preload, "forked a template that nobody needs")?;
        if self.fork_fails()? {
            return Ok(Event::TemplateForkFailed { errno: libc::EAGAIN });
        }
        let pid = self.next_pid;
        self.next_pid += 1;
        self.templates.push(Template {
            pid,
            generation,
            mute: self.chaos && self.random.below(8) == 0,
            deaf: self.chaos && self.random.below(8) == 0,
            boot_by: policy.boot_timeout.map(|timeout| self.now + timeout),
            kill_by: None,
            ready: false,
            leaving: false,
            killed: false,
            dead: false,
        });
        let boot = self.now
            + Duration::from_nanos(self.random.below(match quality {
                Quality::SlowBoot => 40 * SECOND,
                _ => 50 * MILLISECOND,
            }));
        match quality {
            Quality::Flaky if self.random.below(2) == 0 => self.at(boot, Happening::TemplateDies(pid, Death::Code(1))),
            Quality::BootFails(code) if code >= 0 => self.at(boot, Happening::TemplateDies(pid, Death::Code(code))),
            Quality::BootFails(code) => self.at(boot, Happening::TemplateDies(pid, Death::Signal(-code))),
            Quality::BootHangs if policy.boot_timeout.is_none() => {
                self.later(100 * SECOND, Happening::TemplateDies(pid, Death::Code(1)));
            }
            Quality::BootHangs => {}
            _ => self.at(boot, Happening::TemplateIsReady(pid)),
        }
        Ok(Event::TemplateForked { generation, pid })
    }

    fn order(&mut self, pid: i32, nr: usize, generation: Generation) -> Verdict {
        self.check(!self.stopping, "ordered a worker while stopping")?;
        self.check(self.processes.iter().all(|process| process.nr != nr), "a slot for two")?;
        let twice = |order: &super::templates::Order| order.nr == nr || order.generation == generation;
        self.check(!self.orders.iter().any(twice), "ordered two workers at once")?;
        let Some((quality, policy)) = self.qualities.get(&generation).copied() else {
            return Err("ordered a worker of a generation that was dropped".to_owned());
        };
        let (fails, chaos) = (self.forks_fail, self.chaos);
        let Some(template) = self.find_template(pid).filter(|template| template.generation == generation) else {
            return Err("ordered a worker from a stranger".to_owned());
        };
        let (able, mute) = (template.ready && !template.leaving, template.mute);
        self.check(able, "ordered a worker from a template that is not ready")?;
        let by = self.now + Duration::from_secs(10);
        self.orders.push(Order { nr, template: pid, generation, quality, policy, by });
        match self.random.below(16) {
            _ if mute => {}
            _ if fails => self.later(10 * MILLISECOND, Happening::OrderFails(nr, pid)),
            0 if chaos => self.later(10 * MILLISECOND, Happening::StillBorn(nr, pid)),
            _ => self.later(10 * MILLISECOND, Happening::Born(nr, pid)),
        }
        Ok(())
    }
}

/// What happens.
impl World {
    pub(super) fn happen_to_templates(&mut self, happening: Happening) -> Verdict {
        let now = self.now;
        match happening {
            Happening::TemplateIsReady(pid) => {
                let Some(template) = self.find_template(pid) else { return Ok(()) };
                if !template.leaving {
                    template.ready = true;
                    template.boot_by = None;
                }
                self.deliver(Event::TemplateReady { pid })
            }
            Happening::TemplateCloses(pid) => {
                let Some(template) = self.find_template(pid) else { return Ok(()) };
                let soon = now + Duration::from_secs(2);
                if template.ready || template.leaving {
                    template.limit(soon);
                } else {
                    template.boot_by = Some(template.boot_by.map_or(soon, |by| by.min(soon)));
                }
                self.deliver(Event::ChannelClosed { pid })
            }
            Happening::TemplateDies(pid, death) => {
                let Some(template) = self.find_template(pid).filter(|template| !template.dead) else { return Ok(()) };
                template.dead = true;
                self.later(5 * MILLISECOND, Happening::TemplateReap(pid, death));
                Ok(())
            }
            Happening::TemplateReap(pid, death) => self.reap_template(pid, death.into()),
            Happening::Born(nr, template) => match self.take_order(nr, template) {
                Some(order) => self.be_born(order),
                None => Ok(()),
            },
            Happening::StillBorn(nr, template) => match self.take_order(nr, template) {
                Some(_) => self.unborn(nr),
                None => Ok(()),
            },
            Happening::OrderFails(nr, template) => match self.take_order(nr, template) {
                Some(_) => self.deliver(Event::ForkFailed { nr, errno: libc::EAGAIN }),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn reap_template(&mut self, pid: i32, status: Status) -> Verdict {
        let generation = self.current.generation;
        let boots = |template: &&Template| template.pid == pid && !template.ready && !template.leaving;
        let failed = self.templates.iter().find(boots).is_some_and(|template| template.generation == generation);
        let mut hopeless = false;
        if failed && !self.current.proven && !self.stopping {
            self.current.failures += 1;
            let told = matches!(status, Status::Code(3 | 4));
            hopeless = self.fallback.is_some() && (self.current.failures >= 3 || told);
        }
        self.templates.retain(|template| template.pid != pid);
        let may_halt = !self.ever_ready && (self.predecessor || matches!(status, Status::Code(3 | 4)));
        self.code = if may_halt { 3 } else { 0 };
        self.deliver(Event::Exited { pid, status })?;
        self.code = 0;
        self.check(!hopeless || self.current.generation != generation, "a hopeless generation is not given up")?;
        // What it was asked for has come to be before it died, or never will.
        while let Some(order) = self.orders.iter().find(|order| order.template == pid).copied() {
            self.take_order(order.nr, pid);
            match self.random.below(4) {
                0 => self.be_born(order)?,
                _ => self.unborn(order.nr)?,
            }
        }
        Ok(())
    }

    fn be_born(&mut self, order: Order) -> Verdict {
        // It was forked.
        self.failed_fork = None;
        let event = self.spawn(order.nr, order.generation, order.quality, order.policy);
        self.deliver(event)
    }

    fn unborn(&mut self, nr: usize) -> Verdict {
        self.code = if !self.ever_ready && self.predecessor { 3 } else { 0 };
        self.deliver(Event::Unborn { nr })?;
        self.code = 0;
        Ok(())
    }

    fn take_order(&mut self, nr: usize, template: i32) -> Option<Order> {
        let position = self.orders.iter().position(|order| order.nr == nr && order.template == template)?;
        Some(self.orders.remove(position))
    }

    pub(super) fn find_template(&mut self, pid: i32) -> Option<&mut Template> {
        self.templates.iter_mut().find(|template| template.pid == pid)
    }

    pub(super) fn template_fault(&mut self) -> Verdict {
        let position = self.random.below(self.templates.len() as u64) as usize;
        let Some(pid) = self.templates.get(position).map(|template| template.pid) else { return Ok(()) };
        match self.random.below(6) {
            0 => self.happen(Happening::TemplateDies(pid, Death::Signal(9))),
            1 => self.happen(Happening::TemplateDies(pid, Death::Signal(11))),
            2 => self.happen(Happening::TemplateDies(pid, Death::Code(0))),
            3 => self.happen(Happening::TemplateCloses(pid)),
            _ => {
                if let Some(template) = self.find_template(pid) {
                    template.mute = !template.mute;
                }
                Ok(())
            }
        }
    }
}

/// What must be true.
impl World {
    pub(super) fn check_templates(&self) -> Verdict {
        let past = |due: Option<Moment>| self.is_past(due);
        for template in self.templates.iter().filter(|template| !template.killed && !self.exited) {
            self.check(!past(template.kill_by), "a template outlives its deadline")?;
            self.check(template.leaving || !past(template.boot_by), "a template boots for too long")?;
            let stuck = |order: &Order| order.template == template.pid && past(Some(order.by));
            let waits = self.orders.iter().any(stuck);
            self.check(!waits || template.leaving || template.kill_by.is_some(), "a template is stuck for too long")?;
        }
        Ok(())
    }

    /// In the end, there is the one template that the workers were forked from, or none.
    pub(super) fn check_settled_templates(&self) -> Verdict {
        self.check(self.orders.is_empty(), "a worker is still waited for")?;
        let needed = self.needs_template(self.current.generation);
        self.check(self.templates.len() == usize::from(needed), "not the right number of templates")?;
        let able =
            |template: &Template| template.generation == self.current.generation && template.ready && !template.leaving;
        self.check(self.templates.iter().all(able), "the template is not able")
    }
}
