//! The named queries of `sql/queries`, found at compile time: an unknown name does not compile.

/// The text of the query `name` in `file`, up to the next `-- name:` line.
pub(crate) const fn find(file: &'static str, name: &str) -> &'static str {
    let (text, wanted, tag) = (file.as_bytes(), name.as_bytes(), b"-- name: ");
    let mut i = 0;
    while i + tag.len() + wanted.len() < text.len() {
        if at(text, i, tag) && at(text, i + tag.len(), wanted) && text[i + tag.len() + wanted.len()] == b'\n' {
            let start = i + tag.len() + wanted.len() + 1;
            let mut end = start;
            while end < text.len() && !at(text, end, tag) {
                end += 1;
            }
            let (_, rest) = file.split_at(start);
            let (body, _) = rest.split_at(end - start);
            return body;
        }
        i += 1;
    }
    panic!("there is no query of that name in that file")
}

const fn at(text: &[u8], from: usize, part: &[u8]) -> bool {
    let mut k = 0;
    while k < part.len() {
        if from + k >= text.len() || text[from + k] != part[k] {
            return false;
        }
        k += 1;
    }
    true
}

/// `query!("nodes", "by_id")` is the text of that query.
macro_rules! query {
    ($file:literal, $name:literal) => {{
        const SQL: &str = $crate::store::query::find(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/queries/", $file, ".sql")),
            $name,
        );
        SQL
    }};
}
pub(crate) use query;
