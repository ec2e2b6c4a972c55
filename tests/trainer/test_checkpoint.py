from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
import xxhash

from audiozen import durable_files
from audiozen.errors import CheckpointError
from audiozen.trainer import own_memory, verified_files
from audiozen.trainer import weights as weights_module
from audiozen.trainer.checkpoint import CheckpointStore, read_sealed, sealed
from audiozen.trainer.own_memory import copy_all
from audiozen.trainer.snapshot import load_snapshot, take_snapshot
from audiozen.trainer.verified_files import digest_of
from audiozen.trainer.weights import load_matching


def weights(value: float = 1.0) -> dict[str, dict[str, torch.Tensor]]:
    return {"": {"layer.weight": torch.full((2, 3), value)}}


def save(store: CheckpointStore, name: str, step: int, value: float = 1.0, **kwargs) -> None:
    store.save(name, epoch=1, step=step, models=weights(value), **kwargs)


def load(store: CheckpointStore, path) -> tuple:
    return store.load_models(path), store.load_training_state(path)


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


FILES = ("model.safetensors", "training_state.safetensors", "training_state.json")


def as_of_earlier_versions(path: Path, field: str) -> None:
    """Give a checkpoint a manifest with ``xxh3_128`` and ``sha256`` of whole files, or with ``sha256`` alone."""
    manifest = read_sealed(path / "manifest.json")
    for name, description in manifest["files"].items():
        del description["xxh3_128_of_blocks"]
        if field == "xxh3_128":
            description[field] = xxhash.xxh3_128_hexdigest((path / name).read_bytes())
    (path / "manifest.json").write_bytes(sealed(manifest))


def test_manifest_describes_each_file_by_size_and_two_hashes(store):
    save(store, "one", 1)
    files = read_sealed(store.root / "one" / "manifest.json")["files"]
    assert set(files) == set(FILES)
    for name, description in files.items():
        assert list(description) == ["size", "xxh3_128_of_blocks", "sha256"]
        assert description["size"] == (store.root / "one" / name).stat().st_size


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("field", ["xxh3_128", "sha256"])
def test_checkpoint_of_an_earlier_version_is_verified_by_what_it_has(store, name, field):
    save(store, "one", 1, training_state={"a": torch.ones(4)})
    as_of_earlier_versions(store.root / "one", field)
    models, state = load(store, store.newest_good())
    assert models[""]["layer.weight"].tolist() == [[1] * 3] * 2
    assert state["a"].tolist() == [1] * 4
    file = store.root / "one" / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"the content of {name} has changed"):
        load(store, store.root / "one")


@pytest.mark.parametrize("name", FILES)
def test_change_in_any_block_is_found_before_anything_is_given(store, monkeypatch, name):
    monkeypatch.setattr(verified_files, "BLOCK_SIZE", 64)
    save(store, "one", 1, training_state={"a": torch.ones(100), "b": "?" * 100})
    file = store.root / "one" / name
    content = file.read_bytes()
    assert len(content) > 64
    for place in range(0, len(content), 64):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(CheckpointError, match=f"the content of {name} has changed"):
            load(store, store.root / "one")
        assert store.verify(store.root / "one") == [f"the content of {name} has changed"]
    file.write_bytes(content)
    load(store, store.root / "one")


def test_nothing_is_copied_before_everything_is_verified(store, monkeypatch):
    done = []
    layer = torch.nn.Linear(300, 300)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(300)).sum().backward()
    optimizer.step()
    parts = {"optimizer": optimizer}
    models = {"": layer.state_dict()}
    store.save("one", epoch=1, step=1, models=models, training_state=take_snapshot(parts))

    def hashing(file, content, field):
        done.append("hashed")
        return digest_of(file, content, field)

    def copying(pairs):
        done.append("copied")
        return copy_all(pairs)

    monkeypatch.setattr(verified_files, "SETTLED", -1.0)
    monkeypatch.setattr(verified_files, "digest_of", hashing)
    monkeypatch.setattr(own_memory, "copy_all", copying)
    monkeypatch.setattr(weights_module, "copy_all", copying)
    path = store.newest_good()
    weights, snapshot = load(store, path)
    load_matching({"": layer}, weights)
    load_snapshot(parts, snapshot, path)
    assert done == ["hashed"] * 3 + ["copied"] * 2


