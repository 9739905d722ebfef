//! Points as tables for documents.

use serde_json::Value;

/// Columns: what they are called, the key in a point, digits, and by how much it is divided.
const COLUMNS: [(&str, &str, usize, f64); 5] = [
    ("top-1 predicted (%)", "top1", 2, 0.01),
    ("energy (mJ)", "energy_mJ", 2, 1.0),
    ("latency (ms)", "latency_ms", 2, 1.0),
    ("MACs (M)", "macs", 1, 1e6),
    ("parameters (M)", "params", 2, 1e6),
];

/// Every point of `data` as a row of Markdown.
pub fn markdown(data: &Value) -> String {
    let (header, rows) = table(data);
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> = header.iter().map(|_| "---".to_owned()).collect();
    let cell = |cell: &String| cell.replace('|', "\\|");
    let mut text = line(&header) + &line(&rule);
    rows.iter().for_each(|row| text += &line(&row.iter().map(cell).collect::<Vec<_>>()));
    text
}

/// Every point of `data` as a row of a LaTeX table (package booktabs).
pub fn latex(data: &Value) -> String {
    let (header, rows) = table(data);
    let line =
        |cells: &[String]| format!("{} \\\\\n", cells.iter().map(|cell| escaped(cell)).collect::<Vec<_>>().join(" & "));
    let columns: String = (0..header.len()).map(|at| if at < WORDS { 'l' } else { 'r' }).collect();
    let mut text = format!("\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n", line(&header));
    rows.iter().for_each(|row| text += &line(row));
    text + "\\bottomrule\n\\end{tabular}\n"
}

/// Columns of words before those of numbers.
const WORDS: usize = 4;

fn table(data: &Value) -> (Vec<String>, Vec<Vec<String>>) {
    let header = ["target", "budget", "method", "seed"].map(str::to_owned).into_iter();
    let header = header.chain(COLUMNS.iter().map(|(name, ..)| (*name).to_owned())).collect();
    let points = data["points"].as_array().map_or(&[][..], Vec::as_slice);
    let row = |point: &Value| {
        let word = |key: &str| point[key].as_str().map_or_else(|| point[key].to_string(), str::to_owned);
        let number = |(at, (_, key, digits, unit)): (usize, &(&str, &str, usize, f64))| match point[*key].as_f64() {
            Some(value) => format!("{:.*}", *digits, value / unit),
            None if at == 0 => word("status"),
            None => "–".to_owned(),
        };
        let words = ["target", "budget", "method", "seed"].map(word).into_iter();
        words.chain(COLUMNS.iter().enumerate().map(number)).collect()
    };
    (header, points.iter().map(row).collect())
}

fn escaped(text: &str) -> String {
    let letter = |letter: char| match letter {
        '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{letter}"),
        '\\' => "\\textbackslash{}".to_owned(),
        '~' => "\\textasciitilde{}".to_owned(),
        '^' => "\\textasciicircum{}".to_owned(),
        '–' => "--".to_owned(),
        'µ' => "\\textmu{}".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_say_what_was_found_and_what_was_not() {
        let data = json!({"points": [
            {"target": "pixel3", "budget": "latency 30%", "method": "evolution", "seed": 0, "status": "found", "top1": 0.8911,
             "energy_mJ": 23.27, "latency_ms": null, "macs": 80_900_000.0, "params": 3_490_000.0},
            {"target": "my_board", "budget": "a|b", "method": "largest", "seed": 0, "status": "infeasible"},
        ]});
        let text = markdown(&data);
        assert!(text.contains("| pixel3 | latency 30% | evolution | 0 | 89.11 | 23.27 | – | 80.9 | 3.49 |"), "{text}");
        assert!(text.contains("| my_board | a\\|b | largest | 0 | infeasible | – | – | – | – |"), "{text}");
        let text = latex(&data);
        assert!(
            text.contains("pixel3 & latency 30\\% & evolution & 0 & 89.11 & 23.27 & -- & 80.9 & 3.49 \\\\"),
            "{text}"
        );
        assert!(text.contains("my\\_board") && text.contains("{llllrrrrr}"), "{text}");
    }
}
