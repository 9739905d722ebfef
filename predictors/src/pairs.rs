//! Measured accuracy of subnets, as a Parquet file that pandas, polars and DuckDB open.
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `subnet` | text | the subnet, as JSON (`ofa.subnet/1`) |
//! | `resolution` | int64 | its resolution again, for filtering |
//! | `top1`, `top5` | double | fractions of the images |
//! | `loss` | double | mean cross-entropy, nats |
//! | `images` | int64 | how many images |
//! | `seed` | int64 | seed of the calibration and of the choice of images |
//! | `seconds` | double | time the measurement took |
//! | `top1_a`, `top1_b` | double, optional | top-1 on either half of the images, which tells how noisy `top1` is |
//!
//! Columns are found by name; others are ignored. Integer and floating columns of 32 bits are read too.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::FileReader;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use search::arch::ArchSpec;
use search::arch_file::ArchFile;
use search::space::SearchSpace;
use storage::guard::guarded;
use storage::parquet_file::{self, column, optional_column};

use crate::error::{PredictorError, Result};
pub use crate::origin::Origin;

/// One measured subnet.
#[derive(Clone, Debug, PartialEq)]
pub struct AccuracyPair {
    /// The subnet as JSON.
    pub subnet: String,
    /// Its resolution.
    pub resolution: u32,
    /// Fraction of the images whose class came first.
    pub top1: f64,
    /// Fraction of the images whose class was among the first five.
    pub top5: f64,
    /// Mean cross-entropy, nats.
    pub loss: f64,
    /// Number of images.
    pub images: u64,
    /// Seed of the measurement.
    pub seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// Top-1 on the two halves of the images.
    pub halves: Option<Halves>,
}

/// Top-1 on two halves of the same images, equally large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Halves {
    /// On the one half.
    pub a: f64,
    /// On the other.
    pub b: f64,
}

impl AccuracyPair {
    /// `arch` as it stands in the column `subnet`.
    pub fn subnet_json(space: &SearchSpace, arch: &ArchSpec) -> String {
        space.to_subnet_json(arch).to_string()
    }
}

/// The architectures of `pairs`, in order; `path` is the file they came from, for messages.
///
/// # Errors
/// [`PredictorError::Subnet`] with the row for a subnet of another space or one that is none, [`PredictorError::Value`]
/// for a resolution that is not the subnet's.
pub fn architectures(pairs: &[AccuracyPair], space: &SearchSpace, path: &Path) -> Result<Vec<ArchSpec>> {
    let parse = |(row, pair): (usize, &AccuracyPair)| {
        let arch = ArchFile::from_json(&pair.subnet).and_then(|file| space.parse(&file));
        let arch = arch.map_err(|source| PredictorError::Subnet {
            path: path.to_owned(),
            row: row + 1,
            source: Box::new(source),
        })?;
        if arch.resolution() == pair.resolution {
            Ok(arch)
        } else {
            Err(PredictorError::Value {
                path: path.to_owned(),
                row: row + 1,
                column: "resolution",
                problem: format!("{} stands here and {} in the subnet", pair.resolution, arch.resolution()),
            })
        }
    };
    pairs.iter().enumerate().map(parse).collect()
}

/// Writes `pairs` to `path`, measured with `origin` where that is known: the old file or the new one, whatever happens
/// in between. The columns of halves are there if any pair has them.
///
/// # Errors
/// [`PredictorError::Write`].
pub fn write(path: &Path, pairs: &[AccuracyPair], origin: Option<&Origin>) -> Result<()> {
    let written = parquet_file::write(path, |file| write_columns(file, pairs, origin));
    written.map_err(|source| PredictorError::Write { source })
}

