//! Pickles spelled out byte by byte, and random ones.

use proptest::prelude::*;
use storage::arrays::END;

use super::*;

fn read(bytes: &[u8]) -> Result<Pickle, Fault> {
    Pickle::read(bytes, "test", bytes.len() as u64)
}

fn root(bytes: &[u8]) -> Value {
    read(bytes).unwrap().root
}

#[test]
fn integers_of_every_width() {
    assert_eq!(root(b"K\xff."), Value::Int(255));
    assert_eq!(root(b"M\x00\x01."), Value::Int(256));
    assert_eq!(root(b"J\xff\xff\xff\xff."), Value::Int(-1));
    assert_eq!(root(b"\x8a\x00."), Value::Int(0));
    assert_eq!(root(b"\x8a\x01\xff."), Value::Int(-1));
    assert_eq!(root(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."), Value::Int(0x1950_a86a_20f9_469c_fc6c));
}

#[test]
fn containers_nest_and_are_remembered() {
    // {"a": [1, (2, True)], "b": the same list}
    let pickle = read(b"\x80\x02}q\x00(U\x01a]q\x01(K\x01K\x02\x88\x86eU\x01bh\x01u.").unwrap();
    let Value::Dict(dict) = pickle.root else { panic!("{:?}", pickle.root) };
    let Node::Dict(pairs) = &pickle.nodes[dict] else { panic!() };
    assert_eq!(pairs[0].0, Value::Str("a".into()));
    assert_eq!(pairs[0].1, pairs[1].1);
}

#[test]
fn any_other_name_is_refused_by_name() {
    for (bytes, name) in [
        (&b"cos\nsystem\n(U\x02lstR."[..], "os.system"),
        (b"cbuiltins\neval\n.", "builtins.eval"),
        (b"\x8c\x05numpy\x8c\x07ndarray\x93.", "numpy.ndarray"),
        (b"ctorch\nload\n.", "torch.load"),
        (b"ccollections\ndefaultdict\n.", "collections.defaultdict"),
    ] {
        match read(bytes) {
            Err(Fault::Refused(found)) => assert_eq!(found, name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn unknown_opcodes_and_empty_stacks_are_faults() {
    // INST, OBJ, NEWOBJ, EXT1, PERSID, INT and friends stay out; so do pops below a mark.
    for bytes in
        [&b"ios\nsystem\n."[..], b"o.", b"\x81.", b"\x82\x01.", b"Pabc\n.", b"I1\n.", b".", b"0.", b"(N(\x85.", b"R."]
    {
        assert!(matches!(read(bytes), Err(Fault::Content { .. })), "{bytes:?}");
    }
}

#[test]
fn deep_and_cyclic_values_neither_overflow_nor_leak_the_stack() {
    let mut deep = vec![b')'];
    deep.extend(std::iter::repeat_n(0x85, 1_000_000));
    deep.push(b'.');
    assert!(matches!(root(&deep), Value::Tuple(_)));
    assert!(matches!(root(b"]q\x00h\x00a."), Value::List(0)));
}

#[test]
fn lengths_beyond_the_file_are_not_allocated() {
    for bytes in [&b"X\xff\xff\xff\xff."[..], b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", b"\x8b\xff\xff\xff\xff."] {
        match read(bytes) {
            Err(Fault::Content { found, .. }) => assert_eq!(found, END),
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn random_opcodes_never_panic(bytes in prop::collection::vec(prop_oneof![
        any::<u8>(),
        prop::sample::select(b"()]}(tlduaesbRQN.K0122\x85\x86\x87\x88\x94qh".to_vec()),
    ], 0..200)) {
        let _ = read(&bytes);
    }
}
