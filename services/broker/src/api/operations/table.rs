//! The list of operations. Names of schemas are those of `openapi/schemas.json`.

use crate::api::operations::Verb::{Delete, Get, Patch, Post, Put};
use crate::api::operations::{Body, Gives, Operation, serve};
use crate::api::{
    attributes, batch, contexts, entities, info, openapi, purge, query, subscriptions, temporal, types,
};

const DONE: Gives = Gives {
    status: 204,
    when: "Done",
    body: Body::Empty,
};
const CREATED: Gives = Gives {
    status: 201,
    when: "Created; Location says where it is",
    body: Body::Empty,
};
const EXISTS: Gives = Gives {
    status: 409,
    when: "There is one with this id",
    body: Body::Plain("ProblemDetails"),
};
const CREATED_IDS: Gives = Gives {
    status: 201,
    when: "Entities were created; these are their ids",
    body: Body::Plain("Ids"),
};
const SOME_ENTITIES: Gives = Gives {
    status: 207,
    when: "Some entities were written and some were not",
    body: Body::Plain("BatchOperationResult"),
};
const SOME_ATTRIBUTES: Gives = Gives {
    status: 207,
    when: "Some attributes were written and some were not",
    body: Body::Plain("UpdateResult"),
};

const fn found(body: Body) -> Gives {
    Gives {
        status: 200,
        when: "Found",
        body,
    }
}

const fn part(schema: &'static str) -> Gives {
    Gives {
        status: 206,
        when: "Found; there is more of the past than one answer has, and Content-Range says of which times this is",
        body: Body::Negotiated(schema),
    }
}

