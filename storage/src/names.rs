//! Which known name was probably meant.

/// Names within a third of their length in edits (at least two), nearest first, at most three.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let word = word.to_lowercase();
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (edits(&word, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(2))
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().take(3).map(|(_, name)| name.to_string()).collect()
}

/// The name with the fewest edits, however many; the first of equals.
pub fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known.iter().copied().min_by_key(|name| edits(word, name))
}

/// Levenshtein distance.
pub fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let here = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = here;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_is_recognised() {
        let known = ["pixel3", "note10", "jetson-tx2"];
        assert_eq!(nearest("pixle3", known), ["pixel3"]);
        assert_eq!(nearest("Jetson_TX2", known), ["jetson-tx2"]);
        assert!(nearest("toaster", known).is_empty());
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn the_closest_is_named_however_far() {
        assert_eq!(closest("mcu-cifer", &["fbnet-cifar", "mcu-cifar"]), Some("mcu-cifar"));
        assert_eq!(closest("toaster", &["pixel3", "note10"]), Some("note10"));
        assert_eq!(closest("toaster", &[]), None);
    }
}
