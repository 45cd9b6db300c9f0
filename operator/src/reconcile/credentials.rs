//! Credentials of a database: made once, kept in a Secret whose keys are those of CloudNativePG's app Secret, so that whoever
//! can use the one can use the other.

use std::collections::BTreeMap;
use std::fmt;

use rand::CryptoRng;
use rand::distr::{Alphanumeric, SampleString as _};

/// Letters and digits: 40 of them are 238 bits, and none needs escaping in a URI, a shell or SQL.
const LENGTH: usize = 40;

/// A password. It prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Password {
    /// A new one.
    #[must_use]
    pub fn generate(random: &mut impl CryptoRng) -> Self {
        Self(Alphanumeric.sample_string(random, LENGTH))
    }

    /// One that a Secret holds.
    #[must_use]
    pub const fn known(text: String) -> Self {
        Self(text)
    }

    /// The password itself, for a Secret and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Where a database is and as whom to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login<'a> {
    /// Host name.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// Database.
    pub dbname: &'a str,
    /// Role.
    pub username: &'a str,
}

/// The keys and values of the Secret: `host`, `port`, `dbname`, `username`, `user`, `password`, `uri`, `jdbc-uri` and
/// `pgpass`, as CloudNativePG writes them ("Connecting from an application").
#[must_use]
pub fn app_secret(login: &Login<'_>, password: &Password) -> BTreeMap<&'static str, String> {
    let Login {
        host,
        port,
        dbname,
        username,
    } = *login;
    let (user, secret, database) = (escape(username), escape(password.expose()), escape(dbname));
    BTreeMap::from([
        ("host", host.to_owned()),
        ("port", port.to_string()),
        ("dbname", dbname.to_owned()),
        ("username", username.to_owned()),
        ("user", username.to_owned()),
        ("password", password.expose().to_owned()),
        (
            "uri",
            format!("postgresql://{user}:{secret}@{host}:{port}/{database}"),
        ),
        (
            "jdbc-uri",
            format!("jdbc:postgresql://{host}:{port}/{database}?password={secret}&user={user}"),
        ),
        (
            "pgpass",
            [host, &port.to_string(), dbname, username, password.expose()]
                .map(escape_pgpass)
                .join(":")
                + "\n",
        ),
    ])
}

/// Percent-encodes everything but the unreserved characters (RFC 3986 §2.3).
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut escaped, byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                escaped.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
            escaped
        })
}

/// In a password file `:` and `\` are escaped (PostgreSQL documentation, "The Password File").
fn escape_pgpass(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_password_is_long_plain_and_never_the_same() {
        let mut random = StdRng::seed_from_u64(1);
        let (one, other) = (Password::generate(&mut random), Password::generate(&mut random));
        assert_ne!(one, other);
        assert!(one.expose().len() >= 32 && one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(
            Password::generate(&mut StdRng::seed_from_u64(1)),
            one,
            "all of it comes from what is passed in"
        );
        assert_eq!(format!("{one:?}"), "Password(…)");
    }

    #[test]
    fn the_keys_are_those_of_cloudnativepg() {
        let login = Login {
            host: "vienna-database",
            port: 5432,
            dbname: "app",
            username: "app",
        };
        let secret = app_secret(&login, &Password::known("s3cret".into()));
        let expected = [
            ("dbname", "app"),
            ("host", "vienna-database"),
            (
                "jdbc-uri",
                "jdbc:postgresql://vienna-database:5432/app?password=s3cret&user=app",
            ),
            ("password", "s3cret"),
            ("pgpass", "vienna-database:5432:app:app:s3cret\n"),
            ("port", "5432"),
            ("uri", "postgresql://app:s3cret@vienna-database:5432/app"),
            ("user", "app"),
            ("username", "app"),
        ];
        assert_eq!(
            secret.into_iter().collect::<Vec<_>>(),
            expected.map(|(key, value)| (key, value.to_owned()))
        );
    }

    #[test]
    fn what_needs_escaping_is_escaped() {
        let login = Login {
            host: "h",
            port: 1,
            dbname: "a/b",
            username: "ö:",
        };
        let secret = app_secret(&login, &Password::known("p@s:s\\".into()));
        assert_eq!(secret["uri"], "postgresql://%C3%B6%3A:p%40s%3As%5C@h:1/a%2Fb");
        assert_eq!(secret["pgpass"], "h:1:a/b:ö\\::p@s\\:s\\\\\n");
        assert_eq!(secret["password"], "p@s:s\\");
    }
}
