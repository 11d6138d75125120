"""encoder.py openvino|onnxruntime MODEL JOBS.json THREADS [PRECISION]: an encoder on batches of token ids.
`run JOB` answers with the milliseconds of the job's batches; `vectors FILE` writes the vectors of the job `sorted` (float32)."""

import json
import sys
import time

import numpy


def openvino_encoder(file, threads, precision=None):
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    wanted = model.output("sentence_embedding").node.get_friendly_name()
    for result in model.get_results():
        if result.get_friendly_name() != wanted:
            model.remove_result(result)
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(feeds):
        request.infer(feeds, share_inputs=True, share_outputs=True)
        return request.get_output_tensor(0).data

    return run


def onnxruntime_encoder(file, threads):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(["sentence_embedding"], feeds)[0]


def padded(rows):
    width = max(len(row) for row in rows)
    ids = numpy.array([row + [0] * (width - len(row)) for row in rows], dtype=numpy.int64)
    mask = numpy.array([[1] * len(row) + [0] * (width - len(row)) for row in rows], dtype=numpy.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}


library, model_file, jobs_file, threads, *more = sys.argv[1:]
with open(jobs_file) as file:
    jobs = {name: [padded(rows) for rows in batches] for name, batches in json.load(file).items()}
encode = {"openvino": openvino_encoder, "onnxruntime": onnxruntime_encoder}[library](model_file, int(threads), *more)

for line in sys.stdin:
    action, word = line.split()
    if action == "vectors":
        numpy.concatenate([encode(feeds).copy() for feeds in jobs["sorted"]]).astype(numpy.float32).tofile(word)
        answer = None
    else:
        start = time.perf_counter()
        for feeds in jobs[word]:
            encode(feeds)
        answer = {"milliseconds": (time.perf_counter() - start) * 1000}
    print(json.dumps(answer), flush=True)
