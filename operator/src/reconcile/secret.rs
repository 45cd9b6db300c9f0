//! Secrets that are generated once and looked after by name.
//!
//! They are never listed or watched (invariant 7), so each is looked at when an object has a new generation, when a pass is
//! requested, at the resync, and when a certificate in it is due; not at every pass. They carry no owner reference: data
//! outlives mistakes, and so does the key to it (invariant 8). A Secret that is not ours is never adopted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rand::TryRngCore;
use rand::rngs::OsRng;

use super::apply::{belongs, not_ours};
use super::certificate::{self, Authority, Decision, Leaf};
use super::child::{Bond, ChildKind};
use super::credentials::{self, Login, Password};
use super::kind::Kind;
use super::live::LiveObject;
use super::memory::SecretsInOrder;
use super::pass::Pass;
use super::request::Purpose;
use super::retention;
use super::trouble::{Asked, Trouble};

/// Shorter than the resync, so that every resync looks.
const LOOK_AGAIN: Duration = Duration::from_mins(30);

/// A Secret that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its name.
    pub name: String,
    /// Its labels, beside those of the owner.
    pub labels: BTreeMap<String, String>,
    /// What is in it.
    pub content: Content,
}

/// What is in a generated Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// A server's certificate: `tls.crt`, `tls.key`, and the authority's `ca.crt`.
    Certificate {
        /// Name of the authority's Secret; it comes before this one.
        authority: String,
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

/// Looks after the Secrets of one object, if it is time to.
pub async fn keep_in_order<K: Kind>(pass: &mut Pass<'_, K>, care: Care) -> Result<(), Trouble> {
    let wanted = &pass.object.generated(&pass.owner);
    if wanted.is_empty() || in_order(pass) {
        return Ok(());
    }
    // A care that fails is owed until one does not.
    pass.memory.secrets_in_order = None;
    let keeper = Keeper {
        pass,
        now: (pass.cx.now)(),
    };
    if care == Care::Renew && !keeper.all_exist(wanted).await? {
        return Ok(());
    }
    let mut authorities: BTreeMap<&str, Authority> = BTreeMap::new();
    let mut renew_at = None;
    for secret in wanted {
        let due = match &secret.content {
            Content::Credentials { .. } => {
                keeper.credentials(secret).await?;
                None
            }
            Content::Authority { common_name } => {
                let (authority, due) = keeper.authority(secret, common_name).await?;
                authorities.insert(&secret.name, authority);
                Some(due)
            }
            Content::Certificate { authority, dns_names } => {
                let of = authorities.get(authority.as_str());
                let of =
                    of.ok_or_else(|| Trouble::Bug(format!("{} comes before its authority", secret.name)))?;
                Some(keeper.certificate(secret, of, dns_names).await?)
            }
        };
        renew_at = [renew_at, due].into_iter().flatten().min();
    }
    pass.memory.secrets_in_order = Some(SecretsInOrder {
        generation: pass.generation,
        request: pass.requested(),
        goes: pass.object.data_goes(),
        at: Instant::now(),
        renew_at,
    });
    Ok(())
}

fn in_order<K: Kind>(pass: &Pass<'_, K>) -> bool {
    pass.memory.secrets_in_order.as_ref().is_some_and(|order| {
        order.generation == pass.generation
            && order.request == pass.requested()
            && order.goes == pass.object.data_goes()
            && order.at.elapsed() < LOOK_AGAIN
            && order.renew_at.is_none_or(|at| (pass.cx.now)().as_second() < at)
    })
}

type Data = BTreeMap<String, String>;

struct Keeper<'a, 'b, K: Kind> {
    pass: &'a Pass<'b, K>,
    now: jiff::Timestamp,
}

impl<K: Kind> Keeper<'_, '_, K> {
    async fn all_exist(&self, wanted: &[Generated]) -> Result<bool, Trouble> {
        for secret in wanted {
            if self.found(secret).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn credentials(&self, secret: &Generated) -> Result<(), Trouble> {
        let Content::Credentials {
            host,
            port,
            dbname,
            username,
        } = &secret.content
        else {
            return Ok(());
        };
        if self.found(secret).await?.is_some() {
            return Ok(());
        }
        let login = Login {
            host,
            port: *port,
            dbname,
            username,
        };
        let password = Password::generate(&mut OsRng.unwrap_err());
        let data = credentials::app_secret(&login, &password);
        let data = data
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        self.write(secret, "kubernetes.io/basic-auth", data, None).await
    }

    /// The authority in force, and when to look at it again.
    async fn authority(&self, secret: &Generated, common_name: &str) -> Result<(Authority, i64), Trouble> {
        let held = self.found(secret).await?;
        let existing = held.as_ref().and_then(|(_, data)| {
            Some(Authority {
                bundle: data.get("ca.crt")?.clone(),
                key: data.get("ca.key")?.clone(),
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
        match (decision.map_err(bug)?, existing) {
            (Decision::Keep { renew_at }, Some(existing)) => Ok((existing, renew_at.as_second())),
            (Decision::Keep { .. }, None) => {
                Err(Trouble::Bug("an authority that is not there was kept".into()))
            }
            (Decision::Issue { made, renew_at, why }, _) => {
                tracing::info!(secret = secret.name, %why, "an authority is made");
                let data = [("ca.crt", made.bundle.clone()), ("ca.key", made.key.clone())];
                self.write(secret, "Opaque", owned(data), held.map(|(held, _)| held))
                    .await?;
                Ok((made, renew_at.as_second()))
            }
        }
    }

    /// When to look at the certificate again.
    async fn certificate(
        &self,
        secret: &Generated,
        authority: &Authority,
        names: &[String],
    ) -> Result<i64, Trouble> {
        let held = self.found(secret).await?;
        let existing = held.as_ref().and_then(|(_, data)| {
            Some(Leaf {
                certificate: data.get("tls.crt")?.clone(),
                key: data.get("tls.key")?.clone(),
            })
        });
        let bundle_is_new = held.as_ref().is_some_and(|(_, data)| {
            data.get("ca.crt").map(String::as_str) != Some(authority.bundle.as_str())
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
            names,
            lifetime,
            self.now,
            &mut OsRng.unwrap_err(),
        );
        let (leaf, renew_at) = match (decision.map_err(bug)?, existing) {
            (Decision::Keep { renew_at }, Some(existing)) if bundle_is_new => (existing, renew_at),
            (Decision::Keep { renew_at }, _) => return Ok(renew_at.as_second()),
            (Decision::Issue { made, renew_at, why }, _) => {
                tracing::info!(secret = secret.name, %why, "a certificate is made");
                (made, renew_at)
            }
        };
        let data = [
            ("tls.crt", leaf.certificate),
            ("tls.key", leaf.key),
            ("ca.crt", authority.bundle.clone()),
        ];
        self.write(
            secret,
            "kubernetes.io/tls",
            owned(data),
            held.map(|(held, _)| held),
        )
        .await?;
        Ok(renew_at.as_second())
    }

    fn asked<'s>(&'s self, secret: &'s Generated) -> Asked<'s> {
        Asked {
            kind: ChildKind::Secret.name(),
            name: &secret.name,
            namespace: &self.pass.owner.namespace,
        }
    }

    /// The Secret, if it exists and is ours. One that is not ours is trouble.
    async fn found(&self, secret: &Generated) -> Result<Option<(Secret, Data)>, Trouble> {
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
        if !belongs(&bare, owner, Bond::Kept) {
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
        Ok(Some((found, data)))
    }

    /// The Secret, made to go with its owner or to outlive it as that says, and written only where it is not so yet.
    async fn bound(&self, secret: &Generated, mut found: Secret) -> Result<Secret, Trouble> {
        let owner = &self.pass.owner;
        let held = found.metadata.owner_references.take().unwrap_or_default();
        let wanted = retention::references(&held, owner, self.pass.object.data_goes());
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

    /// Makes it, or writes over exactly the version that was read.
    async fn write(
        &self,
        secret: &Generated,
        r#type: &str,
        data: Data,
        held: Option<Secret>,
    ) -> Result<(), Trouble> {
        let owner = &self.pass.owner;
        let mut body = held.clone().unwrap_or_default();
        body.metadata.name = Some(secret.name.clone());
        body.metadata.namespace = Some(owner.namespace.clone());
        body.metadata.managed_fields = None;
        let references = body.metadata.owner_references.take().unwrap_or_default();
        body.metadata.owner_references = Some(retention::references(
            &references,
            owner,
            self.pass.object.data_goes(),
        ));
        let labels = body.metadata.labels.get_or_insert_default();
        labels.extend(secret.labels.clone());
        labels.extend(owner.labels());
        body.type_ = held
            .as_ref()
            .and_then(|held| held.type_.clone())
            .or_else(|| Some(r#type.to_owned()));
        body.data = Some(
            data.into_iter()
                .map(|(key, value)| (key, ByteString(value.into_bytes())))
                .collect(),
        );
        let resource = ChildKind::Secret.api_resource();
        let requests = &self.pass.cx.requests;
        let written: Result<LiveObject, kube::Error> = if held.is_some() {
            requests
                .update(&resource, &owner.namespace, &secret.name, &body, Purpose::Secret)
                .await
        } else {
            if self.pass.known {
                retention::is_there(self.pass).await?;
            }
            requests
                .create(&resource, &owner.namespace, &body, Purpose::Secret)
                .await
        };
        written
            .map(drop)
            .map_err(|error| Trouble::of(error, self.asked(secret)))
    }
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
