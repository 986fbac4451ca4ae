//! Templates: the processes that load the application once for a generation, and fork its workers (`preload_app`).
//!
//! A generation has one template at a time. Its workers are asked for, not forked: the answer comes later, or, if the
//! template has died meanwhile, when it is reaped. Workers outlive their template; another takes its place.

use super::super::children::{Cause, Child, Generation, Phase, Status};
use super::workers::abort;
use super::{Action, BOOT_DELAY, Cohort, Duration, KILLED_BOOTS, Moment, Notice, QUICK, STABLE, Sent, State, jittered};

/// The template of a generation, until it is reaped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    pub(super) pid: i32,
    generation: Generation,
    phase: Phase,
    /// Booting: when it must be ready. Else: when it is killed.
    deadline: Option<Moment>,
    killed: bool,
}

/// When a generation may have its next template.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NextTemplate {
    at: Moment,
    /// How many in a row have failed.
    failures: u32,
}

/// The longest delay after templates that crashed, but had been ready.
const CRASH_DELAY: Duration = Duration::from_secs(5);
/// How long a template may take to fork a worker.
const PATIENCE: Duration = Duration::from_secs(10);

impl Template {
    fn is_staying(&self) -> bool {
        !matches!(self.phase, Phase::Leaving(_))
    }

    fn limit(&mut self, deadline: Moment) {
        self.deadline = Some(self.deadline.map_or(deadline, |old| old.min(deadline)));
    }
}

/// What is asked for.
impl State {
    /// Whether a generation is to have a template: also while it has no workers because nobody comes.
    fn needs_template(&self, cohort: &Cohort) -> bool {
        let Cohort { policy, target, .. } = cohort;
        policy.preload && (*target > 0 || (policy.workers == 0 && !self.paused))
    }

    /// The generation that lacks its template, and when that may be forked.
    pub(super) fn next_template(&self) -> Option<(Moment, Generation)> {
        if self.stopping.is_some() || self.forks_now() {
            return None;
        }
        let cohorts = self.fallback.iter().chain([&self.current]).filter(|cohort| self.needs_template(cohort));
        let lacking = cohorts.filter(|cohort| self.template_of(cohort.generation).is_none());
        lacking.map(|cohort| (cohort.next_template.at.max(self.fork_retry), cohort.generation)).min()
    }

    fn template_of(&self, generation: Generation) -> Option<&Template> {
        self.templates.iter().find(|template| template.generation == generation && template.is_staying())
    }

    /// Who is to fork the workers of a generation; `None` if its template is not ready.
    pub(super) fn ready_template(&self, generation: Generation) -> Option<i32> {
        let ready = self.template_of(generation).filter(|template| matches!(template.phase, Phase::Ready(_)));
        ready.map(|template| template.pid)
    }

    /// When a worker that is asked for now must have begun.
    pub(super) fn patience(now: Moment) -> Moment {
        now + PATIENCE
    }

    /// Lets the templates go that no generation needs.
    pub(super) fn trim_templates(&mut self, now: Moment, out: &mut Vec<Action>) {
        let needed = [Some(&self.current), self.fallback.as_ref()]
            .map(|cohort| cohort.filter(|cohort| self.needs_template(cohort)).map(|cohort| cohort.generation));
        let idle = |template: &&mut Template| template.is_staying() && !needed.contains(&Some(template.generation));
        for template in self.templates.iter_mut().filter(idle) {
            leave(template, now, out);
        }
    }

    /// The server stops.
    pub(super) fn stop_templates(&mut self, now: Moment, out: &mut Vec<Action>) {
        for template in self.templates.iter_mut().filter(|template| template.is_staying()) {
            leave(template, now, out);
        }
    }

    pub(super) fn reopen_templates(&self, out: &mut Vec<Action>) {
        let living = self.templates.iter().filter(|template| !template.killed);
        out.extend(living.map(|template| Action::Send { pid: template.pid, signal: Sent::Reopen }));
    }
}

fn leave(template: &mut Template, now: Moment, out: &mut Vec<Action>) {
    template.phase = Phase::Leaving(Cause::Stopped);
    template.limit(now + QUICK);
    out.push(Action::Stop { pid: template.pid });
}

/// What becomes of it.
impl State {
    pub(super) fn template_forked(&mut self, now: Moment, generation: Generation, pid: i32, out: &mut Vec<Action>) {
        if self.forking_template.take() != Some(generation) {
            debug_assert!(false, "nobody asked for a template of generation {generation}");
            return;
        }
        self.forks_recovered(out);
        let cohort = self.cohort(generation);
        let deadline = cohort.and_then(|cohort| cohort.policy.boot_timeout).map(|timeout| now + timeout);
        self.templates.push(Template { pid, generation, phase: Phase::Booting, deadline, killed: false });
    }

    pub(super) fn template_fork_failed(&mut self, now: Moment, errno: i32, out: &mut Vec<Action>) {
        if self.forking_template.take().is_some() {
            self.forks_failed(now, errno, out);
        }
    }

