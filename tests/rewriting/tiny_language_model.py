"""A Llama with random weights that speaks in fifty words, each a token: made in a moment, and real in all else."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXT = """
a an the of in on at by with and red blue green gold grey dark bright soft wide low high circle square dog cat
house tree hill river sea sky dawn dusk rain snow fog light shade oil ink photo sketch angle lens scene style
calm wild old new
"""
WORDS = TEXT.split()
TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '> ' + message['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make(folder: Path, template: str | None = TEMPLATE, context: int = 512) -> Path:
    names = ["<unk>", "</s>", "<system>", "<user>", "<assistant>", *WORDS]
    inner = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="</s>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(names),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=context,
        initializer_range=0.3,  # far from uniform, so that what is read matters
        bos_token_id=None,
        eos_token_id=[1, 10, 20, 30],  # so that answers end soon
        pad_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
