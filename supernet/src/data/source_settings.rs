//! Settings behind the path of a source: `,NAME=VALUE` at its end.

use std::path::Path;

use storage::names::nearest;

/// The settings that a kind knows.
fn settings_of(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "csv" | "jsonl" => &["image", "label", "split", "skip-broken", "memory"],
        "parquet" => &["image", "label", "skip-broken", "memory"],
        _ => &["skip-broken", "memory"],
    }
}

/// What stands before the last setting, and that setting, where there is one.
pub(super) fn last_setting<'t>(scheme: &str, text: &'t str) -> Option<(&'t str, (&'t str, &'t str))> {
    let (before, last) = text.rsplit_once(',')?;
    let (name, value) = last.split_once('=')?;
    let is_one = settings_of(scheme).contains(&name) && !value.is_empty() && !value.contains('/');
    is_one.then_some((before, (name, value)))
}

/// What in `path` looks like a setting and was none, so that it was taken for a part of the path, and what it may have been.
pub(super) fn taken_for_path(path: &Path) -> Option<String> {
    let names = path.components().filter_map(|component| component.as_os_str().to_str());
    let (name, value) = names.filter_map(|name| name.rsplit_once(',')?.1.split_once('=')).next()?;
    let known = settings_of("csv").iter().copied();
    let meant = nearest(name, known).into_iter().next().filter(|meant| meant != name);
    let meant = meant.map_or(String::new(), |meant| format!("; did you mean `{meant}={value}`?"));
    Some(format!("`{name}={value}` is no setting of such a source and was taken for a part of the path{meant}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_misspelt_setting_is_told_from_others() {
        let said = taken_for_path(Path::new("big,memroy=4GB/train.bin")).unwrap();
        assert!(said.contains("`memroy=4GB` is no setting") && said.ends_with("did you mean `memory=4GB`?"), "{said}");
        for other in ["big,colour=red", "big,label=a"] {
            let said = taken_for_path(Path::new(other)).unwrap();
            assert!(!said.contains("did you mean"), "{said}");
        }
        assert_eq!(taken_for_path(Path::new("a, b/c=d")), None);
    }
}
