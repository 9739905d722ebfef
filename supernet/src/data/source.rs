//! Where images come from: the `DATA` of the command line, as text and as a value.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use network::units::Bytes;

use super::error::DataError;
use super::skip_broken::SkipBroken;
use super::source_settings::last_setting;
use super::synthetic::Synthetic;

/// A source of labelled images, parsed from `KIND:PATH`, after which settings may follow: `csv:list.csv,label=breed`.
///
/// A setting is `,NAME=VALUE` at the end, of a name that the kind knows and a value without `/`; everything before it is
/// the path, commas included. A folder whose own name ends like a setting is written with a `/` behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSource {
    pub(super) form: Form,
    pub(super) columns: Columns,
    pub(super) skip_broken: Option<SkipBroken>,
    /// What its images may take in memory.
    pub(super) memory: Option<Bytes>,
}

/// The kinds of sources, each with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Encoded images in Parquet: one file, or a folder holding `train*.parquet` and `test*.parquet` (or
    /// `validation*.parquet`), itself or in its `data`.
    Parquet(PathBuf),
    /// CIFAR's binary files, of ten or of a hundred classes, in this folder or its `cifar-10-batches-bin` or
    /// `cifar-100-binary`.
    Cifar(PathBuf),
    /// Image files below one folder per class; these in `train/` and `test/` (or `val/`) where there are such.
    Folder(PathBuf),
    /// MNIST's idx-ubyte files.
    Idx(PathBuf),
    /// A table of image files and their labels, with a header.
    Csv(PathBuf),
    /// The same as JSON objects, one a line.
    JsonLines(PathBuf),
    /// Images made up on the spot, for tests.
    Synthetic(Synthetic),
}

/// Names of columns, where they are not to be found by what they are usually called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) image: Option<String>,
    pub(super) label: Option<String>,
    pub(super) split: Option<String>,
}

impl From<Form> for DataSource {
    fn from(form: Form) -> DataSource {
        DataSource { form, columns: Columns::default(), skip_broken: None, memory: None }
    }
}

impl DataSource {
    /// This source, of which so many broken images may be left out.
    pub fn skipping(self, skip_broken: SkipBroken) -> DataSource {
        DataSource { skip_broken: Some(skip_broken), ..self }
    }

    /// The source by its whole path, so that it is found from everywhere.
    ///
    /// # Errors
    /// No current folder.
    pub fn absolute(&self) -> io::Result<DataSource> {
        let whole = |path: &PathBuf| std::path::absolute(path);
        let form = match &self.form {
            Form::Parquet(path) => Form::Parquet(whole(path)?),
            Form::Cifar(path) => Form::Cifar(whole(path)?),
            Form::Folder(path) => Form::Folder(whole(path)?),
            Form::Idx(path) => Form::Idx(whole(path)?),
            Form::Csv(path) => Form::Csv(whole(path)?),
            Form::JsonLines(path) => Form::JsonLines(whole(path)?),
            made @ Form::Synthetic(_) => made.clone(),
        };
        Ok(DataSource { form, ..self.clone() })
    }

    pub(super) fn path(&self) -> &Path {
        match &self.form {
            Form::Parquet(path) | Form::Cifar(path) | Form::Folder(path) => path,
            Form::Idx(path) | Form::Csv(path) | Form::JsonLines(path) => path,
            Form::Synthetic(_) => Path::new("synthetic"),
        }
    }
}

impl FromStr for DataSource {
    type Err = DataError;

