//! Every operation of the document, asked of one tenant while another has the same ids: nothing of the other is seen, and
//! nothing of it changes. Whoever adds an operation finds it here.

use crate::openapi::{document, operations};
use crate::support::Broker;
use crate::world::{World, all, ask};

#[tokio::test]
async fn no_operation_shows_or_changes_anything_of_another_tenant() {
    let broker = Broker::configured("temporal: {mode: Enabled}\ntenants: [one, two]").await;
    let document = document(&broker).await;
    let tenants = [("", "xaq"), ("one", "yaq"), ("two", "zaq")];
    let mut worlds = Vec::new();
    for (tenant, word) in tenants {
        worlds.push((World::of(&broker, tenant, word).await, word));
    }
    for described in operations(&document) {
        // It is done once by each of them: all that it is about is there again.
        for n in 0..worlds.len() {
            let (tenant, word) = tenants[n];
            worlds[n].0 = World::of(&broker, tenant, word).await;
            let mut before = Vec::new();
            for (world, _) in &worlds {
                before.push(all(&broker, world).await);
            }
            for (other, (foreign, _)) in worlds.iter().enumerate() {
                // What it names may be another's, if that is another name: contexts and instances have random ids.
                let own = &worlds[n].0;
                let good = foreign.good(&described, word);
                let answer = ask(&broker, &good, &good.with(""), &own.headers()).await;
                let which = format!("{} by {tenant:?} with names of {:?}", good.id, foreign.tenant);
                let is_own = other == n;
                assert!(answer.status < 500, "{which}: {}", answer.text());
                // The first time with its own names all is there.
                if is_own && n == 0 {
                    assert!(
                        answer.status < 300,
                        "{which}: {} {}",
                        answer.status,
                        answer.text()
                    );
                }
                for (k, (_, foreign_word)) in worlds.iter().enumerate() {
                    let told = answer.text().contains(foreign_word);
                    assert!(!told || k == n, "{which}: {}", answer.text());
                }
            }
            for (k, (world, _)) in worlds.iter().enumerate().filter(|(k, _)| *k != n) {
                let which = described.operation["operationId"].as_str().unwrap();
                assert_eq!(
                    all(&broker, world).await,
                    before[k],
                    "{which} by {tenant:?} changed {:?}",
                    tenants[k].0
                );
            }
        }
    }
}

#[tokio::test]
async fn a_tenant_that_is_not_there_is_told_at_every_operation_and_not_made() {
    let broker = Broker::configured("temporal: {mode: Enabled}\ntenants: [one]").await;
    let document = document(&broker).await;
    let world = World::of(&broker, "", "here").await;
    let mut asked = 0;
    for described in operations(&document) {
        if !described.path.starts_with("/ngsi-ld/") {
            continue;
        }
        let good = world.good(&described, "here");
        let answer = ask(&broker, &good, &good.with(""), &[("ngsild-tenant", "nobody")]).await;
        let told = (answer.status, answer.error());
        assert_eq!(told, (404, "NonexistentTenant".to_owned()), "{}", good.id);
        assert_eq!(answer.header("ngsild-tenant"), "nobody", "{}", good.id);
        asked += 1;
    }
    assert!(asked > 40, "{asked}");
    let tenants = broker
        .database
        .psql("select count(*) from mim.tenants where name = 'nobody'");
    assert_eq!(tenants, "0");
}
