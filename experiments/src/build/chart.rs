//! `networks.svg`: top-1 over cost, predicted, and measured with one standard deviation.

use std::fmt::Write;

use super::networks::{BuiltNetwork, quantity_of};
use crate::stages::network::Counted;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
/// Left, top, right and below the axes.
const MARGINS: [f64; 4] = [70.0, 46.0, 24.0, 58.0];
const TICKS: usize = 5;

/// The picture.
pub fn svg(name: &str, networks: &[BuiltNetwork]) -> String {
    let quantity = quantity_of(networks);
    let known: Vec<(f64, &BuiltNetwork)> =
        networks.iter().filter_map(|network| Some((network.cost(quantity)?, network))).collect();
    let costs = known.iter().map(|(cost, _)| *cost);
    let ends = |counted: &Counted| [counted.top1 - counted.std_error, counted.top1 + counted.std_error];
    let heights = known.iter().flat_map(|(_, network)| {
        [[network.found.predicted; 2], ends(&network.held_out), ends(&network.tested)].concat()
    });
    let (x, y) =
        (Axis::over(costs, MARGINS[0], WIDTH - MARGINS[2]), Axis::over(heights, HEIGHT - MARGINS[3], MARGINS[1]));
    let unit = quantity.json_key();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{}\" y=\"24\" \
         font-size=\"16\">{}</text>\n",
        MARGINS[0],
        escaped(name)
    );
    let (left, bottom) = (MARGINS[0], HEIGHT - MARGINS[3]);
    for value in x.ticks() {
        let at = x.at(value);
        let _ = writeln!(svg, "<path d=\"M{at:.1} {bottom}V{}\" stroke=\"#ddd\"/>", MARGINS[1]);
        let _ =
            writeln!(svg, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", bottom + 18.0, short(value));
    }
    for value in y.ticks() {
        let at = y.at(value);
        let _ = writeln!(svg, "<path d=\"M{left} {at:.1}H{}\" stroke=\"#ddd\"/>", WIDTH - MARGINS[2]);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.1} %</text>",
            left - 6.0,
            at + 4.0,
            100.0 * value
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{unit}</text>",
        f64::midpoint(left, WIDTH - MARGINS[2]),
        HEIGHT - 14.0
    );
    let mut line: Vec<(f64, f64)> = known.iter().map(|(cost, network)| (*cost, network.found.predicted)).collect();
    line.sort_by(|a, b| a.0.total_cmp(&b.0));
    let points: Vec<String> =
        line.iter().map(|(cost, top1)| format!("{:.1},{:.1}", x.at(*cost), y.at(*top1))).collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#888\" stroke-dasharray=\"5 4\"/>",
        points.join(" ")
    );
    for (cost, network) in &known {
        for (counted, colour, aside) in [(&network.held_out, "#1f77b4", -3.0), (&network.tested, "#d62728", 3.0)] {
            let (at, [low, high]) = (x.at(*cost) + aside, ends(counted).map(|end| y.at(end)));
            let _ = writeln!(svg, "<path d=\"M{at:.1} {low:.1}V{high:.1}\" stroke=\"{colour}\"/>");
            let _ = writeln!(
                svg,
                "<circle cx=\"{at:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"><title>{}: {} {:.2} ± {:.2} %</title></circle>",
                y.at(counted.top1),
                escaped(&network.found.name),
                counted.part,
                100.0 * counted.top1,
                100.0 * counted.std_error
            );
        }
    }
    let words = [("#888", "predicted"), ("#1f77b4", "held-out images"), ("#d62728", "test images")];
    for (at, (colour, word)) in words.into_iter().enumerate() {
        let x = WIDTH - MARGINS[2] - 330.0 + 110.0 * at as f64;
        let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"20\" r=\"4\" fill=\"{colour}\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"24\">{word}</text>", x + 8.0);
    }
    svg + "</svg>\n"
}

/// From values to places.
struct Axis {
    values: [f64; 2],
    places: [f64; 2],
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let [low, high] = values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], x| [low.min(x), high.max(x)]);
        let (low, high) = if low.is_finite() { (low, high) } else { (0.0, 1.0) };
        let more = (0.06 * (high - low)).max(1e-6 * high.abs()).max(1e-9);
        Axis { values: [low - more, high + more], places: [from, to] }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value - self.values[0]) / (self.values[1] - self.values[0]);
        self.places[0] + share * (self.places[1] - self.places[0])
    }

    fn ticks(&self) -> Vec<f64> {
        let [low, high] = self.values;
        let rough = (high - low) / TICKS as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|part| part * power).find(|step| *step >= rough).unwrap_or(rough);
        let first = (low / step).ceil() as i64;
        (first..).map(|at| at as f64 * step).take_while(|value| *value <= high).collect()
    }
}

/// With as few digits as tell ticks apart.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 1e6 => format!("{:.1} M", value / 1e6),
        large if large >= 100.0 => format!("{value:.0}"),
        _ => format!("{:.3}", value).trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::networks::tests::network;
    use super::*;

    #[test]
    fn every_network_has_its_points_and_names_are_harmless() {
        let networks = [network("net-01", 0.2, 0.6), network("net-02", 0.9, 0.72)];
        let svg = svg("a <b>", &networks);
        assert_eq!(svg.matches("<title>").count(), 4);
        assert!(
            svg.contains("a &lt;b&gt;") && svg.contains("latency_ms") && svg.contains("net-02: test 71.00"),
            "{svg}"
        );
        // One alone, and none at all, are drawn as well.
        assert!(!super::svg("one", &networks[..1]).contains("NaN"));
        assert!(!super::svg("none", &[]).contains("NaN"));
    }
}
