//! The kinds of values that settings have.

mod choice;
mod network;
mod quantity;
pub(super) mod raw;
mod text;

pub(crate) use choice::{Level, Mapping, ProxyMode, Speech, Switch};
pub(crate) use network::{Addresses, FieldNames, FieldValues, Peers};
pub(crate) use quantity::{Bytes, BytesOrAny, Count, Mode, Seconds, SomeSeconds, Workers};
pub(crate) use text::{Log, Mounts, Names, OptionalPath, OptionalText, Target, Text, Variables};
