//! Checked-in texts that show every change of a contract as a diff. `UPDATE_GOLDEN=1` writes them again.

use std::fs;
use std::path::Path;

/// Compares a text with `tests/golden/<name>`.
pub fn check(name: &str, text: &str) {
    check_at(&format!("tests/golden/{name}"), text);
}

/// Compares a text with a file of the tree.
pub fn check_at(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        wanted == text,
        "{name} changed; look at it and run again with UPDATE_GOLDEN=1\n--- wanted\n{wanted}\n--- found\n{text}"
    );
}