fn write_columns(
    file: &mut io::BufWriter<File>,
    pairs: &[AccuracyPair],
    origin: Option<&Origin>,
) -> std::result::Result<(), ParquetError> {
    let with_halves = pairs.iter().any(|pair| pair.halves.is_some());
    let halves = if with_halves { "OPTIONAL DOUBLE top1_a; OPTIONAL DOUBLE top1_b;" } else { "" };
    let schema = format!(
        "message accuracy_pairs {{ REQUIRED BYTE_ARRAY subnet (UTF8); REQUIRED INT64 resolution; REQUIRED DOUBLE top1; \
         REQUIRED DOUBLE top5; REQUIRED DOUBLE loss; REQUIRED INT64 images; REQUIRED INT64 seed; \
         REQUIRED DOUBLE seconds; {halves} }}"
    );
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(origin.map(Origin::to_metadata))
        .build();
    let mut writer = SerializedFileWriter::new(file, Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    let text = pairs.iter().map(|pair| ByteArray::from(pair.subnet.as_str()));
    column::<ByteArrayType, _>(&mut group, text)?;
    column::<Int64Type, _>(&mut group, pairs.iter().map(|pair| i64::from(pair.resolution)))?;
    let numbers: [fn(&AccuracyPair) -> f64; 3] = [|pair| pair.top1, |pair| pair.top5, |pair| pair.loss];
    for of in numbers {
        column::<DoubleType, _>(&mut group, pairs.iter().map(of))?;
    }
    column::<Int64Type, _>(&mut group, pairs.iter().map(|pair| pair.images.cast_signed()))?;
    // Seeds use all 64 bits, so a large one shows as a negative number elsewhere.
    column::<Int64Type, _>(&mut group, pairs.iter().map(|pair| pair.seed.cast_signed()))?;
    column::<DoubleType, _>(&mut group, pairs.iter().map(|pair| pair.seconds))?;
    if with_halves {
        for of in [|halves: Halves| halves.a, |halves: Halves| halves.b] {
            optional_column(&mut group, pairs.iter().map(|pair| pair.halves.map(of)))?;
        }
    }
    group.close()?;
    writer.close()?;
    Ok(())
}

/// Reads a file of accuracy pairs.
///
/// # Errors
/// [`PredictorError::Read`] if it cannot be opened; [`PredictorError::Unreadable`], [`PredictorError::Column`] and
/// [`PredictorError::Value`] for content that cannot be: another format, a missing column, a fraction above 1, NaN.
pub fn read(path: &Path) -> Result<Vec<AccuracyPair>> {
    Ok(read_with_origin(path)?.0)
}

/// Reads a file of accuracy pairs, and what they were measured with where it says so.
///
/// # Errors
/// As [`read`].
pub fn read_with_origin(path: &Path) -> Result<(Vec<AccuracyPair>, Option<Origin>)> {
    let file = File::open(path).map_err(|source| PredictorError::Read { path: path.to_owned(), source })?;
    let table = guarded(|| Table::read(path, file));
    let table = table.map_err(|_| unreadable(path, "a page contradicts itself".to_owned()))?;
    let table = table?;
    Ok((table.pairs()?, table.origin))
}

/// The columns that a file of pairs may have, and the kinds they are read as.
const TEXT: [&str; 1] = ["subnet"];
const INTEGERS: [&str; 3] = ["resolution", "images", "seed"];
const NUMBERS: [&str; 6] = ["top1", "top5", "loss", "seconds", "top1_a", "top1_b"];

/// Values of the known columns, `None` for a null.
struct Table<'a> {
    path: &'a Path,
    origin: Option<Origin>,
    text: HashMap<&'static str, Vec<Option<String>>>,
    integers: HashMap<&'static str, Vec<Option<i64>>>,
    numbers: HashMap<&'static str, Vec<Option<f64>>>,
}

