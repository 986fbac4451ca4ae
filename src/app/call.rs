//! The call that an application thread is in, as seen from inside it and from other threads.

use std::cell::Cell;
use std::time::Duration;

use crate::scoreboard::Call;
use crate::sys;

/// Looks into calls of the applications of one [host](super::Factory::host), from a thread that is in none.
///
/// `thread` is the [number](thread) of an application thread, and `still` says whether it is in the same call as when this
/// was asked for. It is to be asked again where nothing can come in between any more, such as under an interpreter's lock.
pub trait Watcher: Send {
    /// Where the call is in the application's code, in lines, if that can be told.
    fn stack(&self, thread: usize, still: &dyn Fn() -> bool) -> Option<String>;

    /// Has the call end as soon as it can, and says whether it may. It is asked again from time to time until the call has
    /// ended.
    fn interrupt(&self, thread: usize, still: &dyn Fn() -> bool) -> bool;
}

#[derive(Clone, Copy)]
struct Here {
    thread: usize,
    call: &'static Call,
    limit: Option<Duration>,
}

thread_local! {
    static HERE: Cell<Option<Here>> = const { Cell::new(None) };
}

/// This is an application thread from now on. Its calls may take as long as `limit` says.
pub(crate) fn serve_here(thread: usize, call: &'static Call, limit: Option<Duration>) {
    HERE.set(Some(Here { thread, call, limit }));
}

/// The number of this application thread in its worker, from 0 on.
pub fn thread() -> Option<usize> {
    HERE.get().map(|here| here.thread)
}

/// Lets the call of the application that this thread is in go on for so long from now, whatever `request_timeout` and
/// `timeout` say; never less than before. `false` if this thread is in no call.
pub fn extend_deadline(time: Duration) -> bool {
    let Some(here) = HERE.get() else { return false };
    let began = here.call.began();
    if let (Some(_), Some(limit)) = (began, here.limit) {
        here.call.put_off(limit, sys::now() + time);
    }
    began.is_some()
}
