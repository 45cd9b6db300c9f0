//! The core @context of NGSI-LD as data: its terms and what they stand for (ETSI GS CIM 009 v1.9.1, annex B).
//!
//! One table serves every edition from v1.3 to v1.9: the editions add terms, and a term has the same meaning in all
//! editions that have it where the broker relies on it.

/// What terms are appended to that no context defines.
pub const DEFAULT_VOCABULARY: &str = "https://uri.etsi.org/ngsi-ld/default-context/";
/// The namespace of NGSI-LD.
pub const NGSI_LD: &str = "https://uri.etsi.org/ngsi-ld/";
const GEOJSON: &str = "https://purl.org/geojson/vocab#";
/// The core context that is told to clients that gave none.
pub const CORE_URL: &str = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld";

/// Whether the URL is that of a core context: exactly one of v1.3 to v1.9.
#[must_use]
pub fn is_core(url: &str) -> bool {
    url.strip_prefix("https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.")
        .and_then(|rest| rest.strip_suffix(".jsonld"))
        .is_some_and(|edition| matches!(edition.as_bytes(), [b'3'..=b'9']))
}

/// Prefixes of the core context, with what they stand for.
pub const PREFIXES: [(&str, &str); 2] = [("ngsi-ld", NGSI_LD), ("geojson", GEOJSON)];

/// Terms whose IRI is the namespace and the term itself.
const PLAIN: &[&str] = &[
    "Attribute",
    "AttributeList",
    "ContextSourceIdentity",
    "ContextSourceNotification",
    "ContextSourceRegistration",
    "Date",
    "DateTime",
    "EntityType",
    "EntityTypeInfo",
    "EntityTypeList",
    "ExecutionResultDetails",
    "GeoProperty",
    "JsonProperty",
    "LanguageProperty",
    "ListProperty",
    "ListRelationship",
    "Notification",
    "Property",
    "Relationship",
    "Snapshot",
    "SnapshotNotification",
    "Subscription",
    "TemporalProperty",
    "Time",
    "VocabProperty",
    "accept",
    "aggrParams",
    "aggrMethods",
    "aggrPeriodDuration",
    "attributeList",
    "attributeName",
    "attributeNames",
    "attributeTypes",
    "attributes",
    "attrs",
    "avg",
    "cacheDuration",
    "collation",
    "contextSourceAlias",
    "contextSourceExtras",
    "contextSourceInfo",
    "contextSourceTimeAt",
    "contextSourceUptime",
    "cooldown",
    "createdAt",
    "csf",
    "data",
    "datasetId",
    "deletedAt",
    "detail",
    "distinctCount",
    "endAt",
    "endTimeAt",
    "endpoint",
    "entities",
    "entity",
    "entityCount",
    "entityId",
    "entityList",
    "error",
    "errors",
    "expandValues",
    "expiresAt",
    "format",
    "geoQ",
    "geoproperty",
    "georel",
    "idPattern",
    "information",
    "instanceId",
    "isActive",
    "join",
    "jsonKeys",
    "jsons",
    "lang",
    "lastFailure",
    "lastNotification",
    "lastSuccess",
    "lastUsedAt",
    "linkedMaps",
    "localOnly",
    "location",
    "management",
    "managementInterval",
    "max",
    "min",
    "mode",
    "modifiedAt",
    "ngsildproof",
    "notification",
    "notificationTrigger",
    "notifiedAt",
    "notifierInfo",
    "notUpdated",
    "observationInterval",
    "observationSpace",
    "observedAt",
    "omit",
    "operations",
    "operationSpace",
    "orderBy",
    "ordering",
    "pick",
    "problemDetails",
    "propertyNames",
    "q",
    "reason",
    "receiverInfo",
    "refreshRate",
    "registrationId",
    "registrationName",
    "relationshipNames",
    "resultStatus",
    "scope",
    "scopeQ",
    "showChanges",
    "snapshotId",
    "snapshotLifetime",
    "snapshotPriority",
    "snapshotQueries",
    "snapshotQueriesDetails",
    "snapshotStatus",
    "snapshotTemporalQueries",
    "snapshotTemporalQueriesDetails",
    "startAt",
    "status",
    "stddev",
    "subscriptionId",
    "subscriptionName",
    "success",
    "sum",
    "sumsq",
    "sysAttrs",
    "temporalQ",
    "tenant",
    "throttling",
    "timeAt",
    "timeInterval",
    "timeout",
    "timeproperty",
    "timerel",
    "timesFailed",
    "timesSent",
    "totalCount",
    "triggerReason",
    "typeList",
    "typeName",
    "typeNames",
    "unchanged",
    "unitCode",
    "updated",
    "uri",
    "watchedAttributes",
];

