use std::fs;
use storage::failure::{Failure, FailureKind};

use super::*;
use crate::testing::{random_mlp, sample, space};

fn predictor(space: &SearchSpace) -> AccuracyPredictor {
    let encoder = ArchEncoder::new(Layout::Blocks, space, &[24, 32]).unwrap();
    let width = encoder.width();
    let members = (0..2).map(|seed| random_mlp(width, &[6, 5, 1], seed)).collect();
    let shares = (0..width).map(|place| 0.1 / (place + 3) as f64).collect();
    let label = LabelScale { mean: 0.812_345_678_901_234_5, std: 0.021_234_567_890_123_456 };
    let pairs = (0..width * width).map(|place| 0.01 / (place + 1) as f64).collect();
    let correction = AdditiveModel { constant: -0.01, shares: vec![0.001; width] };
    AccuracyPredictor::new(encoder, label, Some(AdditiveModel { constant: 0.3, shares }), members)
        .with_interactions(Some(Interactions { correction, pairs }))
        .with_provenance(Map::from_iter([("pairs".to_owned(), Value::from(800))]))
}

#[test]
fn a_saved_predictor_is_the_same_predictor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictor.safetensors");
    let space = space("mcu-cifar");
    let full = predictor(&space);
    let encoder = full.encoder().clone();
    let additive = AccuracyPredictor::new(encoder.clone(), full.label(), full.additive().cloned(), vec![]);
    let published = AccuracyPredictor::new(encoder, LabelScale::UNIT, None, full.members()[..1].to_vec());
    for predictor in [full, additive, published] {
        save(&predictor, &space, &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        let loaded = load(&path, &space).unwrap();
        assert_eq!(loaded, predictor);
        assert_eq!(space_of(&path).unwrap(), ("mcu-cifar".to_owned(), Some(space.clone())));
        let archs: Vec<_> = sample(&space, 50, 1).into_iter().filter(|arch| arch.resolution() != 28).collect();
        assert_eq!(loaded.top1(&archs).unwrap(), predictor.top1(&archs).unwrap());
        save(&loaded, &space, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_truncated_file_is_an_error_of_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictor.safetensors");
    let space = space("mcu-cifar");
    save(&predictor(&space), &space, &path).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..length]).unwrap();
        let error = load(&path, &space).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Content, "{length} bytes: {error}");
        assert!(error.to_string().contains("predictor.safetensors"), "{error}");
    }
    for place in 0..whole.len().min(3000) {
        let mut broken = whole.clone();
        broken[place] ^= 0x5A;
        fs::write(&path, &broken).unwrap();
        if let Err(error) = load(&path, &space) {
            assert_eq!(error.kind(), FailureKind::Content, "byte {place}: {error}");
        }
    }
    assert_eq!(load(Path::new("/nowhere/at/all"), &space).unwrap_err().kind(), FailureKind::Usage);
}

/// Loads the predictor with `from` replaced by `to` (of equal length) in the file's header.
fn edited(from: &str, to: &str) -> PredictorError {
    assert_eq!(from.len(), to.len());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictor.safetensors");
    let space = space("mcu-cifar");
    save(&predictor(&space), &space, &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("the text is in the file");
    let edited = [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat();
    fs::write(&path, edited).unwrap();
    let error = load(&path, &space).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Content);
    error
}

#[test]
fn what_does_not_fit_is_named() {
    use PredictorError::{Field, MissingTensor, OtherSpace, WrongShape, WrongType};
    assert!(matches!(edited("ofa.predictor/1", "ofa.predictor/2"), Field { field, .. } if field == "schema"));
    assert!(matches!(edited("mcu-cifar", "mcu-cifas"), OtherSpace { .. }));
    assert!(matches!(edited("blocks", "blicks"), Field { field, .. } if field == "layout"));
    assert!(matches!(edited("[24,32]", "[24,99]"), Field { field, .. } if field == "resolutions"));
    assert!(matches!(edited("[3,5]", "[3,7]"), Field { field, .. } if field == "choices"));
    assert!(matches!(edited("stride: 1", "stride: 2"), Field { field, .. } if field == "definition"));
    assert!(matches!(edited("[6,5,1]", "[6,4,1]"), WrongShape { .. }));
    assert!(matches!(edited("[6,5,1]", "[6,5,2]"), Field { field, .. } if field == "widths"));
    assert!(
        matches!(edited(r#"\"members\":2"#, r#"\"members\":3"#), MissingTensor { tensor, .. } if tensor == "members.2.0.weight")
    );
    assert!(matches!(edited(r#"\"members\":2"#, r#"\"mombers\":2"#), Field { .. }));
    assert!(matches!(edited("\"F32\"", "\"I32\""), WrongType { .. }));
}

#[test]
fn a_nan_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictor.safetensors");
    let space = space("mcu-cifar");
    let sound = predictor(&space);
    let mut layers = sound.members()[1].layers();
    layers[1].weight[4] = f32::NAN;
    let broken = vec![sound.members()[0].clone(), Mlp::new(sound.encoder().width(), layers)];
    let broken = AccuracyPredictor::new(sound.encoder().clone(), sound.label(), None, broken);
    save(&broken, &space, &path).unwrap();
    let error = load(&path, &space).unwrap_err();
    assert!(error.to_string().ends_with("tensor `members.1.1.weight` holds NaN at position 4"), "{error}");
    assert_eq!(error.kind(), FailureKind::Content);
}