impl<'a> Table<'a> {
    fn read(path: &'a Path, file: File) -> Result<Table<'a>> {
        let unreadable = |error: ParquetError| unreadable(path, error.to_string());
        let wrong = |column: &str, problem: &str| column_error(path, column, problem);
        let reader = parquet_file::open(file).map_err(unreadable)?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let find = |name: &str| {
            let place = schema.columns().iter().position(|column| column.path().parts() == [name])?;
            Some((place, schema.column(place)))
        };
        let origin = Origin::of_metadata(reader.metadata().file_metadata().key_value_metadata());
        let mut table = Table { path, origin, text: HashMap::new(), integers: HashMap::new(), numbers: HashMap::new() };
        for name in TEXT.into_iter().chain(INTEGERS).chain(NUMBERS) {
            let Some((place, description)) = find(name) else { continue };
            if description.max_rep_level() > 0 || description.max_def_level() > 1 {
                return Err(wrong(name, "holds lists"));
            }
            let optional = description.max_def_level() == 1;
            for group in 0..reader.num_row_groups() {
                let column = reader.get_row_group(group).and_then(|group| group.get_column_reader(place));
                let column = column.map_err(unreadable)?;
                let is_text = TEXT.contains(&name);
                match column {
                    ColumnReader::ByteArrayColumnReader(column) if is_text => {
                        let convert = |value: ByteArray| value.as_utf8().map(str::to_owned);
                        let values = values(column, optional, convert).map_err(unreadable)?;
                        table.text.entry(name).or_default().extend(values);
                    }
                    ColumnReader::Int64ColumnReader(column) if INTEGERS.contains(&name) => {
                        let values = values(column, optional, Ok).map_err(unreadable)?;
                        table.integers.entry(name).or_default().extend(values);
                    }
                    ColumnReader::Int32ColumnReader(column) if INTEGERS.contains(&name) => {
                        let values = values(column, optional, |value| Ok(i64::from(value))).map_err(unreadable)?;
                        table.integers.entry(name).or_default().extend(values);
                    }
                    ColumnReader::DoubleColumnReader(column) if NUMBERS.contains(&name) => {
                        let values = values(column, optional, Ok).map_err(unreadable)?;
                        table.numbers.entry(name).or_default().extend(values);
                    }
                    ColumnReader::FloatColumnReader(column) if NUMBERS.contains(&name) => {
                        let values = values(column, optional, |value| Ok(f64::from(value))).map_err(unreadable)?;
                        table.numbers.entry(name).or_default().extend(values);
                    }
                    _ => return Err(wrong(name, &format!("is of type {}", description.physical_type()))),
                }
            }
            // A file without row groups still has its columns.
            match name {
                "subnet" => drop(table.text.entry(name).or_default()),
                _ if INTEGERS.contains(&name) => drop(table.integers.entry(name).or_default()),
                _ => drop(table.numbers.entry(name).or_default()),
            }
        }
        Ok(table)
    }

    fn pairs(&self) -> Result<Vec<AccuracyPair>> {
        let subnets = self.column(&self.text, "subnet")?;
        let rows = subnets.len();
        for (name, got) in self.lengths() {
            if got != rows {
                let problem = format!("column `{name}` has {got} rows and `subnet` has {rows}");
                return Err(unreadable(self.path, problem));
            }
        }
        let (resolutions, images) =
            (self.column(&self.integers, "resolution")?, self.column(&self.integers, "images")?);
        let seeds = self.column(&self.integers, "seed")?;
        let (top1, top5) = (self.column(&self.numbers, "top1")?, self.column(&self.numbers, "top5")?);
        let (loss, seconds) = (self.column(&self.numbers, "loss")?, self.column(&self.numbers, "seconds")?);
        let halves = (self.numbers.get("top1_a"), self.numbers.get("top1_b"));
        let pair = |row: usize| {
            let bad = |column, problem: String| self.value_error(row, column, problem);
            let integer = |column: &'static str, values: &[Option<i64>], least: i64, most: i64| match values[row] {
                Some(value) if (least..=most).contains(&value) => Ok(value),
                Some(value) => Err(bad(column, format!("{value} is outside {least} to {most}"))),
                None => Err(bad(column, "the value is missing".to_owned())),
            };
            let number = |column: &'static str, values: &[Option<f64>], most: f64| match values[row] {
                Some(value) if value.is_finite() && (0.0..=most).contains(&value) => Ok(value),
                Some(value) if most == 1.0 => Err(bad(column, format!("{value} is not a fraction"))),
                Some(value) => Err(bad(column, format!("{value} is not a number of at least 0"))),
                None => Err(bad(column, "the value is missing".to_owned())),
            };
            let halves = match halves {
                (Some(a), Some(b)) if a[row].is_some() || b[row].is_some() => {
                    Some(Halves { a: number("top1_a", a, 1.0)?, b: number("top1_b", b, 1.0)? })
                }
                _ => None,
            };
            let subnet = subnets[row].clone().ok_or_else(|| bad("subnet", "the value is missing".to_owned()))?;
            Ok(AccuracyPair {
                subnet,
                resolution: integer("resolution", resolutions, 1, 1 << 16)? as u32,
                top1: number("top1", top1, 1.0)?,
                top5: number("top5", top5, 1.0)?,
                loss: number("loss", loss, f64::MAX)?,
                images: integer("images", images, 1, i64::MAX)? as u64,
                seed: integer("seed", seeds, i64::MIN, i64::MAX)?.cast_unsigned(),
                seconds: number("seconds", seconds, f64::MAX)?,
                halves,
            })
        };
        (0..rows).map(pair).collect()
    }

    fn column<'t, T>(&self, columns: &'t HashMap<&'static str, Vec<T>>, name: &str) -> Result<&'t [T]> {
        columns.get(name).map(Vec::as_slice).ok_or_else(|| column_error(self.path, name, "is missing"))
    }

    fn lengths(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let integers = self.integers.iter().map(|(name, values)| (*name, values.len()));
        integers.chain(self.numbers.iter().map(|(name, values)| (*name, values.len())))
    }

    fn value_error(&self, row: usize, column: &'static str, problem: String) -> PredictorError {
        PredictorError::Value { path: self.path.to_owned(), row: row + 1, column, problem }
    }
}

