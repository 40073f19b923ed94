//! Actions on objects, one table per kind. POST carries an action out and redirects back with a notice. Most ask first:
//! GET shows their effects, with the form that confirms them.

use super::{At, Page, back_to, notice, parts};
use crate::error::{Error, Result};
use crate::gate::Reply;
use crate::html::{Html, page};
use crate::model::users::Role;

/// Effect of an action's button.
pub(super) enum Button {
    /// It leads to the form that confirms the action.
    Asks,
    /// The same, in the colour of danger: the action destroys something.
    Warns,
    /// It carries the action out. With its look, a class.
    Acts(&'static str),
}

/// One action.
pub(super) struct Action {
    /// Its word in the path and in the notice after it.
    pub word: &'static str,
    /// Text of its buttons, and the title before the object's name.
    pub label: &'static str,
    /// Effect of its button.
    pub button: Button,
    /// Effects to confirm, a sentence each.
    pub effects: fn(&At) -> Result<Vec<String>>,
    /// Fields of its form.
    pub fields: fn(&At) -> Result<Html>,
    /// Carries it out.
    pub handler: fn(&At) -> Result<()>,
    /// Page to show afterwards if the object's own no longer exists.
    pub leads_to: Option<&'static str>,
}

/// The actions of one kind of object.
pub(super) struct Actions {
    /// Part of the site, as in `PLACES`.
    pub place: &'static str,
    /// Role that they need. Other users see no buttons; the route refuses their requests.
    pub role: Role,
    /// All of them, in the order of their buttons.
    pub rows: &'static [Action],
    /// The word of the action that a path names.
    pub word: for<'a> fn(&'a At<'_>) -> &'a str,
    /// The object's name and page. Fails if it does not exist.
    pub object: fn(&At) -> Result<(String, String)>,
}

impl Actions {
    fn find(&self, at: &At) -> Result<&'static Action> {
        let word = (self.word)(at);
        self.rows.iter().find(|action| action.word == word).ok_or_else(|| Error::not_found("Page"))
    }

    /// Shows the effects of an action, with the form that confirms it.
    pub(super) fn ask(&self, at: &At) -> Reply {
        self.confirm(at, self.find(at)?, None)
    }

    /// Carries an action out and redirects to its object. If it fails, shows the form again with the error; an action
    /// without a form returns it.
    pub(super) fn act(&self, at: &At) -> Reply {
        let action = self.find(at)?;
        let (_, back) = (self.object)(at)?;
        match ((action.handler)(at), &action.button) {
            (Ok(()), _) => Ok(back_to(action.leads_to.unwrap_or(&back), action.word)),
            (Err(e @ Error::Fault(_)), _) | (Err(e), Button::Acts(_)) => Err(e),
            (Err(e), Button::Asks | Button::Warns) => self.confirm(at, action, Some(&e)),
        }
    }

    fn confirm(&self, at: &At, action: &Action, failed: Option<&Error>) -> Reply {
        let (name, back) = (self.object)(at)?;
        let title = if name.is_empty() { action.label.to_string() } else { format!("{}: {name}", action.label) };
        let body = page!(
            "confirm.html",
            title = &title,
            notice = &failed.map_or_else(Html::empty, |e| notice("bad", &e.detail())),
            form = &action.form(at, &back)?,
        );
        at.framed(Page {
            status: failed.map_or(200, Error::status),
            place: self.place,
            title: &title,
            head: Html::empty(),
            body: &body,
        })
    }

    /// Buttons of the actions that pass `is_shown`, for an object's page or its row. Empty for users who may not act.
    pub(super) fn buttons(&self, at: &At, path: &str, is_shown: impl Fn(&Action) -> bool) -> Html {
        if !at.may(self.role) {
            return Html::empty();
        }
        let shown = self.rows.iter().filter(|action| is_shown(action));
        Html::concat(shown.map(|action| action.button(at, &format!("{path}/{}", action.word))).collect())
    }

    /// Button of the action `word` whose whole path is `path`. Empty for users who may not act.
    pub(super) fn button(&self, at: &At, word: &str, path: &str) -> Html {
        let action = self.rows.iter().find(|action| action.word == word).filter(|_| at.may(self.role));
        action.map_or_else(Html::empty, |action| action.button(at, path))
    }

    /// Effects and form of the path's action, for a page that shows them among other things. Empty for users who may
    /// not act.
    pub(super) fn form(&self, at: &At) -> Result<Html> {
        if !at.may(self.role) {
            return Ok(Html::empty());
        }
        let (_, back) = (self.object)(at)?;
        self.find(at)?.form(at, &back)
    }
}

impl Action {
    /// Class of its buttons.
    fn look(&self) -> &'static str {
        match self.button {
            Button::Asks => "",
            Button::Warns => "danger",
            Button::Acts(look) => look,
        }
    }

    /// Its button, which leads to `path`.
    fn button(&self, at: &At, path: &str) -> Html {
        match self.button {
            Button::Asks | Button::Warns => parts::button(path, self.label, self.look()),
            Button::Acts(look) => page!("act.html", action = path, csrf = &at.csrf(), kind = look, button = self.label),
        }
    }

    /// Its effects and the form that confirms it, sent to the path that is shown.
    fn form(&self, at: &At, back: &str) -> Result<Html> {
        let effects = (self.effects)(at)?.iter().map(|sentence| Html::text(sentence)).collect();
        Ok(page!(
            "confirm_form.html",
            action = &at.request.path,
            csrf = &at.csrf(),
            effects = &parts::items_of(effects),
            fields = &(self.fields)(at)?,
            kind = self.look(),
            button = self.label,
            back = back,
        ))
    }
}

/// Effects that are the same for every object.
pub(super) fn sentences(effects: &[&str]) -> Result<Vec<String>> {
    Ok(effects.iter().map(ToString::to_string).collect())
}

/// Effects of an action that does not ask.
pub(super) fn no_effects(_: &At) -> Result<Vec<String>> {
    Ok(Vec::new())
}

/// A form without fields.
pub(super) fn no_fields(_: &At) -> Result<Html> {
    Ok(Html::empty())
}
