//! Small files for the tests of this module.

use std::fs::File;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use image::{ImageFormat, RgbImage};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

pub(super) fn png(image: &RgbImage) -> Vec<u8> {
    encoded(image, ImageFormat::Png)
}

pub(super) fn jpeg(image: &RgbImage) -> Vec<u8> {
    encoded(image, ImageFormat::Jpeg)
}

fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A size×size image that `number` determines and that no other number below 2¹⁶ gives.
pub(super) fn numbered(number: usize, size: u32) -> RgbImage {
    let [low, high, ..] = number.to_le_bytes();
    RgbImage::from_fn(size, size, |x, y| image::Rgb([low, high, (x * 16 + y * 3) as u8]))
}

/// The layout of image hubs: a nullable struct with nullable bytes and path, a nullable label.
pub(super) const HUB: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";
/// A plain binary column.
pub(super) const PLAIN: &str = "message schema { required binary img; required int64 label; }";

/// Writes rows (an image or a null, a label) in groups of `group` rows; `metadata` becomes the `huggingface` entry.
pub(super) fn write_parquet(
    path: &Path,
    schema: &str,
    rows: &[(Option<Vec<u8>>, i64)],
    group: usize,
    metadata: Option<&str>,
) {
    let metadata = metadata.map(|text| vec![KeyValue::new("huggingface".to_string(), text.to_string())]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .set_key_value_metadata(metadata)
        .build();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let nullable = schema.name() == "schema" && schema.get_fields()[0].is_optional();
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(group) {
        let images: Vec<ByteArray> = rows.iter().filter_map(|(image, _)| image.clone()).map(ByteArray::from).collect();
        let levels: Vec<i16> = rows.iter().map(|(image, _)| if image.is_some() { 2 } else { 0 }).collect();
        let labels: Vec<i64> = rows.iter().map(|&(_, label)| label).collect();
        let mut row_group = writer.next_row_group().unwrap();
        let mut column = row_group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&images, nullable.then_some(&levels), None).unwrap();
        column.close().unwrap();
        if nullable {
            let mut column = row_group.next_column().unwrap().unwrap();
            let levels: Vec<i16> = levels.iter().map(|&level| level.min(1)).collect();
            column.typed::<ByteArrayType>().write_batch(&[], Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        let mut column = row_group.next_column().unwrap().unwrap();
        let levels = vec![1; labels.len()];
        column.typed::<Int64Type>().write_batch(&labels, nullable.then_some(&levels), None).unwrap();
        column.close().unwrap();
        row_group.close().unwrap();
    }
    writer.close().unwrap();
}

/// Writes rows of a plain binary column and one of text, which have these names; a label is the place of its word.
pub(super) fn write_parquet_words(path: &Path, names: [&str; 2], rows: &[(Option<Vec<u8>>, i64)], words: &[&str]) {
    let [image, label] = names;
    let schema = format!("message schema {{ required binary {image}; required binary {label} (UTF8); }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let images: Vec<ByteArray> = rows.iter().map(|(image, _)| image.clone().unwrap().into()).collect();
    let labels: Vec<ByteArray> = rows.iter().map(|(_, label)| words[*label as usize].into()).collect();
    for values in [images, labels] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}
