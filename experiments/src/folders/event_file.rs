//! What `metrics.jsonl` says as scalars that TensorBoard shows: a file of events beside it.
//!
//! The file is TFRecord: of each record its length (u64), the masked CRC-32C of these eight bytes, the record and its masked
//! CRC-32C, all little-endian. A record is a protobuf message `Event` as TensorBoard's `event.proto` and `summary.proto`
//! describe it, of which only what is needed stands here.
//!
//! Every event is computed from a line of `metrics.jsonl` and nothing else. Where a run goes on, from a checkpoint or after
//! numbers left the finite ones, lines of steps that will be done again are removed there, and the file of events is made
//! anew from those that are left, under a later name. The file before it is emptied: a TensorBoard that is watching it finds
//! nothing more there and goes to the next one (of a file that is gone its Python part would wait forever), whose second event
//! tells it to forget what it read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crc::{CRC_32_ISCSI, Crc};
use prost::Message;
use serde_json::Value;
use storage::atomic::write_atomically;

/// What names of such files begin and end with. Readers go by the word in the middle.
const BEGINS: &str = "events.out.tfevents.";
const ENDS: &str = ".ofa";
/// Where a file is made, out of the sight of readers.
const NEXT: &str = "events.next";
/// What the first event must say.
const FILE_VERSION: &str = "brain.Event:2";
/// A session begins: what was read of steps from that of the event on is void.
const START: i32 = 1;

/// Keys of a line of the metrics, and what the scalars are called. Names before a slash are groups of charts.
const SCALARS: [(&str, &str); 9] = [
    ("loss", "train/loss"),
    ("learning_rate", "train/learning_rate"),
    ("images_per_second", "train/images_per_second"),
    ("mask_distance", "train/mask_distance"),
    ("energy_j", "train/energy_j"),
    ("largest_top1", "held_out_top1/largest"),
    ("middle_top1", "held_out_top1/middle"),
    ("smallest_top1", "held_out_top1/smallest"),
    ("held_out_top1", "held_out_top1/network"),
];

static CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    // Optional, so that 0 is written, too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Makes the file of events of the run in `folder` anew from `metrics`, the lines that it keeps, and opens it for more.
///
/// # Errors
/// A file that cannot be written or removed.
pub(crate) fn made_anew(folder: &Path, metrics: &[Value]) -> io::Result<File> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut older = files(folder)?;
    // Later than those before it, whatever the clock says.
    let number = older.last().map_or(now, |(last, _)| now.max(last + 1));
    let (next, path) = (folder.join(NEXT), folder.join(format!("{BEGINS}{number:010}{ENDS}")));
    let wall_time = metrics.first().map_or(now as f64, time_of);
    let version = Event { wall_time, file_version: Some(FILE_VERSION.to_owned()), ..Event::default() };
    let start = Event { wall_time, session_log: Some(SessionLog { status: START }), ..Event::default() };
    write_atomically(&next, |file| {
        [version, start].iter().try_for_each(|event| file.write_all(&framed(&event.encode_to_vec())))?;
        metrics.iter().try_for_each(|line| file.write_all(&record(line)))
    })?;
    // At no moment do two say the same.
    if let Some((_, newest)) = older.pop() {
        OpenOptions::new().write(true).open(newest)?.set_len(0)?;
    }
    for (_, path) in older {
        fs::remove_file(path)?;
    }
    fs::rename(next, &path)?;
    OpenOptions::new().append(true).open(path)
}

/// The scalars of a line of the metrics as one record.
pub(crate) fn record(line: &Value) -> Vec<u8> {
    let value = |(key, tag): &(&str, &str)| {
        let simple_value = Some(line[*key].as_f64()? as f32);
        Some(Scalar { tag: (*tag).to_owned(), simple_value })
    };
    let step = line["global_step"].as_i64().unwrap_or_default();
    let summary = Some(Summary { values: SCALARS.iter().filter_map(value).collect() });
    framed(&Event { wall_time: time_of(line), step, summary, ..Event::default() }.encode_to_vec())
}

/// When it was written; lines of earlier versions do not say.
fn time_of(line: &Value) -> f64 {
    line["time"].as_f64().unwrap_or_default()
}

