//! The processes of which more is to come: templates, and workers that templates have been asked for.

use std::collections::BTreeMap;

use super::children::Generation;
use crate::channel::Channel;

/// Templates, and the workers that they were asked for.
#[derive(Debug, Default)]
pub(super) struct Nursery {
    pub(super) templates: BTreeMap<i32, Option<Channel>>,
    pub(super) expected: Vec<Expected>,
}

/// A worker that was asked for.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) nr: usize,
    pub(super) generation: Generation,
    pub(super) age: u64,
    pub(super) template: i32,
    pub(super) channel: Channel,
}

impl Nursery {
    pub(super) fn templates(&self) -> impl Iterator<Item = (i32, &Channel)> {
        self.templates.iter().filter_map(|(pid, channel)| Some((*pid, channel.as_ref()?)))
    }

    pub(super) fn expected(&self) -> impl Iterator<Item = (usize, &Channel)> {
        self.expected.iter().map(|expected| (expected.nr, &expected.channel))
    }

    pub(super) fn channel(&self, pid: i32) -> Option<&Channel> {
        self.templates.get(&pid)?.as_ref()
    }

    pub(super) fn take(&mut self, nr: usize) -> Option<Expected> {
        let position = self.expected.iter().position(|expected| expected.nr == nr)?;
        Some(self.expected.remove(position))
    }
}
