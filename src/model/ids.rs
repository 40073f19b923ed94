//! Syntax of ids: 1 to 64 characters of `A-Z a-z 0-9 . _ : -`, the first a letter or a digit.

/// The rule as clients see it in a 422.
pub const PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$";

/// True if this text is a valid id.
pub fn is_id(text: &str) -> bool {
    let b = text.as_bytes();
    b.len() <= 64 && b.first().is_some_and(u8::is_ascii_alphanumeric) && b.iter().all(|c| c.is_ascii_alphanumeric() || b"._:-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::is_id;

    #[test]
    fn ids_are_bounded() {
        for good in ["a", "0", "node-a.b_c:d", &"x".repeat(64)] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "\u{e9}", "a\n", &"x".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
