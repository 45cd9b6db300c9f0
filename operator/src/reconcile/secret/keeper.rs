//! One look at the Secrets of an object: each is read by name, and made or put right.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rand::TryRngCore;
use rand::rngs::OsRng;

use super::{Care, Content, Generated};
use crate::reconcile::apply::{belongs, not_ours, was_ours};
use crate::reconcile::certificate::{self, Authority, Decision, Leaf, Party};
use crate::reconcile::child::{Bond, ChildKind};
use crate::reconcile::credentials::{self, Login, Password};
use crate::reconcile::kind::Kind;
use crate::reconcile::live::LiveObject;
use crate::reconcile::pass::Pass;
use crate::reconcile::request::Purpose;
use crate::reconcile::retention;
use crate::reconcile::trouble::{Asked, Trouble};

type Data = BTreeMap<String, String>;

/// A Secret that is there.
struct Held {
    secret: Secret,
    /// What in it is text.
    data: Data,
    /// Whether it carries our labels.
    labelled: bool,
}

/// What came of the care for one Secret.
pub(super) enum Kept {
    /// It is not there, and is not made while the object is suspended.
    Absent,
    /// It is as it has to be, until its certificate is due (in seconds since 1970) or somebody changes it.
    InOrder { until: Option<i64> },
}

/// Goes from Secret to Secret, and remembers what later ones are made of.
pub(super) struct Keeper<'a, 'b, 's, K: Kind> {
    pass: &'a Pass<'b, K>,
    care: Care,
    now: jiff::Timestamp,
    /// Of the Secrets so far, by name.
    authorities: BTreeMap<&'s str, Authority>,
    /// Of the Secrets so far, by name.
    passwords: BTreeMap<&'s str, Password>,
    /// What was missing or wrong: the Secret, and words.
    repaired: Vec<(u64, String)>,
    /// Whether an authority was made in this look: a certificate that follows it was not changed by anybody else.
    has_new_authority: bool,
}

impl<'a, 'b, 's, K: Kind> Keeper<'a, 'b, 's, K> {
    pub(super) fn new(pass: &'a Pass<'b, K>, care: Care) -> Self {
        Self {
            pass,
            care,
            now: (pass.cx.now)(),
            authorities: BTreeMap::new(),
            passwords: BTreeMap::new(),
            repaired: Vec::new(),
            has_new_authority: false,
        }
    }

    /// What was missing or wrong: which Secret ([`Generated::known_by`]), and words.
    pub(super) fn repaired(self) -> Vec<(u64, String)> {
        self.repaired
    }

    /// Puts one Secret in order; those that it is made of come before it. Of an object that is new there is none, as a rule: it is made without a look,
    /// which the API server refuses where the name is taken (`docs/decisions/0001-create-only-apply.md`).
    pub(super) async fn keep(&mut self, secret: &'s Generated) -> Result<Kept, Trouble> {
        if self.is_of_new_object() {
            match self.put_in_order(secret, None).await {
                Err(Trouble::Api(error)) if is_taken(&error) => {}
                ended => return ended,
            }
        }
        let held = self.found(secret).await?;
        self.put_in_order(secret, held).await
    }

    fn is_of_new_object(&self) -> bool {
        self.care == Care::Full && self.pass.object.common().observed_generation < 0
    }

    async fn put_in_order(&mut self, secret: &'s Generated, held: Option<Held>) -> Result<Kept, Trouble> {
        let renews = self.care == Care::Renew;
        if renews && held.is_none() {
            return Ok(Kept::Absent);
        }
        let until = match &secret.content {
            Content::Credentials { .. } | Content::Passwords { .. } if renews => None,
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
                let password = self.credentials(secret, held, &login).await?;
                self.passwords.insert(&secret.name, password);
                None
            }
            Content::Passwords { of, ending } => {
                let data = self.passwords_of(secret, of)?;
                self.mounted(secret, held, data, ending).await?;
                None
            }
            Content::Authority { common_name } => {
                let (authority, due) = self.authority(secret, held, common_name).await?;
                self.authorities.insert(&secret.name, authority);
                Some(due)
            }
            Content::Certificate {
                authority,
                party,
                dns_names,
            } => match self.authorities.get(authority.as_str()).cloned() {
                Some(of) => Some(self.certificate(secret, held, &of, (*party, dns_names)).await?),
                // What signs it is not there, and not made while the object is suspended.
                None if renews => None,
                None => return Err(comes_before(secret, "its authority")),
            },
        };
        Ok(Kept::InOrder { until })
    }

    /// The passwords of these Secrets, under their keys.
    fn passwords_of(&self, secret: &Generated, of: &[(String, String)]) -> Result<Data, Trouble> {
        let text = |(name, key): &(String, String)| {
            let password = self.passwords.get(name.as_str())?;
            Some((key.clone(), password.expose().to_owned()))
        };
        let data = of.iter().map(text).collect::<Option<_>>();
        data.ok_or_else(|| comes_before(secret, "a password"))
    }

    /// A password that is there stays, whoever wrote it: the database follows the Secret.
    async fn credentials(
        &mut self,
        secret: &Generated,
        held: Option<Held>,
        login: &Login<'_>,
    ) -> Result<Password, Trouble> {
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
    async fn mounted(
        &mut self,
        secret: &Generated,
        mut held: Option<Held>,
        wanted: Data,
        ending: &str,
    ) -> Result<(), Trouble> {
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
        held: Option<Held>,
        common_name: &str,
    ) -> Result<(Authority, i64), Trouble> {
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
        let mut is_new = false;
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
                is_new = true;
                (made, renew_at, How::of(&why))
            }
        };
        let data = [
            ("ca.crt", authority.bundle.clone()),
            ("ca.key", authority.key.clone()),
        ];
        self.write(secret, "Opaque", owned(data), held, how).await?;
        self.has_new_authority |= is_new;
        Ok((authority, renew_at.as_second()))
    }

    /// When to look at the certificate again.
    async fn certificate(
        &mut self,
        secret: &Generated,
        held: Option<Held>,
        authority: &Authority,
        subject: (Party, &[String]),
    ) -> Result<i64, Trouble> {
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

    fn asked<'x>(&'x self, secret: &'x Generated) -> Asked<'x> {
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

/// Whether an object could not be made because there is one of its name.
fn is_taken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

fn comes_before(secret: &Generated, what: &str) -> Trouble {
    Trouble::Bug(format!("{} comes before {what}", secret.name))
}
