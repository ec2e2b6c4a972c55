"""What a run asks of its checkpoints, and what it may rely on afterwards, whatever happened on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from audiozen.errors import CheckpointError
from audiozen.trainer.checkpoint import CheckpointStore

MAX_NUM_CHECKPOINTS = 2


@dataclass(frozen=True)
class Call:
    """One call of a store.

    Attributes:
        action: ``save``, ``record``, ``best`` or ``prune``.
        name: of the checkpoint.
        step: at which it was taken; it is also every number in it.
    """

    action: str
    name: str = ""
    step: int = 0

    def make(self, store: CheckpointStore) -> None:
        """Make it."""
        if self.action == "save":
            save(store, self.name, self.step)
        elif self.action == "record":
            store.record_validation(self.name, {"score": float(self.step)})
        elif self.action == "best":
            store.mark_best(self.name)
        else:
            store.prune()


def a_checkpoint(name: str, step: int, *, is_best: bool) -> list[Call]:
    """What a run does at the end of an epoch."""
    best = [Call("best", name, step)] if is_best else []
    return [Call("save", name, step), Call("record", name, step), *best, Call("prune")]


HISTORY = [
    *a_checkpoint("one", 1, is_best=True),
    *a_checkpoint("two", 2, is_best=True),
    *a_checkpoint("three", 3, is_best=False),
    *a_checkpoint("four", 4, is_best=False),  # three and four stay, and two, which is the best
    Call("save", "four", 5),  # once more under the same name
    *a_checkpoint("six", 6, is_best=True),
]


def save(store: CheckpointStore, name: str, step: int) -> None:
    """A checkpoint full of one number."""
    models = {"": {"weight": torch.full((8,), float(step))}}
    state = {"step": step, "moments": torch.full((4,), float(step))}
    store.save(name, epoch=step, step=step, models=models, training_state=state)


def step_in(store: CheckpointStore, path: Path) -> int:
    """The number that a checkpoint is full of; whatever does not fit together is an error."""
    step = store.read_moment(path).step
    assert torch.equal(store.load_models(path)[""]["weight"], torch.full((8,), float(step)))
    state = store.load_training_state(path)
    assert state["step"] == step
    assert torch.equal(state["moments"], torch.full((4,), float(step)))
    return step


@dataclass
class Past:
    """Which calls were begun, and which of them have returned without an error."""

    begun: list[Call] = field(default_factory=list)
    done: list[Call] = field(default_factory=list)

    def attempt(self, call: Call, store: CheckpointStore) -> bool:
        """Make a call, as a trainer does that goes on after an error; whether it succeeded.

        What could not be saved is neither validated nor the best.
        """
        saved = Call("save", call.name, call.step)
        if call.action in ("record", "best") and saved not in self.done:
            return True
        self.begun.append(call)
        try:
            call.make(store)
        except CheckpointError:
            return False
        self.done.append(call)
        return True

    def newest(self) -> int:
        """Step of the newest checkpoint that was saved for certain."""
        return max((call.step for call in self.done if call.action == "save"), default=0)

    def best(self) -> set[int]:
        """Steps of which the best checkpoint may be; 0 stands for none."""
        marks = [call for call in self.begun if call.action == "best"]
        certain = [place for place, call in enumerate(marks) if call in self.done]
        if not certain:
            return {0, *(call.step for call in marks)}
        return {call.step for call in marks[certain[-1] :]}


def check(root: Path, past: Past) -> None:
    """Check all that a run may rely on, in a store that is opened anew."""
    check_reading(root, past)
    check_going_on(root)


def check_reading(root: Path, past: Past) -> None:
    """Old or new checkpoints are there, complete; so is the best."""
    steps = {call.step for call in past.begun if call.action == "save"}
    store = CheckpointStore(root, max_num_checkpoints=MAX_NUM_CHECKPOINTS)
    check_best(store, past)
    newest = store.newest_good()
    found = step_in(store, newest) if newest else 0
    assert found in steps | {0}
    assert found >= past.newest()
    check_best(store, past)
    for name in store.names():
        path = store.find(name)
        assert store.verify(path) == []
        check_validation(store, path, step_in(store, path), past)
    assert not list(root.glob("*.damaged*"))


def check_best(store: CheckpointStore, past: Past) -> None:
    """The best checkpoint can be read, and is the last that was marked."""
    is_there = (store.root / "best").is_symlink()
    best = step_in(store, store.find("best")) if is_there else 0
    assert best in past.best()


def check_validation(store: CheckpointStore, path: Path, step: int, past: Past) -> None:
    """The outcome of a validation is there, or was never recorded."""
    outcome = store.load_validation(path)
    call = Call("record", path.name, step)
    assert outcome in ([{"score": step}] if call in past.done else [{"score": step}, None])


def check_going_on(root: Path) -> None:
    """The next checkpoint is saved, and nothing is left behind."""
    store = CheckpointStore(root, max_num_checkpoints=MAX_NUM_CHECKPOINTS)
    save(store, "next", 100)
    store.mark_best("next")
    store.prune()
    assert step_in(store, store.find("latest")) == 100
    assert step_in(store, store.find("best")) == 100
    assert len(store.names()) == MAX_NUM_CHECKPOINTS or len(store.names()) == 1
    leftovers = [path.name for path in root.rglob(".*")]
    assert not leftovers, leftovers