/// The files of events in `folder` with the numbers in their names, in their order.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let number = |name: &str| name.strip_prefix(BEGINS)?.strip_suffix(ENDS)?.parse().ok();
    let numbered = |entry: &fs::DirEntry| Some((entry.file_name().to_str().and_then(number)?, entry.path()));
    let mut files: Vec<(u64, PathBuf)> = entries.iter().filter_map(numbered).collect();
    files.sort();
    Ok(files)
}

fn framed(record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u64).to_le_bytes();
    let parts = [&length[..], &masked_crc(&length).to_le_bytes(), record, &masked_crc(record).to_le_bytes()];
    parts.concat()
}

/// Rotated and moved, so that a checksum over bytes that hold checksums is none of theirs.
fn masked_crc(bytes: &[u8]) -> u32 {
    CRC_32C.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The events of a file, each checksum held against its bytes.
    fn events(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_at(8);
            let size = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            assert_eq!(rest[..4], masked_crc(length).to_le_bytes());
            let record = &rest[4..4 + size];
            assert_eq!(rest[4 + size..8 + size], masked_crc(record).to_le_bytes());
            events.push(Event::decode(record).unwrap());
            bytes = &rest[8 + size..];
        }
        events
    }

    fn line(step: u64, top1: f64) -> Value {
        json!({"global_step": step, "phase": "full", "loss": 0.5, "smallest_top1": top1, "time": 1e9 + step as f64})
    }

    #[test]
    fn checksums_are_those_of_the_castagnoli_polynomial_masked() {
        // RFC 3720, appendix B.4, and what TensorBoard's own writer makes of them.
        for (bytes, plain, masked) in [
            (&b"123456789"[..], 0xe306_9283, 0xc78a_b0e5),
            (&[0; 32], 0x8a91_36aa, 0x0fd7_fffa),
            (&[0xff; 32], 0x62a8_ab43, 0xf909_b029),
            (&24_u64.to_le_bytes(), 0x4a65_bfe4, 0x224b_7fa3),
        ] {
            assert_eq!((CRC_32C.checksum(bytes), masked_crc(bytes)), (plain, masked));
        }
    }

    #[test]
    fn a_file_says_what_the_metrics_say_and_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let read = |older: usize| {
            let files = files(folder.path()).unwrap();
            assert_eq!(files.len(), older + 1);
            let [rest @ .., newest] = &files[..] else { panic!("no file") };
            assert!(rest.iter().all(|(_, path)| fs::metadata(path).unwrap().len() == 0));
            events(&fs::read(&newest.1).unwrap())
        };
        let mut file = made_anew(folder.path(), &[]).unwrap();
        for step in [10, 20, 30] {
            file.write_all(&record(&line(step, 0.0))).unwrap();
        }
        assert_eq!(read(0).len(), 5);
        // However often it is made anew, the last before it is left, empty; a file of another program stays as it is.
        fs::write(folder.path().join("events.out.tfevents.1.host"), "another's").unwrap();
        drop(made_anew(folder.path(), &[line(10, 0.0), line(20, 0.5)]).unwrap());
        assert_eq!(read(1).len(), 4);
        let mut file = made_anew(folder.path(), &[line(10, 0.0)]).unwrap();
        file.write_all(&record(&line(20, 0.25))).unwrap();
        let read = read(1);
        assert_eq!(read[0].file_version.as_deref(), Some(FILE_VERSION));
        assert_eq!(read[1].session_log, Some(SessionLog { status: START }));
        let scalars = |event: &Event| -> Vec<(String, f32)> {
            let values = &event.summary.as_ref().unwrap().values;
            values.iter().map(|value| (value.tag.clone(), value.simple_value.unwrap())).collect()
        };
        let said = |top1| vec![("train/loss".to_owned(), 0.5), ("held_out_top1/smallest".to_owned(), top1)];
        assert_eq!(read[2..].iter().map(scalars).collect::<Vec<_>>(), [said(0.0), said(0.25)]);
        let places: Vec<_> = read[2..].iter().map(|event| (event.step, event.wall_time)).collect();
        assert_eq!(places, [(10, 1e9 + 10.0), (20, 1e9 + 20.0)]);
        assert!(!folder.path().join(NEXT).exists());
        assert!(folder.path().join("events.out.tfevents.1.host").exists());
    }
}