/// Terms of the GeoJSON vocabulary, named alike.
const OF_GEOJSON: &[&str] = &[
    "Feature",
    "FeatureCollection",
    "GeometryCollection",
    "LineString",
    "MultiLineString",
    "MultiPoint",
    "MultiPolygon",
    "Point",
    "Polygon",
    "bbox",
    "coordinates",
    "features",
    "geometry",
    "properties",
];

/// Terms whose IRI, within the NGSI-LD namespace, is called otherwise.
const RENAMED: &[(&str, &str)] = &[
    ("containedBy", "isContainedBy"),
    ("dataset", "hasDataset"),
    ("entityMap", "hasEntityMap"),
    ("joinLevel", "hasJoinLevel"),
    ("json", "hasJSON"),
    ("key", "hasKey"),
    ("languageMap", "hasLanguageMap"),
    ("languageMaps", "hasLanguageMaps"),
    ("object", "hasObject"),
    ("objectList", "hasObjectList"),
    ("objectLists", "hasObjectLists"),
    ("objects", "hasObjects"),
    ("objectType", "hasObjectType"),
    ("previousJson", "hasPreviousJson"),
    ("previousLanguageMap", "hasPreviousLanguageMap"),
    ("previousObject", "hasPreviousObject"),
    ("previousObjectList", "hasPreviousObjectList"),
    ("previousValue", "hasPreviousValue"),
    ("previousValueList", "hasPreviousValueList"),
    ("previousVocab", "hasPreviousVocab"),
    ("value", "hasValue"),
    ("valueList", "hasValueList"),
    ("valueLists", "hasValueLists"),
    ("valueType", "hasValueType"),
    ("values", "hasValues"),
    ("vocab", "hasVocab"),
    ("vocabs", "hasVocabs"),
];

/// Terms outside both namespaces.
const ELSEWHERE: &[(&str, &str)] = &[
    ("description", "http://purl.org/dc/terms/description"),
    ("title", "http://purl.org/dc/terms/title"),
    (
        "langString",
        "http://www.w3.org/1999/02/22-rdf-syntax-ns#langString",
    ),
];

/// Every term with its IRI.
pub fn terms() -> impl Iterator<Item = (&'static str, String)> {
    let plain = PLAIN.iter().map(|t| (*t, format!("{NGSI_LD}{t}")));
    let geo = OF_GEOJSON.iter().map(|t| (*t, format!("{GEOJSON}{t}")));
    let renamed = RENAMED.iter().map(|(t, to)| (*t, format!("{NGSI_LD}{to}")));
    plain
        .chain(geo)
        .chain(renamed)
        .chain(ELSEWHERE.iter().map(|(t, iri)| (*t, (*iri).to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn only_the_exact_urls_of_the_editions_are_core() {
        for n in 3..=9 {
            assert!(is_core(&format!(
                "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.{n}.jsonld"
            )));
        }
        for other in [
            "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8-non-existing.jsonld",
            "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context.jsonld",
            "http://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld",
            "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.10.jsonld",
        ] {
            assert!(!is_core(other), "{other}");
        }
        assert!(is_core(CORE_URL));
    }

    #[test]
    fn no_term_and_no_iri_occurs_twice() {
        let by_term: HashMap<_, _> = terms().collect();
        let by_iri: HashMap<_, _> = terms().map(|(t, i)| (i, t)).collect();
        assert_eq!(by_term.len(), terms().count());
        assert_eq!(by_iri.len(), terms().count());
        assert_eq!(by_term["location"], "https://uri.etsi.org/ngsi-ld/location");
        assert_eq!(by_term["value"], "https://uri.etsi.org/ngsi-ld/hasValue");
    }
}
