//! The rules of the OpenAPI Specification 3.1.1 for what the document uses. A member that is not named here is refused,
//! also one of the specification's: who begins to use it writes its rule here.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What a member is.
#[derive(Clone, Copy)]
enum Is {
    Text,
    Flag,
    Texts,
    Schema,
    Schemas,
    One(&'static Kind),
    Each(&'static Kind),
    Named(&'static Kind),
}

/// An Object of the specification.
struct Kind {
    name: &'static str,
    /// Where those are that a reference may stand for; empty where none may.
    shared: &'static str,
    needs: &'static [&'static str],
    members: &'static [(&'static str, Is)],
    rules: fn(&Value) -> Vec<String>,
}

/// 4.8.1
static DOCUMENT: Kind = Kind {
    name: "the document",
    shared: "",
    needs: &["openapi", "info", "paths"],
    members: &[
        ("openapi", Is::Text),
        ("info", Is::One(&INFO)),
        ("paths", Is::Named(&PATH)),
        ("components", Is::One(&COMPONENTS)),
    ],
    rules: |document| {
        let version = document["openapi"].as_str().unwrap_or_default();
        let mut wrong = broken(!version.starts_with("3.1."), "openapi is not 3.1");
        let paths = names(&document["paths"]);
        wrong.extend(broken(
            paths.iter().any(|p| !p.starts_with('/')),
            "a path begins with /",
        ));
        let forms: BTreeSet<_> = paths.iter().map(|path| template(path).0).collect();
        wrong.extend(broken(
            forms.len() < paths.len(),
            "two paths are one but for names",
        ));
        wrong
    },
};

/// 4.8.2
static INFO: Kind = Kind {
    name: "info",
    shared: "",
    needs: &["title", "version"],
    members: &[
        ("title", Is::Text),
        ("summary", Is::Text),
        ("description", Is::Text),
        ("version", Is::Text),
        ("license", Is::One(&LICENSE)),
    ],
    rules: |_| Vec::new(),
};

/// 4.8.4
static LICENSE: Kind = Kind {
    name: "a license",
    shared: "",
    needs: &["name"],
    members: &[("name", Is::Text), ("identifier", Is::Text)],
    rules: |_| Vec::new(),
};

/// 4.8.7
static COMPONENTS: Kind = Kind {
    name: "components",
    shared: "",
    needs: &[],
    members: &[
        ("schemas", Is::Schemas),
        ("responses", Is::Named(&RESPONSE)),
        ("headers", Is::Named(&HEADER)),
        ("parameters", Is::Named(&PARAMETER)),
    ],
    rules: |components| {
        let all = components.as_object().into_iter().flatten();
        let wrong = all.flat_map(|(_, part)| names(part)).filter(|name| {
            name.is_empty()
                || !name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        });
        wrong
            .map(|name| format!("{name:?} is no name of a component"))
            .collect()
    },
};

/// 4.8.9
static PATH: Kind = Kind {
    name: "a path",
    shared: "",
    needs: &[],
    members: &[
        ("parameters", Is::Each(&PARAMETER)),
        ("get", Is::One(&OPERATION)),
        ("put", Is::One(&OPERATION)),
        ("post", Is::One(&OPERATION)),
        ("delete", Is::One(&OPERATION)),
        ("patch", Is::One(&OPERATION)),
    ],
    rules: |_| Vec::new(),
};

/// 4.8.10
static OPERATION: Kind = Kind {
    name: "an operation",
    shared: "",
    // The specification asks for responses only; ours have a name and say what they do.
    needs: &["operationId", "summary", "responses"],
    members: &[
        ("tags", Is::Texts),
        ("summary", Is::Text),
        ("description", Is::Text),
        ("operationId", Is::Text),
        ("parameters", Is::Each(&PARAMETER)),
        ("requestBody", Is::One(&BODY)),
        ("responses", Is::Named(&RESPONSE)),
    ],
    rules: |operation| {
        let statuses = names(&operation["responses"]);
        let is_status = |name: &&str| {
            *name == "default"
                || name
                    .parse::<u16>()
                    .is_ok_and(|status| (100..600).contains(&status))
        };
        let wrong = !statuses.iter().all(is_status);
        let mut wrong = broken(wrong, "an answer has no status");
        wrong.extend(broken(statuses.is_empty(), "there is no answer"));
        wrong
    },
};