/// All values of one column of one row group.
fn values<T: DataType, U>(
    mut column: ColumnReaderImpl<T>,
    optional: bool,
    convert: impl Fn(T::T) -> std::result::Result<U, ParquetError>,
) -> std::result::Result<Vec<Option<U>>, ParquetError> {
    const AT_ONCE: usize = 4096;
    let mut all = Vec::new();
    loop {
        let (mut values, mut present) = (Vec::new(), Vec::new());
        let (records, _, levels) = column.read_records(AT_ONCE, optional.then_some(&mut present), None, &mut values)?;
        if records == 0 && levels == 0 {
            return Ok(all);
        }
        let mut values = values.into_iter();
        let mut next = || {
            let value = values.next().ok_or_else(|| ParquetError::EOF("a page ends too early".to_owned()))?;
            convert(value).map(Some)
        };
        if optional {
            for level in present {
                all.push(if level == 1 { next()? } else { None });
            }
        } else {
            for _ in 0..records {
                all.push(next()?);
            }
        }
    }
}

fn unreadable(path: &Path, problem: String) -> PredictorError {
    PredictorError::Unreadable { path: path.to_owned(), expected: "Parquet", problem }
}

fn column_error(path: &Path, column: &str, problem: &str) -> PredictorError {
    PredictorError::Column { path: path.to_owned(), column: column.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use storage::failure::{Failure, FailureKind};

    use super::*;
    use crate::testing::{Truth, sample, space};

    fn some_pairs(count: usize) -> (SearchSpace, Vec<ArchSpec>, Vec<AccuracyPair>) {
        let space = space("mcu-cifar");
        let archs = sample(&space, count, 2);
        let pairs = Truth::new(&space, 1).measure(&space, &archs, 0.003, u64::MAX);
        (space, archs, pairs)
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accuracy.parquet");
        let (space, archs, mut pairs) = some_pairs(5000);
        write(&path, &pairs, None).unwrap();
        assert_eq!(read(&path).unwrap(), pairs);
        assert_eq!(architectures(&pairs, &space, &path).unwrap(), archs);
        pairs[1].halves = None;
        write(&path, &pairs, None).unwrap();
        assert_eq!(read(&path).unwrap(), pairs);
        pairs.iter_mut().for_each(|pair| pair.halves = None);
        write(&path, &pairs, None).unwrap();
        assert_eq!(read(&path).unwrap(), pairs);
        write(&path, &[], None).unwrap();
        assert_eq!(read(&path).unwrap(), []);
    }

    #[test]
    fn a_broken_file_is_an_error_and_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accuracy.parquet");
        let (_, _, pairs) = some_pairs(6);
        write(&path, &pairs, None).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(5) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read(&path).unwrap_err().kind(), FailureKind::Content, "{length} bytes");
        }
        for place in 0..whole.len() {
            let mut broken = whole.clone();
            broken[place] ^= [0x01, 0x80, 0xFF][place % 3];
            std::fs::write(&path, &broken).unwrap();
            // Some bytes are values, padding or names that nothing reads.
            if let Err(error) = read(&path) {
                assert_eq!(error.kind(), FailureKind::Content, "byte {place}: {error}");
            }
        }
        let missing = read(&folder.path().join("none.parquet")).unwrap_err();
        assert_eq!(missing.kind(), FailureKind::Usage);
    }

    fn refused(change: impl Fn(&mut AccuracyPair), column: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accuracy.parquet");
        let (_, _, mut pairs) = some_pairs(5);
        change(&mut pairs[3]);
        write(&path, &pairs, None).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Content);
        assert!(error.to_string().contains(&format!("row 4, column `{column}`")), "{error}");
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_their_row() {
        refused(|pair| pair.top1 = 81.7, "top1");
        refused(|pair| pair.top1 = f64::NAN, "top1");
        refused(|pair| pair.top5 = -0.1, "top5");
        refused(|pair| pair.loss = f64::INFINITY, "loss");
        refused(|pair| pair.images = 0, "images");
        refused(|pair| pair.resolution = 0, "resolution");
        refused(|pair| pair.seconds = -1.0, "seconds");
        refused(|pair| pair.halves = Some(Halves { a: 0.8, b: 1.8 }), "top1_b");
    }

    #[test]
    fn columns_that_are_missing_or_of_another_type_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.parquet");
        let make = |schema: &str| {
            let file = File::create(&path).unwrap();
            let schema = Arc::new(parse_message_type(schema).unwrap());
            let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
            let mut group = writer.next_row_group().unwrap();
            column::<ByteArrayType, _>(&mut group, [ByteArray::from("{}")]).unwrap();
            column::<DoubleType, _>(&mut group, [160.0]).unwrap();
            group.close().unwrap();
            writer.close().unwrap();
            read(&path).unwrap_err().to_string()
        };
        let wrong = make("message m { REQUIRED BYTE_ARRAY subnet (UTF8); REQUIRED DOUBLE resolution; }");
        assert!(wrong.contains("column `resolution` is of type DOUBLE"), "{wrong}");
        let missing = make("message m { REQUIRED BYTE_ARRAY subnet (UTF8); REQUIRED DOUBLE top1; }");
        assert!(missing.contains("column `resolution` is missing"), "{missing}");
    }

    #[test]
    fn subnets_of_another_space_and_wrong_resolutions_are_refused_with_their_row() {
        let (space, _, mut pairs) = some_pairs(3);
        let path = Path::new("accuracy.parquet");
        let other = crate::testing::space("fbnet-cifar");
        let error = architectures(&pairs, &other, path).unwrap_err();
        assert!(error.to_string().contains("row 1") && error.kind() == FailureKind::Content, "{error}");
        pairs[2].resolution = 100;
        let error = architectures(&pairs, &space, path).unwrap_err();
        assert!(error.to_string().contains("row 3, column `resolution`"), "{error}");
    }
}
