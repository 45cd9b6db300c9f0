//! What a token claims (RFC 7519 §4.1): whether it is for us and holds now, and whom it is of.

use super::jws::Algorithm;
use super::subject::Subject;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mim_policy::Identity;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The most values of one claim, and the longest. One with more is refused: what is left out could be what a rule denies by.
const MAX_VALUES: usize = 1000;
const MAX_VALUE: usize = 512;

/// Why a token, or what else is shown, is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is no token, or one for another purpose.
    Malformed,
    /// Its issuer is none of ours.
    Issuer,
    /// Its algorithm is not allowed, or not of its key.
    Algorithm,
    /// No key of the issuer has that name.
    UnknownKey,
    /// The signature is not of that key.
    Signature,
    /// It is for somebody else.
    Audience,
    /// It has expired, or says not when it does.
    Expired,
    /// It holds only later.
    TooEarly,
    /// A claim that says who it is of is missing or too large.
    Claims,
    /// It is bound to a key or a certificate that was not shown.
    Binding,
    /// What is shown to prove that its key is there does not.
    Proof,
    /// There is no such API key.
    Key,
    /// The certificate has no name.
    Certificate,
}

impl Wrong {
    /// In a word.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Malformed => "token_malformed",
            Self::Issuer => "token_issuer",
            Self::Algorithm => "token_algorithm",
            Self::UnknownKey => "token_key",
            Self::Signature => "token_signature",
            Self::Audience => "token_audience",
            Self::Expired => "token_expired",
            Self::TooEarly => "token_too_early",
            Self::Claims => "token_claims",
            Self::Binding => "token_binding",
            Self::Proof => "token_proof",
            Self::Key => "api_key",
            Self::Certificate => "certificate",
        }
    }

    /// In a sentence. What is wrong with a signature is nobody's business.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Expired => "the token has expired",
            Self::TooEarly => "the token does not hold yet",
            Self::Audience => "the token is for somebody else",
            Self::Binding => "the token is bound to what was not shown",
            Self::Proof => "the proof of possession is not one of this request",
            Self::Key => "the API key is not known",
            Self::Certificate => "the certificate has no name",
            _ => "the token is not accepted",
        }
    }
}

/// What tokens of an issuer must say, and where they say whom they are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The issuer, to the letter.
    pub issuer: String,
    /// Who we are: one of these is in `aud`.
    pub audiences: Vec<String>,
    /// How tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// How many seconds clocks may differ by.
    pub skew: u64,
    /// Where the subject, its client, its roles and its groups stand; paths with dots, a whole name before a path.
    pub id: String,
    /// See `id`.
    pub client: String,
    /// See `id`.
    pub roles: Vec<String>,
    /// See `id`.
    pub groups: Vec<String>,
    /// Other claims that rules speak of.
    pub others: Vec<String>,
}

/// A token that holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Whom it is of.
    pub subject: Subject,
    /// Until when, in seconds of Unix time, the clocks' difference included.
    pub until: u64,
    /// What must be shown with it.
    pub bound_to: Bound,
}

/// What a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Nothing: whoever bears it.
    Nobody,
    /// The certificate with this SHA-256 (RFC 8705 §3.1).
    Certificate([u8; 32]),
    /// The key with this thumbprint (RFC 9449 §6.1).
    Key(String),
}

/// Who is said to have issued it, before that is known to be true.
pub fn issuer(claims: &Map<String, Value>) -> Result<&str, Wrong> {
    claims.get("iss").and_then(Value::as_str).ok_or(Wrong::Issuer)
}

/// Checks the claims of a token whose signature is good. `now` is in seconds of Unix time.
pub fn check(claims: &Map<String, Value>, terms: &Terms, now: u64) -> Result<Found, Wrong> {
    if issuer(claims)? != terms.issuer {
        return Err(Wrong::Issuer);
    }
    if !values(claims.get("aud"))?
        .iter()
        .any(|audience| terms.audiences.contains(audience))
    {
        return Err(Wrong::Audience);
    }
    let until = time(claims, "exp")?
        .ok_or(Wrong::Expired)?
        .saturating_add(terms.skew);
    if now >= until {
        return Err(Wrong::Expired);
    }
    if time(claims, "nbf")?.is_some_and(|from| from > now.saturating_add(terms.skew)) {
        return Err(Wrong::TooEarly);
    }
    // Keycloak's own word for what a token is for.
    if matches!(
        claims.get("typ").and_then(Value::as_str),
        Some("ID" | "Refresh" | "Offline" | "Logout")
    ) {
        return Err(Wrong::Malformed);
    }
    Ok(Found {
        subject: subject(claims, terms)?,
        until,
        bound_to: binding(claims)?,
    })
}

fn subject(claims: &Map<String, Value>, terms: &Terms) -> Result<Subject, Wrong> {
    let one = |path: &str| values(at(claims, path)).map(|values| values.into_iter().next());
    let all = |paths: &[String]| -> Result<BTreeSet<String>, Wrong> {
        let found: Result<Vec<_>, _> = paths.iter().map(|path| values(at(claims, path))).collect();
        Ok(found?.into_iter().flatten().collect())
    };
    let id = one(&terms.id)?.filter(|id| !id.is_empty()).ok_or(Wrong::Claims)?;
    let mut others = BTreeMap::new();
    for name in &terms.others {
        let found = values(at(claims, name))?;
        if !found.is_empty() {
            others.insert(name.clone(), found.into_iter().collect());
        }
    }
    let identity = Identity {
        client: one(&terms.client)?,
        roles: all(&terms.roles)?,
        groups: all(&terms.groups)?,
        claims: others,
    };
    Ok(Subject::known(format!("{}#{id}", terms.issuer), identity))
}

