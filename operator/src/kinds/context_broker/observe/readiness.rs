//! What a broker tells by the status of its `/readyz` (`docs/operands.md`). A kubelet that asks by HTTP passes on nothing else: its event reads
//! `Readiness probe failed: HTTP probe failed with statuscode: 524`.

use mim_crds::Reason;

/// The status of a broker that is shutting down. It says nothing of the database.
const LEAVING: u16 = 531;

/// Status, and what it says of the database.
const MEANINGS: [(u16, &str); 11] = [
    (503, "does not serve at the moment"),
    (
        521,
        "cannot be reached; check host and port in its Secret, and network.egress",
    ),
    (
        522,
        "has a certificate that is not trusted; check the CA and the host name",
    ),
    (523, "offers no TLS; the broker connects with TLS only"),
    (
        524,
        "refuses the login; check username and password in its Secret",
    ),
    (
        525,
        "is not on that server; create it, or correct dbname in its Secret",
    ),
    (526, "is older than PostgreSQL 15"),
    (
        527,
        "lacks PostGIS, and the role may not create it; let a superuser run CREATE EXTENSION postgis",
    ),
    (
        528,
        "lets the role do too little; make it the owner of the database",
    ),
    (
        529,
        "cannot be looked for: a file of its Secret or CA is missing or not usable",
    ),
    (530, "has a schema that could not be brought up to date"),
];

/// The kubelet's words about a broker's pod that runs, in words about its database where they are no more than a status. The pod itself says more, with
/// the host and the role.
pub fn explained(pod: &str, words: String) -> (Reason, String) {
    let status = status(&words);
    if status == Some(LEAVING) {
        return (Reason::NotReady, "the broker is shutting down".to_owned());
    }
    let meaning = MEANINGS.iter().find(|(of, _)| Some(*of) == status);
    let words = meaning.map_or(words, |(_, meaning)| {
        format!("the database {meaning}. `kubectl exec {pod} -- /usr/bin/mim-broker probe` says more")
    });
    (Reason::DatabaseNotReady, words)
}

fn status(words: &str) -> Option<u16> {
    let (_, status) = words.rsplit_once("HTTP probe failed with statuscode: ")?;
    status.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(words: &str) -> (Reason, String) {
        explained("city-broker-1", words.to_owned())
    }

    #[test]
    fn every_status_is_told_in_words_and_where_to_ask_for_more() {
        let more = "`kubectl exec city-broker-1 -- /usr/bin/mim-broker probe` says more";
        for (status, meaning) in MEANINGS {
            assert_eq!(
                told(&format!(
                    "Readiness probe failed: HTTP probe failed with statuscode: {status}"
                )),
                (
                    Reason::DatabaseNotReady,
                    format!("the database {meaning}. {more}")
                )
            );
        }
    }

    #[test]
    fn a_broker_that_is_shutting_down_says_nothing_of_its_database() {
        assert_eq!(
            told("Readiness probe failed: HTTP probe failed with statuscode: 531"),
            (Reason::NotReady, "the broker is shutting down".to_owned())
        );
    }

    #[test]
    fn what_the_broker_says_itself_when_it_starts_stays_and_so_do_words_of_others() {
        for words in [
            "Startup probe failed: the database at db:5432 cannot be reached: connection refused",
            "Startup probe failed: the certificate of the database at db:5432 is not trusted: unknown issuer; check the CA certificate and the host name",
            "Startup probe failed: the database at db:5432 offers no TLS; the broker connects with TLS only",
            "Startup probe failed: the database refuses the login of app: password authentication failed; check username and password in the Secret",
            "Startup probe failed: the server has no database app; create it or correct dbname in the Secret",
            "Startup probe failed: the database is PostgreSQL 14.2; the broker needs 15 or newer",
            "Startup probe failed: PostGIS is missing in the database and cannot be created by app: permission denied; let a superuser run CREATE EXTENSION postgis",
            "Startup probe failed: the role app lacks a permission in the database: permission denied; make it the owner of the database",
            "Startup probe failed: the broker does not listen on its health port yet: connection refused",
            "Readiness probe failed: HTTP probe failed with statuscode: 404",
            "Readiness probe failed: connection refused",
        ] {
            assert_eq!(told(words), (Reason::DatabaseNotReady, words.to_owned()));
        }
    }

    #[test]
    fn the_words_are_those_of_the_contract() {
        let page = include_str!("../../../../../docs/operands.md");
        for (status, meaning) in MEANINGS {
            assert!(
                page.contains(&format!("| {status} | {meaning} |")),
                "{status} {meaning}"
            );
        }
        assert!(page.contains(&format!(
            "\n{LEAVING} says that the broker itself is shutting down"
        )));
    }
}
