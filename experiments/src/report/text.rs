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

/// The points of sweeps, then what each other folder holds, as tables of Markdown.
pub fn markdown(data: &Value) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let cell = |cell: &String| cell.replace('|', "\\|");
    let table = |table: &Table| {
        let rule: Vec<String> = table.header.iter().map(|_| "---".to_owned()).collect();
        let title = if table.title.is_empty() { String::new() } else { format!("{}:\n\n", table.title) };
        let rows = table.rows.iter().map(|row| line(&row.iter().map(cell).collect::<Vec<_>>()));
        title + &line(&table.header) + &line(&rule) + &rows.collect::<String>()
    };
    tables(data).iter().map(table).collect::<Vec<_>>().join("\n")
}

/// The same as LaTeX (package booktabs).
pub fn latex(data: &Value) -> String {
    let line =
        |cells: &[String]| format!("{} \\\\\n", cells.iter().map(|cell| escaped(cell)).collect::<Vec<_>>().join(" & "));
    let table = |table: &Table| {
        let columns: String = (0..table.header.len()).map(|at| if at < table.words { 'l' } else { 'r' }).collect();
        let title = if table.title.is_empty() { String::new() } else { format!("% {}\n", table.title) };
        let rows: String = table.rows.iter().map(|row| line(row)).collect();
        let header = line(&table.header);
        format!(
            "{title}\\begin{{tabular}}{{{columns}}}\n\\toprule\n{header}\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n"
        )
    };
    tables(data).iter().map(table).collect::<Vec<_>>().join("\n")
}

