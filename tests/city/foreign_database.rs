//! A PostgreSQL that somebody else runs, with the Secrets that CloudNativePG makes for its clusters: what `examples/multi-tenant.yaml` names.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use mim_operator::reconcile::certificate::{Decision, Party, authority, leaf};
use mim_tests::cluster::apply;
use mim_tests::demo::CITY;
use serde_json::{Value, json};

use crate::city::{City, EXAMPLES};

/// Name of the cluster in the example.
const NAME: &str = "departments-db";
const LIFETIME: Duration = Duration::from_hours(24);

/// Runs the database in the namespace of the examples. It is our image in a pod of its own, without an operator that cares for it. The password that its
/// application is given is wrong, as after a restore or a slip, until [`let_in`].
pub async fn start(city: &City) {
    let host = format!("{NAME}-rw.{EXAMPLES}.svc");
    let (certificate_authority, server) = certificates(&host);
    let login = || {
        let password = format!("{:032x}", rand::random::<u128>());
        json!({"host": host, "port": "5432", "dbname": "app", "username": "app", "password": password})
    };
    let tls = json!({"tls.crt": server.certificate, "tls.key": server.key, "ca.crt": certificate_authority});
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": format!("{NAME}-rw")},
        "spec": {"selector": {"cnpg.io/cluster": NAME}, "ports": [{"port": 5432}]},
    });
    let objects = [
        secret("app", &login()),
        secret("role", &login()),
        secret("ca", &json!({"ca.crt": certificate_authority})),
        secret("server", &tls),
        service,
        pod(city).await,
    ];
    for object in objects {
        apply(&city.cluster.client, EXAMPLES, &object).await.unwrap();
    }
}

/// Gives the role another password, and ends its sessions.
pub async fn lock_out(city: &City) {
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'";
    psql(city, &["alter role app password 'another'", end]).await;
}

/// Gives the role the password that the application's Secret has.
pub async fn let_in(city: &City) {
    let secrets: Api<Secret> = Api::namespaced(city.cluster.client.clone(), EXAMPLES);
    let secret = secrets.get(&format!("{NAME}-app")).await.unwrap();
    let password = String::from_utf8(secret.data.unwrap()["password"].0.clone()).unwrap();
    psql(city, &[&format!("alter role app password '{password}'")]).await;
}

/// Statements of the superuser, inside the pod.
async fn psql(city: &City, statements: &[&str]) {
    let pod = format!("pod/{NAME}-1");
    let wait = [
        "--namespace",
        EXAMPLES,
        "wait",
        "--for=condition=Ready",
        "--timeout=2m",
        &pod,
    ];
    city.cluster.kubectl(&wait).await.unwrap();
    let commands: Vec<_> = statements.iter().map(|of| format!("--command={of}")).collect();
    let mut all = vec!["--namespace", EXAMPLES, "exec", &pod, "--", "psql"];
    all.extend(["--host=/run/postgresql", "--username=postgres", "--no-psqlrc"]);
    all.extend(commands.iter().map(String::as_str));
    city.cluster.kubectl(&all).await.unwrap();
}

/// Takes it away.
pub async fn remove(city: &City) {
    let secrets = ["app", "role", "ca", "server"].map(|what| format!("secret/{NAME}-{what}"));
    let service = format!("service/{NAME}-rw");
    let pod = format!("pod/{NAME}-1");
    let mut arguments = vec!["--namespace", EXAMPLES, "delete", "--wait=true", &service, &pod];
    arguments.extend(secrets.iter().map(String::as_str));
    city.cluster.kubectl(&arguments).await.unwrap();
}

fn secret(what: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": format!("{NAME}-{what}")},
        "stringData": data,
    })
}

fn certificates(host: &str) -> (String, mim_operator::reconcile::certificate::Leaf) {
    let (now, mut random) = (Timestamp::now(), rand::rng());
    let Decision::Issue { made: ca, .. } = authority(None, NAME, LIFETIME, now, &mut random).unwrap() else {
        panic!("an authority where there is none")
    };
    let names = [host.to_owned()];
    let Decision::Issue { made: server, .. } =
        leaf(None, &ca, (Party::Server, &names), LIFETIME, now, &mut random).unwrap()
    else {
        panic!("a certificate where there is none")
    };
    (ca.bundle, server)
}

/// The template of the city's own database, with other Secrets and a volume that goes with the pod.
async fn pod(city: &City) -> Value {
    let sets: Api<StatefulSet> = Api::namespaced(city.cluster.client.clone(), CITY);
    let set = sets.get("city-database").await.unwrap();
    let mut spec = serde_json::to_value(set.spec.template.spec.unwrap()).unwrap();
    let members = spec.as_object_mut().unwrap();
    members.remove("serviceAccountName");
    members.remove("serviceAccount");
    for volume in members.get_mut("volumes").unwrap().as_array_mut().unwrap() {
        let name = volume["name"].as_str().unwrap().to_owned();
        let named = |what: &str| json!(format!("{NAME}-{what}"));
        match name.as_str() {
            "data" => *volume = json!({"name": name, "emptyDir": {}}),
            "database" => volume["secret"]["secretName"] = named("role"),
            "database-tls" => volume["secret"]["secretName"] = named("server"),
            // There is none: nobody has written down whose data this is.
            "database-identity" => volume["configMap"]["name"] = named("identity"),
            _ => {}
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": format!("{NAME}-1"), "labels": {"cnpg.io/cluster": NAME}},
        "spec": spec,
    })
}
