//! Python applications.

use super::entry::{Differs, Same, Setting, setting};
use crate::settings::kinds::{FieldNames, Mapping, OptionalText, Switch};
use crate::settings::reload::{Engine, Patterns};

pub(super) static ENTRIES: &[Setting] = &[
    setting!(
        pythonpath: OptionalText,
        ["--pythonpath"],
        Same,
        "Directories that are put in front of Python's module path, with commas between them."
    )
    .metavar("DIRS"),
    setting!(
        reload: Switch,
        ["--reload"],
        Differs("The last code that could be loaded serves on until the new one is ready."),
        "Reload when the application's source changes; for development. Watched are the files of all modules that are not \
         installed ones, new files beside them, directories called `templates` beside them and in the working directory, \
         and the settings file. What happens is what HUP does: code that cannot be loaded is shown in the log, and the \
         last good one serves on. If there is none, every request is answered with the traceback until the next save."
    ),
    setting!(
        reload_engine: Engine,
        ["--reload-engine"],
        Same,
        "How changes are noticed: `inotify`, `poll`, which looks once a second and works on every file system, or `auto`, \
         which is the first of them that can be had."
    ),
    setting!(
        reload_extra_files: Patterns,
        ["--reload-extra-file"],
        Differs("A directory may be named, too, and stands for all that is in it."),
        "A file to watch besides; may be given several times. It may be a directory or a pattern such as `data/*.json`."
    ),
    setting!(
        header_map: Mapping,
        ["--header-map"],
        Same,
        "What becomes of a header field with an underscore in its name, which an environ cannot tell from one with a \
         hyphen. `drop` hides it from the application, `refuse` answers with 400, and with `dangerous` the application \
         sees it, whatever a proxy in front has checked."
    ),
    setting!(
        forwarder_headers: FieldNames,
        ["--forwarder-headers"],
        Same,
        "Header fields with an underscore in their name that a believed proxy may send all the same, with commas between \
         them; `*` is all. `SCRIPT_NAME` is the application's place in the site."
    ),
];
