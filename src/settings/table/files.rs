//! The files application.

use super::entry::{Lacks, Setting, setting};
use crate::settings::kinds::{Names, OptionalText, Switch};

pub(super) static ENTRIES: &[Setting] = &[
    setting!(
        files_index: Names,
        ["--files-index"],
        Lacks,
        "A file that answers for its directory; may be given several times, and the first that exists is taken."
    ),
    setting!(
        files_listing: Switch,
        ["--files-listing"],
        Lacks,
        "Answer for a directory that has no index file with a list of its files."
    ),
    setting!(
        files_dotfiles: Switch,
        ["--files-dotfiles"],
        Lacks,
        "Serve files and directories whose name begins with a dot, too."
    ),
    setting!(
        files_cache_control: OptionalText,
        ["--files-cache-control"],
        Lacks,
        "The value of `Cache-Control` on every file. No such field is sent otherwise."
    )
    .metavar("VALUE"),
    setting!(
        files_precompressed: Switch,
        ["--no-files-precompressed"],
        Lacks,
        "Do not send `NAME.br`, `NAME.zst` or `NAME.gz` in place of `NAME` to clients that take it. In a file it says \
         whether to."
    ),
];
