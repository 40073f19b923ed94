//! Base path of a server that shares its host with others.

/// Maximum length of a base path, in characters.
const CHARS_MAX: usize = 200;

/// Parses a base path: `/mesh`, or empty for none; trailing slashes are dropped. `None` if it is not a plain path.
pub fn parse(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('/');
    let is_plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
    };
    let sound = text.len() <= CHARS_MAX && text.strip_prefix('/').is_some_and(|parts| parts.split('/').all(is_plain));
    (text.is_empty() || sound).then(|| text.to_string())
}

/// Removes the base path, if a path begins with it.
pub fn inside<'p>(path: &'p str, base: &str) -> &'p str {
    match path.strip_prefix(base) {
        Some(rest) if !base.is_empty() && (rest.is_empty() || rest.starts_with(['?', '#'])) => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_plain() {
        for (text, base) in [("", ""), ("/", ""), ("/mesh", "/mesh"), (" /a/b.c-d_e~1// ", "/a/b.c-d_e~1")] {
            assert_eq!(parse(text).as_deref(), Some(base), "{text}");
        }
        for bad in [
            "mesh",
            "//mesh",
            "/a//b",
            "/..",
            "/a/./b",
            "/a b",
            "/a\"",
            "/%61",
            "/a?b",
            "/a#b",
            "https://x/a",
            "/\u{e9}",
            "/a;b",
            "/a,/b",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&format!("/{}", "a".repeat(CHARS_MAX))), None);
    }

    #[test]
    fn a_path_loses_its_base_once() {
        for (path, rest) in [
            ("/mesh", "/"),
            ("/mesh/", "/"),
            ("/mesh/ui?a", "/ui?a"),
            ("/mesh/mesh/ui", "/mesh/ui"),
            ("/meshes", "/meshes"),
            ("/ui", "/ui"),
            ("/mesh//evil.example", "//evil.example"),
            ("*", "*"),
        ] {
            assert_eq!((inside(path, "/mesh"), inside(path, "")), (rest, path), "{path}");
        }
    }
}
