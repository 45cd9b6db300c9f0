//! What is built, as files: a change of a builder shows in them.

use insta::{assert_yaml_snapshot, with_settings};
use serde_json::{Value, json};

use super::{build, fixtures, generated, preflight};
use crate::reconcile::certificate::{AUTHORITY_LIFETIME, LEAF_LIFETIME};
use crate::reconcile::child::APPLIED_ANNOTATION;
use crate::reconcile::secret::{Content, Generated};

/// Without the digest of the body, which says nothing that the body does not.
fn plain(mut body: Value) -> Value {
    body["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove(APPLIED_ANNOTATION)
        .unwrap();
    body
}

/// One file per plan, a document per child, in the order of apply.
#[test]
fn children() {
    for (name, plan) in fixtures::all() {
        let bodies: Vec<Value> = build(&plan)
            .iter()
            .map(|child| plain(child.body.clone()))
            .collect();
        with_settings!({snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true}, {
            assert_yaml_snapshot!(name, bodies);
        });
    }
}

#[test]
fn preflight_pods() {
    for (name, plan) in [
        ("minimal", fixtures::minimal()),
        ("everything", fixtures::everything()),
    ] {
        with_settings!({snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true}, {
            assert_yaml_snapshot!(format!("preflight-{name}"), plain(preflight(&plan, "vienna-database-5c9f").unwrap()));
        });
    }
}

/// What a Secret is for, without what is made by chance.
fn described(secret: &Generated) -> Value {
    let days = |lifetime: std::time::Duration| lifetime.as_secs() / (24 * 60 * 60);
    let content = match &secret.content {
        Content::Credentials {
            host,
            port,
            dbname,
            username,
        } => json!({"credentials": {"host": host, "port": port, "dbname": dbname, "username": username}}),
        Content::Passwords { of, ending } => json!({"passwords": of, "ending": ending}),
        Content::Authority { common_name } => {
            json!({"authority": {"commonName": common_name, "days": days(AUTHORITY_LIFETIME)}})
        }
        Content::Certificate {
            authority,
            party,
            dns_names,
        } => {
            json!({"certificate": {"authority": authority, "of": format!("{party:?}"), "dnsNames": dns_names, "days": days(LEAF_LIFETIME)}})
        }
    };
    json!({"name": secret.name, "labels": secret.labels, "content": content})
}

#[test]
fn generated_secrets() {
    let plan = fixtures::everything();
    let secrets: Vec<Value> = generated(
        &plan.owner,
        &plan.part_of,
        Some(&["north".to_owned(), "pg_south".to_owned()]),
    )
    .iter()
    .map(described)
    .collect();
    with_settings!({snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true}, {
        assert_yaml_snapshot!("secrets", secrets);
    });
}
