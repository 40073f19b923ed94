//! `GET /openapi.json`: the API as OpenAPI 3.1, generated from the route tables and from what the handlers read, so
//! that it always matches the program. Only the schemas of answers are written by hand, in
//! `assets/openapi/schemas.json`; tests validate real answers against them.

mod prose;

use crate::gate::Handler::Open;
use crate::gate::{Handler, NodeCaller, Reply, Route, route};
use crate::http::describe::{self, Noted};
use crate::http::{Request, Response};
use crate::model::ids::{NodeId, SessionId, UserName};
use crate::model::node_calls;
use crate::model::node_self::ProvenBy;
use crate::model::users::{Credential, Role, User};
use crate::routes;
use crate::upkeep::App;
use serde_json::{Value, json};
use std::sync::OnceLock;
use tiny_http::Method::{Get, Patch, Post, Put};

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/openapi.json", Handler::By(Role::Viewer, document))
    .gives(200, "application/json")
    .says("Show this document.")];

/// The schemas of answers.
const SCHEMAS: &str = include_str!("../assets/openapi/schemas.json");

fn document(app: &App, request: &Request, _: &User) -> Reply {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| make(app));
    if request.base.is_empty() {
        return Ok(Response::json(200, document));
    }
    let mut document = document.clone();
    document["servers"] = json!([{ "url": request.base }]);
    Ok(Response::json(200, &document))
}

fn make(app: &App) -> Value {
    let schemas: Value = serde_json::from_str(SCHEMAS).expect("a test reads this file");
    let mut paths = json!({});
    // A document that describes itself would recurse.
    let described = |r: &&Route| r.handler.status != 0 && r.path != "/openapi.json";
    for route in routes::TABLES.iter().flat_map(|table| table.iter()).filter(described) {
        let method = route.method.as_str().to_ascii_lowercase();
        paths[route.path][method.as_str()] = operation(app, route, &schemas);
    }
    let tags: Vec<Value> =
        prose::tags().into_iter().map(|(name, says)| json!({ "name": name, "description": says })).collect();
    json!({
        "openapi": "3.1.0",
        "info": { "title": "UptimeMesh", "version": env!("CARGO_PKG_VERSION") },
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": security_schemes(),
        },
    })
}

/// Ways to authenticate. The headers of a node's signature are required together.
fn security_schemes() -> Value {
    let header = |name: &str, description: &str| {
        json!({
            "type": "apiKey", "in": "header", "name": name, "description": description,
        })
    };
    let signature = format!(
        "Signature by the node's key in base64, ECDSA-SHA256 in ASN.1 DER or RSA PKCS#1 v1.5 SHA-256, over these lines \
            without a line feed at the end: node id, `request`, lease token, signing time as sent, value of {} or \
            nothing, method, path with query below the base path, lower-case hex SHA-256 of the body.",
        node_calls::RUN
    );
    json!({
        "session": {
            "type": "http",
            "scheme": "bearer",
            "description": "A session token of POST /auth/token, or an API token.",
        },
        "node_certificate": {
            "type": "mutualTLS",
            "description": "The current certificate of an enrolled node, shown to the server itself: one that a proxy \
                shows does not count."
        },
        "node_lease_token": header(node_calls::LEASE_TOKEN, "The node's lease token."),
        "node_signed_at": header(node_calls::SIGNED_AT, "Time of signing, in milliseconds since 1970. Each call needs \
            one of its own."),
        "node_signature": header(node_calls::SIGNATURE, &signature),
    })
}

fn operation(app: &App, route: &Route, schemas: &Value) -> Value {
    let notes = describe::notes(|| ask(app, route));
    let (summary, more) = route.handler.says.split_once(". ").unwrap_or((route.handler.says, ""));
    let mut operation = json!({
        "operationId": name(route),
        "tags": [prose::tag(route.path)],
        "summary": summary.trim_end_matches('.'),
        "responses": responses(route, &notes),
    });
    if !more.is_empty() {
        operation["description"] = more.into();
    }
    match route.handler.access {
        Handler::By(..) => operation["security"] = json!([{ "session": [] }]),
        Handler::ByNode(_) => {
            operation["security"] = json!([{ "node_certificate": [] }, { "node_lease_token": [], "node_signed_at": [],
                "node_signature": [] }]);
        }
        Open(_) | Handler::Checked(_) => {}
    }
    let says = |note: &Noted| says(route, schemas, note);
    let parameters: Vec<Value> = notes.iter().filter(|n| n.place != "body").map(|n| parameter(n, says(n))).collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = notes.iter().find(|n| n.place == "body" && n.at.is_empty()) {
        let mut schema = tree(&notes, &[], &says);
        if !body.required {
            schema["type"] = json!(["object", "null"]);
        }
        operation["requestBody"] =
            json!({ "required": body.required, "content": { "application/json": { "schema": schema } } });
    }
    operation
}

/// Lets the handler read an empty request. It stops before it acts.
fn ask(app: &App, route: &Route) {
    let request = Request::empty(route.method.clone(), route.path);
    let credential = Credential::Session(SessionId::default());
    let nobody = User { name: UserName::default(), role: Role::Viewer, credential, restriction: None };
    let node = NodeCaller { node_id: NodeId::default(), proven_by: ProvenBy::Certificate };
    // Its answer does not matter, only what it reads.
    let _ = match route.handler.access {
        Open(handler) | Handler::Checked(handler) => handler(app, &request),
        Handler::ByNode(handler) => {
            describe::header(node_calls::RUN);
            handler(app, &request, &node)
        }
        Handler::By(_, handler) => handler(app, &request, &nobody),
    };
}

