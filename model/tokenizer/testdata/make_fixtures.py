"""Writes the fixtures of this folder with HuggingFace's Python library, Jinja and SentencePiece.

    pip install tokenizers==0.23.3 transformers==5.23.0 jinja2==3.1.6 sentencepiece==0.2.3
    python make_fixtures.py

The tests read the files; they do not need Python.
"""

import json
import os

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = os.path.dirname(os.path.abspath(__file__))
MINI = os.path.join(HERE, "../../../weights/mamba2-mini/tokenizer.json")

AWKWARD = [
    "", " ", "  ", "\n", "\n\n", " \n ", "\t", "a", " a", "a ", "  a  ", "   a   b",
    "Hello, world!", "it's we've I'll they'd he'S 'tis ''s 's", "don't  can't",
    "12345 1,000.50 ½ ² Ⅷ ٣", "a1b2 c3", "x=1;y=2", "...!!!???", "a...b", "a !b! c",
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftex", "<|ENDOFTEXT|>",
    "naïve café", "nai\u0308ve cafe\u0301", "Å \u212b A\u030a", "ﬁ ﬂ ｆｕｌｌ", "日本語の文章", "中文 空格", "한국어", "العربية ١٢", "हिन्दी",
    "🙂", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "👍🏽", "e\u0301\u0302\u0303", "\u200b\u200d\ufeff", "\u00a0\u2003\u3000x", "\u2028\u2029\u0085",
    "\r\n\r\n", "\x0b\x0c", "\x01\x02\x7f", "\ufffd", "\U0010ffff", "\ue000", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𐍈𐌰", "ǅ ß ẞ İ ı",
    "a" * 300, " " * 300, "ab" * 200, "a " * 100, "é" * 100, "🙂" * 50, "!" * 300, "\n" * 100, "1" * 300,
    "def f(x):\n    return x\n\n\nclass A:\n\tpass\n", "    if (a && b) {\n\t\tc->d = e[i];\n    }",
    "https://example.org/a?b=c&d=e#f", "user@example.org", "snake_case camelCase", "C++ C# F# .NET",
    "\"quoted\" 'single' `back`", "a\\nb", "{\"k\": [1, 2.5e-3, null]}", "∑ᵢ xᵢ² ≤ √n", "Ω≈ç√∫˜µ≤≥÷",
    "<s>", "  two", "[PAD]", "a  b   c    d     e", "word[MASK]word", "word [MASK] word", " ab ", "mask tail  x",
]


def dump(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=True, indent=1)
        f.write("\n")


def lines():
    with open(os.path.join(HERE, "corpus.txt"), encoding="utf-8") as f:
        return f.read().splitlines(keepends=True)


def byte_offsets(text, offsets):
    """Python counts characters, the Go package bytes."""
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [[at[a], at[b]] for a, b in offsets]


def cases(tok, texts):
    out = []
    for text in texts:
        e, p = tok.encode(text), tok.encode(text, add_special_tokens=False)
        out.append({
            "text": text, "ids": e.ids, "plain": p.ids, "offsets": byte_offsets(text, e.offsets),
            "decoded": tok.decode(e.ids, skip_special_tokens=False), "skipped": tok.decode(e.ids),
        })
    return out


def trained(vocab, special, min_frequency=2, **pre):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(**pre)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, min_frequency=min_frequency, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tok.train_from_iterator(lines(), trainer)
    return tok


def save(tok, name):
    os.makedirs(os.path.join(HERE, name), exist_ok=True)
    tok.save(os.path.join(HERE, name, "tokenizer.json"))
    dump(name + "/cases.json", cases(tok, AWKWARD))


def neox():
    """GPT-NeoX's layout, which the published Mamba models use: NFC, tokens of spaces, trimmed offsets."""
    tok = trained(420, ["<|endoftext|>", "<|padding|>"], add_prefix_space=False)
    tok.normalizer = normalizers.NFC()
    tok.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tok.add_tokens([AddedToken(" " * n, normalized=True) for n in range(2, 12)])
    save(tok, "neox")


def prefix():
    """A leading space is added; added tokens of every kind."""
    tok = trained(400, ["<s>", "</s>"], add_prefix_space=True)
    tok.post_processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=True)
    tok.add_special_tokens([AddedToken("[MASK]", lstrip=True), AddedToken("[PAD]", rstrip=True)])
    tok.add_tokens([AddedToken("ab", single_word=True), AddedToken("mask", normalized=False), AddedToken("mask tail")])
    save(tok, "prefix")


