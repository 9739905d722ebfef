//! `ofa import`: a published checkpoint becomes a bundle without a predictor.

use std::path::Path;

use search::space::SearchSpace;
use serde_json::Value;
use supernet::data::Preprocessing;
use supernet::import::once_for_all::import_once_for_all;
use supernet::supernet::Supernet;
use supernet::tensors::to_tensor;
use tch::Device;

use crate::error::{Error, Result};
use crate::folders::names;
use crate::folders::spaces::read_text;
use crate::folders::supernet_file::{StoredAs, save_supernet};
use crate::torch::{ImportRequest, Imported};

/// Reads the checkpoint (tensors only) as weights of `space` and writes the bundle, with how images become its input.
///
/// # Errors
/// A damaged checkpoint, weights of another space, names of another number of classes, constants out of range, or a
/// folder that cannot be written.
pub(crate) fn import(request: &ImportRequest, space: &SearchSpace) -> Result<Imported> {
    let ImportRequest { checkpoint, family, out, .. } = request;
    let (preprocessing, class_names, notes) = described(request, space)?;
    let arrays = import_once_for_all(checkpoint, space, *family)?;
    let tensors = arrays.iter().map(|(name, array)| (name.clone(), to_tensor(array))).collect();
    let supernet = Supernet::from_tensors(space, tensors, Device::Cpu)?;
    save_supernet(out, &supernet, StoredAs::Fp32)?;
    preprocessing.describe(None, &class_names, None).write(&out.join(names::PREPROCESSING))?;
    Ok(Imported { parameters: supernet.parameter_count() as u64, space: space.id().to_string(), notes })
}

/// How images become inputs, the names of the classes, and what of it nobody said.
fn described(request: &ImportRequest, space: &SearchSpace) -> Result<(Preprocessing, Vec<String>, Vec<String>)> {
    let largest = space.resolutions()[space.resolutions().len() - 1] as usize;
    let usual = Preprocessing::imagenet(request.image_size.unwrap_or(largest));
    let (mean, std) = (request.mean.unwrap_or(usual.mean), request.std.unwrap_or(usual.std));
    let preprocessing = Preprocessing { mean, std, ..usual };
    preprocessing.check().map_err(|reason| Error::Preprocessing { reason })?;
    let mut notes = Vec::new();
    if request.mean.is_none() || request.std.is_none() {
        notes.push("pixels are normalised by the constants of ImageNet, as the published networks were trained".into());
    }
    if request.image_size.is_none() {
        notes.push(format!(
            "images are brought to {largest} px, the largest resolution, and then to the subnet's; published accuracies \
             crop an eighth away at the subnet's own resolution, and differ by some tenths of a point"
        ));
    }
    let class_names = match &request.class_names {
        Some(path) => {
            let names = read_names(path, space.classes() as usize)?;
            let (first, last) = (&names[0], &names[names.len() - 1]);
            notes.push(format!("classes are named by {}: 0 is {first}, {} is {last}", path.display(), names.len() - 1));
            names
        }
        None => {
            notes.push(format!("classes are named by their numbers, 0 to {}", space.classes() - 1));
            (0..space.classes()).map(|class| class.to_string()).collect()
        }
    };
    Ok((preprocessing, class_names, notes))
}

/// One name per line, with or without its number before it; or JSON, a list of names or an object of numbers and names.
/// As many as there are outputs.
fn read_names(path: &Path, outputs: usize) -> Result<Vec<String>> {
    let text = read_text(path)?;
    let wrong = |reason: String| Err(Error::FileInFolder { path: path.to_path_buf(), reason });
    let names = if text.trim_start().starts_with(['{', '[']) {
        match serde_json::from_str(&text).map_err(|error| error.to_string()).and_then(|value| names_of_json(&value)) {
            Ok(names) => names,
            Err(problem) => {
                return wrong(format!(
                    "looks like JSON, and is none with names of classes ({problem}): write a name a line"
                ));
            }
        }
    } else {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        without_numbers(&lines).into_iter().map(str::to_owned).collect()
    };
    if names.len() != outputs {
        return wrong(format!("holds {} names of classes, but the network has {outputs} outputs", names.len()));
    }
    if let Some(problem) = suspicious(&names) {
        return wrong(format!("{problem}: write a name a line, in the order of the outputs"));
    }
    let twice = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
    twice.map_or(Ok(names.clone()), |(_, name)| wrong(format!("names the class `{name}` twice")))
}

