//! What a file says of itself: for programs that read TensorFlow Lite's metadata (`metadata_schema.fbs`, identifier
//! `M001`), how pixels become its input and what its outputs are called; for everybody else, facts as JSON.
//!
//! The class names lie behind the model as a ZIP archive, as that format has it; readers of the model do not see them.

use std::io::{Cursor, Write};

use flatbuffers::FlatBufferBuilder;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::file::{File, Table, slot};

const IDENTIFIER: &str = "M001";
const LABELS: &str = "labels.txt";
/// `ContentProperties`: what the input is.
const IMAGE: u8 = 2;
/// `ProcessUnitOptions`: what is done to it.
const NORMALISATION: u8 = 1;
/// `AssociatedFileType`: names of the places along an axis.
const AXIS_LABELS: i8 = 2;

/// How the byte of a pixel becomes the input's number: (byte − mean) / std, each channel with its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// In bytes.
    pub mean: Vec<f32>,
    /// In bytes.
    pub std: Vec<f32>,
}

/// What a file says of itself.
#[derive(Clone, Debug, Default)]
pub struct Label<'a> {
    /// Its name.
    pub name: &'a str,
    /// How a byte becomes its input; `None` where nobody knows.
    pub normalisation: Option<Normalisation>,
    /// In the order of the outputs; empty where nobody knows.
    pub class_names: &'a [String],
    /// Everything else, as JSON, under the name `ofa`.
    pub facts: &'a str,
}

impl Label<'_> {
    /// Adds it to a file whose input has the names and numbers of pixels.
    pub(super) fn add(&self, file: &mut File, channels: u32) {
        let mut fbb = FlatBufferBuilder::new();
        let content = image(&mut fbb, channels);
        let units = self.normalisation.as_ref().map(|normalisation| {
            let unit = normalise(&mut fbb, normalisation);
            fbb.create_vector(&[unit])
        });
        let name = fbb.create_string("image");
        let start = fbb.start_table();
        fbb.push_slot_always(slot(0), name);
        fbb.push_slot_always(slot(3), content);
        if let Some(units) = units {
            fbb.push_slot_always(slot(4), units);
        }
        let input = fbb.end_table(start);
        let labels = (!self.class_names.is_empty()).then(|| {
            let name = fbb.create_string(LABELS);
            let start = fbb.start_table();
            fbb.push_slot_always(slot(0), name);
            fbb.push_slot_always(slot(2), AXIS_LABELS);
            let labels = fbb.end_table(start);
            fbb.create_vector(&[labels])
        });
        let (name, description) =
            (fbb.create_string("logits"), fbb.create_string("one number a class, before softmax"));
        let start = fbb.start_table();
        fbb.push_slot_always(slot(0), name);
        fbb.push_slot_always(slot(1), description);
        if let Some(labels) = labels {
            fbb.push_slot_always(slot(6), labels);
        }
        let output = fbb.end_table(start);
        let [inputs, outputs] = [input, output].map(|tensor| fbb.create_vector(&[tensor]));
        let start = fbb.start_table();
        fbb.push_slot_always(slot(2), inputs);
        fbb.push_slot_always(slot(3), outputs);
        let graph = fbb.end_table(start);
        let graphs = fbb.create_vector(&[graph]);
        let (name, version) = (fbb.create_string(self.name), fbb.create_string("1.0.0"));
        let start = fbb.start_table();
        fbb.push_slot_always(slot(0), name);
        fbb.push_slot_always(slot(3), graphs);
        fbb.push_slot_always(slot(7), version);
        let model = fbb.end_table(start);
        fbb.finish(model, Some(IDENTIFIER));
        file.metadata("TFLITE_METADATA", fbb.finished_data().to_vec());
        if !self.facts.is_empty() {
            file.metadata("ofa", self.facts.as_bytes().to_vec());
        }
    }

    /// The file with its class names behind it.
    pub(super) fn with_names(&self, file: Vec<u8>) -> Vec<u8> {
        if self.class_names.is_empty() {
            return file;
        }
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        // One line a class, whatever is in its name.
        let line = |name: &String| name.replace(|c: char| c.is_control(), " ") + "\n";
        let names: String = self.class_names.iter().map(line).collect();
        let written = archive.start_file(LABELS, stored).and_then(|()| Ok(archive.write_all(names.as_bytes())?));
        written.expect("memory can be written");
        let archive = archive.finish().expect("memory can be written").into_inner();
        [file, archive].concat()
    }
}

fn image(fbb: &mut FlatBufferBuilder<'_>, channels: u32) -> Table {
    let start = fbb.start_table();
    // RGB, grey, or nothing that has a name.
    let colours: i8 = match channels {
        3 => 1,
        1 => 2,
        _ => 0,
    };
    fbb.push_slot(slot(0), colours, 0);
    let properties = fbb.end_table(start);
    let start = fbb.start_table();
    fbb.push_slot_always(slot(0), IMAGE);
    fbb.push_slot_always(slot(1), properties);
    fbb.end_table(start)
}

fn normalise(fbb: &mut FlatBufferBuilder<'_>, Normalisation { mean, std }: &Normalisation) -> Table {
    let [mean, std] = [mean, std].map(|values| fbb.create_vector(values));
    let start = fbb.start_table();
    fbb.push_slot_always(slot(0), mean);
    fbb.push_slot_always(slot(1), std);
    let options = fbb.end_table(start);
    let start = fbb.start_table();
    fbb.push_slot_always(slot(0), NORMALISATION);
    fbb.push_slot_always(slot(1), options);
    fbb.end_table(start)
}
