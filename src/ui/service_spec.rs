//! Specs of services as people type them: the form of a new service, and the one that edits a spec.

use super::{At, Page as Shown, back_to, field, notice, parts, spec_text};
use crate::control::once::Once;
use crate::control::versions::{Condition, Versioned};
use crate::control::work::services;
use crate::error::{Error, FieldFault, Loc, Result};
use crate::gate::Reply;
use crate::html::{Html, page};
use crate::http::fields::Fields;
use crate::inputs::specs::spec;
use crate::model::services::{NewService, Service};
use crate::model::{Object, specs::Policy};
use serde_json::{Value, json};

const PLACE: &str = "Services";
/// Spec that the form of a new service starts with.
const EXAMPLE: &str =
    "{\n  \"image\": \"nginx\",\n  \"ports\": [8080],\n  \"scheduling\": {\n    \"desired_replicas\": 2\n  }\n}";

pub(super) fn new(at: &At) -> Reply {
    let typed = Typed { id: "", name: "", description: "", text: EXAMPLE };
    new_page(at, 200, &typed, &Html::empty())
}

/// Values typed into the form of a new service.
struct Typed<'f> {
    id: &'f str,
    name: &'f str,
    description: &'f str,
    text: &'f str,
}

fn new_page(at: &At, status: u16, typed: &Typed, faults: &Html) -> Reply {
    let fields = vec![
        parts::field("Id", "id", typed.id),
        parts::field("Name (empty: the id)", "name", typed.name),
        parts::field("Description", "description", typed.description),
        doubts(typed.text),
    ];
    let form = form(at, "/ui/new-service", &Html::concat(fields), typed.text, faults, "Create the service");
    let body = Html::concat(vec![
        page!("head.html", title = "New service", actions = &Html::empty(), notice = &Html::empty()),
        form,
    ]);
    at.framed(Shown { status, place: PLACE, title: "New service", head: Html::empty(), body: &body })
}

fn form(at: &At, action: &str, fields: &Html, text: &str, faults: &Html, button: &str) -> Html {
    let described = if faults.is_empty() { Html::empty() } else { page!("described.html") };
    page!(
        "spec.html",
        action = action,
        csrf = &at.csrf(),
        fields = fields,
        described = &described,
        text = text,
        faults = faults,
        button = button,
    )
}

/// Warnings about a spec that can be saved although parts of it are not understood.
fn doubts(text: &str) -> Html {
    let spec: Object = serde_json::from_str(text).unwrap_or_default();
    Html::concat(Policy::of(&spec).warnings.iter().map(|w| notice("bad", w)).collect())
}

pub(super) fn create(at: &At) -> Reply {
    let form = at.form();
    let [id, name, description, text] = ["id", "name", "description", "spec"].map(|key| field(&form, key));
    let name = if name.is_empty() { id } else { name };
    let made = read_spec(text, json!({ "id": id, "name": name, "description": description })).and_then(|body| {
        let mut f = Fields::of_body(body.as_bytes())?;
        let new = NewService {
            id: f.id("id").required(),
            name: f.name("name").required(),
            description: f.text("description", 0..=4096).optional().filter(|d| !d.is_empty()),
            spec: spec(&mut f).unwrap_or_default(),
        };
        f.finish()?;
        services::create(at.control, Once::default(), new, at.by())
    });
    match made {
        Ok(_) => Ok(back_to(&parts::path("services", id), "create")),
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => new_page(at, e.status(), &Typed { id, name, description, text }, &faults(&e, text)),
    }
}

pub(super) fn edit(at: &At) -> Reply {
    let Versioned { object: service, tag, .. } = services::show(at.control, &at.id(0, "Service")?)?;
    let text = parts::pretty(&service.own_spec());
    edit_page(at, 200, &service, &tag, &text, &Html::empty())
}

fn edit_page(at: &At, status: u16, service: &Service, version: &str, text: &str, faults: &Html) -> Reply {
    let fields = Html::concat(vec![
        doubts(text),
        parts::hidden("version", version),
        parts::hint(
            "Saving creates a new generation, and replicas are updated to it step by step. Earlier generations stay \
                and can be restored.",
        ),
    ]);
    let body = Html::concat(vec![
        page!(
            "head.html",
            title = &format!("Spec of {}", service.name),
            actions = &parts::button(&parts::path("services", &service.id), "Back to the service", ""),
            notice = &Html::empty(),
        ),
        form(at, &at.request.path, &fields, text, faults, "Save as a new generation"),
    ]);
    let title = format!("Spec of {}", service.name);
    at.framed(Shown { status, place: PLACE, title: &title, head: Html::empty(), body: &body })
}

pub(super) fn save(at: &At) -> Reply {
    let form = at.form();
    let (text, version) = (field(&form, "spec"), field(&form, "version"));
    let saved = read_spec(text, json!({})).and_then(|body| {
        let mut f = Fields::of_body(body.as_bytes())?;
        let spec = spec(&mut f);
        f.finish()?;
        let condition = Condition::if_match(Some(version));
        services::update(at.control, at.id(0, "Service")?, condition, None, spec, at.by())
    });
    match saved {
        Ok(_) => Ok(back_to(&parts::path("services", at.arg(0)), "save")),
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => {
            let service = services::show(at.control, &at.id(0, "Service")?)?.object;
            edit_page(at, e.status(), &service, version, text, &faults(&e, text))
        }
    }
}

/// Body that the API would get: the typed spec, with the other fields of `body`.
fn read_spec(text: &str, mut body: Value) -> Result<String> {
    let f = Fields::of_body(text.as_bytes())?;
    body["spec"] = Value::Object(f.whole().clone());
    f.finish()?;
    Ok(body.to_string())
}

/// Faults of a form: those of the spec under the line concerned, all others above it.
fn faults(error: &Error, text: &str) -> Html {
    let Error::Invalid(all) = error else { return notice("bad", &error.detail()) };
    let text = &text.replace('\r', "");
    let place = |fault: &FieldFault| match (fault.kind, &fault.loc[..]) {
        ("json_invalid", [_, Loc::Index(at)]) => Some(spec_text::line_at(text, *at)),
        (_, [Loc::Name(body)]) if body == "body" => Some(0),
        _ => spec_text::inside(fault).map(|path| spec_text::line_of(text, path)),
    };
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for fault in all {
        match place(fault) {
            Some(line) => below.push((line, fault.msg.clone())),
            None => above.push(notice("bad", &fault.to_string())),
        }
    }
    if !below.is_empty() {
        let mut lines = Vec::new();
        for (i, line) in text.lines().enumerate() {
            lines.push(page!("line.html", text = line));
            lines.extend(below.iter().filter(|(at, _)| *at == i).map(|(_, msg)| page!("line_fault.html", text = msg)));
        }
        // The fault of an incomplete text is behind the last line.
        let end = text.lines().count();
        lines.extend(below.iter().filter(|(at, _)| *at >= end).map(|(_, msg)| page!("line_fault.html", text = msg)));
        above.push(page!("faults.html", lines = &Html::concat(lines)));
    }
    Html::concat(above)
}
