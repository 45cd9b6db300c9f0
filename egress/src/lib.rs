//! The one guard for calls to a URL that a spec or a client has given.
