"""quantize.py dynamic|static FP32.onnx OUT.onnx [IDS.json]: quantizes as onnxruntime's own tool does; IDS.json holds token ids of one sample a row."""

import json
import sys

import numpy
from onnx import TensorProto
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static


class Samples(CalibrationDataReader):
    def __init__(self, file):
        with open(file) as rows:
            self.rows = iter(json.load(rows))

    def get_next(self):
        row = next(self.rows, None)
        if row is None:
            return None
        ids = numpy.array([row], dtype=numpy.int64)
        return {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}


# The tool does not know the types behind operators of com.microsoft, and stops without a default.
options = {"DefaultTensorType": TensorProto.FLOAT}
kind, source, out, *more = sys.argv[1:]
if kind == "dynamic":
    quantize_dynamic(source, out, weight_type=QuantType.QInt8, per_channel=True, extra_options=options)
elif kind == "dynamic-u8":
    quantize_dynamic(source, out, weight_type=QuantType.QUInt8, extra_options=options)
elif kind == "static":
    quantize_static(source, out, Samples(more[0]))
else:
    sys.exit(f"no such kind: {kind}")
