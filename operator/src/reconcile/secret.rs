//! Secrets that are generated once and looked after by name.
//!
//! They are never listed or watched (invariant 7), so they are looked at in passes: when an object has a new generation, when a pass is
//! requested, when a certificate is due, else not more often than once a minute; every ten seconds while the object has not been ready for
//! longer than usual, for a Secret that is missing may be why. Those that open data carry no owner reference: data
//! outlives mistakes, and so does the key to it (invariant 8). A Secret that is not ours is never adopted.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use mim_crds::EventReason;
use rand::TryRngCore;
use rand::rngs::OsRng;

use super::apply::{belongs, not_ours, was_ours};
use super::certificate::{self, Authority, Decision, Leaf, Party};
use super::child::{Bond, ChildKind};
use super::credentials::{self, Login, Password};
use super::event::Note;
use super::kind::Kind;
use super::live::LiveObject;
use super::memory::SecretsInOrder;
use super::pass::Pass;
use super::request::Purpose;
use super::retention;
use super::trouble::{Asked, Trouble};

/// A pass looks again after this long: a burst of passes is one look, and every resync looks.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// The same while the object is not ready for longer than usual.
const LOOK_AGAIN_UNREADY: Duration = Duration::from_secs(10);

/// A Secret that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its name.
    pub name: String,
    /// Whether it outlives the owner, as what opens data does.
    pub bond: Bond,
    /// Its labels, beside those of the owner.
    pub labels: BTreeMap<String, String>,
    /// What is in it.
    pub content: Content,
}

impl Generated {
    /// A digest of its name and of what it is for.
    fn known_by(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.name, &self.content).hash(&mut hasher);
        hasher.finish()
    }
}

/// What is in a generated Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A password, with the keys of CloudNativePG's app Secret.
    Credentials {
        /// Host name of the server.
        host: String,
        /// Its port.
        port: u16,
        /// Database.
        dbname: String,
        /// Role.
        username: String,
    },
    /// An authority that signs certificates: `ca.crt`, `ca.key`.
    Authority {
        /// Its name, for people.
        common_name: String,
    },
    /// Passwords of other Secrets, in one that is mounted: a program sees a new one without another mount, so without a restart.
    Passwords {
        /// Each Secret of credentials, which comes before this one, and the key of its password here.
        of: Vec<(String, String)>,
        /// What such a key ends with: one that is of none of them is taken out.
        ending: &'static str,
    },
    /// A certificate: `tls.crt`, `tls.key`, and the authority's `ca.crt`.
    Certificate {
        /// Name of the authority's Secret; it comes before this one.
        authority: String,
        /// Whose it is.
        party: Party,
        /// What the certificate is for.
        dns_names: Vec<String>,
    },
}

/// How far the care goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// What is missing is made, what is due is renewed.
    Full,
    /// What is due is renewed, nothing is made: the object is suspended.
    Renew,
}

/// Looks after the Secrets of one object, if it is time to, and tells what it put back.
pub async fn keep_in_order<K: Kind>(pass: &mut Pass<'_, K>, care: Care) -> Result<Vec<Note>, Trouble> {
    let wanted = &pass.object.generated(&pass.owner);
    if wanted.is_empty() || in_order(pass, care) {
        return Ok(Vec::new());
    }
    // What was in order once in this process and no longer is, somebody else has changed. A care that fails is owed until one does not.
    let were_in_order = pass.memory.secrets_in_order.take().map(|order| order.known);
    let mut keeper = Keeper {
        pass,
        now: (pass.cx.now)(),
        repaired: Vec::new(),
        has_new_authority: false,
    };
    let mut authorities: BTreeMap<&str, Authority> = BTreeMap::new();
    let mut passwords: BTreeMap<&str, Password> = BTreeMap::new();
    let mut renew_at = None;
    let mut known = Vec::with_capacity(wanted.len());
    for secret in wanted {
        if care == Care::Renew && keeper.found(secret).await?.is_none() {
            continue;
        }
        let due = match &secret.content {
            Content::Credentials { .. } | Content::Passwords { .. } if care == Care::Renew => None,
            Content::Credentials {
                host,
                port,
                dbname,
                username,
            } => {
                let login = Login {
                    host,
                    port: *port,
                    dbname,
                    username,
                };
                let password = keeper.credentials(secret, &login).await?;
                passwords.insert(&secret.name, password);
                None
            }
            Content::Passwords { of, ending } => {
                let text = |(name, key): &(String, String)| {
                    let password = passwords.get(name.as_str());
                    password.map(|password| (key.clone(), password.expose().to_owned()))
                };
                let data = of.iter().map(text).collect::<Option<Data>>();
                let data =
                    data.ok_or_else(|| Trouble::Bug(format!("{} comes before a password", secret.name)))?;
                keeper.passwords(secret, data, ending).await?;
                None
            }
            Content::Authority { common_name } => {
                let (authority, due) = keeper.authority(secret, common_name).await?;
                authorities.insert(&secret.name, authority);
                Some(due)
            }
            Content::Certificate {
                authority,
                party,
                dns_names,
            } => match authorities.get(authority.as_str()) {
                Some(of) => Some(keeper.certificate(secret, of, (*party, dns_names)).await?),
                // What signs it is not there, and not made while the object is suspended.
                None if care == Care::Renew => None,
                None => {
                    return Err(Trouble::Bug(format!(
                        "{} comes before its authority",
                        secret.name
                    )));
                }
            },
        };
        renew_at = [renew_at, due].into_iter().flatten().min();
        known.push(secret.known_by());
    }
    let repaired = keeper.repaired;
    pass.memory.secrets_in_order = Some(SecretsInOrder {
        care,
        generation: pass.generation,
        request: pass.requested(),
        goes: pass.object.data_goes(),
        at: Instant::now(),
        renew_at,
        known,
    });
    // One that a newer spec asks for, or that was not made while the object was suspended, was missing without anybody's doing.
    let by_others = |of: u64| were_in_order.as_ref().is_some_and(|known| known.contains(&of));
    let notes = repaired.into_iter().filter(|(of, _)| by_others(*of));
    Ok(notes
        .map(|(_, what)| Note::warning(EventReason::Repaired, what))
        .collect())
}