    pub(super) fn template_ready(&mut self, now: Moment, pid: i32) {
        let booting = |template: &&mut Template| template.pid == pid && template.phase == Phase::Booting;
        if let Some(template) = self.templates.iter_mut().find(booting) {
            template.phase = Phase::Ready(now);
            template.deadline = None;
        }
    }

    /// A template that cannot be spoken to any more is about to end, or has to.
    pub(super) fn template_closed(&mut self, now: Moment, pid: i32) {
        if let Some(template) = self.templates.iter_mut().find(|template| template.pid == pid) {
            template.limit(now + QUICK);
        }
    }

    /// Whether the process that was reaped was a template.
    pub(super) fn template_reaped(&mut self, now: Moment, pid: i32, status: Status, out: &mut Vec<Action>) -> bool {
        let Some(position) = self.templates.iter().position(|template| template.pid == pid) else { return false };
        let template = self.templates.remove(position);
        if status != Status::Code(0) || template.is_staying() {
            out.push(Action::Log(Notice::TemplateGone { pid, status, own: template.killed }));
        }
        if self.stopping.is_some() {
            return true;
        }
        let generation = template.generation;
        let was_killed = status == Status::Signal(libc::SIGKILL);
        match template.phase {
            Phase::Booting if was_killed && self.is_proven(generation) && self.killed_boots < KILLED_BOOTS => {
                self.killed_boots += 1;
            }
            Phase::Booting | Phase::Leaving(Cause::BootOverdue) => {
                let overdue = template.phase == Phase::Leaving(Cause::BootOverdue);
                if !self.boot_has_failed(now, generation, overdue, status, out) {
                    self.retry_template(now, &template, BOOT_DELAY, out);
                }
            }
            Phase::Ready(since) if was_killed || now.since(since) >= STABLE => {
                if let Some(cohort) = self.cohort_mut(generation) {
                    cohort.next_template = NextTemplate { at: now, failures: 0 };
                }
            }
            Phase::Ready(_) | Phase::Leaving(Cause::Overdue) => {
                self.retry_template(now, &template, CRASH_DELAY, out);
            }
            Phase::Leaving(_) => {}
        }
        true
    }

    fn retry_template(&mut self, now: Moment, template: &Template, most: Duration, out: &mut Vec<Action>) {
        let Some(failures) = self.cohort(template.generation).map(|cohort| cohort.next_template.failures + 1) else {
            return;
        };
        let after = jittered(failures, most, &mut self.random);
        if let Some(cohort) = self.cohort_mut(template.generation) {
            cohort.next_template = NextTemplate { at: now + after, failures };
        }
        out.push(Action::Log(Notice::TemplateRetry { pid: template.pid, after }));
    }

    /// A worker that was asked for has not come to be: its template has died, or itself before it could say who it is.
    pub(super) fn unborn(&mut self, now: Moment, nr: usize, out: &mut Vec<Action>) {
        let Some(place) = self.take_place(nr) else { return };
        if self.stopping.is_some() || place.template != self.ready_template(place.generation) {
            return;
        }
        self.retried(now, &place);
        let child = Child {
            nr,
            pid: 0,
            generation: place.generation,
            phase: Phase::Booting,
            forked: now,
            failures: place.failures,
            timeout: None,
            deadline: None,
            check: None,
            spent: false,
            end_of_life: None,
            busy: false,
            at_rest: None,
            rested: false,
            halted: None,
            killed: false,
        };
        if !self.boot_has_failed(now, place.generation, false, Status::Code(1), out) {
            self.retry_later(now, &child, BOOT_DELAY, out);
        }
    }
}

/// Deadlines.
impl State {
    pub(super) fn templates_due(&self) -> Option<Moment> {
        let deadlines = self.templates.iter().filter(|template| !template.killed).filter_map(|it| it.deadline);
        deadlines.chain(self.forking.iter().filter_map(|place| place.answer_by)).min()
    }

    pub(super) fn tick_templates(&mut self, now: Moment, out: &mut Vec<Action>) {
        let is_due = |moment: Option<Moment>| moment.is_some_and(|moment| moment <= now);
        for template in self.templates.iter_mut().filter(|template| !template.killed && is_due(template.deadline)) {
            if template.phase == Phase::Booting {
                out.push(Action::Log(Notice::TemplateOverdue { pid: template.pid }));
                template.phase = Phase::Leaving(Cause::BootOverdue);
                template.deadline = Some(abort(template.pid, now, out));
            } else {
                template.killed = true;
                out.push(Action::Send { pid: template.pid, signal: Sent::Kill });
            }
        }
        for place in &mut self.forking {
            if place.answer_by.take_if(|by| *by <= now).is_none() {
                continue;
            }
            let stuck = |other: &&mut Template| Some(other.pid) == place.template && other.is_staying();
            if let Some(template) = self.templates.iter_mut().find(stuck) {
                out.push(Action::Log(Notice::TemplateStuck { pid: template.pid }));
                template.phase = Phase::Leaving(Cause::Overdue);
                // One that was about to be killed for something else has no more time than it had.
                let deadline = abort(template.pid, now, out);
                template.deadline = Some(template.deadline.map_or(deadline, |old| old.min(deadline)));
            }
        }
    }
}