/// 4.8.12
static PARAMETER: Kind = Kind {
    name: "a parameter",
    shared: "#/components/parameters/",
    needs: &["name", "in", "schema"],
    members: &[
        ("name", Is::Text),
        ("in", Is::Text),
        ("description", Is::Text),
        ("required", Is::Flag),
        ("style", Is::Text),
        ("explode", Is::Flag),
        ("schema", Is::Schema),
    ],
    rules: |parameter| {
        let place = parameter["in"].as_str().unwrap_or_default();
        let styles: &[&str] = match place {
            "query" => &["form", "spaceDelimited", "pipeDelimited", "deepObject"],
            "path" => &["matrix", "label", "simple"],
            "header" => &["simple"],
            _ => return vec![format!("a parameter is not in {place:?}")],
        };
        let style = parameter["style"].as_str();
        let mut wrong = broken(
            style.is_some_and(|style| !styles.contains(&style)),
            "its place has no such style",
        );
        let optional = place == "path" && parameter["required"] != true;
        wrong.extend(broken(optional, "a part of the path is required"));
        let name = parameter["name"].as_str().unwrap_or_default().to_lowercase();
        let ignored = place == "header" && ["accept", "content-type", "authorization"].contains(&&*name);
        wrong.extend(broken(ignored, "readers ignore this header"));
        wrong
    },
};

/// 4.8.13
static BODY: Kind = Kind {
    name: "a body",
    shared: "",
    needs: &["content"],
    members: &[("required", Is::Flag), ("content", Is::Named(&MEDIA))],
    rules: |body| media(&body["content"]),
};

/// 4.8.14
static MEDIA: Kind = Kind {
    name: "a media type",
    shared: "",
    needs: &["schema"],
    members: &[("schema", Is::Schema)],
    rules: |_| Vec::new(),
};

/// 4.8.17
static RESPONSE: Kind = Kind {
    name: "an answer",
    shared: "#/components/responses/",
    needs: &["description"],
    members: &[
        ("description", Is::Text),
        ("headers", Is::Named(&HEADER)),
        ("content", Is::Named(&MEDIA)),
    ],
    rules: |response| media(&response["content"]),
};

/// 4.8.21: a parameter without name and place.
static HEADER: Kind = Kind {
    name: "a header",
    shared: "#/components/headers/",
    needs: &["schema"],
    members: &[("description", Is::Text), ("schema", Is::Schema)],
    rules: |_| Vec::new(),
};

fn broken(is: bool, rule: &str) -> Vec<String> {
    is.then(|| rule.to_owned()).into_iter().collect()
}

fn names(object: &Value) -> Vec<&str> {
    let members = object.as_object().map(Map::keys);
    members.into_iter().flatten().map(String::as_str).collect()
}

fn media(content: &Value) -> Vec<String> {
    let wrong = names(content).iter().any(|name| name.split('/').count() != 2);
    broken(wrong, "content is named by media types")
}

/// A path without the names of its places, and those names.
fn template(path: &str) -> (String, Vec<&str>) {
    let mut places = Vec::new();
    let parts = path.split('/').map(|part| {
        let place = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        places.extend(place);
        if place.is_some() { "{}" } else { part }
    });
    (parts.collect::<Vec<_>>().join("/"), places)
}

/// Every rule that the document breaks, each with where.
pub fn errors(document: &Value) -> Vec<String> {
    let mut check = Check {
        document,
        found: Vec::new(),
    };
    check.object("#", &DOCUMENT, document);
    check.operations();
    check.found
}

struct Check<'d> {
    document: &'d Value,
    found: Vec<String>,
}

