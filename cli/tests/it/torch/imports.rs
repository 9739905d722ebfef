//! A checkpoint in the published layout becomes a bundle, and a bundle becomes a network of other classes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use storage::arrays::HostArray;
use storage::arrays::safetensors::load_arrays;

use crate::support::Sandbox;

/// Opcodes of pickle's protocol 2, as PyTorch wrote them before 1.6.
#[derive(Default)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn new() -> Self {
        Self(vec![0x80, 2])
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn int(self, number: usize) -> Self {
        self.raw(b"J").raw(&(number as i32).to_le_bytes())
    }

    fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    fn ints(self, numbers: &[usize]) -> Self {
        numbers.iter().fold(self.raw(b"("), |pickle, &number| pickle.int(number)).raw(b"t")
    }

    fn tensor(self, name: &str, shape: &[usize]) -> Self {
        let strides: Vec<usize> = (1..=shape.len()).map(|at| shape[at..].iter().product()).collect();
        let named = self.text(name).raw(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        let storage = named.text("storage").raw(b"ctorch\nFloatStorage\n").text(name).text("cpu");
        let storage = storage.int(shape.iter().product()).raw(b"NtQ").int(0);
        storage.ints(shape).ints(&strides).raw(b"\x89ccollections\nOrderedDict\n)RtR")
    }

    fn end(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// Writes `tensors` as PyTorch's old container, under `state_dict`.
fn save(path: &Path, tensors: &BTreeMap<String, HostArray>) {
    let mut file = Pickle::new().raw(b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19").end();
    file.extend(Pickle::new().int(1001).end());
    file.extend(Pickle::new().raw(b"}").text("little_endian").raw(b"\x88s").end());
    let object = Pickle::new().raw(b"}(").text("state_dict").raw(b"ccollections\nOrderedDict\n)R(");
    let object = tensors.iter().fold(object, |object, (name, array)| object.tensor(name, array.shape()));
    file.extend(object.raw(b"uu").end());
    let keys = tensors.keys().fold(Pickle::new().raw(b"]("), |pickle, key| pickle.text(key));
    file.extend(keys.raw(b"e").end());
    for array in tensors.values() {
        let values = array.to_f32().unwrap();
        file.extend((values.len() as i64).to_le_bytes());
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    fs::write(path, file).unwrap();
}

fn weights(folder: &Path) -> BTreeMap<String, HostArray> {
    load_arrays(&folder.join("supernet.safetensors")).unwrap().0.into_iter().collect()
}

/// The published name, in its oldest spelling, of a weight of space mcu-cifar, whose layers are those of ProxylessNAS.
fn published(name: &str) -> String {
    // Stages of mcu-cifar begin after so many blocks, the first of which is static.
    const BEFORE: [usize; 4] = [1, 3, 6, 9];
    let name = name.replace("stem.", "module.first_conv.").replace("head.0.", "module.feature_mix_layer.");
    let name = name.replace("classifier.", "module.classifier.linear.").replace("first.d", "stages.0.-1.d");
    let name = name.replace("first.p", "stages.0.-1.p");
    let Some(rest) = name.strip_prefix("stages.") else { return name };
    let levels: Vec<&str> = rest.splitn(3, '.').collect();
    let index = BEFORE[levels[0].parse::<usize>().unwrap()] as i64 + levels[1].parse::<i64>().unwrap();
    let layer = levels[2].replace("expand.", "inverted_bottleneck.").replace("project.", "point_linear.");
    let layer = layer.replace("depthwise.transform_5to3", "depth_conv.conv.5to3_matrix");
    format!("module.blocks.{index}.mobile_inverted_conv.{}", layer.replace("depthwise.", "depth_conv."))
}

#[test]
fn an_imported_supernet_is_trained_on_for_other_classes_with_its_first_layers_frozen() {
    let sandbox = Sandbox::new();
    let zoo = weights(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/zoo/mcu-cifar"));
    let mut tensors: BTreeMap<String, HostArray> =
        zoo.iter().map(|(name, array)| (published(name), array.clone())).collect();
    assert_eq!(tensors.len(), zoo.len());
    let path = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
    let (checkpoint, bundle, run) = (path("published.pth"), path("imported"), path("run"));
    save(Path::new(&checkpoint), &tensors);
    let import = ["import", "ofa-proxyless", &checkpoint, "--space", "mcu-cifar", "--out", &bundle];
    let said = sandbox.ok(&import);
    assert!(said.stdout.contains("parameters of space mcu-cifar"), "{}", said.stdout);
    let imported = weights(Path::new(&bundle));
    assert_eq!(imported.len(), zoo.len());
    assert!(imported.iter().all(|(name, array)| array.to_f32() == zoo[name].to_f32()));

    // The images have classes of their own; the first of the four stages keep what they know.
    let recipe = "schema: ofa.recipe/1\nname: other\nspace: mcu-cifar\ndata: 'synthetic:240,classes=4'\nheld_out: 40\n\
                  seed: 3\nbatch_size: 20\nweight_decay: 1.0e-4\ninit: BUNDLE\nfreeze: [stem, first, stages.0, stages.1.0]\n\
                  calibration: { batches: 2, batch_size: 20 }\nphases:\n  - { name: all, epochs: 1, learning_rate: 0.05, \
                  kernels: all, depths: all, expands: all, with_largest: true, random_subnets: 1, sort_channels: true }\n";
    let recipe = sandbox.file("recipe.yaml", &recipe.replace("BUNDLE", &bundle));
    let train = ["train", &recipe, "--out", &run, "--device", "cpu", "--threads", "1"];
    for (set, words) in [
        ("freeze=[stage.1]", &["has no layer `stage.1` to freeze", "did you mean stages.1", "recipe.yaml"][..]),
        ("freeze=[classifier]", &["`freeze` is `classifier`", "must learn", "recipe.yaml"]),
    ] {
        sandbox.refused(&[&train[..], &["--set", set]].concat(), 3, words);
    }
    let fresh = ["--set", "init=null"];
    sandbox.refused(&[&train[..], &fresh].concat(), 3, &["`freeze` is `stem`", "needs `init` or `weights`"]);
    assert!(!Path::new(&run).exists());
    sandbox.ok(&train);
    let trained = Path::new(&run).join("bundle");
    assert!(fs::read_to_string(trained.join("space.yaml")).unwrap().contains("classes: 4"));
    let trained = weights(&trained);
    assert_eq!(trained["classifier.bias"].shape(), [4]);
    let is_frozen = |name: &str| ["stem.", "first.", "stages.0.", "stages.1.0."].iter().any(|it| name.starts_with(it));
    for (name, array) in trained.iter().filter(|(name, _)| !name.contains(".running_")) {
        assert_eq!(array.to_f32() == imported[name].to_f32(), is_frozen(name), "{name}");
    }

    let bias = tensors.remove("module.classifier.linear.bias").unwrap();
    tensors.insert("module.classifier.linear.offset".into(), bias);
    let matrix = tensors.remove("module.blocks.4.mobile_inverted_conv.point_linear.bn.weight").unwrap();
    tensors.insert("module.blocks.40.mobile_inverted_conv.point_linear.bn.weight".into(), matrix);
    save(Path::new(&checkpoint), &tensors);
    let missing = "missing (2): `blocks.4.conv.point_linear.bn.weight` [40], `classifier.linear.bias` [10]";
    let unmatched = "unmatched (2): `state_dict.module.blocks.40.mobile_inverted_conv.point_linear.bn.weight`, \
                     `state_dict.module.classifier.linear.offset`";
    sandbox.refused(&import, 3, &["published.pth", missing, unmatched, "hint: choose the space"]);
    let other = ["import", "ofa-mbv3", &checkpoint, "--space", "mcu-cifar", "--out", &bundle];
    sandbox.refused(&other, 2, &["checkpoints of the published MobileNetV3", "ofa import ofa-proxyless"]);
}