    fn from_str(text: &str) -> Result<DataSource, DataError> {
        let wrong = |reason: String| DataError::Source { text: text.to_string(), reason };
        let (scheme, mut rest) = text.split_once(':').unwrap_or((text, ""));
        let (mut columns, mut skip_broken, mut memory) = (Columns::default(), None, None);
        // A synthetic source has commas of its own, and nothing in it is broken.
        while let Some((before, (name, value))) = (scheme != "synthetic").then(|| last_setting(scheme, rest)).flatten()
        {
            let twice = match name {
                "image" => columns.image.replace(value.to_owned()).is_some(),
                "label" => columns.label.replace(value.to_owned()).is_some(),
                "split" => columns.split.replace(value.to_owned()).is_some(),
                "memory" => {
                    let bytes = value.parse().map_err(|error| wrong(format!("`memory`: {error}")))?;
                    memory.replace(bytes).is_some()
                }
                _ => skip_broken.replace(value.parse().map_err(wrong)?).is_some(),
            };
            if twice {
                return Err(wrong(format!("`{name}` is in it twice")));
            }
            rest = before;
        }
        let path = || match rest {
            "" => Err(wrong(format!("`{scheme}:` is followed by a path"))),
            path => Ok(PathBuf::from(path)),
        };
        let form = match scheme {
            "parquet" => path().map(Form::Parquet),
            "cifar" => path().map(Form::Cifar),
            "folder" => path().map(Form::Folder),
            "idx" => path().map(Form::Idx),
            "csv" => path().map(Form::Csv),
            "jsonl" => path().map(Form::JsonLines),
            "synthetic" => Synthetic::parse(rest).map(Form::Synthetic).map_err(wrong),
            _ => Err(wrong("it does not begin with a known kind".into())),
        }?;
        Ok(DataSource { form, columns, skip_broken, memory })
    }
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.form {
            Form::Parquet(path) => write!(f, "parquet:{}", path.display()),
            Form::Cifar(path) => write!(f, "cifar:{}", path.display()),
            Form::Folder(path) => write!(f, "folder:{}", path.display()),
            Form::Idx(path) => write!(f, "idx:{}", path.display()),
            Form::Csv(path) => write!(f, "csv:{}", path.display()),
            Form::JsonLines(path) => write!(f, "jsonl:{}", path.display()),
            Form::Synthetic(synthetic) => write!(f, "synthetic:{synthetic}"),
        }?;
        let Columns { image, label, split } = &self.columns;
        for (name, column) in [("image", image), ("label", label), ("split", split)] {
            column.as_ref().map_or(Ok(()), |column| write!(f, ",{name}={column}"))?;
        }
        if matches!(self.form, Form::Synthetic(_)) {
            return Ok(());
        }
        self.skip_broken.map_or(Ok(()), |share| write!(f, ",skip-broken={share}"))?;
        self.memory.map_or(Ok(()), |Bytes(bytes)| write!(f, ",memory={bytes}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> DataSource {
        text.parse().unwrap()
    }

    #[test]
    fn settings_stand_at_the_end_and_come_out_again() {
        let source = read("csv:a, b/list,x=1.csv,label=breed,image=file name,split=part,skip-broken=0.5%");
        assert_eq!(source.path(), Path::new("a, b/list,x=1.csv"));
        let Columns { image, label, split } = &source.columns;
        assert_eq!(
            [image, label, split].map(|name| name.as_deref().unwrap()),
            ["file name", "breed", "part"],
            "{source}"
        );
        assert_eq!(source.skip_broken, Some("0.5%".parse().unwrap()));
        assert_eq!(read(&source.to_string()), source);
        assert_eq!(read("parquet:p,image=img").columns.image.as_deref(), Some("img"));
        let skipping = read("folder:img").skipping("2%".parse().unwrap());
        assert_eq!(
            (skipping.to_string(), read("folder:img,skip-broken=2%")),
            ("folder:img,skip-broken=2%".into(), skipping)
        );
        let absolute = read("csv:list.csv,label=x").absolute().unwrap();
        assert!(absolute.path().is_absolute() && absolute.columns == read("csv:list.csv,label=x").columns);
    }

    #[test]
    fn what_is_no_setting_of_the_kind_is_part_of_the_path() {
        for path in ["a,b", "a,label=x", "a,split=", "a,skip-broken=2%/"] {
            assert_eq!(read(&format!("folder:{path}")).path(), Path::new(path));
        }
        for wrong in ["folder:img,skip-broken=2", "csv:list.csv,label=a,label=b", "csv:,label=a", "jsonl:"] {
            assert!(wrong.parse::<DataSource>().is_err(), "{wrong}");
        }
    }
}