impl Check<'_> {
    fn note(&mut self, at: &str, wrong: impl AsRef<str>) {
        self.found.push(format!("{at}: {}", wrong.as_ref()));
    }

    fn object(&mut self, at: &str, kind: &Kind, value: &Value) {
        let Some(members) = value.as_object() else {
            return self.note(at, format!("{} is an object", kind.name));
        };
        if let Some(reference) = members.get("$ref").filter(|_| !kind.shared.is_empty()) {
            if members.len() > 1 {
                self.note(at, "a reference is alone");
            }
            return self.reference(at, reference, kind.shared);
        }
        for need in kind.needs {
            if !members.contains_key(*need) {
                self.note(at, format!("{need} of {} is missing", kind.name));
            }
        }
        for (name, member) in members {
            match kind.members.iter().find(|(known, _)| known == name) {
                Some((_, is)) => self.member(&format!("{at}/{name}"), *is, member),
                None => self.note(at, format!("{} has no member {name}", kind.name)),
            }
        }
        for wrong in (kind.rules)(value) {
            self.note(at, wrong);
        }
    }

    fn member(&mut self, at: &str, is: Is, value: &Value) {
        let fits = match is {
            Is::Text => value.is_string(),
            Is::Flag => value.is_boolean(),
            Is::Texts => value
                .as_array()
                .is_some_and(|all| all.iter().all(Value::is_string)),
            Is::Each(_) => value.is_array(),
            Is::Named(_) | Is::Schemas => value.is_object(),
            Is::One(_) | Is::Schema => true,
        };
        if !fits {
            self.note(at, "it is of another type");
        }
        match is {
            Is::One(kind) => self.object(at, kind, value),
            Is::Schema => self.schema(at, value),
            Is::Each(kind) => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.object(&format!("{at}/{n}"), kind, item);
                }
            }
            Is::Named(kind) => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    self.object(&format!("{at}/{name}"), kind, item);
                }
            }
            Is::Schemas => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    self.schema(&format!("{at}/{name}"), item);
                }
            }
            Is::Text | Is::Flag | Is::Texts => {}
        }
    }

    /// A schema is one of JSON Schema 2020-12, and what it refers to is a schema.
    fn schema(&mut self, at: &str, schema: &Value) {
        if !jsonschema::draft202012::meta::is_valid(schema) {
            self.note(at, "it is no schema of JSON Schema 2020-12");
        }
        let mut references = Vec::new();
        referred(schema, &mut references);
        for reference in references {
            self.reference(at, reference, "#/components/schemas/");
        }
    }

    fn reference(&mut self, at: &str, reference: &Value, shared: &str) {
        let pointer = reference.as_str().filter(|text| text.starts_with(shared));
        let target = pointer.and_then(|text| self.document.pointer(text.strip_prefix('#')?));
        if target.is_none() {
            self.note(at, format!("{reference} is not in {shared}"));
        }
    }

    /// What holds between an operation, its path and the others.
    fn operations(&mut self) {
        let mut ids = BTreeMap::new();
        for (path, of_path) in self.document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in of_path.as_object().into_iter().flatten() {
                if method == "parameters" {
                    continue;
                }
                let at = format!("{method} {path}");
                let id = operation["operationId"].as_str();
                if let Some(other) = ids.insert(id, at.clone()) {
                    self.note(&at, format!("its operationId is that of {other}"));
                }
                self.parameters(&at, path, [&of_path["parameters"], &operation["parameters"]]);
            }
        }
    }

    /// Every place of a path is a parameter, every parameter of a path is a place, and none is there twice.
    fn parameters(&mut self, at: &str, path: &str, lists: [&Value; 2]) {
        let mut seen = BTreeSet::new();
        for parameter in lists.into_iter().filter_map(Value::as_array).flatten() {
            let shared = parameter["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
            let parameter = shared.map_or(Some(parameter), |pointer| self.document.pointer(pointer));
            let Some(parameter) = parameter else { continue };
            let text = |name: &str| parameter[name].as_str().unwrap_or_default().to_owned();
            if !seen.insert((text("in"), text("name"))) {
                self.note(at, format!("{} is there twice", text("name")));
            }
        }
        let declared: BTreeSet<_> = seen.into_iter().filter(|(place, _)| place == "path").collect();
        let places = template(path).1.into_iter();
        let places: BTreeSet<_> = places.map(|name| ("path".to_owned(), name.to_owned())).collect();
        if declared != places {
            self.note(at, "its parameters are not those of the path");
        }
    }
}

/// Every `$ref` in a schema.
fn referred<'v>(schema: &'v Value, found: &mut Vec<&'v Value>) {
    match schema {
        Value::Object(members) => {
            found.extend(members.get("$ref"));
            members.values().for_each(|member| referred(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| referred(item, found)),
        _ => {}
    }
}