/// All of them.
#[must_use]
pub fn operations() -> Vec<Operation> {
    [
        of_entities(),
        of_attributes(),
        of_batches(),
        of_discovery(),
        of_subscriptions(),
        of_contexts(),
        of_the_past(),
        of_instances(),
        of_the_broker(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of_entities() -> Vec<Operation> {
    const ALL: &str = "/ngsi-ld/v1/entities";
    const ONE: &str = "/ngsi-ld/v1/entities/{id}";
    const FOUND: &[Gives] = &[found(Body::Entities("Entities", "FeatureCollection"))];
    vec![
        serve(Get, ALL, query::query, &query::QUERY).described(
            "queryEntities",
            "5.7.2",
            "Query entities",
            None,
            FOUND,
        ),
        serve(Post, ALL, entities::create, &entities::CREATE).described(
            "createEntity",
            "5.6.1",
            "Create an entity",
            Some("Entity"),
            &[CREATED, EXISTS],
        ),
        serve(Delete, ALL, purge::purge, &purge::PURGE).described(
            "purgeEntities",
            "5.6.21 (v1.9.1)",
            "Delete the entities that a query selects, or some attributes of them",
            None,
            &[DONE],
        ),
        serve(Get, ONE, entities::retrieve, &entities::RETRIEVE).described(
            "retrieveEntity",
            "5.7.1",
            "Retrieve an entity",
            None,
            &[found(Body::Entities(
                "OneOrLinkedEntities",
                "OneOrLinkedFeatures",
            ))],
        ),
        serve(Put, ONE, entities::replace, &entities::CHANGE).described(
            "replaceEntity",
            "5.6.18",
            "Replace an entity",
            Some("EntityFragment"),
            &[DONE],
        ),
        serve(Patch, ONE, entities::merge, &entities::MERGE).described(
            "mergeEntity",
            "5.6.17",
            "Merge into an entity; urn:ngsi-ld:null deletes",
            Some("EntityFragment"),
            &[DONE],
        ),
        serve(Delete, ONE, entities::delete, &entities::CHANGE).described(
            "deleteEntity",
            "5.6.6",
            "Delete an entity",
            None,
            &[DONE],
        ),
        serve(
            Post,
            "/ngsi-ld/v1/entityOperations/query",
            query::query_by_body,
            &query::QUERY_BY_BODY,
        )
        .described(
            "queryBatch",
            "5.7.2",
            "Query entities by a body",
            Some("Query"),
            FOUND,
        ),
    ]
}

fn of_attributes() -> Vec<Operation> {
    const ALL: &str = "/ngsi-ld/v1/entities/{id}/attrs";
    const ONE: &str = "/ngsi-ld/v1/entities/{id}/attrs/{attr}";
    vec![
        serve(Post, ALL, attributes::append, &attributes::APPEND).described(
            "appendAttributes",
            "5.6.3",
            "Append attributes to an entity",
            Some("EntityFragment"),
            &[DONE, SOME_ATTRIBUTES],
        ),
        serve(Patch, ALL, attributes::update, &attributes::CHANGE).described(
            "updateAttributes",
            "5.6.2",
            "Update attributes of an entity",
            Some("EntityFragment"),
            &[DONE, SOME_ATTRIBUTES],
        ),
        serve(Patch, ONE, attributes::update_one, &attributes::CHANGE).described(
            "updateAttribute",
            "5.6.4",
            "Update parts of an attribute",
            Some("AttributeFragment"),
            &[DONE],
        ),
        serve(Put, ONE, attributes::replace_one, &attributes::CHANGE).described(
            "replaceAttribute",
            "5.6.19",
            "Replace an attribute",
            Some("Attribute"),
            &[DONE],
        ),
        serve(Delete, ONE, attributes::delete_one, &attributes::DELETE).described(
            "deleteAttribute",
            "5.6.5",
            "Delete an attribute",
            None,
            &[DONE],
        ),
    ]
}

fn of_batches() -> Vec<Operation> {
    vec![
        serve(
            Post,
            "/ngsi-ld/v1/entityOperations/create",
            batch::create,
            &batch::PLAIN,
        )
        .described(
            "createBatch",
            "5.6.7",
            "Create entities",
            Some("Entities"),
            &[CREATED_IDS, SOME_ENTITIES],
        ),
        serve(
            Post,
            "/ngsi-ld/v1/entityOperations/upsert",
            batch::upsert,
            &batch::UPSERT,
        )
        .described(
            "upsertBatch",
            "5.6.8",
            "Create entities; replace or update those that there are",
            Some("Entities"),
            &[CREATED_IDS, DONE, SOME_ENTITIES],
        ),
        serve(
            Post,
            "/ngsi-ld/v1/entityOperations/update",
            batch::update,
            &batch::UPDATE,
        )
        .described(
            "updateBatch",
            "5.6.9",
            "Update attributes of entities",
            Some("EntityFragments"),
            &[DONE, SOME_ENTITIES],
        ),
        serve(
            Post,
            "/ngsi-ld/v1/entityOperations/merge",
            batch::merge,
            &batch::PLAIN,
        )
        .described(
            "mergeBatch",
            "5.6.20",
            "Merge into entities",
            Some("EntityFragments"),
            &[DONE, SOME_ENTITIES],
        ),
        serve(
            Post,
            "/ngsi-ld/v1/entityOperations/delete",
            batch::delete,
            &batch::PLAIN,
        )
        .described(
            "deleteBatch",
            "5.6.10",
            "Delete entities by their ids",
            Some("Ids"),
            &[DONE, SOME_ENTITIES],
        ),
    ]
}

fn of_discovery() -> Vec<Operation> {
    vec![
        serve(Get, "/ngsi-ld/v1/types", types::list, &types::LIST).described(
            "retrieveTypes",
            "5.7.5, 5.7.6",
            "The types of entities; with details=true also their attributes",
            None,
            &[found(Body::Negotiated("EntityTypes"))],
        ),
        serve(Get, "/ngsi-ld/v1/types/{type}", types::one, &types::ONE).described(
            "retrieveTypeInfo",
            "5.7.7",
            "One type of entities",
            None,
            &[found(Body::Negotiated("EntityTypeInfo"))],
        ),
        serve(
            Get,
            "/ngsi-ld/v1/attributes",
            types::list_attributes,
            &types::LIST,
        )
        .described(
            "retrieveAttributes",
            "5.7.8, 5.7.9",
            "The attributes of entities; with details=true also the types that have them",
            None,
            &[found(Body::Negotiated("AttributeNames"))],
        ),
        serve(
            Get,
            "/ngsi-ld/v1/attributes/{attr}",
            types::one_attribute,
            &types::ONE,
        )
        .described(
            "retrieveAttributeInfo",
            "5.7.10",
            "One attribute of entities",
            None,
            &[found(Body::Negotiated("AttributeInfo"))],
        ),
    ]
}

fn of_subscriptions() -> Vec<Operation> {
    const ALL: &str = "/ngsi-ld/v1/subscriptions";
    const ONE: &str = "/ngsi-ld/v1/subscriptions/{id}";
    vec![
        serve(Get, ALL, subscriptions::list, &subscriptions::LIST).described(
            "querySubscriptions",
            "5.8.4",
            "The subscriptions",
            None,
            &[found(Body::Negotiated("Subscriptions"))],
        ),
        serve(Post, ALL, subscriptions::create, &subscriptions::WRITE).described(
            "createSubscription",
            "5.8.1",
            "Create a subscription",
            Some("NewSubscription"),
            &[CREATED, EXISTS],
        ),
        serve(Get, ONE, subscriptions::retrieve, &subscriptions::READ).described(
            "retrieveSubscription",
            "5.8.3",
            "Retrieve a subscription",
            None,
            &[found(Body::Negotiated("Subscription"))],
        ),
        serve(Patch, ONE, subscriptions::update, &subscriptions::WRITE).described(
            "updateSubscription",
            "5.8.2",
            "Update a subscription",
            Some("SubscriptionFragment"),
            &[DONE],
        ),
        serve(Delete, ONE, subscriptions::delete, &subscriptions::WRITE).described(
            "deleteSubscription",
            "5.8.5",
            "Delete a subscription",
            None,
            &[DONE],
        ),
    ]
}

fn of_contexts() -> Vec<Operation> {
    const ALL: &str = "/ngsi-ld/v1/jsonldContexts";
    const ONE: &str = "/ngsi-ld/v1/jsonldContexts/{id}";
    vec![
        serve(Get, ALL, contexts::list, &contexts::LIST).described(
            "listContexts",
            "5.13.3",
            "The @contexts that are kept here; with details=true what is known of them",
            None,
            &[found(Body::Negotiated("Contexts"))],
        ),
        serve(Post, ALL, contexts::add, &contexts::ADD).described(
            "createContext",
            "5.13.2",
            "Add an @context",
            Some("ContextDocument"),
            &[CREATED],
        ),
        serve(Get, ONE, contexts::serve, &contexts::SERVE).described(
            "retrieveContext",
            "5.13.4",
            "Serve an @context; with details=true what is known of it",
            None,
            &[found(Body::Negotiated("ContextOrDetails"))],
        ),
        serve(Delete, ONE, contexts::delete, &contexts::DELETE).described(
            "deleteContext",
            "5.13.5",
            "Delete an @context, or with reload=true fetch it anew",
            None,
            &[DONE],
        ),
    ]
}

fn of_the_past() -> Vec<Operation> {
    use temporal::{read, write};
    const ALL: &str = "/ngsi-ld/v1/temporal/entities";
    const ONE: &str = "/ngsi-ld/v1/temporal/entities/{id}";
    const FOUND: &[Gives] = &[
        found(Body::Negotiated("TemporalEntities")),
        part("TemporalEntities"),
    ];
    vec![
        serve(Get, ALL, read::query, &read::QUERY).described(
            "queryTemporal",
            "5.7.4",
            "Query the past of entities; timerel and timeAt are needed",
            None,
            FOUND,
        ),
        serve(Post, ALL, write::create, &write::WRITE).described(
            "upsertTemporal",
            "5.6.11",
            "Write the past of an entity, or add to it",
            Some("TemporalEntity"),
            &[CREATED, DONE],
        ),
        serve(Get, ONE, read::retrieve, &read::RETRIEVE).described(
            "retrieveTemporal",
            "5.7.3",
            "Retrieve the past of an entity",
            None,
            &[found(Body::Negotiated("TemporalEntity")), part("TemporalEntity")],
        ),
        serve(Delete, ONE, write::delete, &write::WRITE).described(
            "deleteTemporal",
            "5.6.16",
            "Delete the past of an entity",
            None,
            &[DONE],
        ),
        serve(
            Post,
            "/ngsi-ld/v1/temporal/entityOperations/query",
            read::query_by_body,
            &read::QUERY_BY_BODY,
        )
        .described(
            "queryTemporalBatch",
            "5.7.4",
            "Query the past of entities by a body",
            Some("TemporalQuery"),
            FOUND,
        ),
    ]
}

fn of_instances() -> Vec<Operation> {
    use temporal::write;
    const ATTRIBUTES: &str = "/ngsi-ld/v1/temporal/entities/{id}/attrs";
    const ATTRIBUTE: &str = "/ngsi-ld/v1/temporal/entities/{id}/attrs/{attr}";
    const INSTANCE: &str = "/ngsi-ld/v1/temporal/entities/{id}/attrs/{attr}/{instance}";
    vec![
        serve(Post, ATTRIBUTES, write::append, &write::WRITE).described(
            "appendTemporalAttributes",
            "5.6.12",
            "Add to the past of attributes",
            Some("TemporalFragment"),
            &[DONE],
        ),
        serve(Delete, ATTRIBUTE, write::delete_attribute, &write::DELETE).described(
            "deleteTemporalAttribute",
            "5.6.13",
            "Delete the past of an attribute",
            None,
            &[DONE],
        ),
        serve(Patch, INSTANCE, write::replace_instance, &write::WRITE).described(
            "updateTemporalInstance",
            "5.6.14",
            "Correct an instance of an attribute",
            Some("TemporalFragment"),
            &[DONE],
        ),
        serve(Delete, INSTANCE, write::delete_instance, &write::WRITE).described(
            "deleteTemporalInstance",
            "5.6.15",
            "Delete an instance of an attribute",
            None,
            &[DONE],
        ),
    ]
}

fn of_the_broker() -> Vec<Operation> {
    vec![
        serve(
            Get,
            "/ngsi-ld/v1/info/sourceIdentity",
            info::identity,
            &info::IDENTITY,
        )
        .described(
            "retrieveSourceIdentity",
            "5.15.1",
            "Who this broker is",
            None,
            &[found(Body::Negotiated("ContextSourceIdentity"))],
        ),
        serve(Get, "/openapi.json", openapi::document, &openapi::DOCUMENT).described(
            "describe",
            "",
            "This document",
            None,
            &[found(Body::Plain("OpenApi"))],
        ),
    ]
}
