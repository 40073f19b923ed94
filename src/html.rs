//! Markup that is escaped by construction: only this module creates [`Html`] from a string.
//!
//! Templates are plain `.html` files with `{name}` holes; a missing, extra or unescaped value does not compile. A hole
//! is in text or in a double-quoted attribute.

use std::fmt::{self, Write as _};

/// Finished markup.
pub struct Html(String);

impl Html {
    /// For [`page!`] only: the format string is a file of ours, the values are [`Hole`]s.
    #[doc(hidden)]
    pub fn from_template(text: String) -> Html {
        Html(text)
    }

    /// Empty markup.
    pub fn empty() -> Html {
        Html(String::new())
    }

    /// Text, escaped.
    pub fn text(text: &str) -> Html {
        Html(Hole::from(text).to_string())
    }

    /// True if there is no markup.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Concatenates markup.
    pub fn concat(parts: Vec<Html>) -> Html {
        Html(parts.into_iter().map(|part| part.0).collect())
    }

    /// The text to send.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// A value for a template's hole.
pub struct Hole<'a>(Kind<'a>);

enum Kind<'a> {
    Text(&'a str),
    Html(&'a Html),
}

impl<'a> From<&'a str> for Hole<'a> {
    fn from(text: &'a str) -> Self {
        Hole(Kind::Text(text))
    }
}

impl<'a> From<&'a String> for Hole<'a> {
    fn from(text: &'a String) -> Self {
        Hole(Kind::Text(text))
    }
}

impl<'a> From<&'a Html> for Hole<'a> {
    fn from(html: &'a Html) -> Self {
        Hole(Kind::Html(html))
    }
}

impl fmt::Display for Hole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.0 {
            Kind::Html(html) => return f.write_str(&html.0),
            Kind::Text(text) => text,
        };
        for c in text.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// `page!("login.html", next = &next)` fills the holes of `assets/pages/login.html`.
macro_rules! page {
    ($file:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::html::Html::from_template(format!(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/pages/", $file)),
            $($name = $crate::html::Hole::from($value)),*
        ))
    };
}
pub(crate) use page;

#[cfg(test)]
mod tests {
    use super::Hole;

    #[test]
    fn text_in_a_hole_is_never_markup() {
        assert_eq!(Hole::from("<a href=\"x\">'&").to_string(), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }
}
