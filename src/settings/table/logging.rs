//! Logs.

use super::entry::{Differs, Same, Setting, setting};
use crate::settings::kinds::{Level, Log, Switch, Text};

pub(super) static ENTRIES: &[Setting] = &[
    setting!(
        errorlog: Log,
        ["--error-logfile", "--log-file"],
        Same,
        "The error log. `-` is standard error. The file is opened again on USR1."
    ),
    setting!(
        loglevel: Level,
        ["--log-level"],
        Differs("An unknown level is an error instead of `info`."),
        "The least level that goes to the error log. One of `debug`, `info`, `warning`, `error` and `critical`."
    ),
    setting!(
        accesslog: Log,
        ["--access-logfile"],
        Same,
        "The access log. `-` is standard output; there is none by default. The file is opened again on USR1."
    ),
    setting!(
        access_log_format: Text,
        ["--access-logformat"],
        Differs(
            "Values are escaped so that no client can forge a line, and an atom that does not exist is an error instead \
             of a `-`."
        ),
        "The format of the access log. Its atoms are described below."
    )
    .metavar("FORMAT"),
    setting!(
        capture_output: Switch,
        ["--capture-output"],
        Same,
        "Send what the application writes to standard output and standard error to the error log."
    ),
];