/// `["cat", …]`, `{"0": "cat", …}`, or `{"0": ["n02123045", "tabby"], …}`, whose last words are names that people read.
fn names_of_json(value: &Value) -> Result<Vec<String>, String> {
    let name = |value: &Value| {
        let last = value.as_array().map_or(Some(value), |words| words.last());
        let name = last.and_then(Value::as_str).map(str::trim).filter(|name| !name.is_empty());
        name.map(str::to_owned).ok_or_else(|| format!("{value} is no name"))
    };
    match value {
        // Pairs of number and name, in any order.
        Value::Array(values) if values.iter().any(|value| value[0].is_number()) => {
            let entries = values.iter().map(|value| Some((value[0].as_u64()?.to_string(), value.clone())));
            let entries: Option<serde_json::Map<String, Value>> = entries.collect();
            names_of_json(&entries.ok_or("some are pairs of number and name")?.into())
        }
        Value::Array(values) => values.iter().map(name).collect(),
        Value::Object(entries) => (0..entries.len())
            .map(|class| name(entries.get(&class.to_string()).ok_or_else(|| format!("there is no number {class}"))?))
            .collect(),
        _ => Err("neither a list nor an object".to_owned()),
    }
}

/// The lines without their numbers, where every line begins with its own, from 0, and something between that and a name.
fn without_numbers<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let rest = |(class, line): (usize, &&'a str)| {
        let rest = line.strip_prefix(&class.to_string())?;
        let name = rest.trim_start_matches([':', ',', ';', '.', ')', ' ', '\t']);
        (name.len() < rest.len() && !name.is_empty()).then_some(name)
    };
    let stripped: Option<Vec<&str>> = lines.iter().enumerate().map(rest).collect();
    stripped.unwrap_or_else(|| lines.to_vec())
}

/// What is wrong with names taken from a file, if anything: numbers that say another order, or what no name holds.
fn suspicious(names: &[String]) -> Option<String> {
    let number = |name: &str| {
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        let rest = name[digits..].trim_start_matches([':', ',', ';', '.', ')', ' ', '\t']);
        (digits > 0 && rest.len() < name.len() - digits && !rest.is_empty()).then_some(())
    };
    let numbered = names.iter().filter(|name| number(name).is_some()).count();
    // Some names begin with a number of their own.
    if 2 * numbered > names.len() {
        return Some("its lines begin with numbers that are not 0, 1, 2 and so on".to_owned());
    }
    let odd = names.iter().find(|name| name.is_empty() || name.chars().any(char::is_control))?;
    Some(format!("{odd:?} is no name of a class"))
}

#[cfg(test)]
mod tests {
    use supernet::import::Family;

    use super::*;

    fn request(class_names: Option<&Path>) -> ImportRequest {
        ImportRequest {
            checkpoint: "none".into(),
            family: Family::MobileNetV3,
            space: "mbv3-w1.0".into(),
            out: "none".into(),
            image_size: None,
            mean: None,
            std: None,
            class_names: class_names.map(Path::to_path_buf),
        }
    }

    #[test]
    fn what_nobody_said_is_imagenets_and_said() {
        let space = SearchSpace::builtin("mbv3-w1.0").unwrap();
        let (preprocessing, names, notes) = described(&request(None), &space).unwrap();
        assert_eq!((preprocessing.native_size, preprocessing.mean), (224, [0.485, 0.456, 0.406]));
        assert_eq!((names.len(), &*names[999], notes.len()), (1000, "999", 3));
        let given = ImportRequest { image_size: Some(256), mean: Some([0.5; 3]), std: Some([0.5; 3]), ..request(None) };
        assert_eq!(described(&given, &space).unwrap().2.len(), 1);
        let bytes = ImportRequest { std: Some([58.0; 3]), ..request(None) };
        assert!(matches!(described(&bytes, &space), Err(Error::Preprocessing { .. })));
    }

    #[test]
    fn names_are_as_many_as_outputs_and_different() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            read_names(file.path(), 2)
        };
        assert_eq!(read("cat\r\n dog \n\n").unwrap(), ["cat", "dog"]);
        for text in ["0: cat\n1: dog\n", "0,cat\n1,dog", "[\"cat\", \"dog\"]", "{\"0\": \"cat\",\n\"1\": \"dog\"}"] {
            assert_eq!(read(text).unwrap(), ["cat", "dog"], "{text}");
        }
        assert_eq!(read(r#"[[1, "dog"], [0, "cat"]]"#).unwrap(), ["cat", "dog"]);
        for text in ["1: cat\n0: dog", "1: cat\n2: dog", "000 cat\n001 dog"] {
            assert!(read(text).unwrap_err().to_string().contains("numbers that are not 0, 1, 2"), "{text}");
        }
        assert_eq!(read(r#"{"1": ["n2", "dog"], "0": ["n1", "cat"]}"#).unwrap(), ["cat", "dog"]);
        assert_eq!(read("0\n1\n").unwrap(), ["0", "1"], "numbers may be all the names there are");
        for text in ["{0: 'cat', 1: 'dog'}", "{\"1\": \"cat\", \"2\": \"dog\"}", "[1, 2]"] {
            assert!(read(text).unwrap_err().to_string().contains("write a name a line"), "{text}");
        }
        assert!(read("cat\n").unwrap_err().to_string().contains("1 names of classes, but the network has 2"));
        assert!(read("cat\ncat\n").unwrap_err().to_string().contains("`cat` twice"));
    }
}
