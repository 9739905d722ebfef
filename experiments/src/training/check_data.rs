//! `ofa data check`: what a source holds and what is wrong with it, before anything is trained on it.

use std::path::Path;

use serde_json::json;
use supernet::data::{DataSource, Duplicates, Inspection, PartInspection};

use crate::error::{Error, Result};
use crate::torch::DataChecked;

/// Looks at every image of `data`; a sheet of some of them, chosen by `seed`, is written to `sheet`.
///
/// # Errors
/// A source that cannot be read, a sheet that cannot be written. Broken images are no error here, but
/// [`DataChecked::failure`].
pub(crate) fn check_data(data: &DataSource, sheet: Option<&Path>, seed: u64) -> Result<DataChecked> {
    let inspection = data.inspect(seed)?;
    let sheet_rows = match sheet {
        Some(path) => Some(inspection.write_sheet(path, seed).map_err(|source| Error::Write { source })?),
        None => None,
    };
    let mut json = serde_json::to_value(&inspection).expect("texts and numbers");
    json["data"] = json!(data.to_string());
    if let (Some(path), Some(classes)) = (sheet, &sheet_rows) {
        json["sheet"] = json!({"file": path, "classes": classes});
    }
    let mut rows = rows(&inspection);
    if let (Some(path), Some(classes)) = (sheet, &sheet_rows) {
        rows.push(row("sheet", format!("{}, rows: {}", path.display(), classes.join(", "))));
    }
    let (classes, broken) = (classes(&inspection), broken(&inspection));
    let failure = inspection.failure().map(Error::from);
    Ok(DataChecked { json, rows, classes, broken, notes: inspection.notes, failure })
}

fn row(label: &str, value: String) -> (String, String) {
    (label.to_owned(), value)
}

fn rows(inspection: &Inspection) -> Vec<(String, String)> {
    let several = inspection.parts.len() > 1;
    let of = |part: &PartInspection| if several { format!("{}: ", part.part) } else { String::new() };
    let mut rows = Vec::new();
    let counted = inspection.parts.iter().map(|part| match several {
        true => format!("{} {}", part.images, part.part),
        false => format!("{}, no test part of their own", part.images),
    });
    rows.push(row("images", counted.collect::<Vec<_>>().join(", ")));
    for (label, value) in [("sizes", sizes as fn(&PartInspection) -> String), ("pixels", pixels)] {
        let values: Vec<String> = inspection.parts.iter().map(value).collect();
        if values.windows(2).all(|pair| pair[0] == pair[1]) {
            rows.push(row(label, values[0].clone()));
        } else {
            let each = inspection.parts.iter().zip(values);
            rows.extend(each.map(|(part, value)| row(label, format!("{}{value}", of(part)))));
        }
    }
    rows.push(row("classes", balance(&inspection.parts[0])));
    rows.push(row("duplicates", duplicates(&inspection.duplicates, several)));
    let (all, broken) = inspection.counts();
    let share = 100.0 * broken as f64 / all.max(1) as f64;
    rows.push(row("broken", if broken == 0 { "none".into() } else { format!("{broken} of {all} ({share:.2} %)") }));
    rows
}

fn sizes(part: &PartInspection) -> String {
    let Some(sizes) = part.sizes else { return "none".into() };
    let [smallest, median, largest] = sizes.map(|[width, height]| format!("{width}×{height}"));
    let square = match part.square {
        square if square == part.images => "all square".to_owned(),
        square => format!("{square} of {} square", part.images),
    };
    match smallest == largest {
        true => format!("{smallest}, {square}"),
        false => format!("{smallest} to {largest}, median {median}, {square}"),
    }
}

fn pixels(part: &PartInspection) -> String {
    let all = |count: usize| if count == part.images { "all".to_owned() } else { count.to_string() };
    let mut words: Vec<String> = part.modes.iter().map(|(mode, count)| format!("{} {mode}", all(*count))).collect();
    for (count, what) in [(part.sixteen_bit, "of 16 bits"), (part.turned_by_exif, "turned by EXIF")] {
        if count > 0 {
            words.push(format!("{} {what}", all(count)));
        }
    }
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

fn balance(part: &PartInspection) -> String {
    let present: Vec<usize> = part.classes.iter().map(|class| class.images).filter(|images| *images > 0).collect();
    let (least, most) = (present.iter().min().copied().unwrap_or(0), present.iter().max().copied().unwrap_or(0));
    match least == most {
        true => format!("{}, of {least} images each", present.len()),
        false => {
            format!("{}, of {least} to {most} images, {:.1} times as many", present.len(), most as f64 / least as f64)
        }
    }
}

fn duplicates(found: &Duplicates, several: bool) -> String {
    let Duplicates { within_training, within_test, test_in_training, of_another_class, examples } = found;
    let counts = match several {
        true => vec![
            (*within_training, "within the training part"),
            (*within_test, "within the test part"),
            (*test_in_training, "test images that are training images, too"),
        ],
        false => vec![(*within_training, "")],
    };
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let mut words: Vec<String> = counts.map(|(count, what)| format!("{count} {what}").trim_end().to_owned()).collect();
    if words.is_empty() {
        return "none".into();
    }
    if *of_another_class > 0 {
        words.push(format!("{of_another_class} of them under another class"));
    }
    let example = examples.first().map_or(String::new(), |[one, other]| format!(" ({one} is {other}, …)"));
    format!("{}{example}", words.join(", "))
}

/// Each class with its images in each part.
fn classes(inspection: &Inspection) -> Vec<Vec<String>> {
    let [first, others @ ..] = inspection.parts.as_slice() else { return Vec::new() };
    let of = |part: &PartInspection, name: &str| {
        part.classes.iter().find(|class| class.class == name).map_or(0, |class| class.images)
    };
    let rows = first.classes.iter().map(|class| {
        let rest = others.iter().map(|part| of(part, &class.class).to_string());
        [class.class.clone(), class.images.to_string()].into_iter().chain(rest).collect()
    });
    rows.collect()
}

fn broken(inspection: &Inspection) -> Vec<String> {
    inspection.parts.iter().flat_map(|part| part.broken.iter().cloned()).collect()
}
