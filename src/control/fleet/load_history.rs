//! Load of a node over the last day, from its heartbeats: in memory, not on disk, like the lease that contains it.
//!
//! A step is ten minutes and keeps its highest figures in four bytes, so a day of a node takes 576 bytes, and a fleet
//! of ten thousand less than six MiB. It starts empty with the control plane.

use crate::clock::Timestamp;
use crate::model::{Object, status_keys};
use serde_json::Value;

/// Length of a step, in seconds. Nodes measure every five minutes.
pub const STEP_S: u64 = 600;
/// Number of steps to keep: a day.
pub const STEPS: usize = 144;
/// A load is stored in hundredths.
const LOAD_SCALE: f64 = 100.0;
/// A used share is stored in halves of a hundredth.
const SHARE_SCALE: f64 = 200.0;

/// The highest figures of a step, each stored plus one: zero is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::control) struct Sample {
    load: u16,
    memory: u8,
    disk: u8,
}

impl Sample {
    /// Reads a node's report; `None` if it contains none of these figures.
    pub(in crate::control) fn of(report: &Object) -> Option<Sample> {
        let number = |key: &str| report.get(key).and_then(Value::as_f64).filter(|n| *n >= 0.0);
        // Casts of floats saturate at the bounds of the target type.
        let used = |available: &str, total: &str| {
            let (free, all) = (number(available)?, number(total).filter(|all| *all > 0.0)?);
            Some(((1.0 - (free / all).min(1.0)) * SHARE_SCALE).round() as u8 + 1)
        };
        let sample = Sample {
            load: number(status_keys::LOAD_1M).map_or(0, |load| ((load * LOAD_SCALE).round() as u16).saturating_add(1)),
            memory: used(status_keys::MEMORY_AVAILABLE_BYTES, status_keys::MEMORY_TOTAL_BYTES).unwrap_or(0),
            disk: used(status_keys::DISK_AVAILABLE_BYTES, status_keys::DISK_TOTAL_BYTES).unwrap_or(0),
        };
        (sample != Sample::default()).then_some(sample)
    }
}

/// Figures of the last day, by step; a node that reports none takes no memory.
#[derive(Debug, Clone, Default)]
pub(in crate::control) struct LoadHistory {
    /// A ring: the sample of a step is at its number modulo [`STEPS`].
    samples: Option<Box<[Sample; STEPS]>>,
    /// The newest step with a report.
    newest: u64,
}

/// A node's last day, oldest step first; `None` for an unknown value.
#[derive(Debug, PartialEq)]
pub struct LoadDay {
    /// Start of the control plane, if less than a day ago.
    pub since: Option<Timestamp>,
    /// Running or waiting processes, averaged over a minute.
    pub load: Vec<Option<f64>>,
    /// Used shares of memory, 0 to 1.
    pub memory: Vec<Option<f64>>,
    /// Used shares of the file system that holds the node's data.
    pub disk: Vec<Option<f64>>,
}

impl LoadHistory {
    /// Adds a report to a step.
    pub(in crate::control) fn note(&mut self, step: u64, report: Sample) {
        let samples = self.samples.get_or_insert_with(|| Box::new([Sample::default(); STEPS]));
        // Steps without a report are unknown, and figures from a day ago are dropped.
        for passed in (self.newest + 1..=step).rev().take(STEPS) {
            samples[passed as usize % STEPS] = Sample::default();
        }
        self.newest = self.newest.max(step);
        let known = &mut samples[step as usize % STEPS];
        known.load = known.load.max(report.load);
        known.memory = known.memory.max(report.memory);
        known.disk = known.disk.max(report.disk);
    }

    /// The day that ends with a step.
    pub(in crate::control) fn day(&self, step: u64) -> LoadDay {
        let sample = |back: u64| match &self.samples {
            Some(samples) => {
                let known = step.checked_sub(back).filter(|of| *of <= self.newest && of + STEPS as u64 > self.newest);
                known.map_or(Sample::default(), |of| samples[of as usize % STEPS])
            }
            None => Sample::default(),
        };
        let samples: Vec<Sample> = (0..STEPS as u64).rev().map(sample).collect();
        let figure = |kept: u16, scale: f64| kept.checked_sub(1).map(|n| f64::from(n) / scale);
        LoadDay {
            since: None,
            load: samples.iter().map(|s| figure(s.load, LOAD_SCALE)).collect(),
            memory: samples.iter().map(|s| figure(s.memory.into(), SHARE_SCALE)).collect(),
            disk: samples.iter().map(|s| figure(s.disk.into(), SHARE_SCALE)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample(load: f64) -> Sample {
        let report = json!({"load_1m": load, "memory_total_bytes": 1000, "memory_available_bytes": 250});
        Sample::of(report.as_object().expect("an object")).expect("figures")
    }

    /// The known loads of a day, with their distance from its end.
    fn loads(history: &LoadHistory, step: u64) -> Vec<(usize, f64)> {
        let day = history.day(step);
        assert_eq!(day.load.len(), STEPS);
        day.load.iter().rev().enumerate().filter_map(|(back, load)| load.map(|load| (back, load))).collect()
    }

    #[test]
    fn a_day_is_kept_and_what_is_older_is_forgotten() {
        let mut history = LoadHistory::default();
        assert_eq!(loads(&history, 7), []);
        history.note(0, sample(1.0));
        history.note(0, sample(0.5));
        assert_eq!(loads(&history, 0), [(0, 1.0)], "the highest of a step");
        history.note(3, sample(0.25));
        assert_eq!(loads(&history, 4), [(1, 0.25), (4, 1.0)], "silence is a gap");
        history.note(STEPS as u64, sample(2.0));
        assert_eq!(loads(&history, STEPS as u64), [(0, 2.0), (STEPS - 3, 0.25)], "the first step is a day ago");
        assert_eq!(loads(&history, 10 * STEPS as u64), [], "of a node that is silent for days nothing is left");
        history.note(10 * STEPS as u64, sample(3.0));
        assert_eq!(loads(&history, 10 * STEPS as u64), [(0, 3.0)]);
        assert_eq!(history.day(10 * STEPS as u64).memory.last(), Some(&Some(0.75)));
        assert_eq!(size_of::<[Sample; STEPS]>(), 576);
    }

    #[test]
    fn figures_that_make_no_sense_are_not_taken() {
        let of = |report: Value| Sample::of(report.as_object().expect("an object"));
        for report in [
            json!({}),
            json!({"load_1m": "high"}),
            json!({"load_1m": -1}),
            json!({"memory_available_bytes": 5}),
            json!({"disk_total_bytes": 0, "disk_available_bytes": 0}),
        ] {
            assert_eq!(of(report.clone()), None, "{report}");
        }
        let full = of(json!({"load_1m": 1e300, "disk_total_bytes": 10, "disk_available_bytes": 50})).expect("figures");
        assert_eq!(
            (full.load, full.memory, full.disk),
            (u16::MAX, 0, 1),
            "more free than there is means that nothing is used"
        );
    }
}
