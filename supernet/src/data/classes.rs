//! Which class of a source is which output of a network: by name wherever both sides have names.
//!
//! Folders and Parquet files may list the same classes in another order than the network was trained with, and a label
//! by its place would then mean another class. Numbers (`0`, `1`, …) are no names: they stay with their places.

use std::path::Path;

use super::error::DataError;

/// Makes `labels`, places in the source's `own` names, places in the names of the result: those `given`, else the
/// source's own, else numbers, with one for each of the `outputs`.
///
/// # Errors
/// [`DataError::UnknownClasses`], [`DataError::MoreClasses`], or a label without a name.
pub(super) fn settle(
    path: &Path,
    labels: &mut [i64],
    own: Option<Vec<String>>,
    given: Option<&[String]>,
    outputs: Option<usize>,
) -> Result<Vec<String>, DataError> {
    let Some(largest) = labels.iter().max() else {
        return Err(DataError::content(path, "no images in it"));
    };
    let found = *largest as usize + 1;
    let names = match (given.filter(|names| !names.is_empty()), own) {
        (Some(given), None) => given.to_vec(),
        (Some(given), Some(own)) => {
            map(path, labels, &own, given)?;
            given.to_vec()
        }
        (None, Some(own)) => own,
        (None, None) => numbers(outputs.unwrap_or(0).max(found.min(1 << 20))),
    };
    let found = labels.iter().max().map_or(0, |largest| *largest as usize + 1);
    let outputs = outputs.unwrap_or(names.len().max(found));
    if names.len().max(found) > outputs {
        let names = if found > names.len() { numbers(found.min(1 << 20)) } else { names };
        return Err(DataError::MoreClasses { path: path.to_path_buf(), names, outputs });
    }
    if found > names.len() {
        let what = format!("label {} in it, but there are {} classes", found - 1, names.len());
        return Err(DataError::content(path, what));
    }
    let unnamed = (names.len()..outputs).map(|output| format!("output {output}"));
    Ok(names.iter().cloned().chain(unnamed).collect())
}

/// Makes places in `own` places in `wanted`.
///
/// # Errors
/// [`DataError::UnknownClasses`] if a class with images is not wanted, [`DataError::MoreClasses`].
pub(super) fn map(path: &Path, labels: &mut [i64], own: &[String], wanted: &[String]) -> Result<(), DataError> {
    if own == wanted {
        return Ok(());
    }
    let places: Vec<Option<i64>> =
        own.iter().map(|name| wanted.iter().position(|known| known == name).map(|place| place as i64)).collect();
    let mut has_images = vec![false; own.len()];
    for label in labels.iter() {
        let Some(seen) = has_images.get_mut(*label as usize) else {
            let what = format!("label {label} in it, but there are {} classes", own.len());
            return Err(DataError::content(path, what));
        };
        *seen = true;
    }
    let is_unknown = |class: &usize| has_images[*class] && places[*class].is_none();
    let unknown: Vec<String> = (0..own.len()).filter(is_unknown).map(|class| own[class].clone()).collect();
    if unknown.is_empty() {
        labels.iter_mut().for_each(|label| *label = places[*label as usize].expect("a known class"));
        return Ok(());
    }
    if own != numbers(own.len()) && wanted != numbers(wanted.len()) {
        let (own, wanted) = (own.to_vec(), wanted.to_vec());
        return Err(DataError::UnknownClasses { path: path.to_path_buf(), unknown, own, wanted });
    }
    if own.len() > wanted.len() {
        let (path, names) = (path.to_path_buf(), own.to_vec());
        return Err(DataError::MoreClasses { path, names, outputs: wanted.len() });
    }
    Ok(())
}

/// What classes without names are called.
fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    /// Labels and names that come of `labels` under `own` names, `given` ones asked for, with so many outputs.
    fn settled(labels: &[i64], own: &str, given: &str, outputs: usize) -> Result<(Vec<i64>, Vec<String>), DataError> {
        let mut labels = labels.to_vec();
        let some = |text: &str| (!text.is_empty()).then(|| names(text));
        let names = settle(Path::new("data"), &mut labels, some(own), some(given).as_deref(), Some(outputs))?;
        Ok((labels, names))
    }

    #[test]
    fn names_decide_where_both_sides_have_them() {
        assert_eq!(settled(&[0, 1, 1], "cat dog", "dog cat", 2).unwrap(), (vec![1, 0, 0], names("dog cat")));
        assert_eq!(settled(&[0, 0], "bee", "ant bee", 2).unwrap(), (vec![1, 1], names("ant bee")));
        assert_eq!(settled(&[0, 1], "cat dog", "", 2).unwrap(), (vec![0, 1], names("cat dog")));
        assert_eq!(settled(&[2, 0], "", "x y z", 3).unwrap(), (vec![2, 0], names("x y z")));
        // A name that no image has may be unknown.
        assert_eq!(settled(&[0, 0], "cat emu", "dog cat", 2).unwrap().0, [1, 1]);
    }

    #[test]
    fn numbers_stay_with_their_places() {
        assert_eq!(settled(&[0, 1], "cat dog", "0 1", 2).unwrap().0, [0, 1]);
        assert_eq!(settled(&[0, 1], "0 1", "cat dog", 2).unwrap(), (vec![0, 1], names("cat dog")));
        // Folders 0 to 11 in the order of their names are not in that of their numbers.
        let sorted = "0 1 10 11 2 3 4 5 6 7 8 9";
        assert_eq!(settled(&[2, 4], sorted, "0 1 2 3 4 5 6 7 8 9 10 11", 12).unwrap().0, [10, 2]);
        assert_eq!(settled(&[1], "", "", 3).unwrap(), (vec![1], names("0 1 2")));
    }

    #[test]
    fn an_unknown_name_is_refused_with_both_lists() {
        let error = settled(&[0, 1], "bee z_ant", "ant bee", 2).unwrap_err().to_string();
        for words in ["`z_ant`", "bee, z_ant", "ant, bee"] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn more_classes_than_outputs_are_refused_and_fewer_are_filled_up() {
        for (labels, own, given) in [
            (&[0, 2][..], "a b c", ""),
            (&[0, 2], "", ""),
            (&[0, 2], "", "a b"),
            (&[0, 2], "a b c", "0 1"),
            (&[0, 0], "", "a b c"),
        ] {
            let error = settled(labels, own, given, 2).unwrap_err();
            assert!(matches!(&error, DataError::MoreClasses { names, outputs: 2, .. } if names.len() == 3), "{error}");
        }
        assert_eq!(settled(&[0, 1], "cat dog", "", 4).unwrap().1[..3], ["cat", "dog", "output 2"]);
    }
}