/// `POST /nodes/{node_id}/cordon` is `post_nodes_node_id_cordon`.
fn name(route: &Route) -> String {
    let path: String = route.path.chars().filter(|c| !matches!(c, '{' | '}')).collect();
    format!("{}{}", route.method.as_str().to_ascii_lowercase(), path.replace(['/', '-', '.'], "_"))
}

/// The sentence about a value that a handler reads: its own row, or that of the property of the same name in the
/// answer's object.
fn says<'t>(route: &Route, schemas: &'t Value, note: &Noted) -> Option<&'t str> {
    let property = || {
        let object = &schemas[route.handler.gives.trim_matches(['[', ']'])];
        note.at.iter().fold(object, |object, name| &object["properties"][name])["description"].as_str()
    };
    prose::field(route.path, note.place, &note.at).or_else(|| property().filter(|_| note.place == "body"))
}

fn parameter(note: &Noted, says: Option<&str>) -> Value {
    json!({
        "in": note.place, "name": note.at.join("."), "required": note.required, "schema": note.schema,
        "description": says,
    })
}

/// The schema of the value at this place in the body, with everything inside it.
fn tree<'t>(notes: &[Noted], at: &[String], says: &impl Fn(&Noted) -> Option<&'t str>) -> Value {
    let own = notes.iter().rev().find(|n| n.place == "body" && n.at == at);
    let mut schema = own.map_or(Value::Null, |n| n.schema.clone());
    let inside = |n: &&Noted| n.place == "body" && n.at.len() == at.len() + 1 && n.at.starts_with(at);
    let mut required = Vec::new();
    for note in notes.iter().filter(inside) {
        let name = note.at.last().map_or("", String::as_str);
        let within = tree(notes, &note.at, says);
        if name == "[]" {
            schema["items"] = within;
            continue;
        }
        // An optional field may be null, which means the same as its absence.
        let mut property = if note.required || within == json!({}) {
            within
        } else {
            json!({ "anyOf": [within, { "type": "null" }] })
        };
        if let Some(says) = says(note) {
            property["description"] = says.into();
        }
        schema["properties"][name] = property;
        if note.required {
            required.push(name);
        }
    }
    if at.is_empty() {
        schema["type"] = "object".into();
    }
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if schema.is_null() { json!({}) } else { schema }
}

fn responses(route: &Route, notes: &[Noted]) -> Value {
    let mut all = json!({});
    all[route.handler.status.to_string()] = success(route.handler.status, route.handler.gives);
    let mut error = |status: u16, what: &str| {
        let content = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } });
        all[status.to_string()] = json!({ "description": what, "content": content });
    };
    let writes = matches!(route.method, Post | Patch | Put | tiny_http::Method::Delete);
    let has = |place: &str| notes.iter().any(|n| n.place == place);
    let reads_header = |name: &str| notes.iter().any(|n| n.place == "header" && n.at == [name]);
    error(400, "The request is malformed; the sentence says how.");
    error(421, "The request names a host that is not this server.");
    error(429, "Too many requests; try again after `Retry-After` seconds.");
    error(503, "Not possible at the moment, the sentence says why; try again after `Retry-After` seconds.");
    match route.handler.access {
        Handler::By(role, _) => {
            error(401, "Not signed in.");
            if role > Role::Viewer || writes || route.handler.personal || route.handler.lasting {
                error(403, "Not allowed for the role, or by a rule that the sentence names.");
            }
        }
        Open(_) | Handler::ByNode(_) | Handler::Checked(_) => {
            error(401, "Credentials are missing or wrong.");
        }
    }
    if has("path") || has("body") {
        error(404, "A named object does not exist.");
    }
    if has("path") || has("query") || has("body") {
        error(422, "Fields are invalid; the answer lists every fault.");
    }
    if has("body") {
        error(413, "The body is too large.");
    }
    if writes {
        let general = "Conflicts with the current state; the sentence says how.";
        let own = Some(route.handler.conflicts).filter(|own| !own.is_empty());
        let keyed =
            if reads_header("Idempotency-Key") { " Or the Idempotency-Key was used for another request." } else { "" };
        error(409, &format!("{}{keyed}", own.unwrap_or(general)));
    }
    if reads_header("If-Match") {
        error(412, "The object has changed since it was read.");
    }
    if notes.iter().any(|n| n.place == "query" && n.at == ["wait"]) {
        all["204"] = json!({ "description": "Nothing has changed within `wait` seconds." });
    }
    if reads_header("If-None-Match") {
        all["304"] = json!({ "description": "The object has not changed." });
    }
    all
}

fn success(status: u16, gives: &str) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let description = match status {
        201 => "Created.",
        307 => "Redirect.",
        _ if gives.starts_with('[') => "One page of the list.",
        _ => "Done.",
    };
    match gives {
        "" => json!({ "description": description }),
        media if media.contains('/') => json!({ "description": description, "content": { media: {} } }),
        list if list.starts_with('[') => {
            let items = reference(list.trim_matches(['[', ']']));
            json!({ "description": description, "content": { "application/json": { "schema": { "type": "array",
                "items": items } } } })
        }
        name => json!({ "description": description, "content": { "application/json": { "schema": reference(name) } } }),
    }
}