@pytest.mark.parametrize("field", ["xxh3_128_of_blocks", "xxh3_128", "sha256"])
def test_each_file_is_hashed_once_on_the_way_into_a_run(store, monkeypatch, field):
    save(store, "one", 1)
    if field != "xxh3_128_of_blocks":
        as_of_earlier_versions(store.root / "one", field)
    hashed = []

    def noted(file, content, field):
        hashed.append((Path(file.name).name, field))
        return digest_of(file, content, field)

    monkeypatch.setattr(verified_files, "digest_of", noted)
    monkeypatch.setattr(verified_files, "SETTLED", -1.0)
    path = store.newest_good()
    load(store, path)
    assert store.verify(path) == []
    assert sorted(hashed) == sorted((name, field) for name in FILES)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damage_after_the_newest_good_one_was_found_is_found(store, monkeypatch, name, damage):
    monkeypatch.setattr(verified_files, "SETTLED", -1.0)
    save(store, "one", 1, training_state={"a": torch.ones(4)})
    path = store.newest_good()
    file = path / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content if damage == "flip" else content[:-1])
    with pytest.raises(CheckpointError, match=rf"one is damaged: .*{name}"):
        load(store, path)


def test_run_that_goes_on_keeps_nothing_of_the_files(store):
    layer = torch.nn.Linear(300, 300)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(300)).sum().backward()
    optimizer.step()
    parts = {"optimizer": optimizer}
    store.save("one", epoch=1, step=1, models={}, training_state=take_snapshot(parts))
    snapshot = store.load_training_state(store.newest_good())
    again = torch.optim.Adam(layer.parameters())
    load_snapshot({"optimizer": again}, snapshot, "here")
    del snapshot
    gc.collect()
    assert str(store.root) not in Path("/proc/self/maps").read_text()
    moments = [state.state_dict()["state"][0]["exp_avg"] for state in (optimizer, again)]
    assert torch.equal(*moments)
    assert moments[1].any()


def test_loaded_weights_take_no_memory_beside_the_files(store):
    tensor = torch.ones(16 << 20)
    store.save("one", epoch=1, step=1, models={"": {"w": tensor}})
    store = CheckpointStore(store.root)  # without the buffers of saving
    gc.collect()
    before = anonymous_memory()
    weights = store.load_models(store.newest_good())
    tensor.zero_().copy_(weights[""]["w"])
    assert anonymous_memory() - before < tensor.nbytes / 4
    assert tensor.all()


def anonymous_memory() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_verified_checkpoints_that_are_pruned_give_their_place_on_the_disk_back(store):
    for step, name in enumerate(["one", "two", "three"], start=1):
        save(store, name, step)
    store.newest_good()
    store.verify(store.root / "one")
    assert str(store.root) not in Path("/proc/self/maps").read_text()
    store.newest_good()
    assert str(store.root / "three") in Path("/proc/self/maps").read_text()
    save(store, "four", 4)
    assert str(store.root) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
@pytest.mark.parametrize("name", FILES)
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
        load(store, store.find("one"))
    assert store.verify(store.root / "one")
    assert name in store.verify(store.root / "one")[0]


def test_folder_with_a_damaged_manifest_is_left_aside_and_told(store, caplog):
    save(store, "one", 1)
    save(store, "two", 2)
    (store.root / "two" / "manifest.json").write_text("{")
    assert store.names() == ["one"]
    assert "two is left aside" in caplog.text


def test_checkpoint_of_another_format_is_refused_and_not_taken_for_damaged(store):
    save(store, "one", 1)
    save(store, "two", 2)
    path = store.root / "two"
    content = {**read_sealed(path / "manifest.json"), "format": 99}
    (path / "manifest.json").write_bytes(sealed(content))
    text = "two is of format 99, this version of AudioZEN reads 2; use the version that wrote it"
    for refuse in (store.load_models, store.load_training_state, store.verify):
        with pytest.raises(CheckpointError, match=text):
            refuse(path)
    with pytest.raises(CheckpointError, match=text):
        store.newest_good()
    assert path.is_dir()


