"""A small transformer that writes dates: gradient accumulation, a warm-up per step, clipping, samples while it learns.

python examples/language_model.py
"""

from __future__ import annotations

import argparse
import math
import random

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

import fulmen as pl
from fulmen.callbacks import LearningRateMonitor, ModelCheckpoint

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october")
MONTHS += ("november", "december")
LETTERS = sorted(set("".join(MONTHS) + "0123456789 :\n"))
CODE = {letter: code for code, letter in enumerate(LETTERS)}


class Dates(Dataset[Tensor]):
    """Lines such as ``07 20: july 20``, the month to be named; each is a tensor of codes."""

    def __init__(self, count: int, seed: int) -> None:
        dice = random.Random(seed)
        self.lines = [self.line(dice) for _ in range(count)]

    @staticmethod
    def line(dice: random.Random) -> str:
        month, day = dice.randint(1, 12), dice.randint(1, 28)
        return f"{month:02} {day:02}: {MONTHS[month - 1]} {day}\n".ljust(20, "\n")

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([CODE[letter] for letter in self.lines[index]])


class LanguageModel(pl.LightningModule):
    """Predicts each letter from those before it."""

    def __init__(self, width: int = 64, layers: int = 2, lr: float = 3e-3, warm_up_steps: int = 20) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.letters = nn.Embedding(len(LETTERS), width)
        self.places = nn.Embedding(20, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Linear(width, len(LETTERS))

    def forward(self, codes: Tensor) -> Tensor:
        """Return scores of the next letter, ``(batch, length, letters)``, for ``(batch, length)`` codes."""
        length = codes.shape[1]
        future = nn.Transformer.generate_square_subsequent_mask(length, device=codes.device)
        x = self.letters(codes) + self.places(torch.arange(length, device=codes.device))
        return self.out(self.encoder(x, mask=future, is_causal=True))

    def loss(self, codes: Tensor) -> Tensor:
        scores = self(codes[:, :-1])
        return nn.functional.cross_entropy(scores.flatten(0, 1), codes[:, 1:].flatten())

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch), prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.log("val_perplexity", math.exp(float(self.trainer.callback_metrics["val_loss"])))

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr, weight_decay=0.01)
        warm_up, total = self.hparams.warm_up_steps, self.trainer.estimated_stepping_batches

        def factor(step: int) -> float:
            """Rise to 1 over the warm-up, then fall as a cosine to 0."""
            if step < warm_up:
                return (step + 1) / warm_up
            return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))

        schedule = {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    @torch.no_grad()
    def write(self, start: str) -> str:
        """Continue a text, always with the likeliest letter, to the end of the line."""
        text = start
        while "\n" not in text and len(text) < 20:
            codes = torch.tensor([[CODE[letter] for letter in text]], device=self.device)
            text += LETTERS[int(self(codes)[0, -1].argmax())]
        return text.rstrip("\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-epochs", type=int, default=4)
    options = parser.parse_args()

    pl.seed_everything(1)
    train = DataLoader(Dates(2000, seed=0), batch_size=32, shuffle=True)
    val = DataLoader(Dates(300, seed=1), batch_size=100)
    model = LanguageModel()
    best = ModelCheckpoint(monitor="val_loss", filename="{epoch}-{val_loss:.3f}")
    trainer = pl.Trainer(
        max_epochs=options.max_epochs,
        accumulate_grad_batches=2,  # 64 lines a step
        gradient_clip_val=1.0,
        logger="csv",
        log_every_n_steps=5,
        callbacks=[best, LearningRateMonitor("step")],
    )
    trainer.fit(model, train, val)

    print(f"\nperplexity {float(trainer.callback_metrics['val_perplexity']):.3f} over {trainer.global_step} steps")
    model = LanguageModel.load_from_checkpoint(best.best_model_path).eval()
    for start in ("07 20:", "11 09:", "01 01:"):
        print(model.write(start))


if __name__ == "__main__":
    main()
