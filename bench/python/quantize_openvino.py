"""quantize_openvino.py FP32.onnx IDS.json OUT.xml: static int8 by NNCF with SmoothQuant and bias correction; IDS.json holds token ids of one
sample a row."""

import json
import sys

import nncf
import numpy
import openvino

source, samples, out = sys.argv[1:]


def feeds(row):
    ids = numpy.array([row], dtype=numpy.int64)
    return {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}


with open(samples) as file:
    rows = json.load(file)
model = nncf.quantize(
    openvino.Core().read_model(source),
    nncf.Dataset(rows, feeds),
    subset_size=len(rows),
    model_type=nncf.ModelType.TRANSFORMER,
    fast_bias_correction=True,
)
openvino.save_model(model, out, compress_to_fp16=False)
