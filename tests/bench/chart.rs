//! Curves as an SVG: a panel for each workload, with the share of its replicas over time.

use std::fmt::Write;

/// Size of a panel's axes.
const SIZE: (f64, f64) = (420.0, 260.0);
/// Space around them, for words.
const SPACE: f64 = 60.0;
/// Points of a curve.
const POINTS: usize = 200;
/// Colours that people tell apart, also without seeing red or green.
const COLOURS: [&str; 4] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7"];

/// When each replica reached a state, in ms and in order.
pub struct Curve {
    pub name: &'static str,
    times: Vec<f64>,
}

impl Curve {
    pub fn new(name: &'static str, mut times: Vec<f64>) -> Curve {
        times.sort_by(f64::total_cmp);
        Curve { name, times }
    }

    /// Time by which a share of the replicas was there; 0 is the first of them.
    pub fn at(&self, share: f64) -> f64 {
        let count = self.times.len();
        self.times[((count as f64 * share).ceil() as usize).clamp(1, count) - 1]
    }
}

/// An SVG of these panels, each a title and its curves.
pub fn svg(panels: &[(String, Vec<Curve>)]) -> String {
    let (width, height) = (SIZE.0 + 2.0 * SPACE, SIZE.1 + 2.0 * SPACE);
    let all = width * panels.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {all} {height}\" width=\"{all}\" height=\"{height}\" \
            font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (number, (title, curves)) in panels.iter().enumerate() {
        let left = number as f64 * width + SPACE;
        writeln!(out, "<g transform=\"translate({left} {SPACE})\">").unwrap();
        panel(&mut out, title, curves);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, title: &str, curves: &[Curve]) {
    let (width, height) = SIZE;
    let end = curves.iter().map(|curve| curve.at(1.0)).fold(1.0, f64::max);
    let mut text = |x: f64, y: f64, anchor: &str, words: &str| {
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>").unwrap();
    };
    text(0.0, -25.0, "start", title);
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        text(-8.0, height * (1.0 - share) + 4.0, "end", &format!("{:.0} %", share * 100.0));
        text(width * share, height + 20.0, "middle", &format!("{:.0} ms", end * share));
    }
    for (number, curve) in curves.iter().enumerate() {
        let words = format!("<tspan fill=\"{}\">&#9632;</tspan> {}", COLOURS[number], curve.name);
        text(width / curves.len() as f64 * number as f64, -8.0, "start", &words);
    }
    writeln!(out, "<path d=\"M0 0V{height}H{width}\" fill=\"none\" stroke=\"#888\"/>").unwrap();
    for (curve, colour) in curves.iter().zip(COLOURS) {
        let x = |share: f64| curve.at(share) / end * width;
        let mut path = format!("M{:.1} {height}", x(0.0));
        for point in 0..=POINTS {
            let share = point as f64 / POINTS as f64;
            // Steps: nothing is there before its time.
            write!(path, "H{:.1}V{:.1}", x(share), height * (1.0 - share)).unwrap();
        }
        writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>").unwrap();
    }
}