def training():
    out = []
    for vocab, least in [(300, 0), (400, 2), (700, 2), (2000, 3), (5000, 1)]:
        tok = json.loads(trained(vocab, ["<|endoftext|>", "<|pad|>"], least, add_prefix_space=False).to_str())
        out.append({"vocab_size": vocab, "min_frequency": least, "vocab": tok["model"]["vocab"], "merges": tok["model"]["merges"]})
    dump("train.json", out)


def unigram():
    """A tokenizer.json that is not byte-level BPE, with Llama's decoder: byte tokens and a stripped space."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0)] + [(f"<0x{b:02X}>", -10.0) for b in range(256)]
    pieces += [(p, -2.0 - 0.1 * i) for i, p in enumerate(["▁", "▁the", "▁a", "e", "t", "h", "o", "s", "n", "▁en", "co", "de", "r", "é", "."])]
    tok = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    tok.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tok.add_special_tokens(["<s>"])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tok.enable_truncation(8)
    save_texts = ["", "the encoder", "the 日本語 encoder.", "🙂🙂 the", "é a<s>the", "  the  the "]
    os.makedirs(os.path.join(HERE, "unigram"), exist_ok=True)
    tok.save(os.path.join(HERE, "unigram", "tokenizer.json"))
    tok.no_truncation()
    dump("unigram/cases.json", cases(tok, save_texts))


def spm(name, **options):
    os.makedirs(os.path.join(HERE, name), exist_ok=True)
    path = os.path.join(HERE, name, "tokenizer.model")
    with open(path, "wb") as f:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(l.rstrip("\n") for l in lines()), model_writer=f, vocab_size=480,
            hard_vocab_limit=False, character_coverage=0.98, minloglevel=2, **options)
    p = sentencepiece.SentencePieceProcessor(model_file=path)
    out = []
    for text in AWKWARD:
        ids = p.encode(text)
        out.append({"text": text, "plain": ids, "decoded": p.decode(ids)})
    dump(name + "/cases.json", out)
    dump(name + "/tokenizer_config.json", {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False,
        "bos_token": {"__type": "AddedToken", "content": "<s>"}, "eos_token": "</s>", "unk_token": "<unk>"})


TEMPLATES = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "header": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "inst": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "blocks": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "features": "{{- bos_token }}\n{%- set ns = namespace(found=false, n=0) %}\n{%- if not tools is defined %}{%- set tools = none %}{%- endif %}\n{%- for m in messages[::-1] %}\n    {%- if m.role == \"user\" and not ns.found %}{% set ns.found = true %}{%- endif %}\n    {%- set ns.n = ns.n + 1 %}\n    {{- m.role | upper }}: {{ m.content | tojson }}{{ loop.first ~ loop.last ~ loop.length }}\n    {%- if loop.index > 2 %}{% break %}{% endif %}\n{%- endfor %}\n{{ ns.n }} {{ messages | length }} {{ messages[0].content.split(' ')[0] }} {{ tools is none }}\n{%- macro f(a, b='z') %}[{{ a }}{{ b }}]{% endmacro %}{{ f('q') }}\n{# comment #}\n  {% if true %}\n    kept\n  {% endif %}\n{% for m in messages if m.role != 'system' %}{{ m.role }}{% if not loop.last %},{% endif %}{% endfor %}\n{{ {'a': 1, 'b': [1, 2.5, none, true, 'é\"<']} | tojson }}\n{{ {'a': {'b': []}, 'c': [1, {}]} | tojson(indent=2) }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages[0].get('x', 'd') }}",
}
TALKS = [
    [("user", "Hi")],
    [("user", " Hi \"you\"\n"), ("assistant", "Hello, <b>Ünï</b> & 日本."), ("user", "Bye")],
    [("system", "Be brief & kind."), ("user", "One"), ("assistant", "1"), ("user", "Two")],
    [("user", "One"), ("user", "Two")],
]


def chat():
    out = []
    for name, source in TEMPLATES.items():
        template = _compile_jinja_template(source)
        for talk in TALKS:
            for prompt in (False, True):
                messages = [{"role": r, "content": c} for r, c in talk]
                case = {"name": name, "template": source, "messages": messages, "prompt": prompt}
                try:
                    case["want"] = template.render(
                        messages=messages, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>")
                except Exception as e:  # what raise_exception raises
                    case["error"] = str(e)
                out.append(case)
    dump("chat.json", out)


if __name__ == "__main__":
    dump("mini.json", cases(Tokenizer.from_file(MINI), AWKWARD))
    neox()
    prefix()
    training()
    unigram()
    identity = dict(model_type="bpe", normalization_rule_name="identity", remove_extra_whitespaces=False, byte_fallback=True)
    spm("spm", add_dummy_prefix=False, **identity)
    spm("spm_prefix", add_dummy_prefix=True, user_defined_symbols=["[MASK]"], **identity)
    chat()
