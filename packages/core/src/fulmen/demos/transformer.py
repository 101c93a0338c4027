"""A small language model on text that is made on the spot: words in, the next word out.

```python
from fulmen import Trainer
from fulmen.demos.transformer import GeneratedText, LightningTransformer
from torch.utils.data import DataLoader

text = GeneratedText(sentences=200)
model = LightningTransformer(vocab_size=text.vocab_size)
trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False)
trainer.fit(model, DataLoader(text, batch_size=16, shuffle=True))
```
"""

from __future__ import annotations

import math
import os
import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from fulmen.module import LightningModule

#: What sentences are made of: who, does what, to what, where. A word decides which words may follow.
_SUBJECTS = {
    "baker": ("kneads", "sells"),
    "captain": ("steers", "repairs"),
    "gardener": ("waters", "sells"),
    "smith": ("forges", "repairs"),
    "teacher": ("reads", "repairs"),
}
_OBJECTS = {
    "forges": ("gate", "sword"),
    "kneads": ("dough",),
    "reads": ("letter", "map"),
    "repairs": ("gate", "sail"),
    "sells": ("bread", "roses"),
    "steers": ("ship",),
    "waters": ("roses",),
}
_PLACES = ("at dawn", "by the river", "in the market", "near the harbour")
_END = "<eos>"


class GeneratedText(Dataset[tuple[Tensor, Tensor]]):
    """Blocks of words from made-up sentences; the target is the same block, one word later.

    Args:
        block_size: words of a block.
        sentences: how many to make, of 8 or 9 words each.
        seed: the same seed makes the same text.
    """

    def __init__(self, block_size: int = 35, sentences: int = 1000, seed: int = 0) -> None:
        words = make_text(sentences, seed)
        #: all words, in the order of their numbers
        self.dictionary = sorted(set(words))
        number = {word: index for index, word in enumerate(self.dictionary)}
        #: the text as numbers of words, shape ``(words,)``
        self.data = torch.tensor([number[word] for word in words])
        self.block_size = block_size

    @property
    def vocab_size(self) -> int:
        """The number of different words."""
        return len(self.dictionary)

    def __len__(self) -> int:
        return (len(self.data) - 1) // self.block_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return words and next words, shape ``(block_size,)`` each."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = index * self.block_size
        end = start + self.block_size
        return self.data[start:end], self.data[start + 1 : end + 1]


class WikiText2(GeneratedText):
    """:class:`GeneratedText` under the name that programs of the field use; nothing is downloaded.

    Args:
        data_dir: accepted for programs that pass it.
        block_size: words of a block.
        download: accepted for programs that pass it.
    """

    def __init__(
        self, data_dir: str | os.PathLike[str] = "./data", block_size: int = 35, download: bool = True
    ) -> None:
        super().__init__(block_size)


def make_text(sentences: int, seed: int = 0) -> list[str]:
    """Return the words of made-up sentences, each closed by ``<eos>``."""
    choose = random.Random(seed)
    words: list[str] = []
    for _ in range(sentences):
        subject = choose.choice(list(_SUBJECTS))
        verb = choose.choice(_SUBJECTS[subject])
        thing = choose.choice(_OBJECTS[verb])
        words += f"the {subject} {verb} the {thing} {choose.choice(_PLACES)} {_END}".split()
    return words


class Transformer(nn.Module):
    """A language model that sees the words before a place, and no others.

    Args:
        vocab_size: different words.
        ninp: features of a word.
        nhead: attention heads.
        nhid: features inside of each layer.
        nlayers: layers.
        dropout: the share of features that training drops.
    """

    def __init__(
        self,
        vocab_size: int = 33278,
        ninp: int = 200,
        nhead: int = 2,
        nhid: int = 200,
        nlayers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, ninp)
        nn.init.normal_(self.embedding.weight, std=ninp**-0.5)  # of one size with the positions, once scaled
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(ninp, nhead, nhid, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, nlayers, nn.LayerNorm(ninp), enable_nested_tensor=False)
        self.decoder = nn.Linear(ninp, vocab_size)

    def forward(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return the log-probability of each next word.

        Args:
            inputs: numbers of words, shape ``(batch, length)``.
            target: accepted for programs that pass it; a model must not see what it predicts.

        Returns:
            Shape ``(batch * length, vocab_size)``, as ``nll_loss`` takes it with ``target.view(-1)``.
        """
        length = inputs.size(1)
        features = self.embedding(inputs)
        features = self.dropout(features * math.sqrt(features.size(-1)) + _positions(length, features))
        mask = nn.Transformer.generate_square_subsequent_mask(length, inputs.device, features.dtype)
        output = self.decoder(self.layers(features, mask=mask, is_causal=True))
        return functional.log_softmax(output, dim=-1).view(-1, self.vocab_size)


def _positions(length: int, like: Tensor) -> Tensor:
    """Return waves that tell places apart, shape ``(length, features)``; "Attention Is All You Need", section 3.5."""
    features = like.size(-1)
    place = torch.arange(length, device=like.device, dtype=like.dtype).unsqueeze(1)
    rate = torch.exp(torch.arange(0, features, 2, device=like.device, dtype=like.dtype) * (-math.log(1e4) / features))
    waves = torch.stack([torch.sin(place * rate), torch.cos(place * rate)], dim=-1)
    return waves.flatten(1)[:, :features]


class LightningTransformer(LightningModule):
    """Trains a :class:`Transformer` to guess the next word.

    Args:
        vocab_size: different words; those of :class:`GeneratedText` by default.
    """

    def __init__(self, vocab_size: int | None = None) -> None:
        super().__init__()
        self.model = Transformer(GeneratedText().vocab_size if vocab_size is None else vocab_size)

    def forward(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return the log-probability of each next word, shape ``(batch * length, vocab_size)``."""
        output: Tensor = self.model(inputs, target)
        return output

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Any:
        inputs, target = batch
        return functional.nll_loss(self(inputs, target), target.view(-1))

    def configure_optimizers(self) -> Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=0.1)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return DataLoader(GeneratedText())
