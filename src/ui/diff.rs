//! The difference of two texts, line by line.

use super::parts;
use crate::html::{Html, page};

/// Lines of each text that are compared; the rest is cut off.
const LINES_MAX: usize = 1_500;
/// Unchanged lines shown around a difference.
const CONTEXT: usize = 3;

/// Change of a line.
#[derive(Debug, PartialEq, Clone, Copy)]
enum Change {
    Same,
    Gone,
    Come,
}

/// The changed lines between two texts, with context.
pub(super) fn lines(old: &str, new: &str) -> Html {
    let changes = compare(&cut(old), &cut(new));
    if changes.iter().all(|(change, _)| *change == Change::Same) {
        return parts::hint("The spec is the same.");
    }
    let near = |i: usize| {
        let around = i.saturating_sub(CONTEXT)..(i + CONTEXT + 1).min(changes.len());
        changes[around].iter().any(|(change, _)| *change != Change::Same)
    };
    let mut shown = Vec::new();
    let mut skipped = false;
    for (i, (change, line)) in changes.iter().enumerate() {
        if !near(i) {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) {
            shown.push(page!("diff_line.html", class = "soft", text = "⋯"));
        }
        let (class, sign) = match change {
            Change::Same => ("", " "),
            Change::Gone => ("del", "-"),
            Change::Come => ("add", "+"),
        };
        shown.push(page!("diff_line.html", class = class, text = &format!("{sign} {line}")));
    }
    page!("diff.html", lines = &Html::concat(shown))
}

fn cut(text: &str) -> Vec<&str> {
    text.lines().take(LINES_MAX).collect()
}

/// The shortest edit from one list of lines to the other, by their longest common subsequence.
fn compare<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(Change, &'t str)> {
    let width = new.len() + 1;
    let mut common = vec![0_u16; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for k in (0..new.len()).rev() {
            common[i * width + k] = if old[i] == new[k] {
                common[(i + 1) * width + k + 1] + 1
            } else {
                common[(i + 1) * width + k].max(common[i * width + k + 1])
            };
        }
    }
    let (mut i, mut k, mut changes) = (0, 0, Vec::new());
    while i < old.len() || k < new.len() {
        if i < old.len() && k < new.len() && old[i] == new[k] {
            changes.push((Change::Same, old[i]));
            (i, k) = (i + 1, k + 1);
        } else if i < old.len() && (k == new.len() || common[(i + 1) * width + k] >= common[i * width + k + 1]) {
            changes.push((Change::Gone, old[i]));
            i += 1;
        } else {
            changes.push((Change::Come, new[k]));
            k += 1;
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_gone_or_come() {
        let changes = compare(&["a", "b", "c"], &["a", "x", "c", "d"]);
        assert_eq!(
            changes,
            [(Change::Same, "a"), (Change::Gone, "b"), (Change::Come, "x"), (Change::Same, "c"), (Change::Come, "d")]
        );
        assert_eq!(compare(&[], &["a"]), [(Change::Come, "a")]);
    }
}
