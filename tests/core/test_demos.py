"""The demos: the same numbers as the field's, a program that copies nothing, text that can be learnt."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import fulmen
from fulmen.demos.boring_classes import (
    BoringDataModule,
    BoringDataModuleNoLen,
    BoringModel,
    DemoModel,
    IterableBoringDataModule,
    ManualOptimBoringModel,
    Net,
    RandomDataset,
    RandomDictDataset,
    RandomIterableDataset,
    RandomIterableDatasetWithLen,
)
from fulmen.demos.transformer import GeneratedText, LightningTransformer, Transformer, WikiText2, make_text


def trainer(**options: Any) -> fulmen.Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "limit_train_batches": 3,
        "limit_val_batches": 2,
        "limit_test_batches": 2,
        "limit_predict_batches": 2,
        "max_epochs": 1,
    }
    return fulmen.Trainer(**(quiet | options))


def losses_of(model: type[BoringModel], data: type[fulmen.LightningDataModule] | None) -> list[float]:
    fulmen.seed_everything(7)
    losses: list[float] = []

    class Noting(model):  # type: ignore[valid-type, misc]
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            losses.append(float(outputs["loss"]))

    trainer().fit(Noting(), datamodule=None if data is None else data())
    return losses


@pytest.mark.parametrize(
    ("model", "data", "losses"),
    [
        (BoringModel, None, [1.4557974338531494, 0.666047215461731, 0.3522827625274658]),
        (ManualOptimBoringModel, None, [1.4557974338531494, 0.666047215461731, 0.3522827625274658]),
        (BoringModel, BoringDataModule, [1.4557974338531494, 0.666047215461731, 0.3522827625274658]),
        (BoringModel, BoringDataModuleNoLen, [0.5539157390594482, 0.6372895240783691, 0.241344153881073]),
    ],
)
def test_losses_are_those_of_the_field(
    model: type[BoringModel], data: type[fulmen.LightningDataModule] | None, losses: list[float]
) -> None:
    # Made by running this program with Lightning 2.6.6 and its classes of these names.
    assert losses_of(model, data) == pytest.approx(losses, rel=1e-6)


@pytest.mark.parametrize("data", [None, BoringDataModule, BoringDataModuleNoLen])
def test_every_entry_point_runs(data: type[fulmen.LightningDataModule] | None) -> None:
    model, datamodule = BoringModel(), None if data is None else data()
    run = trainer()
    run.fit(model, datamodule=datamodule)
    assert run.global_step == 3
    run.validate(model, datamodule=datamodule, verbose=False)
    run.test(model, datamodule=datamodule, verbose=False)
    predictions = run.predict(model, datamodule=datamodule)
    assert [prediction.shape for prediction in predictions] == [(1, 2), (1, 2)]


def test_several_loaders_of_both_kinds() -> None:
    data = IterableBoringDataModule()
    for stage, length in (("fit", 16), ("validate", 32), ("test", 64), ("predict", 128)):
        data.setup(stage)
        name = {"fit": "train", "validate": "val"}.get(stage, stage)
        loaders = getattr(data, f"{name}_dataloader")()
        assert [len(list(loader)) for loader in loaders] == [length, length]
        assert next(iter(loaders[0])).shape == (1, 4)


def test_datasets() -> None:
    dataset, pairs = RandomDataset(3, 5), RandomDictDataset(3, 5)
    assert (len(dataset), dataset[4].shape) == (5, (3,))
    assert len(pairs) == 5
    assert torch.equal(pairs[1]["b"], pairs[1]["a"] + 2)
    stream, counted = RandomIterableDataset(3, 5), RandomIterableDatasetWithLen(3, 5)
    assert [sample.shape for sample in stream] == [sample.shape for sample in counted] == [(3,)] * 5
    assert len(counted) == 5
    with pytest.raises(TypeError):
        len(stream)  # type: ignore[arg-type]


def test_the_model_with_hyperparameters_and_the_network_for_pictures() -> None:
    model = DemoModel(out_dim=4)
    run = trainer(limit_val_batches=0)
    run.fit(model, DataLoader(RandomDataset(32, 6), batch_size=2))
    assert run.global_step == 3
    assert model(torch.zeros(2, 4, 8)).shape == (2, 4)
    assert Net()(torch.zeros(2, 1, 28, 28)).exp().sum(1).tolist() == pytest.approx([1, 1])


# ------------------------------------------------------------------------------------------------- text


def test_the_text_is_made_of_sentences_and_by_its_seed() -> None:
    words = make_text(3)
    assert words.count("<eos>") == 3
    assert words[0] == "the"
    assert make_text(50) == make_text(50) != make_text(50, seed=1)


def test_a_target_is_the_next_word() -> None:
    text = GeneratedText(block_size=5, sentences=20)
    words = [text.dictionary[index] for index in text.data]
    assert words == make_text(20)
    inputs, target = text[2]
    assert [text.dictionary[index] for index in inputs] == words[10:15]
    assert [text.dictionary[index] for index in target] == words[11:16]
    assert len(list(iter(text))) == len(text) == (len(words) - 1) // 5  # type: ignore[call-overload]
    assert len(text[len(text) - 1][1]) == 5


def test_the_fields_name_for_text_downloads_nothing() -> None:
    text = WikiText2("/nowhere", block_size=10)
    assert len(text[0][0]) == 10
    assert text.vocab_size == GeneratedText().vocab_size == LightningTransformer().model.vocab_size


def test_a_word_sees_only_those_before_it() -> None:
    torch.manual_seed(0)
    model = Transformer(vocab_size=11, ninp=7 * 2, nhid=8).eval()
    inputs = torch.randint(0, 11, (1, 6))
    changed = inputs.clone()
    changed[0, 4] = (inputs[0, 4] + 1) % 11
    before, after = model(inputs), model(changed, target=inputs)
    assert before.shape == (6, 11)
    assert before.exp().sum(1).tolist() == pytest.approx([1.0] * 6, rel=1e-5)
    assert torch.allclose(before[:4], after[:4], atol=1e-6)
    assert not torch.allclose(before[4], after[4], atol=1e-3)


def test_the_model_learns_what_follows_what() -> None:
    fulmen.seed_everything(0)
    text = GeneratedText(block_size=16, sentences=300)
    model = LightningTransformer(text.vocab_size)
    losses: list[float] = []

    class Noting(fulmen.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: dict[str, Tensor], *_: Any) -> None:
            losses.append(float(outputs["loss"]))

    loader = DataLoader(text, batch_size=16, shuffle=True)
    trainer(limit_train_batches=1.0, max_epochs=4, callbacks=[Noting()]).fit(model, loader)
    shares = torch.bincount(text.data) / len(text.data)
    by_frequency_alone = -(shares * shares.log()).sum()  # what a model reaches that looks at no word
    assert losses[0] > math.log(text.vocab_size) * 0.9
    assert losses[-1] < 0.6 * by_frequency_alone
