"""Adaptation: which texts are used, how they are packed and masked, what is learned, and what a kill changes: nothing.

Run as a script, this file is the process that the tests kill and start again.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import training_support as support
import xlsxwriter

from textclf.config import AdaptConfig, Home, ModelSource
from textclf.data.collect import check_texts, collect
from textclf.errors import ConfigError, DataError, HubError, ModelError
from textclf.fetching import fetch_model
from textclf.model.tokens import load_tokenizer
from textclf.records import AdaptedEncoder, CollectedTexts, FetchedModel, PackedTexts
from textclf.registry.encoders import fetch_encoder, register_encoder
from textclf.store import file_sha256
from textclf.tracking.runs import adaptation_run, run_folder
from textclf.tracking.store import TrackingStore
from textclf.training.adapt import adapt, make_trainer
from textclf.training.packing import MASKED_FIRST, SPECIAL, TEXT_START, WORD_START, pack, read_sequences

PLACES = ("房间", "早餐", "前台", "电池", "屏幕", "键盘", "故事", "翻译", "窗户", "走廊", "停车场", "自助餐")
WORDS = ("干净", "明亮", "安静", "宽敞", "漂亮", "舒服", "流畅", "清晰", "耐用", "精彩", "生动", "感人", "便宜")
LENGTH = 32


def make_texts(count: int, seed: int = 1) -> list[str]:
    chance = random.Random(seed)
    return [
        "，".join(
            f"{chance.choice(PLACES)}{chance.choice(('很', '非常', '真'))}{chance.choice(WORDS)}" for _ in range(4)
        )
        for _ in range(count)
    ]


def write_texts(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["text", *texts]) + "\n", encoding="utf-8")
    return path


def make_config(*files: Path, model: Any = None, held_out: tuple[Path, ...] = (), **adaptation: Any) -> AdaptConfig:
    return AdaptConfig.model_validate(
        {
            "data": {"name": "tiny", "files": files, "held_out": held_out, "validation_fraction": 0.1},
            "model": model or {"architecture": {**support.TINY, "vocabulary_size": 300}},
            "adaptation": {
                "learning_rate": 5e-3,
                "sequence_length": LENGTH,
                "per_device_train_batch_size": 8,
                "mixed_precision": "no",
                **adaptation,
            },
        }
    )


def read_texts(texts: CollectedTexts, split: str) -> list[str]:
    found: list[str] = pq.read_table(texts.folder / f"{split}.parquet")["text"].to_pylist()
    return found


def make_packed(config: AdaptConfig, home: Home) -> tuple[PackedTexts, FetchedModel | None]:
    sources = config.model.sources
    model = fetch_model(sources, home=home) if sources else None
    texts = collect(config.data, cleaning=config.cleaning, folder=home.prepared)
    return pack_texts(texts, model, config, home), model


def pack_texts(texts: CollectedTexts, model: FetchedModel | None, config: AdaptConfig, home: Home) -> PackedTexts:
    return pack(
        texts,
        model,
        architecture=config.model.architecture,
        adaptation=config.adaptation,
        folder=home.prepared,
    )


def start(home: Home, config: AdaptConfig, keep: Path, *, kill_at_step: int | None = None) -> dict[str, Any]:
    """Adapts and registers as the flow does; `keep` is a new folder for the encoder."""
    from textclf.tracking.metric_log import MetricLog

    packed, model = make_packed(config, home)
    store = TrackingStore.open(home)
    with adaptation_run(home, config=config, packed=packed, fetched=model, tags={}) as run_id:
        folder = run_folder(home, run_id)
        with MetricLog(store, run_id, folder) as metrics:

            def log(values: dict[str, float], step: int) -> None:
                metrics.log(values, step)
                if step == kill_at_step and "train/loss" in values:
                    os.kill(os.getpid(), signal.SIGKILL)

            adapted = run_adapt(packed, model, config, folder, run_id, log)
        shutil.copytree(adapted.folder, keep)
        registered = register_encoder(adapted, config.data.registered_name, store)
    weights = file_sha256(keep / "model.safetensors")
    return {
        "run_id": run_id,
        "weights": weights,
        "version": registered.version,
        "record": adapted.model_dump(mode="json"),
    }


def run_adapt(
    packed: PackedTexts, model: FetchedModel | None, config: AdaptConfig, folder: Path, run_id: str, log: Any
) -> AdaptedEncoder:
    return adapt(
        packed, model, model=config.model, adaptation=config.adaptation, run_id=run_id, folder=folder, log_metrics=log
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    wanted = json.loads(sys.argv[1])
    home = support.make_home(Path(wanted["home"]))
    config = AdaptConfig.model_validate(wanted["config"])
    print(json.dumps(start(home, config, Path(wanted["keep"]), kill_at_step=wanted["kill_at_step"])))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("texts") / "texts.tsv", make_texts(600))


@pytest.fixture(scope="module")
def adapted_home(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[str, Any]]:
    """A home in which an encoder was adapted and registered."""
    home = support.make_home(tmp_path_factory.mktemp("adapted"))
    return home, start(home, make_config(texts, num_train_epochs=4), home.root / "kept")


class TestTexts:
    def test_files_of_all_kinds_give_each_text_once_and_no_broken_row_is_lost_from_the_counts(
        self, tmp_path: Path
    ) -> None:
        ours = make_texts(12)
        write_texts(tmp_path / "a" / "one.tsv", [*ours[:3], ours[0], "   "])
        with gzip.open(tmp_path / "a" / "two.jsonl.gz", "wt", encoding="utf-8") as file:
            rows: list[Any] = [{"text": ours[3]}, {"text": None}, {"text": 7}, {"text": f"{ours[4]}<br/>"}]
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            file.write("not JSON\n")
        (tmp_path / "a" / "three.csv").write_bytes(("text\n" + "\n".join(ours[5:8]) + "\n").encode("gb18030"))
        with xlsxwriter.Workbook(tmp_path / "a" / "four.xlsx") as workbook:
            workbook.add_worksheet().write_column(0, 0, ["text", *ours[8:11]])
        # A copy in another width is held out, too.
        held_out = write_texts(tmp_path / "test.tsv", [ours[9].replace("，", ","), ours[11]])
        config = make_config(tmp_path / "a", held_out=(held_out,))
        check_texts(config)

        found = collect(config.data, cleaning=config.cleaning, folder=tmp_path / "prepared")

        counts = found.counts
        assert (counts.files, counts.read, counts.kept, counts.held_out, counts.copies) == (4, 16, 10, 1, 1)
        assert sum(counts.broken.values()) == 4
        kept = [
            text
            for split in found.rows
            for text in pq.read_table(found.folder / f"{split}.parquet")["text"].to_pylist()
        ]
        assert sorted(kept) == sorted(
            text.replace("，", ",") for number, text in enumerate(ours) if number not in (9, 11)
        )
        assert collect(config.data, cleaning=config.cleaning, folder=tmp_path / "prepared").cached

    def test_which_texts_validate_does_not_depend_on_their_order(self, tmp_path: Path) -> None:
        ours = make_texts(200)
        found = []
        for number, order in enumerate((ours, ours[::-1])):
            config = make_config(write_texts(tmp_path / f"{number}.tsv", order))
            texts = collect(config.data, cleaning=config.cleaning, folder=tmp_path / "prepared")
            found.append(sorted(read_texts(texts, "validation")))
        assert found[0] == found[1]
        assert 5 < len(found[0]) < 45

    def test_all_files_that_cannot_be_used_are_named_before_the_work_begins(self, tmp_path: Path) -> None:
        other = tmp_path / "other.csv"
        other.write_text("content\n很好\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"data\.files cannot be used:(.|\n)*no-such(.|\n)*lacks 'text'"):
            check_texts(make_config(tmp_path / "no-such.csv", other))

    def test_no_usable_text_is_an_error_with_the_reasons(self, tmp_path: Path) -> None:
        config = make_config(write_texts(tmp_path / "empty.tsv", ["  ", "\u200b"]))
        with pytest.raises(DataError, match=r"none of the 2 rows can be used.*empty text"):
            collect(config.data, cleaning=config.cleaning, folder=tmp_path / "prepared")


class TestPacking:
    def test_sequences_hold_the_texts_in_order_with_the_borders_of_texts_and_words(self, tmp_path: Path) -> None:
        ours = make_texts(300)
        config = make_config(write_texts(tmp_path / "texts.tsv", ours))
        home = support.make_home(tmp_path / "home")
        packed, _ = make_packed(config, home)
        tokenizer = load_tokenizer(packed.folder / "tokenizer")
        sequences = read_sequences(packed, "train")
        assert sequences.ids.shape == (packed.sequences["train"], LENGTH) == sequences.flags.shape
        ids, flags = sequences.ids.ravel(), sequences.flags.ravel()
        starts = np.flatnonzero(flags & TEXT_START)
        assert (ids[starts] == tokenizer.cls_token_id).all()
        first = ids[starts[0] : starts[1]]
        texts = collect(config.data, cleaning=config.cleaning, folder=home.prepared)
        text = read_texts(texts, "train")[0]
        assert tokenizer.decode(first, skip_special_tokens=True).replace(" ", "") == text
        words = "".join(
            f"|{token}" if flag & WORD_START else token
            for token, flag in zip(tokenizer.convert_ids_to_tokens(first), flags[starts[0] : starts[1]], strict=True)
            if not flag & SPECIAL
        )
        assert any(f"|{word}|" in f"{words}|" for word in WORDS)
        assert not any(f"|{word[0]}|{word[1]}|" in f"{words}|" for word in WORDS)
        assert packed.unknown_share == 0

    def test_too_little_text_says_how_much_is_needed(self, tmp_path: Path) -> None:
        home = support.make_home(tmp_path / "home")
        few = make_config(write_texts(tmp_path / "few.tsv", ["房间干净", "早餐好吃", "服务热情", "位置方便"]))
        with pytest.raises(DataError, match=r"too few for a vocabulary: they have \d+ different.* 45 are needed"):
            make_packed(few, home)
        short = make_config(write_texts(tmp_path / "short.tsv", make_texts(30)), per_device_train_batch_size=64)
        with pytest.raises(DataError, match=r"too little text: it fills \d+ sequences .*One step needs 64"):
            make_packed(short, home)

    def test_a_tokenizer_without_a_mask_is_refused(self, texts: Path, tmp_path: Path) -> None:
        source = {"provider": "local", "path": str(pretrained_without_mask(tmp_path / "model"))}
        config = make_config(texts, model={"sources": [source]})
        with pytest.raises(ModelError, match=r"has no mask token such as \[MASK\]"):
            make_packed(config, support.make_home(tmp_path / "home"))


def pretrained_without_mask(folder: Path) -> Path:
    support.make_pretrained(folder, make_texts(100))
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings.update(mask_token=None, tokenizer_class="PreTrainedTokenizerFast")
    file.write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def packed(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedTexts:
    return make_packed(make_config(texts), support.make_home(tmp_path_factory.mktemp("packed")))[0]


class TestMasks:
    def masked(self, packed: PackedTexts, share: float = 0.2, seed: int = 5) -> Any:
        from textclf.training.masking import MaskedSequences

        ordinary = np.arange(5, packed.vocabulary_size)
        return MaskedSequences(
            read_sequences(packed, "train"), share=share, first_token=False, mask_id=4, ordinary=ordinary, seed=seed
        )

    @pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
    def test_whole_words_are_masked_as_often_as_asked(self, packed: PackedTexts, share: float) -> None:
        from textclf.training.masking import IGNORED

        rows, flags = self.masked(packed, share), read_sequences(packed, "train").flags
        masked = np.stack([rows[index]["labels"] != IGNORED for index in range(len(rows))])
        assert abs(masked.mean() - share) < 0.02
        assert not (masked & (flags & SPECIAL != 0)).any()
        # A token that continues a word has the fate of the token before.
        goes_on = (flags[:, 1:] & (WORD_START | SPECIAL)) == 0
        assert goes_on.sum() > 1000
        assert (masked[:, 1:] == masked[:, :-1])[goes_on].all()

    def test_masked_tokens_become_the_mask_another_token_or_stay(self, packed: PackedTexts) -> None:
        from textclf.training.masking import IGNORED

        rows, ids = self.masked(packed), read_sequences(packed, "train").ids
        shown = np.stack([rows[index]["input_ids"] for index in range(len(rows))])
        labels = np.stack([rows[index]["labels"] for index in range(len(rows))])
        masked = labels != IGNORED
        assert (shown[~masked] == ids[~masked]).all()
        assert (labels[masked] == ids[masked]).all()
        assert abs((shown[masked] == 4).mean() - 0.8) < 0.03
        assert abs((shown[masked] == ids[masked]).mean() - 0.1) < 0.03

    def test_words_that_are_masked_first_are_always_masked_and_the_first_token_guesses_them(
        self, tmp_path: Path
    ) -> None:
        from textclf.training.masking import IGNORED, MaskedSequences

        # jieba knows neither as a word; in the second text there is none.
        ours = [f"{text}{('五星赞', '', '👎👎')[number % 3]}" for number, text in enumerate(make_texts(300))]
        config = make_config(
            write_texts(tmp_path / "texts.tsv", ours), masked_first=["五星赞", "👎👎"], first_token=True
        )
        packed, _ = make_packed(config, support.make_home(tmp_path / "home"))
        sequences = read_sequences(packed, "train")
        first = sequences.flags & MASKED_FIRST != 0
        tokenizer = load_tokenizer(packed.folder / "tokenizer")
        words = tokenizer.convert_ids_to_tokens(sequences.ids[first].tolist())
        others = tokenizer.convert_ids_to_tokens(sequences.ids[~first].tolist())
        assert set("".join(words)) == set("五星赞👎")
        assert not set("".join(others)) & set("五星赞👎")
        rows = MaskedSequences(sequences, share=0.15, first_token=True, mask_id=4, ordinary=np.arange(5, 20), seed=1)
        guessed = {"of a rating": 0, "of another word": 0}
        for index in range(len(rows)):
            row, ids, flags = rows[index], sequences.ids[index], sequences.flags[index]
            assert (row["labels"][first[index]] == ids[first[index]]).all()
            starts = np.flatnonzero(flags & TEXT_START)
            for start in starts:
                mine = (row["texts"] == row["texts"][start]) & (row["labels"] != IGNORED)
                mine[start] = False
                rated = mine & first[index]
                wanted = ids[rated if rated.any() else mine]
                assert row["labels"][start] in (wanted if len(wanted) else [IGNORED])
                assert row["input_ids"][start] == ids[start]
                if len(wanted):
                    guessed["of a rating" if rated.any() else "of another word"] += 1
        assert min(guessed.values()) > 30, guessed

    def test_each_pass_has_masks_of_its_own_and_they_can_be_had_again(self, packed: PackedTexts) -> None:
        rows, again = self.masked(packed), self.masked(packed)
        first, second = rows[0], rows[len(rows)]
        assert (first["labels"] != second["labels"]).any()
        for item in (0, len(rows), 3 * len(rows) + 1):
            assert all((rows[item][name] == again[item][name]).all() for name in first)


def places_in_texts(texts: list[int]) -> list[int]:
    return [place - texts.index(text) for place, text in enumerate(texts)]


class TestTraining:
    def trainer(self, texts: Path, folder: Path) -> tuple[Any, Any]:
        config = make_config(texts)
        packed, _ = make_packed(config, support.make_home(folder))
        trainer = make_trainer(packed, None, config.model, config.adaptation, folder / "run", lambda values, step: None)
        trainer.model.eval()
        return trainer, next(iter(trainer.get_train_dataloader()))

    def test_the_loss_is_that_of_the_masked_tokens_alone(self, texts: Path, tmp_path: Path) -> None:
        import torch

        trainer, batch = self.trainer(texts, tmp_path)
        masked = batch["labels"] != -100
        with torch.no_grad():
            logits, wanted = trainer.guess(trainer.model, batch)
            alone = batch["texts"][:, :, None] == batch["texts"][:, None, :]
            positions = torch.tensor([places_in_texts(row) for row in batch["texts"].tolist()])
            whole = trainer.model(
                input_ids=batch["input_ids"], attention_mask=alone[:, None], position_ids=positions
            ).logits
        assert logits.shape == (int(masked.sum()), trainer.model.config.vocab_size)
        torch.testing.assert_close(logits, whole[masked])
        assert (wanted == batch["labels"][masked]).all()

    def test_texts_of_one_sequence_do_not_see_each_other(self, texts: Path, tmp_path: Path) -> None:
        import torch

        trainer, batch = self.trainer(texts, tmp_path)
        place = int((batch["texts"][0] == 1).nonzero()[0])
        other = {name: tensor.clone() for name, tensor in batch.items()}
        other["input_ids"][0, :place] = 7
        with torch.no_grad():
            logits, same = trainer.guess(trainer.model, batch)[0], trainer.guess(trainer.model, other)[0]
        before = int((batch["labels"][0, :place] != -100).sum())
        torch.testing.assert_close(logits[before:], same[before:])
        assert before == 0 or not torch.allclose(logits[:before], same[:before])

    def test_it_learns_and_its_curve_is_in_mlflow(self, adapted_home: tuple[Home, dict[str, Any]]) -> None:
        home, result = adapted_home
        record = result["record"]
        assert record["loss"] < record["loss_before"] - 1
        assert record["masked_accuracy"] > 0.15
        client = support.connect(home)
        run = client.get_run(result["run_id"])
        assert run.info.status == "FINISHED"
        curve = {point.step: point.value for point in client.get_metric_history(result["run_id"], "validation/loss")}
        assert curve[0] == pytest.approx(record["loss_before"])
        assert min(curve.values()) == pytest.approx(record["loss"])
        assert run.data.params["adaptation.masked_share"] == "0.2"
        assert not run_folder(home, result["run_id"]).exists()

    def test_a_killed_adaptation_ends_as_if_nothing_had_happened(self, texts: Path, tmp_path: Path) -> None:
        config = make_config(texts, num_train_epochs=2, checkpoint_minutes=1e-6)
        whole = start(support.make_home(tmp_path / "whole"), config, tmp_path / "whole-kept")
        steps = whole["record"]["steps"]
        arguments = {"home": str(tmp_path / "killed"), "config": config.model_dump(mode="json")}
        for number, step in enumerate((10, steps // 10 * 10, None)):
            wanted = {**arguments, "keep": str(tmp_path / f"kept-{number}"), "kill_at_step": step}
            process = subprocess.run(
                [sys.executable, __file__, json.dumps(wanted)],
                capture_output=True,
                text=True,
                timeout=300,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            assert process.returncode == (-signal.SIGKILL if step else 0), process.stderr
        found = json.loads(process.stdout.splitlines()[-1])
        assert found["record"]["resumed_from_step"] >= steps - 15
        assert found["weights"] == whole["weights"]
        assert found["record"]["loss"] == whole["record"]["loss"]

    def test_an_encoder_of_another_size_than_its_weights_is_refused(self, texts: Path, tmp_path: Path) -> None:
        model = support.make_pretrained(tmp_path / "model", make_texts(100))
        shape = json.loads((model / "config.json").read_text(encoding="utf-8"))
        for change, message in (
            ({"intermediate_size": 48}, "cannot be loaded.*of the shapes that config.json gives"),
            ({"vocab_size": 20}, r"has \d+ tokens, but its model only 20"),
            ({"max_position_embeddings": 16}, "accepts at most 16 tokens"),
        ):
            (model / "config.json").write_text(json.dumps(shape | change), encoding="utf-8")
            config = make_config(texts, model={"sources": [{"provider": "local", "path": str(model)}]}, max_steps=1)
            home = support.make_home(tmp_path / "home")
            packed, fetched = make_packed(config, home)
            with pytest.raises(ModelError, match=f"(?s){message}"):
                run_adapt(packed, fetched, config, tmp_path / "run", "run", lambda values, step: None)

    def test_a_shape_cannot_be_asked_of_an_encoder_that_has_one(self, tmp_path: Path) -> None:
        source = {"provider": "local", "path": str(tmp_path)}
        with pytest.raises(ValueError, match=r"model\.architecture describes a new encoder"):
            make_config(tmp_path, model={"sources": [source], "architecture": support.TINY})


class TestRegistry:
    def test_a_training_begins_with_the_encoder_that_it_names(
        self, adapted_home: tuple[Home, dict[str, Any]], tmp_path: Path
    ) -> None:
        from safetensors.torch import load_file

        from textclf.model.build import build_classifier

        home, _ = adapted_home
        data = support.write_reviews(tmp_path / "reviews", {"train": 32, "validation": 16, "test": 16})
        config = support.make_config(data)
        source = ModelSource(provider="registry", name="textclf-encoder-tiny")
        model = config.model.model_copy(update={"sources": (source,)})
        fetched = fetch_encoder(model.sources, home=home, offline=False)
        assert fetched.origin == "registry textclf-encoder-tiny version 1"
        from textclf.model.tokens import encode

        prepared, _ = support.make_data(config, home)
        encoded = encode(prepared, fetched, model=model, encoding=config.encoding, folder=home.prepared)
        classifier = build_classifier(fetched, encoded, model=model, labels=prepared.labels, seed=1)
        ours = classifier.state_dict()
        kept = load_file(fetched.folder / "model.safetensors")
        encoder = {name for name in kept if name.startswith("bert.")}
        assert encoder
        assert all((ours[name] == kept[name]).all() for name in encoder)

    def test_the_newest_version_is_taken_unless_one_is_named(
        self, adapted_home: tuple[Home, dict[str, Any]], texts: Path, tmp_path: Path
    ) -> None:
        home, _ = adapted_home
        again = make_config(
            texts, max_steps=2, model={"sources": [{"provider": "registry", "name": "textclf-encoder-tiny"}]}
        )
        fetched = fetch_encoder(again.model.sources, home=home, offline=False)
        packed = pack_texts(collect(again.data, cleaning=again.cleaning, folder=home.prepared), fetched, again, home)
        store = TrackingStore.open(home)
        with adaptation_run(home, config=again, packed=packed, fetched=fetched, tags={}) as run_id:
            adapted = run_adapt(packed, fetched, again, run_folder(home, run_id), run_id, lambda values, step: None)
            assert register_encoder(adapted, "textclf-encoder-tiny", store).version == 2
            # As after a kill between registering and the end of the run.
            assert register_encoder(adapted, "textclf-encoder-tiny", store).version == 2
        # It went on where the first one was.
        assert adapted.loss_before < 4

        def origin(**named: str) -> str:
            source = ModelSource(provider="registry", name="textclf-encoder-tiny", **named)
            return fetch_encoder([source], home=home, offline=False).origin

        assert origin() == "registry textclf-encoder-tiny version 2"
        assert origin(revision="1") == "registry textclf-encoder-tiny version 1"
        with pytest.raises(HubError, match="no version 7 of the encoder textclf-encoder-tiny"):
            origin(revision="7")

    def test_an_encoder_on_a_server_is_fetched_once(
        self, adapted_home: tuple[Home, dict[str, Any]], tmp_path: Path, serve_pages: Any
    ) -> None:
        kept = adapted_home[0].root / "kept"
        artifacts = tmp_path / "artifacts"
        command = [str(Path(sys.executable).with_name("mlflow")), "server", "--workers", "1", "--artifacts-destination"]
        command += [str(artifacts), "--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
        place = {
            "folder": tmp_path,
            "environment": {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            "log": tmp_path / "log",
            "health": "/health",
        }
        with serve_pages(command, **place) as address:
            home = Home(root=tmp_path / "home", tracking_uri=address)
            home.root.mkdir()
            store = TrackingStore.open(home)
            run = store.client.create_run(store.experiment("textclf-encoder-tiny")).info.run_id
            record = {**adapted_home[1]["record"], "run_id": run, "folder": kept}
            register_encoder(AdaptedEncoder.model_validate(record), "textclf-encoder-tiny", store)
            source = ModelSource(provider="registry", name="textclf-encoder-tiny")
            first = fetch_encoder([source], home=home, offline=False)
            shutil.rmtree(artifacts)
            again = fetch_encoder([source], home=home, offline=False)
            with pytest.raises(HubError, match="the model registry is on a server"):
                fetch_encoder([source], home=home, offline=True)
        TrackingStore.open(adapted_home[0])
        assert first.folder.is_relative_to(home.raw)
        assert (again.folder, again.digest) == (first.folder, first.digest)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            assert file_sha256(first.folder / name) == file_sha256(kept / name)

    def test_a_missing_encoder_is_named_with_those_that_are_there(
        self, adapted_home: tuple[Home, dict[str, Any]]
    ) -> None:
        source = ModelSource(provider="registry", name="textclf-encoder-other")
        with pytest.raises(
            HubError, match=r"no encoder textclf-encoder-other in .*registered encoders: textclf-encoder-tiny"
        ):
            fetch_encoder([source], home=adapted_home[0], offline=False)


if __name__ == "__main__":
    main()