fn in_order<K: Kind>(pass: &Pass<'_, K>, care: Care) -> bool {
    let look_again = if pass.waits_long() {
        LOOK_AGAIN_UNREADY
    } else {
        LOOK_AGAIN
    };
    pass.memory.secrets_in_order.as_ref().is_some_and(|order| {
        (order.care == Care::Full || care == Care::Renew)
            && order.generation == pass.generation
            && order.request == pass.requested()
            && order.goes == pass.object.data_goes()
            && order.at.elapsed() < look_again
            && order.renew_at.is_none_or(|at| (pass.cx.now)().as_second() < at)
    })
}

type Data = BTreeMap<String, String>;

/// A Secret that is there.
struct Held {
    secret: Secret,
    /// What in it is text.
    data: Data,
    /// Whether it carries our labels.
    labelled: bool,
}

struct Keeper<'a, 'b, K: Kind> {
    pass: &'a Pass<'b, K>,
    now: jiff::Timestamp,
    /// What was missing or wrong: the Secret, and words.
    repaired: Vec<(u64, String)>,
    /// Whether an authority was made in this look: a certificate that follows it was not changed by anybody else.
    has_new_authority: bool,
}

impl<K: Kind> Keeper<'_, '_, K> {
    /// A password that is there stays, whoever wrote it: the database follows the Secret.
    async fn credentials(&mut self, secret: &Generated, login: &Login<'_>) -> Result<Password, Trouble> {
        let held = self.found(secret).await?;
        let password = held
            .as_ref()
            .and_then(|held| held.data.get("password"))
            .filter(|password| !password.is_empty());
        let password = match password {
            Some(password) => Password::known(password.clone()),
            None => Password::generate(&mut OsRng.unwrap_err()),
        };
        let wanted = credentials::app_secret(login, &password);
        let is_right = |held: &Held| {
            held.labelled
                && wanted
                    .iter()
                    .all(|(key, value)| held.data.get(*key) == Some(value))
        };
        if held.as_ref().is_some_and(is_right) {
            return Ok(password);
        }
        let data = wanted.into_iter().map(|(key, value)| (key.to_owned(), value));
        let how = How::Repair;
        self.write(secret, "kubernetes.io/basic-auth", data.collect(), held, how)
            .await?;
        Ok(password)
    }

    /// The passwords of other Secrets as they are now.
    async fn passwords(&mut self, secret: &Generated, wanted: Data, ending: &str) -> Result<(), Trouble> {
        let mut held = self.found(secret).await?;
        let is_password = |key: &String| key.ends_with(ending);
        let is_right = |held: &Held| {
            let passwords = held.data.iter().filter(|(key, _)| is_password(key));
            held.labelled && passwords.eq(&wanted)
        };
        if held.as_ref().is_some_and(is_right) {
            return Ok(());
        }
        let data = held.as_mut().and_then(|held| held.secret.data.as_mut());
        if let Some(data) = data {
            data.retain(|key, _| !is_password(key));
        }
        // One that is there follows the others, whoever changed which.
        let how = if held.is_some() { How::Renewal } else { How::Repair };
        self.write(secret, "Opaque", wanted, held, how).await
    }

