//! The PROXY protocol, versions 1 and 2, as the first bytes of a connection.
