//! Reading and writing cookies. The gate interprets their values.

/// Values of all cookies of this name in a `Cookie` header: a browser may send several, of other paths or domains.
/// Strips quotes, which proxies and libraries add.
pub fn all<'a>(header: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    header.split(';').filter_map(move |pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        (key.trim() == name).then_some(bare)
    })
}

/// The value of the first one.
pub fn find<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    all(header, name).next()
}

/// A `Set-Cookie` value for a cookie that scripts cannot read and other sites cannot send in posts; `base` is the path
/// below which it is sent, empty for all.
pub fn set(name: &str, value: &str, base: &str, max_age_s: i64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    let path = if base.is_empty() { "/" } else { base };
    format!("{name}={value}; Path={path}; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let header = "xsid=1; sid=two=2 ;sid=3; flag";
        assert_eq!(find(header, "sid"), Some("two=2"));
        assert_eq!(find(header, "id"), None);
        assert_eq!(find(header, "flag"), None);
        assert_eq!(all("sid=\"a b\"; sid=\"; sid=\"\"", "sid").collect::<Vec<_>>(), ["a b", "\"", ""]);
        assert_eq!(find("", "sid"), None);
    }

    #[test]
    fn a_set_cookie_is_closed_to_scripts_and_other_sites() {
        assert_eq!(set("sid", "v", "", 60, true), "sid=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(set("sid", "", "/mesh", 0, false), "sid=; Path=/mesh; Max-Age=0; HttpOnly; SameSite=Lax");
    }
}