    /// The authority in force, and when to look at it again.
    async fn authority(
        &mut self,
        secret: &Generated,
        common_name: &str,
    ) -> Result<(Authority, i64), Trouble> {
        let held = self.found(secret).await?;
        let existing = held.as_ref().and_then(|held| {
            Some(Authority {
                bundle: held.data.get("ca.crt")?.clone(),
                key: held.data.get("ca.key")?.clone(),
            })
        });
        let lifetime = certificate::AUTHORITY_LIFETIME;
        let decision = certificate::authority(
            existing.as_ref(),
            common_name,
            lifetime,
            self.now,
            &mut OsRng.unwrap_err(),
        );
        let (authority, renew_at, how) = match (decision.map_err(bug)?, existing) {
            (Decision::Keep { renew_at }, Some(existing)) if is_labelled(held.as_ref()) => {
                return Ok((existing, renew_at.as_second()));
            }
            (Decision::Keep { renew_at }, Some(existing)) => (existing, renew_at, How::Repair),
            (Decision::Keep { .. }, None) => {
                return Err(Trouble::Bug("an authority that is not there was kept".into()));
            }
            (Decision::Issue { made, renew_at, why }, _) => {
                tracing::info!(secret = secret.name, %why, "an authority is made");
                self.has_new_authority = true;
                (made, renew_at, How::of(&why))
            }
        };
        let data = [
            ("ca.crt", authority.bundle.clone()),
            ("ca.key", authority.key.clone()),
        ];
        self.write(secret, "Opaque", owned(data), held, how).await?;
        Ok((authority, renew_at.as_second()))
    }

    /// When to look at the certificate again.
    async fn certificate(
        &mut self,
        secret: &Generated,
        authority: &Authority,
        subject: (Party, &[String]),
    ) -> Result<i64, Trouble> {
        let held = self.found(secret).await?;
        let existing = held.as_ref().and_then(|held| {
            Some(Leaf {
                certificate: held.data.get("tls.crt")?.clone(),
                key: held.data.get("tls.key")?.clone(),
            })
        });
        let has_bundle = held.as_ref().is_some_and(|held| {
            held.data.get("ca.crt").map(String::as_str) == Some(authority.bundle.as_str())
        });
        let lifetime = self
            .pass
            .cx
            .settings
            .certificate_lifetime
            .unwrap_or(certificate::LEAF_LIFETIME);
        let decision = certificate::leaf(
            existing.as_ref(),
            authority,
            subject,
            lifetime,
            self.now,
            &mut OsRng.unwrap_err(),
        );
        let (leaf, renew_at, how) = match (decision.map_err(bug)?, existing) {
            (Decision::Keep { renew_at }, Some(_)) if has_bundle && is_labelled(held.as_ref()) => {
                return Ok(renew_at.as_second());
            }
            (Decision::Keep { renew_at }, Some(existing)) => (existing, renew_at, How::Repair),
            (Decision::Keep { .. }, None) => {
                return Err(Trouble::Bug("a certificate that is not there was kept".into()));
            }
            (Decision::Issue { made, renew_at, why }, _) => {
                tracing::info!(secret = secret.name, %why, "a certificate is made");
                (made, renew_at, How::of(&why))
            }
        };
        let data = [
            ("tls.crt", leaf.certificate),
            ("tls.key", leaf.key),
            ("ca.crt", authority.bundle.clone()),
        ];
        let how = if self.has_new_authority && held.is_some() {
            How::Renewal
        } else {
            how
        };
        self.write(secret, "kubernetes.io/tls", owned(data), held, how)
            .await?;
        Ok(renew_at.as_second())
    }

    /// Whether garbage collection takes it with the owner.
    fn goes(&self, secret: &Generated) -> bool {
        secret.bond == Bond::Owned || self.pass.object.data_goes()
    }

    fn asked<'s>(&'s self, secret: &'s Generated) -> Asked<'s> {
        Asked {
            kind: ChildKind::Secret.name(),
            name: &secret.name,
            namespace: &self.pass.owner.namespace,
        }
    }

