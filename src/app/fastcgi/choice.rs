//! Which upstream answers a request.

use std::time::Instant;

use super::upstream::Upstream;

/// The upstream that is to answer, of those that were not `tried`; `last` was chosen last. One that has failed lately is
/// asked if no other is left.
pub(super) fn choose(
    upstreams: &[Upstream],
    tried: &[usize],
    connections: usize,
    last: usize,
    now: Instant,
) -> Option<usize> {
    let count = upstreams.len();
    let free = |index: &usize| {
        upstreams.get(*index).is_some_and(|upstream| {
            !tried.contains(index)
                && upstream.has_room(connections)
                && (upstream.program.is_none() || upstream.is_up(now))
        })
    };
    // Those that are as busy as each other take turns.
    let order = |index: &usize| {
        let upstream = upstreams.get(*index);
        let up = upstream.is_some_and(|upstream| upstream.is_up(now));
        (!up, upstream.map_or(0, |upstream| upstream.busy), (index + count - last - 1) % count.max(1))
    };
    let any_full = upstreams.iter().any(|upstream| upstream.is_up(now) && !upstream.has_room(connections));
    let chosen = (0..count).filter(free).min_by_key(order)?;
    // To wait for one that works is better than to ask one that does not.
    let up = upstreams.get(chosen).is_some_and(|upstream| upstream.is_up(now));
    (up || !any_full).then_some(chosen)
}
