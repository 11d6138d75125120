"""training_step.py MODEL BATCH TOKENS: answers `step` with the milliseconds of one training step (forward, backward, AdamW) in PyTorch and
`memory` with the peak of this process."""

import json
import resource
import sys
import time

import torch
from transformers import AutoModel

torch.set_num_threads(2)
folder, batch, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = AutoModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False)
model.train()
for module in model.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
model.config.attention_probs_dropout_prob = 0.0
decayed = [p for p in model.parameters() if p.dim() > 1]
others = [p for p in model.parameters() if p.dim() <= 1]
optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}], lr=1e-5)
ids = torch.tensor([1000 + (i * 7919) % 3000 for i in range(batch * tokens)]).reshape(batch, tokens)
mask = torch.ones(batch, tokens, dtype=torch.int64)
for line in sys.stdin:
    if line.strip() == "memory":
        answer = {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "parameters": sum(p.numel() for p in model.parameters())}
    else:
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        loss = (hidden * hidden).mean()
        loss.backward()
        optimizer.step()
        answer = {"milliseconds": (time.perf_counter() - start) * 1000, "loss": loss.item()}
    print(json.dumps(answer), flush=True)
