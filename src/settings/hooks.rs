//! Gunicorn's server hooks: functions in a settings file, which only an interpreter can have.

/// A function that a settings file may define, and that is called when something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookName {
    /// Its name, which is Gunicorn's.
    pub name: &'static str,
    /// The names of its arguments.
    pub arguments: &'static [&'static str],
    /// How many arguments it must take at least.
    pub least: usize,
    /// The process that calls it.
    pub process: &'static str,
    /// When it is called.
    pub when: &'static str,
}

const fn hook(
    name: &'static str,
    arguments: &'static [&'static str],
    process: &'static str,
    when: &'static str,
) -> HookName {
    HookName { name, arguments, least: arguments.len(), process, when }
}

/// All hooks that are called, in the order in which a server's life calls them.
pub const HOOKS: &[HookName] = &[
    hook(
        "nworkers_changed",
        &["server", "new", "old"],
        "arbiter",
        "the number of workers was set: at start (`old` is `None`), by a reload, by TTIN, TTOU and WINCH",
    ),
    hook("on_starting", &["server"], "arbiter", "the pidfile is there; no socket is yet (a daemon's are)"),
    hook("when_ready", &["server"], "arbiter", "the sockets are there, and the first worker is next"),
    hook("on_reload", &["server"], "arbiter", "HUP: the new settings were loaded, and new workers are next"),
    hook("pre_fork", &["server", "worker"], "arbiter", "before each fork; `worker.pid` is `\"[booting]\"`"),
    hook("post_fork", &["server", "worker"], "worker", "first of all, still as the arbiter's user"),
    hook("post_worker_init", &["worker"], "worker", "the application was loaded, and requests are next"),
    hook("pre_request", &["worker", "req"], "worker", "before the application is called"),
    HookName {
        name: "post_request",
        arguments: &["worker", "req", "environ", "resp"],
        least: 2,
        process: "worker",
        when: "after the application's response was taken and closed, or it has raised",
    },
    hook("worker_int", &["worker"], "worker", "it was told to stop at once: INT, QUIT"),
    hook("worker_abort", &["worker"], "worker", "ABRT: a call took longer than `timeout`"),
    hook("worker_exit", &["server", "worker"], "worker", "its end, whatever the reason, short of KILL"),
    hook("child_exit", &["server", "worker"], "arbiter", "a worker was reaped"),
    hook("pre_exec", &["server"], "child", "USR2: in the child that is to be the new arbiter"),
    hook("on_exit", &["server"], "arbiter", "the end: no worker is left, and the pidfile is gone"),
];

/// The hook of that name.
pub(crate) fn hook_named(name: &str) -> Option<&'static HookName> {
    HOOKS.iter().find(|hook| hook.name == name)
}
