//! The server's process.

use super::entry::{Differs, Same, Setting, setting};
use crate::settings::kinds::{Mode, OptionalPath, OptionalText, Switch, Variables};

pub(super) static ENTRIES: &[Setting] = &[
    setting!(
        chdir: OptionalPath,
        ["--chdir"],
        Same,
        "Change to this directory before the application is loaded."
    )
    .metavar("DIR"),
    setting!(
        daemon: Switch,
        ["-D", "--daemon"],
        Same,
        "Detach from the terminal and run in the background. Supervisors such as systemd and supervisord want it off."
    ),
    setting!(
        raw_env: Variables,
        ["-e", "--env"],
        Same,
        "An environment variable for the application; may be given several times."
    ),
    setting!(
        pidfile: OptionalPath,
        ["-p", "--pid"],
        Same,
        "A file that holds the arbiter's process id while it runs."
    )
    .metavar("FILE"),
    setting!(
        worker_tmp_dir: OptionalPath,
        ["--worker-tmp-dir"],
        Differs("Gunicorn's heartbeat files do not exist here; large request bodies go there."),
        "A directory for request bodies that are too large for memory. The system's own is used if none is named."
    )
    .metavar("DIR"),
    setting!(
        user: OptionalText,
        ["-u", "--user"],
        Same,
        "The user that workers run as, by name or number. Only root can set it."
    )
    .metavar("USER"),
    setting!(
        group: OptionalText,
        ["-g", "--group"],
        Same,
        "The group that workers run as, by name or number. Only root can set it."
    )
    .metavar("GROUP"),
    setting!(
        initgroups: Switch,
        ["--initgroups"],
        Same,
        "Give the workers every group that their user belongs to. They have only their own otherwise."
    ),
    setting!(
        umask: Mode,
        ["-m", "--umask"],
        Differs("Without it the mask stays as the server inherited it; Gunicorn sets 0, and everybody may write."),
        "Permission bits that new files do not get, in octal."
    ),
    setting!(
        sendfile: Switch,
        ["--no-sendfile"],
        Differs("In a file, `sendfile = true` means just that; in Gunicorn's it switches it off."),
        "Do not send files by sendfile(2). In the environment and in a file it says whether to."
    )
    .variable("SENDFILE"),
    setting!(
        proc_name: OptionalText,
        ["-n", "--name"],
        Differs("The titles need no further package."),
        "The name in the titles of the processes, as `ps` shows them. The application is named there otherwise."
    )
    .metavar("NAME"),
];
