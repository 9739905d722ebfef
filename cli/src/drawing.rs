//! Drawings in letters, for terminals: points as dots between two axes, shares as bars.

/// Letters of a field of points; each holds two by four dots.
const COLUMNS: usize = 56;
const ROWS: usize = 10;
/// Letters of the longest bar.
const BAR: usize = 24;

/// One axis: what it measures, and how its values are written.
pub(crate) struct Axis<'a> {
    pub(crate) name: &'a str,
    pub(crate) write: &'a dyn Fn(f64) -> String,
}

/// Points `(x, y)` as dots, the least and the greatest value written at each axis. Values that are no numbers are left
/// out; without any there is nothing to draw.
pub(crate) fn scatter(points: &[(f64, f64)], x: &Axis<'_>, y: &Axis<'_>) -> Vec<String> {
    let points: Vec<_> = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    if points.is_empty() {
        return Vec::new();
    }
    let (across, up) = (range(points.iter().map(|point| point.0)), range(points.iter().map(|point| point.1)));
    let mut field = [[0_u8; COLUMNS]; ROWS];
    for (x, y) in points {
        let (column, row) = (place(x, across, 2 * COLUMNS), 4 * ROWS - 1 - place(y, up, 4 * ROWS));
        field[row / 4][column / 2] |= dot(column % 2, row % 4);
    }
    let marks = [(y.write)(up.1), (y.write)(up.0)];
    let margin = marks.iter().map(|mark| mark.chars().count()).max().unwrap_or(0);
    let rows = field.iter().enumerate().map(|(at, row)| {
        let (mark, edge) = match at {
            0 => (&*marks[0], '┤'),
            _ if at + 1 == ROWS => (&*marks[1], '┤'),
            _ => ("", '│'),
        };
        let dots: String = row.iter().map(|dots| letter(*dots)).collect();
        format!("{mark:>margin$} {edge}{}", dots.trim_end())
    });
    let (least, most) = ((x.write)(across.0), (x.write)(across.1));
    let between = COLUMNS.saturating_sub(least.chars().count() + most.chars().count());
    std::iter::once(format!("{:>margin$}", y.name))
        .chain(rows)
        .chain([
            format!("{:margin$} └{}", "", "─".repeat(COLUMNS)),
            format!("{:margin$}  {least}{:^between$}{most}", "", x.name),
        ])
        .collect()
}

/// A bar as long as `value` is of `most`, to an eighth of a letter.
pub(crate) fn bar(value: f64, most: f64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * (8 * BAR) as f64).round() as usize;
    let text = "█".repeat(eighths / 8) + PARTS[eighths % 8];
    format!("{text:BAR$}")
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// Where a value lies among so many places; alone, in the first.
fn place(value: f64, (low, high): (f64, f64), places: usize) -> usize {
    let share = if high > low { (value - low) / (high - low) } else { 0.0 };
    ((share * (places - 1) as f64).round() as usize).min(places - 1)
}

/// The bit of a dot in a letter of braille (Unicode, block 2800).
fn dot(column: usize, row: usize) -> u8 {
    match (column, row) {
        (0, 3) => 1 << 6,
        (1, 3) => 1 << 7,
        _ => 1 << (3 * column + row),
    }
}

/// No dots are a space: not every typeface leaves the empty letter of braille empty.
fn letter(dots: u8) -> char {
    match dots {
        0 => ' ',
        _ => char::from_u32(0x2800 + u32::from(dots)).unwrap_or('*'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: &[(f64, f64)]) -> Vec<String> {
        let (ms, share) = (|value: f64| format!("{value:.1} ms"), |value: f64| format!("{value:.0} %"));
        scatter(points, &Axis { name: "latency", write: &ms }, &Axis { name: "top-1", write: &share })
    }

    #[test]
    fn points_are_where_their_values_say() {
        let lines = drawn(&[(1.0, 80.0), (2.0, 90.0), (3.0, 100.0), (f64::NAN, 0.0)]);
        assert_eq!(lines.len(), 1 + ROWS + 2);
        assert_eq!(lines[0], "top-1");
        assert_eq!(
            lines[1],
            format!("100 % ┤{}⠈", " ".repeat(COLUMNS - 1)),
            "the best is at the right of the first line"
        );
        assert_eq!(lines[ROWS], " 80 % ┤⡀", "the cheapest at the left of the last");
        let dots: Vec<usize> =
            (1..=ROWS).filter(|row| lines[*row].chars().any(|letter| ('⠀'..='⣿').contains(&letter))).collect();
        assert_eq!(dots, [1, 5, 10], "and the middle one between");
        assert_eq!(lines[ROWS + 1], format!("      └{}", "─".repeat(COLUMNS)));
        let last = &lines[ROWS + 2];
        assert!(
            last.starts_with("       1.0 ms ") && last.ends_with(" 3.0 ms") && last.contains(" latency "),
            "{last}"
        );
        assert_eq!(last.chars().count(), 7 + COLUMNS);
        assert!(drawn(&[]).is_empty());
        // All alike: no range to divide by.
        assert_eq!(drawn(&[(1.0, 80.0); 3])[ROWS], "80 % ┤⡀");
    }

    #[test]
    fn every_dot_has_a_place_of_its_own() {
        let all: Vec<(usize, usize)> = (0..2).flat_map(|column| (0..4).map(move |row| (column, row))).collect();
        assert_eq!(all.iter().fold(0, |sum, (column, row)| sum | dot(*column, *row)), 0xff);
        // As the standard numbers them: 1 to 3 and 7 at the left, 4 to 6 and 8 at the right, from the top.
        assert_eq!([dot(0, 0), dot(0, 2), dot(0, 3), dot(1, 0), dot(1, 3)], [1, 4, 64, 8, 128]);
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(1.0, 1.0), "█".repeat(BAR));
        assert_eq!(bar(0.5, 1.0), format!("{}{}", "█".repeat(BAR / 2), " ".repeat(BAR / 2)));
        assert_eq!(bar(1.0, 8.0 * BAR as f64).trim_end(), "▏");
        assert_eq!(bar(0.0, 0.0).trim_end(), "");
        assert_eq!(bar(f64::NAN, 1.0).trim_end(), "");
    }
}
