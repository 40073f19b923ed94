//! The documentation, one topic per file in `assets/docs`, for `uptimemesh docs` and `/ui/docs`.

/// A topic of the documentation.
pub struct Topic {
    /// Its name on the command line and in URLs.
    pub name: &'static str,
    /// Its text in Markdown: headings, paragraphs, lists, tables and fenced code.
    pub text: &'static str,
}

/// Every topic, in reading order.
pub const TOPICS: &[Topic] = &[
    Topic { name: "install", text: include_str!("../assets/docs/install.md") },
    Topic { name: "join", text: include_str!("../assets/docs/join.md") },
    Topic { name: "services", text: include_str!("../assets/docs/services.md") },
    Topic { name: "cli", text: include_str!("../assets/docs/cli.md") },
    Topic { name: "api", text: include_str!("../assets/docs/api.md") },
    Topic { name: "settings", text: include_str!("../assets/docs/settings.md") },
    Topic { name: "security", text: include_str!("../assets/docs/security.md") },
    Topic { name: "backup", text: include_str!("../assets/docs/backup.md") },
    Topic { name: "upgrade", text: include_str!("../assets/docs/upgrade.md") },
    Topic { name: "troubleshooting", text: include_str!("../assets/docs/troubleshooting.md") },
];

impl Topic {
    /// The heading of the text.
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }
}

/// The topic of this name.
pub fn topic(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}
