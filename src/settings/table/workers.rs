//! Worker processes.

use super::entry::{Differs, Lacks, M, Same, Setting, setting};
use crate::scoreboard::MAX_THREADS;
use crate::settings::kinds::{BytesOrAny, Count, Seconds, SomeSeconds, Switch, Target, Workers};
use crate::settings::value::{Kind, Shape};

pub(super) static ENTRIES: &[Setting] = &[
    Setting {
        name: "workers",
        alias: None,
        flags: &["-w", "--workers"],
        metavar: Workers::METAVAR,
        takes: Workers::TAKES,
        variable: Some("WEB_CONCURRENCY"),
        doc: "The number of worker processes. `auto` is one for each processor that the server may use. With MIN:MAX there \
              are as many as the load asks for: more when all are in a call or connections wait to be accepted, fewer when \
              some have been idle for `worker_idle_timeout`. If MIN is 0, the last one goes, too, when nobody has been connected \
              for that time, and the next connection waits until there is one again.",
        gunicorn: Differs("`auto` and `MIN:MAX` are new. 0 workers serve nobody and are refused, except as MIN."),
        assign: |settings, raw, host| {
            (settings.workers, settings.workers_most) = Workers::read(raw, host)?;
            Ok(())
        },
        show: |settings| Workers::show(&(settings.workers, settings.workers_most)),
    },
    setting!(
        worker_idle_timeout: SomeSeconds,
        ["--worker-idle-timeout"],
        Lacks,
        "With `workers = MIN:MAX`, how long two workers must have had nothing to do before one of them goes; and, if MIN is \
         0, how long the last one."
    ),
    setting!(
        max_requests: Count<0, { i64::MAX as u64 }>,
        ["--max-requests"],
        Differs("The replacement is ready before the worker goes, and only `recycle_share` are replaced at a time."),
        "The number of requests after which a worker is replaced, against applications that leak. It serves on until its \
         replacement is ready. 0 is never."
    ),
    setting!(
        max_requests_jitter: Count<0, { i64::MAX as u64 }>,
        ["--max-requests-jitter"],
        Same,
        "Up to so many requests more, at random for each worker, so that they are not replaced together."
    ),
    setting!(
        worker_lifetime: Seconds,
        ["--worker-lifetime"],
        Lacks,
        "The age at which a worker is replaced, or up to a tenth later. 0 is never."
    ),
    setting!(
        worker_memory: BytesOrAny,
        ["--worker-memory"],
        Lacks,
        "Bytes of memory (resident, so with all that it shares) over which a worker is replaced, when it has finished the \
         request that it is at. It is looked at once a second. 0 is no limit."
    ),
    setting!(
        worker_memory_hard: BytesOrAny,
        ["--worker-memory-hard"],
        Lacks,
        "Bytes of memory over which the arbiter kills a worker, whatever it is doing. It is looked at once a second. 0 is \
         no limit."
    ),
    setting!(
        recycle_share: Count<1, 100>,
        ["--recycle-share"],
        Lacks,
        "How many of a hundred workers are replaced at a time at most, when they have reached `max_requests`, \
         `worker_lifetime` or `worker_memory`. It is always one at least."
    ),
    setting!(
        threads: Count<1, { MAX_THREADS as u64 }>,
        ["--threads"],
        Differs("Each worker is as `gthread` makes it, with any number. Threads are used only while calls take long."),
        "How many threads of each worker call the application. More than one is for applications that wait: for a \
         database, another service, a disk."
    ),
    setting!(
        relief: Switch,
        ["--no-relief"],
        Lacks,
        "Leave a worker's connections alone while all its application threads are busy. In the environment and in a file it \
         says whether another thread sends responses, reads requests and keeps deadlines meanwhile, and hands requests \
         over to workers that have time for them."
    ),
    setting!(
        batch_scheduling: Switch,
        ["--no-batch-scheduling"],
        Lacks,
        "Have a worker that wakes always take the processor from whoever has it. In the environment and in a file it says \
         whether one that wakes often lets the web server, client or program on its processor go on first (`SCHED_BATCH`), which \
         saves much of what a request costs, as long as it does not have to wait for long."
    ),
    setting!(
        preload_app: Switch,
        ["--preload"],
        Differs(
            "A process of its own loads the application, not the arbiter: HUP loads new code, and code that cannot be \
             loaded leaves the old in service."
        ),
        "Load the application once, in a template process from which workers are forked: they share its memory, and \
         start within milliseconds. Threads and connections that the application opens while it is loaded are not the \
         workers' to use."
    ),
    setting!(
        warmup: Target,
        ["--warmup"],
        Lacks,
        "A path that the application is asked for (with GET, before it serves anybody) where it is loaded: in the template \
         with `preload_app`, else in each worker before it is ready. What the first request loads or fills is shared, \
         or at least not waited for. The request is for the host localhost, unless it is given as http://HOST/PATH. It may \
         take as long as any call (`timeout`), and what goes wrong with it (also an answer of 400 or more) is logged and \
         changes nothing."
    )
    .metavar("PATH"),
    setting!(
        worker_connections: Count<1, { M }>,
        ["--worker-connections"],
        Differs("It counts every open connection, whatever the worker does with it."),
        "How many connections a worker holds at most. Others wait in the accept queue, or are taken by other workers. A \
         worker that is nearly full ends idle connections, then those whose heads take more than a second, then those \
         that are far behind the minimum rates, then those that were served just now."
    ),
];
