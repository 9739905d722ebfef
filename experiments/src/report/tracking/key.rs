//! Names that every tracker takes.
//!
//! MLflow allows letters, digits, `_`, `-`, `.`, `:`, space and `/` in the name of a number or a parameter, and makes a path of
//! it; it knows experiments by a filter in which quotes would end the name.

use std::collections::BTreeMap;

/// Letters of a name at most: MLflow takes 250, a file system 255 bytes.
const MOST: usize = 200;
/// Letters of an experiment's name at most; MLflow takes 500.
const MOST_OF_EXPERIMENT: usize = 200;

/// A name of parts between slashes. Letters that are not allowed become `_`, a colon, too, which no path has on Windows.
pub(crate) fn key(name: &str) -> String {
    let mut left = MOST;
    let parts = name.split('/').map(|one| {
        let kept = part(one).chars().take(left.max(1)).collect::<String>();
        left = left.saturating_sub(kept.len() + 1);
        kept
    });
    parts.collect::<Vec<_>>().join("/")
}

/// One part of such a name, of a word that somebody chose: a slash in it divides nothing.
pub(crate) fn part(word: &str) -> String {
    let allowed = |letter: char| match letter {
        '_' | '-' | '.' | ' ' => letter,
        _ if letter.is_ascii_alphanumeric() => letter,
        _ => '_',
    };
    let part: String = word.trim().chars().map(allowed).collect();
    // These would lead out of the folder.
    if part.chars().all(|letter| letter == '.') { part.replace('.', "_") + "_" } else { part }
}

/// What an experiment or a run may be called.
pub(crate) fn title(name: &str) -> String {
    let allowed = |letter: char| if letter.is_control() || "'\"`\\".contains(letter) { '_' } else { letter };
    let title: String = name.trim().chars().map(allowed).take(MOST_OF_EXPERIMENT).collect();
    if title.is_empty() { "results".to_owned() } else { title }
}

/// Adds a value under a name like `name`; where two names become one, the later gets a number.
pub(crate) fn insert<T>(into: &mut BTreeMap<String, T>, name: &str, value: T) {
    let key = key(name);
    let mut free = key.clone();
    for number in 2.. {
        if !into.contains_key(&free) {
            break;
        }
        free = format!("{key}_{number}");
    }
    into.insert(free, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_letters_are_replaced_and_no_name_leads_out_of_its_folder() {
        for (name, expected) in [
            ("report/largest/test_top1", "report/largest/test_top1"),
            ("phases.0.name", "phases.0.name"),
            ("a:b*c é", "a_b_c _"),
            ("../x", "___/x"),
            ("a//b/.", "a/_/b/__"),
            ("", "_"),
        ] {
            assert_eq!(key(name), expected, "{name}");
        }
        assert_eq!(part("a/b"), "a_b");
        assert!(key(&"long/".repeat(100)).len() <= 2 * MOST && key(&"x".repeat(999)).len() == MOST);
        assert_eq!((title(" it's \"odd\"\n"), title("  ")), ("it_s _odd_".to_owned(), "results".to_owned()));
    }

    #[test]
    fn two_names_that_become_one_are_both_kept() {
        let mut all = BTreeMap::new();
        for (name, value) in [("é", 1), ("ü", 2), ("ö", 3)] {
            insert(&mut all, name, value);
        }
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [("_".into(), 1), ("__2".into(), 2), ("__3".into(), 3)]);
    }
}
