//! The one guard for calls to a URL that a spec or a client has given.
//!
//! A URL from outside is a request to let somebody else choose whom this process talks to, from inside the cluster's
//! network. So every such call goes through [`Client::send`] (or [`Client::get`]), which guarantees:
//!
//! * the name is resolved **once**, every address of the answer is judged by the [`Policy`], and the connection goes
//!   to those addresses and to no other; a name that resolves to anything refused is refused whole;
//! * loopback, link-local, cloud metadata, multicast, reserved and API server addresses are never reached, whatever
//!   notation or IPv6 embedding (mapped, compatible, NAT64, 6to4, ISATAP) hides them;
//! * private ranges are reached only where the administrator allowed them ([`Policy::new`]), or where the call asks
//!   for a Service of one namespace by its cluster name ([`Allow::ServicesOf`]);
//! * redirects are not followed but reported; proxies of the environment are not used; nothing is decompressed;
//! * a token never travels over plain http; user names in URLs are refused;
//! * one deadline covers everything from the look-up to the last byte, and the body is cut off at its cap;
//! * errors are one plain sentence that names scheme, host and port: no path, query, token or received byte in it.
//!
//! ```no_run
//! use mim_egress::{Allow, Client, Policy, Request, Token};
//! use std::time::Duration;
//!
//! # async fn example(url: url::Url, token: Token) -> Result<(), mim_egress::Error> {
//! let policy = Policy::new(vec![], mim_egress::api_server_of_this_pod());
//! let client = Client::new(policy);
//! let request = Request {
//!     token: Some(token),
//!     timeout: Duration::from_secs(5),
//!     max_body: 64 * 1024,
//!     allow: Allow::ServicesOf("city-one".into()),
//!     ..Request::new(url)
//! };
//! let response = client.get(request).await?;
//! println!("{} {:?}", response.status, response.content_type);
//! # Ok(())
//! # }
//! ```
//!
//! The parts: [`policy`] (pure: addresses), [`target`] (pure: URLs), [`resolve`], [`tls`], [`stream`] and [`client`] (the edge);
//! [`keep`] makes many calls over connections that stay open.

pub mod client;
pub mod error;
pub mod keep;
pub mod policy;
pub mod resolve;
pub mod stream;
pub mod target;
pub mod tls;

pub use client::{Client, Request, Response, Token};
pub use error::{Error, Place};
pub use keep::KeepAlive;
pub use policy::{Policy, Refused, api_server_of_this_pod};
pub use resolve::{Resolve, SystemResolver};
pub use stream::Stream;
pub use target::Allow;
