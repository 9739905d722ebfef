//! Small containers built by hand, published files, and damage of every kind.

use std::io::{Cursor, Write};

use proptest::prelude::*;
use storage::arrays::DType;
use storage::failure::{Failure, FailureKind};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;
use crate::import::golden;

/// Writes the opcodes of protocol 2.
#[derive(Default)]
struct Pickler(Vec<u8>);

impl Pickler {
    fn new() -> Pickler {
        Pickler(vec![0x80, 2])
    }
    fn raw(mut self, bytes: &[u8]) -> Pickler {
        self.0.extend(bytes);
        self
    }
    fn int(self, number: i32) -> Pickler {
        self.raw(b"J").raw(&number.to_le_bytes())
    }
    fn text(self, text: &str) -> Pickler {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }
    fn ints(self, numbers: &[i32]) -> Pickler {
        numbers.iter().fold(self.raw(b"("), |pickler, &number| pickler.int(number)).raw(b"t")
    }
    fn storage(self, class: &str, key: &str, numel: i32, legacy: bool) -> Pickler {
        let id = self.raw(b"(").text("storage").raw(format!("ctorch\n{class}\n").as_bytes()).text(key).text("cpu");
        let id = id.int(numel);
        (if legacy { id.raw(b"N") } else { id }).raw(b"tQ")
    }
    /// A float tensor over a storage of `numel`.
    fn tensor(self, key: &str, numel: i32, layout: (i32, &[i32], &[i32]), legacy: bool) -> Pickler {
        let (offset, shape, strides) = layout;
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n(")
            .storage("FloatStorage", key, numel, legacy)
            .int(offset)
            .ints(shape)
            .ints(strides)
            .raw(b"\x89ccollections\nOrderedDict\n)RtR")
    }
    fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn zip_of(object: &[u8], entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in [("data.pkl", object)].iter().chain(entries) {
        archive.start_file(format!("archive/{name}"), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn legacy_of(object: &[u8], storages: &[(&str, &[f32])]) -> Vec<u8> {
    let mut bytes = Pickler::new().raw(b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19").stop();
    bytes.extend(Pickler::new().int(1001).stop());
    bytes.extend(Pickler::new().raw(b"}").text("little_endian").raw(b"\x88s").stop());
    bytes.extend(object);
    let keys = storages.iter().fold(Pickler::new().raw(b"]("), |pickler, (key, _)| pickler.text(key));
    bytes.extend(keys.raw(b"e").stop());
    for (_, values) in storages {
        bytes.extend((values.len() as i64).to_le_bytes());
        bytes.extend(floats(values));
    }
    bytes
}

/// `{"state_dict": OrderedDict(a = [[0, 1, 2], [3, 4, 5]], t = a transposed, tail = [4, 5]), "epoch": 3}`
fn small_object(legacy: bool) -> Vec<u8> {
    Pickler::new()
        .raw(b"}(")
        .text("state_dict")
        .raw(b"ccollections\nOrderedDict\n)R(")
        .text("a")
        .tensor("0", 6, (0, &[2, 3], &[3, 1]), legacy)
        .text("t")
        .tensor("0", 6, (0, &[3, 2], &[1, 3]), legacy)
        .text("tail")
        .tensor("0", 6, (4, &[2], &[1]), legacy)
        .raw(b"u}")
        .text("_metadata")
        .raw(b"Nsb")
        .text("epoch")
        .int(3)
        .raw(b"u")
        .stop()
}

const VALUES: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

fn small_zip() -> Vec<u8> {
    let entries: [(&str, &[u8]); 3] = [("byteorder", b"little"), ("data/0", &floats(&VALUES)), ("version", b"3\n")];
    zip_of(&small_object(false), &entries, CompressionMethod::Stored)
}

fn small_legacy() -> Vec<u8> {
    legacy_of(&small_object(true), &[("0", &VALUES)])
}

fn read_bytes(bytes: &[u8]) -> Result<BTreeMap<String, HostArray>, TensorFileError> {
    read_pth_from(Cursor::new(bytes), Path::new("small.pth"))
}

fn check_refused(bytes: &[u8], expected: &str) {
    let error = read_bytes(bytes).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Content, "{error}");
    let message = error.to_string();
    assert!(message.starts_with("small.pth: ") && message.contains(expected), "{message}");
}

/// One float tensor in a zip container; the storage has four elements.
fn one_tensor(offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let object = Pickler::new().tensor("0", 4, (offset, shape, strides), false).stop();
    zip_of(&object, &[("data/0", &floats(&VALUES[..4]))], CompressionMethod::Stored)
}

#[test]
fn both_containers_hold_the_same_tensors() {
    for bytes in [small_zip(), small_legacy()] {
        let tensors = read_bytes(&bytes).unwrap();
        assert_eq!(tensors.keys().collect::<Vec<_>>(), ["state_dict.a", "state_dict.t", "state_dict.tail"]);
        assert_eq!(tensors["state_dict.a"], HostArray::from_f32(&[2, 3], &VALUES));
        assert_eq!(tensors["state_dict.t"], HostArray::from_f32(&[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
        assert_eq!(tensors["state_dict.tail"], HostArray::from_f32(&[2], &[4.0, 5.0]));
    }
}

#[test]
fn a_view_of_a_legacy_storage_begins_at_its_offset() {
    let object = Pickler::new()
        .raw(b"ctorch._utils\n_rebuild_tensor\n((")
        .text("storage")
        .raw(b"ctorch\nFloatStorage\n")
        .text("7")
        .text("cpu")
        .int(6)
        .raw(b"(")
        .text("8")
        .int(2)
        .int(3)
        .raw(b"ttQ")
        .int(1)
        .ints(&[2])
        .ints(&[1])
        .raw(b"tR")
        .stop();
    let tensors = read_bytes(&legacy_of(&object, &[("7", &VALUES)])).unwrap();
    assert_eq!(tensors[""], HostArray::from_f32(&[2], &[3.0, 4.0]));
}

#[test]
fn layouts_inside_the_storage_are_read() {
    let values = |bytes: Vec<u8>| read_bytes(&bytes).unwrap()[""].to_f32().unwrap();
    assert_eq!(values(one_tensor(3, &[], &[])), [3.0]);
    assert_eq!(values(one_tensor(0, &[2], &[3])), [0.0, 3.0]);
    assert_eq!(values(one_tensor(1, &[2, 2], &[0, 1])), [1.0, 2.0, 1.0, 2.0]);
    assert_eq!(values(one_tensor(0, &[1, 2, 1], &[99, 2, 99])), [0.0, 2.0]);
    assert!(values(one_tensor(0, &[0, 5], &[5, 1])).is_empty());
}

#[test]
fn layouts_outside_the_storage_are_refused() {
    check_refused(&one_tensor(0, &[5], &[1]), "inside its storage of 4");
    check_refused(&one_tensor(4, &[], &[]), "inside its storage of 4");
    check_refused(&one_tensor(0, &[2, 2], &[3, 1]), "inside its storage of 4");
    check_refused(&one_tensor(0, &[2], &[1, 1]), "inside its storage of 4");
    check_refused(&one_tensor(-1, &[1], &[1]), "the offset of a tensor");
    check_refused(&one_tensor(0, &[2], &[-1]), "the strides of a tensor");
    check_refused(&one_tensor(0, &[i32::MAX, i32::MAX, i32::MAX, i32::MAX], &[0, 0, 0, 0]), "tensors of at most");
    // A broadcast of one element to more memory than the file could stand for.
    check_refused(&one_tensor(0, &[1 << 20], &[0]), "tensors of at most");
}

#[test]
fn storages_of_another_size_are_refused() {
    let object = Pickler::new().tensor("0", 4, (0, &[2], &[1]), false).stop();
    let container = |bytes: &[u8]| zip_of(&object, &[("data/0", bytes)], CompressionMethod::Stored);
    check_refused(&container(&floats(&VALUES)), "archive/data/0: expected 16 bytes, stored, found 24 bytes");
    check_refused(&zip_of(&object, &[], CompressionMethod::Stored), "archive/data/0");
    let object = Pickler::new().tensor("0", 4, (0, &[2], &[1]), true).stop();
    check_refused(&legacy_of(&object, &[("0", &VALUES)]), "storage 0: expected 4 elements, found 6");
    check_refused(&legacy_of(&object, &[]), "storage 0: expected 16 bytes, found no such storage");
    check_refused(&legacy_of(&object, &[("1", &VALUES)]), "storage keys");
}

#[test]
fn anything_executable_is_refused_by_name() {
    let object = Pickler::new().raw(b"cposix\nsystem\n").text("touch /tmp/owned").raw(b"\x85R").stop();
    for bytes in [zip_of(&object, &[], CompressionMethod::Stored), legacy_of(&object, &[])] {
        check_refused(&bytes, "refused the Python object `posix.system`");
        assert!(read_bytes(&bytes).unwrap_err().hint().unwrap().contains("torch.save"));
    }
}

#[test]
fn other_files_say_what_was_expected() {
    check_refused(b"", "a PyTorch checkpoint");
    check_refused(b"hello world", "a PyTorch checkpoint");
    check_refused(b"\x80\x02K\x05.", "magic number: expected 0x1950a86a20f9469cfc6c");
    check_refused(b"PK\x03\x04 not really", "a whole zip archive");
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file("readme.txt", SimpleFileOptions::default()).unwrap();
    check_refused(&archive.finish().unwrap().into_inner(), "an entry data.pkl");
    let compressed = zip_of(&small_object(false), &[("data/0", &floats(&VALUES))], CompressionMethod::Deflated);
    check_refused(&compressed, "compression Deflated");
    let big = zip_of(&small_object(false), &[("byteorder", b"big")], CompressionMethod::Stored);
    check_refused(&big, "byteorder: expected little, found big");
}

#[test]
fn a_flipped_bit_in_a_zip_storage_is_found() {
    let mut bytes = small_zip();
    let elements = floats(&VALUES);
    let at = bytes.windows(elements.len()).position(|window| window == elements).unwrap();
    bytes[at + 9] ^= 1;
    check_refused(&bytes, "archive/data/0");
}

#[test]
fn dictionaries_that_hold_one_another_end() {
    // d = {"d": d}, then forty lists each holding the one before twice.
    let cyclic = Pickler::new().raw(b"}q\x00").text("d").raw(b"h\x00s").stop();
    check_refused(&zip_of(&cyclic, &[], CompressionMethod::Stored), "levels");
    let mut doubling = Pickler::new().raw(b"]q\x00");
    for index in 0..25 {
        doubling = doubling.raw(&[b']', b'q', index + 1, b'(', b'h', index, b'h', index, b'e']);
    }
    check_refused(&zip_of(&doubling.stop(), &[], CompressionMethod::Stored), "values");
}

#[test]
fn every_truncation_is_a_content_error_that_names_the_file() {
    for bytes in [small_zip(), small_legacy()] {
        for length in 0..bytes.len() {
            let error = read_bytes(&bytes[..length]).unwrap_err();
            assert_eq!(error.kind(), FailureKind::Content, "{length}: {error}");
            assert!(error.to_string().starts_with("small.pth: "), "{error}");
        }
    }
}

#[test]
fn published_accuracy_predictor() {
    let Some(path) = golden("ofa-accuracy-predictor/acc_predictor.pth") else { return };
    let tensors = read_pth(&path).unwrap();
    let shapes: Vec<String> = tensors.iter().map(|(name, array)| format!("{name} {array:?}")).collect();
    assert_eq!(
        shapes,
        [
            "0.bias float32[400]",
            "0.weight float32[400, 128]",
            "2.bias float32[400]",
            "2.weight float32[400, 400]",
            "4.bias float32[400]",
            "4.weight float32[400, 400]",
            "6.bias float32[1]",
            "6.weight float32[1, 400]",
        ]
    );
    assert_eq!(tensors["6.bias"].to_f32().unwrap(), [0.758_675_2]);
}

#[test]
fn published_resnet_predictor() {
    let Some(path) = golden("ofa-accuracy-predictor/ofa_resnet50_acc_predictor.pth") else { return };
    let tensors = read_pth(&path).unwrap();
    assert_eq!(tensors["layers.0.0.weight"].shape(), [400, 82]);
    assert_eq!(tensors["layers.3.weight"].shape(), [1, 400]);
    assert!((tensors["base_acc"].to_f32().unwrap()[0] - 0.805_561).abs() < 1e-6);
    assert_eq!(tensors.len(), 8);
}

#[test]
fn golden_supernet_checkpoint_whole_and_cut() {
    let Some(path) = golden("ofa-mbv3-w1.0/checkpoint.pth") else { return };
    let tensors = read_pth(&path).unwrap();
    assert_eq!(tensors.len(), 475);
    assert_eq!(tensors["state_dict.first_conv.conv.weight"].shape(), [16, 3, 3, 3]);
    let counter = &tensors["state_dict.first_conv.bn.num_batches_tracked"];
    assert_eq!((counter.dtype(), counter.shape()), (DType::I64, &[][..]));
    let bytes = std::fs::read(&path).unwrap();
    for length in (0..bytes.len()).step_by(bytes.len() / 50) {
        assert_eq!(read_bytes(&bytes[..length]).unwrap_err().kind(), FailureKind::Content);
    }
}

proptest! {
    #[test]
    fn damaged_containers_never_panic(
        legacy: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = if legacy { small_legacy() } else { small_zip() };
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read_bytes(&bytes);
    }

    #[test]
    fn damaged_pickles_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        // Around the archive's checksum, straight into the pickle.
        let mut object = small_object(false);
        for (index, byte) in changes {
            let at = index.index(object.len());
            object[at] = byte;
        }
        let _ = read_bytes(&zip_of(&object, &[("data/0", &floats(&VALUES))], CompressionMethod::Stored));
    }

    #[test]
    fn any_layout_is_read_or_refused(
        offset in 0i32..6,
        layout in prop::collection::vec((0i32..4, 0i32..4), 0..4),
    ) {
        let (shape, strides): (Vec<i32>, Vec<i32>) = layout.into_iter().unzip();
        let largest: i32 = offset + shape.iter().zip(&strides).map(|(size, stride)| (size - 1) * stride).sum::<i32>();
        let read = read_bytes(&one_tensor(offset, &shape, &strides));
        prop_assert_eq!(read.is_ok(), shape.contains(&0) || largest < 4);
    }
}
