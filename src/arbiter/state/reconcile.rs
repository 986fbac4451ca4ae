//! As many workers as there should be, of the right generation.

use super::workers::{cancel, drain};
use super::{Action, Child, Cohort, Generation, MAX_CHILDREN, Moment, Notice, Place, State, Stopping};

impl State {
    pub(super) fn reconcile(&mut self, now: Moment, out: &mut Vec<Action>) {
        if let Some(Stopping { code, .. }) = self.stopping {
            let forking = !self.forking.is_empty() || self.forking_template.is_some();
            if self.children.is_empty() && self.templates.is_empty() && !forking {
                self.exited = true;
                out.push(Action::Log(Notice::ShuttingDown { master: self.master(), code }));
                if code != 0 {
                    out.push(Action::Log(Notice::Reason { code }));
                }
                out.push(Action::Exit(code));
            }
            return;
        }
        self.trim(now, out);
        self.trim_templates(now, out);
        if !self.retries.is_empty() {
            self.prune_retries();
        }
        if let Some((_, generation)) = self.next_template().filter(|(at, _)| *at <= now) {
            self.forking_template = Some(generation);
            out.push(Action::ForkTemplate { generation });
        }
        while let Some((_, mut place)) = self.next_fork().filter(|(at, _)| *at <= now) {
            let Place { nr, generation, .. } = place;
            out.push(match place.template {
                Some(template) => {
                    place.answer_by = Some(Self::patience(now));
                    Action::Ask { template, nr, generation }
                }
                None => Action::Fork { nr, generation },
            });
            self.forking.push(place);
        }
    }

    /// Lets those go that are too many.
    fn trim(&mut self, now: Moment, out: &mut Vec<Action>) {
        let current = self.current.generation;
        let fallback = self.fallback.as_ref().map(|fallback| fallback.generation);
        for child in self.children.iter_mut().filter(|child| child.is_booting()) {
            if child.generation != current && Some(child.generation) != fallback {
                cancel(child, now, out);
            }
        }
        let fresh = |child: &Child| child.generation == current;
        let stale = |child: &Child| child.generation != current;
        let staying = self.children.count(|child| child.is_staying() && fresh(child));
        self.shrink(staying.saturating_sub(self.current.target), fresh, now, out);
        if let Some(fallback) = &self.fallback {
            let staying = self.children.count(|child| child.is_staying() && stale(child));
            let surplus = staying.saturating_sub(fallback.target.min(self.surge));
            self.shrink(surplus, |child| child.is_booting() && stale(child), now, out);
        }

        let fresh_ready = self.children.count(|child| child.is_ready() && fresh(child));
        let stale_ready = self.children.count(|child| child.is_ready() && stale(child));
        let wanted = self.current.target.max(self.surge).saturating_sub(fresh_ready);
        let leaving = if fresh_ready >= self.current.target { stale_ready } else { stale_ready.saturating_sub(wanted) };
        let through = self.reloading && self.current.proven;
        if through && self.children.count(|child| child.is_staying() && stale(child)) == leaving {
            self.finish_reload(out);
            let queue = std::mem::take(&mut self.rebound) && !self.shares_listeners();
            self.retire(leaving, queue, now, out);
        } else {
            self.retire(leaving, false, now, out);
        }
    }

    /// Lets so many of those that fit go: first who still boots, youngest first, then who has served longest.
    fn shrink(&mut self, surplus: usize, fits: impl Fn(&Child) -> bool, now: Moment, out: &mut Vec<Action>) {
        let booting = self.children.iter_mut().rev().filter(|child| child.is_booting() && fits(child)).take(surplus);
        let stopped = booting.map(|child| cancel(child, now, out)).count();
        let deadline = now + self.current.policy.graceful_timeout;
        let ready = self.children.iter_mut().filter(|child| child.is_ready() && fits(child));
        ready.take(surplus - stopped).for_each(|child| drain(child, deadline, false, out));
    }

    /// Drains so many workers of earlier generations, oldest first; the last of them empties the accept queue if `queue`.
    fn retire(&mut self, count: usize, queue: bool, now: Moment, out: &mut Vec<Action>) {
        let current = self.current.generation;
        let deadline = now + self.current.policy.graceful_timeout;
        let stale = self.children.iter_mut().filter(|child| child.is_ready() && child.generation != current);
        for (position, child) in stale.take(count).enumerate() {
            drain(child, deadline, queue && position + 1 == count, out);
        }
    }

