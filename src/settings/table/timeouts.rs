//! Timeouts and minimum rates.

use super::entry::{Differs, G, Lacks, Same, Setting, setting};
use crate::settings::kinds::{Bytes, OptionalText, Seconds, SomeSeconds};

pub(super) static ENTRIES: &[Setting] = &[
    setting!(
        timeout: Seconds,
        ["-t", "--timeout"],
        Differs(
            "It bounds one call of the application: a slow client does not use it up, and booting has `boot_timeout`."
        ),
        "How long the application may take for one request before its worker is killed and replaced. 0 is for ever."
    ),
    setting!(
        slow_request_timeout: Seconds,
        ["--slow-request-timeout"],
        Lacks,
        "When a request has kept the application for so long, the error log says which one it is and where the application \
         is, once. Nothing else happens. 0 is never."
    ),
    setting!(
        request_timeout: Seconds,
        ["--request-timeout"],
        Lacks,
        "When a request has kept the application for so long, the error log says where it is, and the call is ended: \
         `ferricorn.RequestTimeout` is raised in the thread that it runs in, the client gets 504, or sees its response cut \
         off if that has begun, and the worker goes on. What cannot be interrupted, such as code in C or Rust, goes on until \
         `timeout`, which should be longer, but its client is answered without it. So is that of a request whose answer was to \
         come later, from a program or another server; these have timeouts of their own. 0 is never."
    ),
    setting!(
        queue_timeout: Seconds,
        ["--queue-timeout"],
        Lacks,
        "How long a request may wait before the application is called. What has waited for longer is answered with 503 and \
         `Retry-After` instead of being run: its client has given up as a rule. It counts from the moment that the request \
         was there, or from the one that a believed proxy names in `X-Request-Start`. 0 is for ever."
    ),
    setting!(
        boot_timeout: Seconds,
        ["--boot-timeout"],
        Lacks,
        "How long a worker may take to load the application. 0 is for ever."
    ),
    setting!(
        graceful_timeout: Seconds,
        ["--graceful-timeout"],
        Same,
        "How long a stopping worker may take to finish its requests before it is killed."
    ),
    setting!(
        shutdown_delay: Seconds,
        ["--shutdown-delay"],
        Lacks,
        "How long the server goes on serving after SIGTERM, so that load balancers can learn that it stops: systemd is told \
         at once, and `ready_path` answers 503. A second SIGTERM ends the delay."
    ),
    setting!(
        ready_path: OptionalText,
        ["--ready-path"],
        Lacks,
        "A path, such as `/-/ready`, that workers answer themselves: with 200, and with 503 when the server is about to \
         stop. The application does not see requests for it."
    )
    .metavar("PATH"),
    setting!(
        keepalive: Seconds,
        ["--keep-alive"],
        Differs(
            "The default is 75 instead of 2: a server that closes before the load balancer in front of it does causes \
             502 answers there, and an idle connection costs next to nothing here."
        ),
        "How long an idle connection is kept open for the next request. 0 closes after each response."
    ),
    setting!(
        keepalive_grace: Seconds,
        ["--keep-alive-grace"],
        Lacks,
        "How long a stopping worker keeps its idle connections. A request that arrives late is answered with \
         `Connection: close`."
    ),
    setting!(
        first_byte_timeout: SomeSeconds,
        ["--first-byte-timeout"],
        Lacks,
        "How long a new connection may stay silent before it is closed. Proxies open connections ahead, so peers in \
         `forwarded_allow_ips` and on unix sockets have as long as `keepalive`."
    ),
    setting!(
        header_timeout: SomeSeconds,
        ["--header-timeout"],
        Lacks,
        "How long a request's head may take from its first byte. What has come of it by then buys more time, by \
         `header_min_rate`; over that the answer is 408."
    ),
    setting!(
        header_min_rate: Bytes<0, { G }>,
        ["--header-min-rate"],
        Lacks,
        "Bytes of a head that buy it one second more. 0 buys nothing: `header_timeout` is all there is."
    ),
    setting!(
        header_longest: SomeSeconds,
        ["--header-longest"],
        Lacks,
        "How long a request's head may take at most, whatever its rate."
    ),
    setting!(
        body_timeout: SomeSeconds,
        ["--body-timeout"],
        Lacks,
        "How long a request's body may stand still, and how far it may fall behind `body_min_rate`. Over it the answer \
         is 408."
    ),
    setting!(
        body_min_rate: Bytes<0, { G }>,
        ["--body-min-rate"],
        Lacks,
        "Bytes a second with which a request's body must arrive. 0 is no minimum."
    ),
    setting!(
        send_timeout: SomeSeconds,
        ["--send-timeout"],
        Lacks,
        "How long a client may take no byte of a response, and how far it may fall behind `send_min_rate`."
    ),
    setting!(
        send_min_rate: Bytes<0, { G }>,
        ["--send-min-rate"],
        Lacks,
        "Bytes a second with which a response must be taken. 0 is no minimum."
    ),
];
