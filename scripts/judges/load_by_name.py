"""Pushes models and data to the hub that HF_ENDPOINT names and loads them by name."""
import json
import os
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from huggingface_hub import HfApi
from transformers import AutoModelForCausalLM, AutoTokenizer, MambaConfig, MambaForCausalLM

work = Path(os.environ["WORK"])

print("  a plain Mamba: push_to_hub, from_pretrained")
torch.manual_seed(1)
model = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4)).eval()
model.push_to_hub("alice/mamba", private=True)
ids = torch.arange(20)[None] % 64
again = AutoModelForCausalLM.from_pretrained("alice/mamba").eval()
with torch.no_grad():
    assert torch.equal(model(ids).logits, again(ids).logits)

print("  a swarm by name, with the Python of its repo")
swarm = AutoModelForCausalLM.from_pretrained("alice/swarm", trust_remote_code=True).eval()
tokenizer = AutoTokenizer.from_pretrained("alice/swarm", trust_remote_code=True)
tokenizer.push_to_hub("alice/tokenizer")
text = os.environ["PROMPT"]
assert AutoTokenizer.from_pretrained("alice/tokenizer")(text).input_ids == tokenizer(text).input_ids
out = swarm.generate(**tokenizer(text, return_tensors="pt"), do_sample=False, max_new_tokens=12)
answer = tokenizer.decode(out[0], skip_special_tokens=True)
ours = Path(os.environ["OURS"]).read_text()
assert answer.removeprefix(text).strip() == ours.strip(), (answer, ours)

print("  data: push_to_hub, load_dataset, a file of lines")
rows = [{"text": f"line {i}", "n": i} for i in range(100)]
Dataset.from_list(rows).push_to_hub("alice/rows")
assert load_dataset("alice/rows", split="train").to_list() == rows
lines = work / "train.jsonl"
lines.write_text("".join(json.dumps(r) + "\n" for r in rows))
api = HfApi()
api.create_repo("alice/lines", repo_type="dataset")
api.upload_file(path_or_fileobj=lines, path_in_repo="train.jsonl", repo_id="alice/lines", repo_type="dataset")
assert load_dataset("alice/lines", split="train").to_list() == rows
