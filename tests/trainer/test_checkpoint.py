from __future__ import annotations

import json
import shutil

import pytest
import safetensors.torch
import torch

from audiozen import durable_files
from audiozen.errors import CheckpointError
from audiozen.trainer.checkpoint import CheckpointStore


def weights(value: float = 1.0) -> dict[str, dict[str, torch.Tensor]]:
    return {"": {"layer.weight": torch.full((2, 3), value)}}


def save(store: CheckpointStore, name: str, step: int, value: float = 1.0, **kwargs) -> None:
    store.save(name, epoch=1, step=step, models=weights(value), **kwargs)


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", max_num_checkpoints=2)


def test_saved_values_come_back(store):
    state = {"lr": 0.1, "moments": [torch.arange(3), None], "betas": (0.9, float("inf"))}
    save(store, "first", 1, training_state=state)
    path = store.find("first")
    loaded = store.load_training_state(path)
    assert loaded["lr"] == 0.1
    assert torch.equal(loaded["moments"][0], torch.arange(3))
    assert loaded["betas"] == (0.9, float("inf"))
    assert torch.equal(store.load_models(path)[""]["layer.weight"], torch.ones(2, 3))


def test_weights_load_without_audiozen(store):
    save(store, "first", 1)
    loaded = safetensors.torch.load_file(store.root / "latest" / "model.safetensors")
    assert torch.equal(loaded["layer.weight"], torch.ones(2, 3))


def test_nothing_in_a_checkpoint_is_a_pickle(store):
    save(store, "first", 1, training_state={"a": torch.ones(2), "b": {1: (2, 3)}})
    for file in store.find("first").iterdir():
        assert file.suffix in (".json", ".safetensors")
        if file.suffix == ".json":
            json.loads(file.read_text())
        else:
            safetensors.torch.load_file(file)


def test_tied_weights_are_there_under_each_name(store):
    tied = torch.arange(6.0)
    models = {"": {"a": tied, "b": tied, "part": tied[2:4], "turned": tied.reshape(2, 3).T}}
    store.save("first", epoch=1, step=1, models=models)
    loaded = store.load_models(store.find("first"))[""]
    for name, expected in models[""].items():
        assert torch.equal(loaded[name], expected)


def test_newest_is_told_by_step_not_by_name(store):
    save(store, "z", 5)
    save(store, "a", 40)
    assert store.names() == ["z", "a"]
    assert store.find("latest").name == "a"


def test_best_is_kept_besides_the_newest(store):
    save(store, "one", 1)
    store.mark_best("one")
    for step in (2, 3, 4):
        save(store, f"number_{step}", step)
        store.prune()
    assert store.names() == ["one", "number_3", "number_4"]
    assert store.find("best").name == "one"


def test_missing_checkpoint_is_told_with_those_there_are(store):
    save(store, "one", 1)
    with pytest.raises(CheckpointError, match=r"no checkpoint 'best' in .*; there: one"):
        store.find("best")


def test_path_to_a_checkpoint_elsewhere_is_found(store, tmp_path):
    save(store, "one", 1)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(store.root / "one", elsewhere)
    assert store.find(elsewhere) == elsewhere


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
@pytest.mark.parametrize("name", ["model.safetensors", "training_state.safetensors"])
def test_damage_is_found_and_named(store, damage, name):
    save(store, "one", 1, training_state={"a": torch.ones(4)})
    file = store.root / "one" / name
    content = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    else:
        content[-1] ^= 1
        file.write_bytes(content if damage == "flip" else content[:-1])
    with pytest.raises(CheckpointError, match=rf"one is damaged: .*{name}"):
        store.load_models(store.find("one"))


def test_folder_with_a_damaged_manifest_is_left_aside_and_told(store, caplog):
    save(store, "one", 1)
    save(store, "two", 2)
    (store.root / "two" / "manifest.json").write_text("{")
    assert store.names() == ["one"]
    assert "two is left aside" in caplog.text


def test_checkpoint_of_another_format_is_refused(store):
    save(store, "one", 1)
    manifest = store.root / "one" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(
        CheckpointError, match="one is of format 2, this version of AudioZEN reads 1"
    ):
        store.load_models(store.find("one"))


def test_foreign_folders_and_files_are_ignored(store):
    save(store, "one", 1)
    (store.root / "notes").mkdir()
    (store.root / "epoch_0009.txt").write_text("mine")
    assert store.names() == ["one"]
    store.prune()
    assert (store.root / "notes").is_dir()


def test_what_cannot_be_written_down_is_refused_by_its_path(store):
    save(store, "one", 1)
    with pytest.raises(CheckpointError, match="optimizer/hook is a function"):
        save(store, "two", 2, training_state={"optimizer": {"hook": lambda: 0}})
    assert store.names() == ["one"]


def test_outcome_of_a_validation_is_added(store):
    save(store, "one", 1)
    path = store.find("one")
    assert store.load_validation(path) is None
    store.record_validation("one", {"score": float("nan"), "best": 3})
    outcome = store.load_validation(path)
    assert outcome["best"] == 3
    assert outcome["score"] != outcome["score"]
    assert store.verify(path) == []


OPERATIONS = ["make_folder", "write_file", "flush", "rename", "point", "remove_folder"]


def run_failing_at(n: int, store: CheckpointStore, monkeypatch) -> bool:
    """Save and prune with the n-th file operation failing; False if there were fewer."""
    count = 0

    def failing(operation):
        def call(*args):
            nonlocal count
            count += 1
            if count == n:
                raise OSError("no space left on device")
            return operation(*args)

        return call

    with monkeypatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(durable_files, name, failing(getattr(durable_files, name)))
        try:
            save(store, "three", 3, value=3.0)
            store.mark_best("three")
            store.prune()
        except (CheckpointError, OSError):
            pass
    return count >= n


def test_whatever_operation_fails_old_checkpoints_stay_and_the_next_save_works(
    tmp_path, monkeypatch
):
    n, failed = 1, True
    while failed:
        store = CheckpointStore(tmp_path / str(n), max_num_checkpoints=2)
        save(store, "one", 1, value=1.0)
        store.mark_best("one")
        save(store, "two", 2, value=2.0)
        failed = run_failing_at(n, store, monkeypatch)
        for name in store.names():
            assert store.verify(store.find(name)) == []
        assert store.names()[:2] == ["one", "two"] or store.names()[-1] == "three"
        assert store.find("best").name in ("one", "three")
        save(store, "four", 4)
        store.prune()
        assert store.names()[-1] == "four"
        assert not list(store.root.glob(".*"))
        n += 1
    assert n > 8
