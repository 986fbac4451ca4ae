//! Server sockets.

use super::entry::{Differs, Lacks, Same, Setting, setting};
use crate::settings::kinds::{Addresses, Count, Mode, Peers, Speech};

pub(super) static ENTRIES: &[Setting] = &[
    setting!(
        bind: Addresses,
        ["-b", "--bind"],
        Differs("`fd://N` and other addresses go together; Gunicorn drops the others."),
        "An address to listen on; may be given several times. One of `HOST`, `HOST:PORT`, `:PORT` (every address), \
         `[::1]:PORT`, `unix:PATH` and `fd://N`, which is a listening socket that was inherited as descriptor N. The \
         port is 8000 if none is given. `http://`, `uwsgi://`, `fastcgi://` or `scgi://` in front of it says what is \
         spoken there, `protocol` if none does: `uwsgi://unix:/run/app.sock`. If standard input is a listening socket, \
         as for a program that spawn-fcgi or mod_fcgid starts, the default is `fastcgi://fd://0`. With `PORT` in the environment the default is `0.0.0.0:$PORT`."
    )
    .variable("PORT"),
    setting!(
        protocol: Speech,
        ["--protocol"],
        Differs("`fastcgi` and `scgi` are new."),
        "What is spoken on every `bind` that does not say. `http`, `uwsgi`, `fastcgi` or `scgi`."
    ),
    setting!(
        gateway_allow_ips: Peers,
        ["--gateway-allow-from", "--uwsgi-allow-from"],
        Differs("It is called `uwsgi_allow_ips` there, which is read as well, and knows no networks; here it counts for FastCGI and SCGI, too."),
        "Addresses and networks of the web servers that may speak uwsgi, FastCGI or SCGI, with commas between them; the \
         connections of others are closed. What such a web server says about its client is believed. Peers on unix \
         sockets always may."
    )
    .alias("uwsgi_allow_ips")
    .variable("FCGI_WEB_SERVER_ADDRS"),
    setting!(
        backlog: Count<1, { i32::MAX as u64 }>,
        ["--backlog"],
        Same,
        "How many connections may wait to be accepted. The kernel takes no more than `net.core.somaxconn`."
    ),
    setting!(
        socket_mode: Mode,
        ["--socket-mode"],
        Lacks,
        "Permission bits of unix sockets. Gunicorn has `umask` decide, whose default there lets everybody connect."
    ),
];
