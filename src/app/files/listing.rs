//! The list of a directory's files.

use std::fmt::Write;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, fstat, fstatat};

use super::conditional::http_date;
use super::kind_of;
use super::page::Refusal;
use super::path::{RelativePath, Slash, encode};
use super::root::Root;
use crate::app::Response;
use crate::html::escape;

/// A page with the files and directories of the directory at `path`, directories first.
pub(super) fn list(root: &Root, path: &RelativePath, dotfiles: bool) -> Result<Response, Refusal> {
    let mut directory = Dir::from_fd(root.directory(path.as_bytes())?)?;
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut complete = true;
    for entry in directory.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") || (name.starts_with(b".") && !dotfiles) {
            continue;
        }
        if names.len() == MAX_ENTRIES {
            complete = false;
            break;
        }
        names.push(name.to_vec());
    }
    let mut entries: Vec<Entry> =
        names.into_iter().filter_map(|name| Entry::look_up(root, path, &directory, name)).collect();
    entries.sort_by(|one, other| (!one.directory, &one.name).cmp(&(!other.directory, &other.name)));
    Ok(Response::html(page(path, &entries, complete))
        // Nothing but the page's own style: a name that got past the escaping could still do no harm.
        .with_field("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        .with_field("X-Content-Type-Options", "nosniff"))
}

#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    directory: bool,
    size: u64,
    modified: u64,
}

impl Entry {
    /// `None` for what would not be served: special files, and symbolic links that lead nowhere or out of the root.
    fn look_up(root: &Root, path: &RelativePath, directory: &Dir, name: Vec<u8>) -> Option<Self> {
        let mut stat = fstatat(directory, name.as_slice(), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        if kind_of(&stat) == libc::S_IFLNK {
            stat = target(root, path, &name).ok()?;
        }
        let directory = match kind_of(&stat) {
            libc::S_IFDIR => true,
            libc::S_IFREG => false,
            _ => return None,
        };
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        Some(Self { name, directory, size, modified: u64::try_from(stat.st_mtime).unwrap_or_default() })
    }
}

fn target(root: &Root, path: &RelativePath, name: &[u8]) -> Result<FileStat, Errno> {
    let path = if path.as_bytes().is_empty() { name } else { &[path.as_bytes(), b"/", name].concat() };
    fstat(root.locate(path)?)
}

fn page(path: &RelativePath, entries: &[Entry], complete: bool) -> String {
    let path = String::from_utf8_lossy(path.as_bytes());
    let title = if path.is_empty() { "/".to_owned() } else { format!("/{}/", escape(&path)) };
    let mut html = String::with_capacity(1024 + entries.len() * 160);
    // Writing to a string cannot fail.
    let _ = write!(html, include_str!("listing.html"), title = title);
    if !path.is_empty() {
        html.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for entry in entries {
        let slash = if entry.directory { "/" } else { "" };
        html.push_str("<tr><td><a href=\"");
        encode(&entry.name, Slash::Encode, &mut html);
        let name = String::from_utf8_lossy(&entry.name);
        let _ = write!(html, "{slash}\">{}{slash}</a></td><td>{}</td><td>", escape(&name), minute(entry.modified));
        if !entry.directory {
            html.push_str(&size(entry.size));
        }
        html.push_str("</td></tr>\n");
    }
    html.push_str("</tbody>\n</table>\n");
    if !complete {
        let _ = writeln!(html, "<p>Only {MAX_ENTRIES} of the files in this directory are listed.</p>");
    }
    html.push_str("</body>\n</html>\n");
    html
}

/// `15 May 2015 15:34`, in UTC: the middle of an HTTP date.
fn minute(seconds: u64) -> String {
    http_date(seconds).get(5..22).unwrap_or_default().to_owned()
}

/// `617`, `1.5 KiB`: rounded to a tenth.
fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut unit = 1024;
    let mut names = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
    let mut name = names.next().unwrap_or_default();
    for larger in names {
        // What would be rounded to 1024.0 is 1.0 of the next one.
        if bytes < unit * 1024 - unit / 20 {
            break;
        }
        unit *= 1024;
        name = larger;
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// More are not listed: looking them up keeps the worker from its other connections.
const MAX_ENTRIES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::{minute, size};

    #[test]
    fn sizes_are_rounded_to_a_tenth_of_the_largest_unit() {
        let cases = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 53, "1023.9 KiB"),
            (1024 * 1024 - 51, "1.0 MiB"),
            (1024 * 1024, "1.0 MiB"),
            (5_000_000_000, "4.7 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn times_are_in_utc_and_every_time_is_one() {
        assert_eq!(minute(1_431_696_861), "15 May 2015 13:34");
        assert_eq!(minute(0), "01 Jan 1970 00:00");
        assert_eq!(minute(u64::MAX), "31 Dec 9998 23:59");
    }
}