/// RFC 7800 §3.1. What must be proven and cannot be proven here is not accepted as if it need not be.
fn binding(claims: &Map<String, Value>) -> Result<Bound, Wrong> {
    let Some(confirmation) = claims.get("cnf") else {
        return Ok(Bound::Nobody);
    };
    let confirmation = confirmation.as_object().filter(|members| members.len() == 1);
    let (kind, value) = confirmation
        .and_then(|members| members.iter().next())
        .ok_or(Wrong::Binding)?;
    let text = value.as_str().ok_or(Wrong::Binding)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Wrong::Binding)?;
    let digest: [u8; 32] = bytes.try_into().map_err(|_| Wrong::Binding)?;
    match kind.as_str() {
        "x5t#S256" => Ok(Bound::Certificate(digest)),
        "jkt" => Ok(Bound::Key(text.to_owned())),
        _ => Err(Wrong::Binding),
    }
}

fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Wrong> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    // RFC 7519 §2: a number, perhaps not a whole one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float becomes the nearest number that there is; less than 0 becomes 0, which has expired"
    )]
    let whole = value
        .as_u64()
        .or_else(|| value.as_f64().map(|seconds| seconds as u64));
    whole.map(Some).ok_or(Wrong::Malformed)
}

/// The value at a path: a claim of that whole name, else member by member.
fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut names = path.split('.');
    let first = claims.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

/// A text, or a list of texts.
fn values(value: Option<&Value>) -> Result<Vec<String>, Wrong> {
    let texts: Vec<String> = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) if items.len() <= MAX_VALUES => {
            let texts: Option<Vec<_>> = items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect();
            texts.ok_or(Wrong::Claims)?
        }
        Some(Value::Bool(_) | Value::Number(_)) => value.map(Value::to_string).into_iter().collect(),
        Some(_) => return Err(Wrong::Claims),
    };
    if texts.iter().any(|text| text.len() > MAX_VALUE) {
        return Err(Wrong::Claims);
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn terms() -> Terms {
        Terms {
            issuer: "https://i.example".to_owned(),
            audiences: vec!["broker".to_owned()],
            algorithms: vec![Algorithm::RS256],
            skew: 30,
            id: "sub".to_owned(),
            client: "azp".to_owned(),
            roles: vec!["realm_access.roles".to_owned(), "https://a.b/roles".to_owned()],
            groups: vec!["groups".to_owned()],
            others: vec!["district".to_owned()],
        }
    }

    fn checked(change: &Value) -> Result<Found, Wrong> {
        let mut claims = json!({"iss": "https://i.example", "aud": "broker", "exp": 1000, "sub": "u"});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        check(claims.as_object().unwrap(), &terms(), 500)
    }

    #[test]
    fn whom_a_token_is_of_stands_where_the_terms_say() {
        let found = checked(&json!({
            "aud": ["other", "broker"], "azp": "app", "realm_access": {"roles": ["a", "b"]}, "https://a.b/roles": "c",
            "groups": ["/g"], "district": 7, "unnamed": "x",
        }))
        .unwrap();
        let subject = found.subject;
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let identity = Identity {
            client: Some("app".to_owned()),
            roles: texts(&["a", "b", "c"]),
            groups: texts(&["/g"]),
            claims: BTreeMap::from([("district".to_owned(), texts(&["7"]))]),
        };
        assert_eq!(
            subject,
            Subject::known("https://i.example#u".to_owned(), identity)
        );
        assert_eq!((found.until, found.bound_to), (1030, Bound::Nobody));
    }

    #[test]
    fn a_token_for_somebody_else_or_another_time_or_purpose_is_refused() {
        for (change, wrong) in [
            (json!({"iss": "https://i.example/"}), Wrong::Issuer),
            (json!({"iss": null}), Wrong::Issuer),
            (json!({"aud": "brokers"}), Wrong::Audience),
            (json!({"aud": []}), Wrong::Audience),
            (json!({"aud": null}), Wrong::Audience),
            (json!({"exp": 470}), Wrong::Expired),
            (json!({"exp": -5}), Wrong::Expired),
            (json!({"exp": "1000"}), Wrong::Malformed),
            (json!({"exp": null}), Wrong::Malformed),
            (json!({"nbf": 531}), Wrong::TooEarly),
            (json!({"typ": "ID"}), Wrong::Malformed),
            (json!({"sub": ""}), Wrong::Claims),
            (json!({"sub": {}}), Wrong::Claims),
            (json!({"groups": [1]}), Wrong::Claims),
            (json!({"groups": vec!["a"; MAX_VALUES + 1]}), Wrong::Claims),
            (json!({"sub": "a".repeat(MAX_VALUE + 1)}), Wrong::Claims),
            (json!({"cnf": {"jkt": "a"}}), Wrong::Binding),
            (json!({"cnf": {"x5t#S256": "a"}}), Wrong::Binding),
        ] {
            assert_eq!(checked(&change).unwrap_err(), wrong, "{change}");
        }
        for good in [
            json!({"exp": 471}),
            json!({"nbf": 530}),
            json!({"exp": 1000.5}),
            json!({"typ": "Bearer"}),
        ] {
            assert!(checked(&good).is_ok(), "{good}");
        }
    }
}
