//! The reference of all settings, made from their table.