    /// The Secret, if it exists and is ours. One that is not ours is trouble.
    async fn found(&self, secret: &Generated) -> Result<Option<Held>, Trouble> {
        let owner = &self.pass.owner;
        let resource = ChildKind::Secret.api_resource();
        let found = self
            .pass
            .cx
            .requests
            .get::<Secret>(&resource, &owner.namespace, &secret.name, Purpose::Secret)
            .await;
        let Some(found) = found.map_err(|error| Trouble::of(error, self.asked(secret)))? else {
            return Ok(None);
        };
        let bare = LiveObject {
            metadata: found.metadata.clone(),
            status: None,
        };
        let labelled = belongs(&bare, owner, secret.bond);
        if !labelled && !was_ours(&bare, owner, secret.bond) {
            return Err(not_ours(ChildKind::Secret, &secret.name, &bare, owner));
        }
        let found = self.bound(secret, found).await?;
        let text = |bytes: &ByteString| String::from_utf8(bytes.0.clone()).ok();
        let data = found
            .data
            .iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), text(value)?)))
            .collect();
        Ok(Some(Held {
            secret: found,
            data,
            labelled,
        }))
    }

    /// The Secret, made to go with its owner or to outlive it as that says, and written only where it is not so yet.
    async fn bound(&self, secret: &Generated, mut found: Secret) -> Result<Secret, Trouble> {
        let owner = &self.pass.owner;
        let held = found.metadata.owner_references.take().unwrap_or_default();
        let wanted = retention::references(&held, owner, self.goes(secret));
        let as_wanted = held == wanted;
        found.metadata.owner_references = Some(wanted);
        if as_wanted {
            return Ok(found);
        }
        let resource = ChildKind::Secret.api_resource();
        found.metadata.managed_fields = None;
        self.pass
            .cx
            .requests
            .update(&resource, &owner.namespace, &secret.name, &found, Purpose::Secret)
            .await
            .map_err(|error| Trouble::of(error, self.asked(secret)))
    }

    /// Makes it, or writes over exactly the version that was read; keys that are not ours stay.
    async fn write(
        &mut self,
        secret: &Generated,
        r#type: &str,
        data: Data,
        held: Option<Held>,
        how: How,
    ) -> Result<(), Trouble> {
        let was_there = held.is_some();
        let body = self.body(secret, r#type, data, held.map(|held| held.secret));
        let resource = ChildKind::Secret.api_resource();
        let (requests, namespace) = (&self.pass.cx.requests, &self.pass.owner.namespace);
        let written: Result<LiveObject, kube::Error> = if was_there {
            requests
                .update(&resource, namespace, &secret.name, &body, Purpose::Secret)
                .await
        } else {
            if self.pass.known {
                retention::is_there(self.pass).await?;
            }
            requests
                .create(&resource, namespace, &body, Purpose::Secret)
                .await
        };
        written.map_err(|error| Trouble::of(error, self.asked(secret)))?;
        if how == How::Repair {
            let what = if was_there {
                "was changed by somebody else: put back"
            } else {
                "was deleted by somebody else: made again"
            };
            let words = format!("{} {} {what}", ChildKind::Secret.name(), secret.name);
            self.repaired.push((secret.known_by(), words));
        }
        Ok(())
    }

    fn body(&self, secret: &Generated, r#type: &str, data: Data, held: Option<Secret>) -> Secret {
        let owner = &self.pass.owner;
        let mut body = held.unwrap_or_default();
        body.metadata.name = Some(secret.name.clone());
        body.metadata.namespace = Some(owner.namespace.clone());
        body.metadata.managed_fields = None;
        let references = body.metadata.owner_references.take().unwrap_or_default();
        body.metadata.owner_references = Some(retention::references(&references, owner, self.goes(secret)));
        let labels = body.metadata.labels.get_or_insert_default();
        labels.extend(secret.labels.clone());
        labels.extend(owner.labels());
        body.type_.get_or_insert_with(|| r#type.to_owned());
        let bytes = data
            .into_iter()
            .map(|(key, value)| (key, ByteString(value.into_bytes())));
        body.data.get_or_insert_default().extend(bytes);
        body
    }
}

/// Why a Secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Its time has come, or that of what it follows.
    Renewal,
    /// It is not there, or not as we left it.
    Repair,
}

impl How {
    const fn of(why: &certificate::Why) -> Self {
        match why {
            certificate::Why::Due => Self::Renewal,
            _ => Self::Repair,
        }
    }
}

fn is_labelled(held: Option<&Held>) -> bool {
    held.is_some_and(|held| held.labelled)
}

fn owned<const N: usize>(data: [(&str, String); N]) -> Data {
    data.into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

#[allow(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn bug(error: certificate::CertificateError) -> Trouble {
    Trouble::Bug(error.to_string())
}