/// A table, its first `words` columns of words and the others of numbers.
struct Table {
    title: String,
    words: usize,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn tables(data: &Value) -> Vec<Table> {
    let folders = data["folders"].as_array().map_or(&[][..], Vec::as_slice);
    let has_sweeps = data["sweeps"].as_array().is_some_and(|sweeps| !sweeps.is_empty());
    let of_sweeps = has_sweeps.then(|| {
        let (words, header, rows) = points(data);
        Table { title: String::new(), words, header, rows }
    });
    of_sweeps.into_iter().chain(folders.iter().flat_map(of_folder)).collect()
}

/// The epochs of a training, top-1 on test images, the steps of a refinement, and what a search found.
fn of_folder(folder: &Value) -> Vec<Table> {
    const TESTS: [(&str, &str, usize, f64); 3] =
        [("input (px)", "resolution", 0, 1.0), ("MACs (M)", "macs", 1, 1e6), ("top-1 (%)", "top1", 2, 0.01)];
    let name = folder["name"].as_str().unwrap_or_default();
    let table = |key: &str, what: &str, word: &str, columns: &[(&str, &str, usize, f64)]| {
        let rows = folder[key].as_array().filter(|rows| rows.iter().any(|row| !row[word].is_null()))?;
        let known = |(_, key, ..): &&(&str, &str, usize, f64)| rows.iter().any(|row| row[*key].is_number());
        let columns: Vec<_> = columns.iter().filter(known).collect();
        let header = std::iter::once(word).chain(columns.iter().map(|(name, ..)| *name)).map(str::to_owned).collect();
        let cells = |row: &Value| {
            let number = |(_, key, digits, unit): &&(&str, &str, usize, f64)| {
                row[*key].as_f64().map_or("–".to_owned(), |value| format!("{:.*}", *digits, value / unit))
            };
            let first = row[word].as_str().map_or_else(|| row[word].to_string(), str::to_owned);
            std::iter::once(first).chain(columns.iter().map(number)).collect()
        };
        Some(Table { title: format!("{name}, {what}"), words: 1, header, rows: rows.iter().map(cells).collect() })
    };
    const EPOCHS: [(&str, &str, usize, f64); 7] = [
        ("epoch", "epoch", 0, 1.0),
        ("steps", "global_step", 0, 1.0),
        ("loss", "loss", 4, 1.0),
        ("top-1 largest (%)", "largest_top1", 2, 0.01),
        ("top-1 middle (%)", "middle_top1", 2, 0.01),
        ("top-1 smallest (%)", "smallest_top1", 2, 0.01),
        ("top-1 held-out (%)", "held_out_top1", 2, 0.01),
    ];
    let found = table("found", "found", "place", &COLUMNS);
    // The epochs of a fine-tuning are of no phase.
    let epochs = table("epochs", "epochs", "phase", &EPOCHS);
    let epochs = epochs.or_else(|| table("epochs", "epochs", "epoch", &EPOCHS[1..]));
    [epochs, table("tests", "on test images", "kind", &TESTS), table("steps", "steps", "step", &COLUMNS), found]
        .into_iter()
        .flatten()
        .collect()
}

/// What tells the points apart, and their numbers; with how many columns are words.
fn points(data: &Value) -> (usize, Vec<String>, Vec<Vec<String>>) {
    let points = data["points"].as_array().map_or(&[][..], Vec::as_slice);
    // What all have in common need not be said of each.
    let varies = |key: &str| points.iter().any(|point| point[key] != points[0][key]);
    let words: Vec<&str> = ["target", "bundle", "predictor", "budget", "method", "seed"]
        .into_iter()
        .filter(|key| !matches!(*key, "bundle" | "predictor") || varies(key))
        .collect();
    let is_measured = points.iter().any(|point| point["measured_top1"].is_number());
    let measured = is_measured.then_some(("top-1 measured (%)", "measured_top1", 2, 0.01));
    let columns: Vec<_> = COLUMNS[..1].iter().copied().chain(measured).chain(COLUMNS[1..].iter().copied()).collect();
    let header = words.iter().copied().chain(columns.iter().map(|(name, ..)| *name)).map(str::to_owned).collect();
    let row = |point: &Value| {
        let word = |key: &str| match &point[key] {
            Value::String(word) => word.clone(),
            Value::Null => "default".to_owned(),
            other => other.to_string(),
        };
        let number = |(at, (_, key, digits, unit)): (usize, &(&str, &str, usize, f64))| match point[*key].as_f64() {
            Some(value) => format!("{:.*}", *digits, value / unit),
            None if at == 0 => word("status"),
            None => "–".to_owned(),
        };
        words.iter().map(|key| word(key)).chain(columns.iter().enumerate().map(number)).collect()
    };
    (words.len(), header, points.iter().map(row).collect())
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
        let data = json!({"sweeps": ["s"], "points": [
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

    #[test]
    fn what_tells_points_apart_is_a_column() {
        let data = json!({"sweeps": ["s"], "points": [
            {"target": "pixel3", "bundle": "one", "predictor": null, "budget": "a", "method": "local", "seed": 0,
             "status": "found", "top1": 0.5, "measured_top1": 0.25},
            {"target": "pixel3", "bundle": "one", "predictor": "mlp", "budget": "a", "method": "local", "seed": 0,
             "status": "found", "top1": 0.5},
        ]});
        let text = markdown(&data);
        assert!(
            text.starts_with(
                "| target | predictor | budget | method | seed | top-1 predicted (%) | top-1 measured (%) |"
            )
        );
        assert!(text.contains("| pixel3 | default | a | local | 0 | 50.00 | 25.00 |"), "{text}");
        assert!(text.contains("| pixel3 | mlp | a | local | 0 | 50.00 | – |"), "{text}");
    }

    #[test]
    fn folders_have_tables_of_what_they_hold() {
        let data = json!({"sweeps": [], "folders": [
            {"name": "run", "tests": [{"kind": "largest", "macs": 11_874_304, "resolution": 32, "top1": 0.8611}]},
            {"name": "refined", "tests": [{"top1": 0.9}],
             "steps": [{"step": 0, "top1": 0.89, "energy_mJ": 30.6, "macs": 1_000_000, "params": 2_500_000}]},
        ]});
        let text = markdown(&data);
        assert!(text.starts_with("run, on test images:\n\n| kind | input (px) | MACs (M) | top-1 (%) |"), "{text}");
        assert!(text.contains("| largest | 32 | 11.9 | 86.11 |"), "{text}");
        assert!(text.contains("refined, steps:") && text.contains("| 0 | 89.00 | 30.60 | 1.0 | 2.50 |"), "{text}");
        assert_eq!(latex(&data).matches("\\begin{tabular}").count(), 2);
    }

    #[test]
    fn epochs_have_a_row_each_and_what_was_not_measured_a_dash() {
        let data = json!({"sweeps": [], "folders": [
            {"name": "run", "epochs": [
                {"phase": "full", "epoch": 1, "global_step": 10, "loss": 2.5},
                {"phase": "full", "epoch": 2, "global_step": 20, "loss": 2.25, "largest_top1": 0.5, "middle_top1": 0.25},
            ]},
            {"name": "tuned", "epochs": [{"epoch": 1, "global_step": 5, "loss": 1.0, "held_out_top1": 0.75}]},
        ]});
        let text = markdown(&data);
        let run = "| phase | epoch | steps | loss | top-1 largest (%) | top-1 middle (%) |";
        assert!(text.starts_with(&format!("run, epochs:\n\n{run}")), "{text}");
        assert!(
            text.contains("| full | 1 | 10 | 2.5000 | – | – |\n| full | 2 | 20 | 2.2500 | 50.00 | 25.00 |"),
            "{text}"
        );
        assert!(
            text.contains("| epoch | steps | loss | top-1 held-out (%) |")
                && text.contains("| 1 | 5 | 1.0000 | 75.00 |")
        );
    }
}
