//! CGI and FastCGI applications.

use super::entry::{Lacks, Setting, setting};
use crate::settings::kinds::{Count, OptionalPath, OptionalText, Seconds, SomeSeconds, Switch, Text, Variables};

pub(super) static ENTRIES: &[Setting] = &[
    setting!(
        request_buffering: Switch,
        ["--no-request-buffering"],
        Lacks,
        "Do not have the whole body of a request arrive before a CGI or FastCGI program is asked, which keeps programs from \
         waiting for slow clients. A program is then asked at once and gets the body as it comes: an upload is not written \
         to a file first, and may be refused early; but it takes up a program or a connection for as long as it lasts, and \
         is not given to another program when one fails. Bodies without `Content-Length` are buffered in any case, as these \
         programs need to know it. In a file it says whether to buffer."
    ),
    setting!(
        cgi_interpreter: Variables,
        ["--cgi-interpreter"],
        Lacks,
        "What runs files that are no programs of their own, by how their names end: `.py=python3`. May be given several \
         times."
    )
    .metavar(".EXT=PROGRAM"),
    setting!(
        cgi_programs: Count<1, 65535>,
        ["--cgi-programs"],
        Lacks,
        "How many CGI programs a worker runs at a time. Other requests wait for their turn."
    ),
    setting!(
        cgi_backlog: Count<0, 65535>,
        ["--cgi-backlog"],
        Lacks,
        "How many requests wait for their turn in a worker. Others are answered with 503."
    ),
    setting!(
        cgi_timeout: SomeSeconds,
        ["--cgi-timeout"],
        Lacks,
        "How many seconds a CGI program may write nothing before it is ended, with all that it has started: SIGTERM first, \
         and SIGKILL two seconds later. Its request is answered with 504. As long a request waits for its turn."
    ),
    setting!(
        cgi_authorization: Switch,
        ["--cgi-authorization"],
        Lacks,
        "Pass the field `Authorization` to CGI programs. Other users may be able to see the environment of a program."
    ),
    setting!(
        document_root: OptionalPath,
        ["--document-root"],
        Lacks,
        "Where the scripts of a FastCGI application are, and files that are served as they are. Without it the application \
         answers for every path by itself. For one of several, `?root=DIR` behind the application's name does the same."
    )
    .metavar("DIR"),
    setting!(
        script_extension: Text,
        ["--script-extension"],
        Lacks,
        "How the names of scripts below the document root end."
    )
    .metavar(".EXT"),
    setting!(
        script_index: Text,
        ["--script-index"],
        Lacks,
        "The script that answers for its directory."
    )
    .metavar("NAME"),
    setting!(
        script_fallback: OptionalText,
        ["--script-fallback"],
        Lacks,
        "The script that answers for what there is no file for: a front controller such as `/index.php`."
    )
    .metavar("PATH"),
    setting!(
        fastcgi_programs: Count<1, 65535>,
        ["--fastcgi-programs"],
        Lacks,
        "How many programs each worker keeps running for `fastcgi-exec://COMMAND`. Each answers one request at a time."
    ),
    setting!(
        fastcgi_connections: Count<1, 65535>,
        ["--fastcgi-connections"],
        Lacks,
        "How many requests a worker has one address of `fastcgi://ADDRESS` answer at a time."
    ),
    setting!(
        fastcgi_keepalive: Seconds,
        ["--fastcgi-keepalive"],
        Lacks,
        "How many seconds an idle connection to an address is kept. A program that answers one connection at a time, as \
         those of php-fpm do, answers nobody else meanwhile: only set it where there are more of them than connections \
         from all workers. With 0 every request has a connection of its own."
    ),
    setting!(
        fastcgi_backlog: Count<0, 65535>,
        ["--fastcgi-backlog"],
        Lacks,
        "How many requests wait in a worker for a program that is free. Others are answered with 503."
    ),
    setting!(
        fastcgi_timeout: SomeSeconds,
        ["--fastcgi-timeout"],
        Lacks,
        "How many seconds a FastCGI program may send nothing before its request is answered with 504. One of the worker's \
         own is killed then, and another takes its place. As long a request waits for its turn."
    ),
];
