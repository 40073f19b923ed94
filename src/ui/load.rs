//! Load of a node over the last day, as small pictures: load, memory, disk.

use super::parts;
use crate::clock::Timestamp;
use crate::control::fleet::load_history::{LoadDay, STEP_S, STEPS};
use crate::html::{Html, page};

/// Height of a picture. Its width is one unit per step.
const HEIGHT: f64 = 24.0;

/// Pictures of a node's last day; empty for a node that is not enrolled, because it cannot report.
pub(super) fn pictures(day: Option<LoadDay>) -> Html {
    let Some(day) = day else { return Html::empty() };
    let all = [("Load", &day.load, None), ("Memory used", &day.memory, Some(1.0)), ("Disk used", &day.disk, Some(1.0))];
    let pictures: Vec<Html> = all.iter().filter_map(|(name, steps, top)| picture(name, steps, *top)).collect();
    if pictures.is_empty() {
        let text = "No load, memory or disk reported since the control plane started. The agent of a joined node \
            reports them every five minutes.";
        return parts::section("Last 24 hours", &parts::hint(text));
    }
    let exact = |at: Timestamp| Timestamp::from_secs(at.secs()).to_string();
    let about = match day.since {
        Some(start) => {
            format!("Maximum of every {} minutes since the control plane started at {}.", STEP_S / 60, exact(start))
        }
        None => format!("Maximum of every {} minutes. Gaps are times without reports.", STEP_S / 60),
    };
    parts::section("Last 24 hours", &page!("sparks.html", pictures = &Html::concat(pictures), about = &about))
}

/// One picture with its description; `None` without data. Without a `top`, the highest figure fills the height.
fn picture(name: &str, steps: &[Option<f64>], top: Option<f64>) -> Option<Html> {
    let newest = steps.iter().rev().find_map(|step| *step)?;
    let highest = steps.iter().flatten().copied().fold(0.0, f64::max);
    let lowest = steps.iter().flatten().copied().fold(highest, f64::min);
    let figure = |n: f64| if top.is_some() { format!("{:.0} %", n * 100.0) } else { format!("{n:.2}") };
    let label = format!("{name}: newest {}, lowest {}, highest {}", figure(newest), figure(lowest), figure(highest));
    let text = format!("{}, highest {}", figure(newest), figure(highest));
    let path = path(steps, top.unwrap_or_else(|| highest.max(1.0)));
    Some(page!("spark.html", name = name, text = &text, width = &STEPS.to_string(), label = &label, path = &path))
}

/// A column for each known step; adjacent columns form one shape.
fn path(steps: &[Option<f64>], top: f64) -> String {
    let mut path = String::new();
    let mut is_open = false;
    for (x, step) in steps.iter().enumerate() {
        match step {
            Some(figure) => {
                // Figures near zero stay visible.
                let y = HEIGHT - (figure / top * HEIGHT).clamp(0.5, HEIGHT);
                if !is_open {
                    path.push_str(&format!("M{x} {HEIGHT}"));
                }
                path.push_str(&format!("V{y:.1}h1"));
                is_open = true;
            }
            None if is_open => {
                path.push_str(&format!("V{HEIGHT}z"));
                is_open = false;
            }
            None => {}
        }
    }
    if is_open {
        path.push_str(&format!("V{HEIGHT}z"));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_parts_the_shape() {
        let steps = [None, Some(0.5), Some(1.0), None, Some(0.0)];
        assert_eq!(path(&steps, 1.0), "M1 24V12.0h1V0.0h1V24zM4 24V23.5h1V24z");
        assert_eq!(path(&[None; 3], 1.0), "");
        assert!(picture("Load", &[None; 3], None).is_none());
        let drawn = picture("Load", &[Some(4.0), Some(2.0)], None).expect("a picture").into_string();
        assert!(drawn.contains("aria-label=\"Load: newest 2.00, lowest 2.00, highest 4.00\""), "{drawn}");
    }
}
