//! The database dies under load.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{Method, StatusCode, header};
use mim_tests::demo::door::{Door, PORT};
use mim_tests::demo::http::Broker;
use mim_tests::demo::pods::is_ready;
use mim_tests::demo::say::Say;
use mim_tests::demo::traffic::Traffic;

use crate::city::{City, eventually};

const TYPES: &str = "/ngsi-ld/v1/types";

#[tokio::test(flavor = "multi_thread")]
async fn row_database_killed_under_load_loses_nothing_accepted_and_the_broker_says_503_until_it_is_back() {
    let city = City::new().await;
    let traffic = Traffic::start(&city.broker, &format!("database-{:08x}", rand::random::<u32>()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let victim = city.databases().one().await.unwrap();
    let pod = city.brokers().one().await.unwrap();
    let address = pod.status.unwrap().pod_ip.unwrap().parse().unwrap();
    // One pod of the broker, asked by its address: the Service leads to no pod that is not ready.
    let broker = Broker::new(Door::Service(SocketAddr::new(address, PORT)));
    city.databases().kill(&city.cluster, &victim).await.unwrap();

    // Refused with words, each time that it is not answered.
    let (mut refused, killed) = (0, Instant::now());
    let back = loop {
        let answer = broker.send(Method::GET, TYPES, None).await.unwrap();
        match answer.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                refused += 1;
                let wait = &answer.headers[header::RETRY_AFTER];
                assert!(wait.to_str().unwrap().parse::<u32>().unwrap() > 0, "{wait:?}");
                assert!(
                    answer.body["type"].as_str().unwrap().starts_with("https://"),
                    "{}",
                    answer.body
                );
            }
            StatusCode::OK => {}
            other => panic!("{other} {}", answer.body),
        }
        let again = city.databases().list().await.unwrap();
        let restarted = |pod: &k8s_openapi::api::core::v1::Pod| {
            let status = pod.status.as_ref().unwrap();
            status.container_statuses.as_ref().unwrap()[0].restart_count
        };
        if again
            .iter()
            .any(|pod| is_ready(pod) && restarted(pod) > restarted(&victim))
        {
            break Instant::now();
        }
        assert!(
            killed.elapsed() < Duration::from_mins(2),
            "the database does not come back"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(refused > 0, "no request came while the database was away");

    eventually("the Service answers again", || {
        city.broker.expect(StatusCode::OK, Method::GET, TYPES, None)
    })
    .await;
    let recovered = back.elapsed();
    assert!(
        recovered <= Duration::from_secs(10),
        "answers {recovered:?} after the database was ready"
    );

    city.brokers().recovered(&victim, Say::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = traffic.stop().await;
    assert!(!seen.accepted.is_empty());
    seen.read_back(&city.broker).await.unwrap();
}
