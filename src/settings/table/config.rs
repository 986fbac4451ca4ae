//! The application, and where settings come from.

use super::entry::{Differs, Lacks, Same, Setting, setting};
use crate::settings::kinds::{Mounts, OptionalPath, OptionalText, Switch};

pub(super) static ENTRIES: &[Setting] = &[
    setting!(
        application: OptionalText,
        [],
        Differs("Gunicorn's name for it, `wsgi_app`, is read as well."),
        "The application, if the command line does not name one. `files://DIR` serves the files in a directory, \
         `cgi://PATH` runs a program for each request, `fastcgi-exec://php-cgi` runs PHP, and \
         `fastcgi://ADDRESS` and `exec://COMMAND` are for other FastCGI programs."
    )
    .alias("wsgi_app"),
    setting!(
        mount: Mounts,
        ["--mount"],
        Lacks,
        "An application of any kind that answers below a path; may be given several times. The longest prefix that ends \
         where a segment of the path does counts; what it has matched is the application's `SCRIPT_NAME`. The application \
         that is named otherwise answers for everything else, and 404 is answered if there is none."
    ),
    setting!(
        config: OptionalPath,
        ["-c", "--config"],
        Differs("TOML is new, and in it a name that is no setting is an error. The file may have any other name."),
        "The settings file. One whose name ends in `.toml` is TOML; `FILE`, `file:FILE` and `python:MODULE` are Python, as \
         Gunicorn has it, for which the Python package is needed. If none is named, the first of `ferricorn.toml`, \
         `ferricorn.conf.py` and `gunicorn.conf.py` is read that is in the current directory. It is read again on HUP."
    )
    .metavar("FILE"),
    setting!(
        check_config: Switch,
        ["--check-config"],
        Same,
        "Check the settings and the application, and exit. The exit code is 0 if all is well and 1 if not."
    ),
    setting!(
        print_config: Switch,
        ["--print-config"],
        Differs("Values are printed as TOML, so that a line can be copied into `ferricorn.toml`."),
        "Print all settings as they are after every source was read, then check them as `check_config` does."
    ),
];