def test_damaged_checkpoints_are_set_aside_and_the_newest_good_one_is_found(store, caplog):
    for step, name in enumerate(["one", "two", "three", "four"], start=1):
        save(store, name, step)
    (store.root / "four" / "manifest.json").write_text("{")
    (store.root / "three" / "model.safetensors").write_bytes(b"")
    (store.root / "two" / "manifest.json").unlink()
    assert store.newest_good() == store.root / "one"
    assert store.names() == ["one"]
    assert "four is damaged: manifest.json cannot be read" in caplog.text
    assert "three is damaged: model.safetensors has 0 bytes instead of " in caplog.text
    assert "two is damaged: manifest.json cannot be read" in caplog.text
    assert sorted(p.name for p in store.root.glob("*.damaged")) == [
        "four.damaged",
        "three.damaged",
        "two.damaged",
    ]


def test_where_all_are_damaged_none_is_touched_and_all_are_told(store):
    save(store, "one", 1)
    save(store, "two", 2)
    for name in ("one", "two"):
        (store.root / name / "training_state.json").write_text("{}")
    with pytest.raises(
        CheckpointError, match=r"every checkpoint in .* is damaged(.|\n)*two:(.|\n)*one:"
    ):
        store.newest_good()
    assert store.names() == ["one", "two"]


def test_without_checkpoints_there_is_no_newest(store):
    assert store.newest_good() is None


def test_damaged_outcome_of_a_validation_is_as_if_it_had_not_been(store, caplog):
    save(store, "one", 1)
    store.record_validation("one", {"score": 0.5})
    file = store.root / "one" / "validation.json"
    file.write_text(file.read_text().replace("0.5", "0.6"))
    assert store.load_validation(store.root / "one") is None
    assert "validation.json is not as it was written" in caplog.text


def test_outcome_of_the_validation_of_another_checkpoint_is_not_taken(store, caplog):
    save(store, "one", 1)
    save(store, "two", 2)
    store.record_validation("one", {"score": 0.5})
    shutil.copy(store.root / "one" / "validation.json", store.root / "two")
    assert store.load_validation(store.root / "two") is None
    assert "it is of another checkpoint" in caplog.text


def test_one_of_the_same_name_is_replaced_and_comes_back_where_that_is_interrupted(
    store, monkeypatch
):
    save(store, "one", 1, value=1.0)
    real = durable_files.rename

    def interrupted(source, target):
        if source.name.endswith(".partial"):
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(durable_files, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save(store, "one", 1, value=2.0)
    assert store.newest_good() == store.root / "one"
    assert store.load_models(store.root / "one")[""]["layer.weight"][0, 0] == 1
    save(store, "one", 1, value=3.0)
    assert store.load_models(store.root / "one")[""]["layer.weight"][0, 0] == 3
    assert not list(store.root.glob(".*"))


def test_staged_checkpoint_is_of_the_moment_of_staging(store):
    tensor = torch.zeros(3)
    staged = store.stage(
        "one", epoch=1, step=1, models={"": {"w": tensor}}, training_state=[tensor]
    )
    tensor.fill_(9)
    store.write(staged)
    models, state = load(store, store.root / "one")
    assert models[""]["w"].tolist() == state[0].tolist() == [0, 0, 0]


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


def test_checkpoint_that_is_damaged_again_and_again_is_kept_aside_each_time(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save("one", epoch=1, step=1, models={"": {"weight": torch.zeros(4)}})
    for _ in range(3):
        store.save("two", epoch=2, step=2, models={"": {"weight": torch.ones(4)}})
        file = tmp_path / "two" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        assert store.newest_good() == tmp_path / "one"
        assert store.names() == ["one"]
    aside = {path.name for path in tmp_path.iterdir() if path.name.startswith("two")}
    assert aside == {"two.damaged", "two.damaged2", "two.damaged3"}


@pytest.mark.parametrize("is_same_store", [True, False])
def test_checkpoints_that_were_replaced_are_pruned_by_their_new_manifests(
    tmp_path, monkeypatch, is_same_store
):
    store, other = (CheckpointStore(tmp_path, max_num_checkpoints=2) for _ in range(2))
    if is_same_store:  # then it knows, also on a disk that gives inodes again
        folders = CheckpointStore._folders
        monkeypatch.setattr(
            CheckpointStore, "_folders", lambda self: dict.fromkeys(folders(self), 0)
        )

    for step, name in enumerate(["a", "b", "c"], start=1):
        save(store, name, step)
    store.prune()
    assert store.names() == ["b", "c"]
    save(store if is_same_store else other, "b", 10)
    save(store, "d", 4)
    store.prune()
    assert store.names() == ["d", "b"]
