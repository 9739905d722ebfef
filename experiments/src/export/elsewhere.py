"""Runs a file on images with the runtime that is installed, and says which it was and how long one image takes."""
import json
import statistics
import sys
import time

form, path, inputs, shape, kind, outputs, kernels = sys.argv[1:]
try:
    import numpy
except ImportError:
    sys.exit(3)
images = numpy.fromfile(inputs, kind).reshape([int(length) for length in shape.split(",")])


def median_of(run):
    for _ in range(3):
        run()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def onnx():
    try:
        import onnxruntime
    except ImportError:
        sys.exit(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    made = [session.run(None, {name: images[at : at + 1]})[0] for at in range(len(images))]
    milliseconds = median_of(lambda: session.run(None, {name: images[:1]}))
    return f"onnxruntime {onnxruntime.__version__}", numpy.concatenate(made), milliseconds, None


def tflite():
    keywords = {}
    try:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        name = "LiteRT"
        try:
            from importlib.metadata import version

            name += " " + version("ai-edge-litert")
        except Exception:
            pass
        if kernels == "reference":
            name += ", reference kernels"
            keywords = {"experimental_op_resolver_type": OpResolverType.BUILTIN_REF}
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter

            name = "TensorFlow Lite"
        except ImportError:
            try:
                import tensorflow

                Interpreter, name = tensorflow.lite.Interpreter, f"TensorFlow {tensorflow.__version__}"
            except ImportError:
                sys.exit(3)

    def prepared(**keywords):
        interpreter = Interpreter(model_path=path, num_threads=1, **keywords)
        interpreter.allocate_tensors()
        return interpreter, interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]

    interpreter, read, output = prepared(**keywords)
    made = []
    for at in range(len(images)):
        interpreter.set_tensor(read, images[at : at + 1])
        interpreter.invoke()
        made.append(interpreter.get_tensor(output["index"]))
    made = numpy.concatenate(made)
    micro = None
    if made.dtype != numpy.float32:
        micro = differing_in_micro(made) if kernels == "reference" else None
        scale, zero_point = output["quantization"]
        made = (made.astype(numpy.float32) - int(zero_point)) * numpy.float32(scale)
    if keywords:
        # As an application would run it, with the fast kernels.
        interpreter, read, _ = prepared()
        interpreter.set_tensor(read, images[:1])
    return name, made, median_of(interpreter.invoke), micro


def differing_in_micro(made):
    """Numbers of `made` of which TensorFlow Lite Micro, where it is installed, makes others."""
    try:
        import tflite_micro
    except ImportError:
        return None
    micro = tflite_micro.runtime.Interpreter.from_file(path)
    differing = 0
    for image, expected in zip(images, made):
        micro.set_input(image[None], 0)
        micro.invoke()
        differing += int((micro.get_output(0)[0] != expected).sum())
    return differing


runtime, made, milliseconds, micro = onnx() if form == "onnx" else tflite()
made.astype(numpy.float32).tofile(outputs)
print(json.dumps({"runtime": runtime, "milliseconds": milliseconds, "micro": micro}))
