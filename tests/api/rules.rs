//! The definitions at the real API server: accepted, within size and cost, with defaults; every rule lets in what it should and refuses
//! what it should, in its own words.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use mim_crds::cases::{self, Case, Expected};
use mim_tests::cluster::{self, api_of};
use mim_tests::eventually::eventually;
use serde_json::{Value, json};

use crate::city::{broker, platform};

/// Largest definition, as a file (it must fit where client-side apply keeps a copy in an annotation, with room to grow).
const LARGEST: usize = 200 * 1024;

#[tokio::test]
async fn every_cel_rule_and_schema_bound_lets_in_the_good_and_refuses_the_bad_in_its_own_words() {
    let cluster = cluster::cluster().await;
    let (client, namespace) = (cluster.admin().await, cluster.namespace("rules").await);
    let cases = cases::all().unwrap();
    assert!(cases.len() > 150, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let answer = tried(&client, &namespace, case).await;
        if let Err(how) = judged(case, answer) {
            wrong.push(format!(
                "{}\n    expected {:?}\n    {how}",
                case.title, case.expected
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

/// A new object is tried as a dry run; an update over an object that is really there, which then goes.
async fn tried(client: &Client, namespace: &str, case: &Case) -> kube::Result<DynamicObject> {
    let api = api_of(client, namespace, &case.object);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let mut object: DynamicObject = serde_json::from_value(case.object.clone()).unwrap();
    let Some(old) = &case.old else {
        return api.create(&dry, &object).await;
    };
    let name = object.name_any();
    let old: DynamicObject = serde_json::from_value(old.clone()).unwrap();
    let old = api
        .create(&PostParams::default(), &old)
        .await
        .expect("what is there before is let in");
    object.metadata.resource_version = old.metadata.resource_version;
    let answer = api.replace(&name, &dry, &object).await;
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("the object before is gone", || async {
        match api.get_opt(&name).await.unwrap() {
            None => Ok(()),
            Some(_) => Err("still there"),
        }
    })
    .await;
    answer
}

fn judged(case: &Case, answer: kube::Result<DynamicObject>) -> Result<(), String> {
    let refused = match (answer, &case.expected) {
        (Ok(_), Expected::Accepted) => return Ok(()),
        (Ok(_), _) => return Err("let in".to_owned()),
        (Err(kube::Error::Api(status)), _) => status,
        (Err(error), _) => return Err(error.to_string()),
    };
    let causes: Vec<(String, String)> = refused
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .map(|cause| (cause.field.clone(), cause.message.clone()))
        .collect();
    let (path, words) = match &case.expected {
        Expected::Accepted => return Err(refused.message.clone()),
        Expected::RefusedByRule { path, message } => (path, message.as_str()),
        Expected::RefusedBySchema { path } => (path, ""),
    };
    let named = causes.iter().any(|(field, message)| {
        let field = field.strip_prefix("<nil>").unwrap_or(field);
        field == path && message.contains(words)
    });
    if refused.code == 422 && named {
        Ok(())
    } else {
        Err(format!("{} {causes:?}", refused.code))
    }
}

#[test]
fn each_definition_is_at_most_200_kib() {
    for crd in mim_crds::all() {
        let file = format!("{}/../crds/{}.yaml", env!("CARGO_MANIFEST_DIR"), crd.name_any());
        let size = std::fs::metadata(&file).unwrap().len();
        assert!(usize::try_from(size).unwrap() <= LARGEST, "{file}: {size} bytes");
    }
}

/// The API server refuses a definition whose estimated cost of CEL exceeds its limit, per rule and in sum. Each rule is written twice here, as
/// `(rule) && (rule)`: a definition that is still accepted costs at most half of both.
#[tokio::test]
async fn each_definition_and_each_rule_costs_at_most_half_of_the_limit() {
    let client = cluster::cluster().await.admin().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    for crd in mim_crds::all() {
        let mut value = serde_json::to_value(&crd).unwrap();
        let mut doubled = 0;
        double(&mut value, &mut doubled);
        assert!(doubled > 10, "{doubled} rules");
        value["spec"]["group"] = "twice.test".into();
        value["metadata"]["name"] = format!(
            "{}.twice.test",
            value["spec"]["names"]["plural"].as_str().unwrap()
        )
        .into();
        value["spec"]["names"]["shortNames"] = json!([]);
        let twice: CustomResourceDefinition = serde_json::from_value(value).unwrap();
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        definitions
            .create(&dry, &twice)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", crd.name_any()));
    }
}

/// The same rule made expensive is refused, so the test above can fail.
#[tokio::test]
async fn the_api_server_does_refuse_a_rule_that_costs_too_much() {
    let client = cluster::cluster().await.admin().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let mut value = serde_json::to_value(mim_crds::all().into_iter().next().unwrap()).unwrap();
    value["spec"]["group"] = "costly.test".into();
    value["metadata"]["name"] = format!(
        "{}.costly.test",
        value["spec"]["names"]["plural"].as_str().unwrap()
    )
    .into();
    let spec = &mut value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let costly = "self.tenants.all(a, self.tenants.all(b, self.tenants.all(c, self.tenants.all(d, self.tenants.all(e, a + b + c + d != e)))))";
    spec["x-kubernetes-validations"]
        .as_array_mut()
        .unwrap()
        .push(json!({"rule": costly, "message": "no"}));
    let costly: CustomResourceDefinition = serde_json::from_value(value).unwrap();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let refused = definitions.create(&dry, &costly).await.unwrap_err();
    assert!(refused.to_string().contains("exceeds budget"), "{refused}");
}

fn double(schema: &mut Value, doubled: &mut usize) {
    match schema {
        Value::Object(node) => {
            for rule in node
                .get_mut("x-kubernetes-validations")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                let text = rule["rule"].as_str().unwrap();
                rule["rule"] = format!("({text}) && ({text})").into();
                *doubled += 1;
            }
            node.values_mut().for_each(|child| double(child, doubled));
        }
        Value::Array(list) => list.iter_mut().for_each(|child| double(child, doubled)),
        _ => {}
    }
}

#[tokio::test]
async fn invariant_4_a_new_object_has_observed_generation_minus_1_and_the_defaults_of_the_schema() {
    let cluster = cluster::cluster().await;
    let (client, namespace) = (cluster.admin().await, cluster.namespace("defaults").await);
    let new = |object: Value| {
        let (client, namespace) = (client.clone(), namespace.clone());
        async move {
            let created = api_of(&client, &namespace, &object)
                .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
                .await
                .unwrap();
            serde_json::to_value(created).unwrap()
        }
    };
    let made = new(broker("vienna", &json!({"storage": {"managed": {}}}))).await;
    assert_eq!(made["status"], json!({"observedGeneration": -1}));
    assert_eq!(made["spec"]["engine"], "Native");
    assert_eq!(made["spec"]["replicas"], 2);
    assert_eq!(made["spec"]["deletionPolicy"], "Retain");
    assert_eq!(made["spec"]["storage"]["managed"]["size"], "10Gi");
    let made = new(platform("vienna", &json!({"broker": {}}))).await;
    assert_eq!(made["status"], json!({"observedGeneration": -1}));
    // Absent in a platform's section means: not applied, so that /scale and an autoscaler win.
    assert_eq!(made["spec"]["broker"], json!({"engine": "Native"}));
}

#[tokio::test]
async fn a_broker_is_scaled_through_its_scale_subresource() {
    let cluster = cluster::cluster().await;
    let (client, namespace) = (cluster.admin().await, cluster.namespace("scale").await);
    let object = broker("vienna", &json!({}));
    let api = api_of(&client, &namespace, &object);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap())
        .await
        .unwrap();
    let scale = api.get_scale("vienna").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    let scaled = api
        .patch_scale(
            "vienna",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 5}})),
        )
        .await
        .unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(5));
    let held = api.get("vienna").await.unwrap();
    assert_eq!(held.data["spec"]["replicas"], 5);
    let refused = api
        .patch_scale(
            "vienna",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 51}})),
        )
        .await;
    assert!(refused.is_err(), "51 replicas were let in");
}