    /// The next worker that is missing, and when it may be forked.
    pub(super) fn next_fork(&self) -> Option<(Moment, Place)> {
        if self.stopping.is_some() || self.forks_now() {
            return None;
        }
        let (at, generation, failures) =
            self.cohorts().filter_map(|(cohort, missing)| self.next_of(cohort, missing)).min()?;
        let forking: Vec<_> = self.forking.iter().map(|place| place.nr).collect();
        let nr = self.children.free_nr(&forking, MAX_CHILDREN)?;
        let template = self.ready_template(generation);
        let place = Place { nr, generation, failures, template, answer_by: None, reopen: false };
        Some((at.max(self.fork_retry), place))
    }

    /// Whether a fork is under way whose answer comes before anything else: if it fails, the next one has to wait.
    pub(super) fn forks_now(&self) -> bool {
        self.forking_template.is_some() || self.forking.iter().any(|place| place.template.is_none())
    }

    fn next_of(&self, cohort: &Cohort, missing: usize) -> Option<(Moment, Generation, u32)> {
        let generation = cohort.generation;
        let busy = self.forking.iter().any(|place| place.generation == generation);
        if busy || (cohort.policy.preload && self.ready_template(generation).is_none()) {
            return None;
        }
        let waiting = self.retries.iter().filter(|retry| retry.generation == generation);
        if missing > waiting.clone().count() {
            return Some((Moment::default(), generation, 0));
        }
        let retry = waiting.min_by_key(|retry| retry.at).filter(|_| missing > 0)?;
        Some((retry.at.max(self.limiter.next()), generation, retry.failures))
    }

    /// The generations that are kept at full strength, and how many workers each lacks.
    fn cohorts(&self) -> impl Iterator<Item = (&Cohort, usize)> {
        let lacks = |target: usize, stale: bool| {
            target.saturating_sub(self.children.count(|child| child.is_staying() && self.is_stale(child) == stale))
        };
        // Workers that were asked for during a reload are the new generation's.
        let fallback = self.fallback.iter().map(move |cohort| (cohort, lacks(cohort.target.min(self.surge), true)));
        fallback.chain(std::iter::once((&self.current, lacks(self.current.target, false))))
    }

    /// Forgets failures in places that there are no more.
    fn prune_retries(&mut self) {
        let lacking: Vec<_> = self.cohorts().map(|(cohort, missing)| (cohort.generation, missing)).collect();
        self.retries.sort_by_key(|retry| retry.at);
        for (generation, mut missing) in lacking {
            self.retries.retain(|retry| {
                let keep = retry.generation != generation || missing > 0;
                missing = missing.saturating_sub(usize::from(retry.generation == generation));
                keep
            });
        }
    }

    pub(super) fn earliest_retry(&self, generation: Generation) -> Option<usize> {
        let waiting = self.retries.iter().enumerate().filter(|(_, retry)| retry.generation == generation);
        waiting.min_by_key(|(_, retry)| retry.at).map(|(position, _)| position)
    }

    pub(super) fn is_stale(&self, child: &Child) -> bool {
        child.generation != self.current.generation
    }

    /// Whether some worker of that generation was ready.
    pub(super) fn is_proven(&self, generation: Generation) -> bool {
        let mut cohorts = [Some(&self.current), self.fallback.as_ref()].into_iter().flatten();
        cohorts.any(|cohort| cohort.generation == generation && cohort.proven)
    }

    /// The generation with that number, if it is kept at full strength.
    pub(super) fn cohort(&self, generation: Generation) -> Option<&Cohort> {
        [Some(&self.current), self.fallback.as_ref()].into_iter().flatten().find(|it| it.generation == generation)
    }

    pub(super) fn cohort_mut(&mut self, generation: Generation) -> Option<&mut Cohort> {
        let cohorts = std::iter::once(&mut self.current).chain(&mut self.fallback);
        cohorts.into_iter().find(|cohort| cohort.generation == generation)
    }

    pub(super) fn is_wanted(&self, generation: Generation) -> bool {
        generation == self.current.generation || self.fallback.as_ref().is_some_and(|old| old.generation == generation)
    }
}
