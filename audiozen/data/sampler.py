"""Which sample comes when, and which random numbers it sees: both computed, neither stored.

::

    order = Permutation(len(dataset), derive_seed(seed, epoch))
    with isolated_generators():
        seed_sample(seed, epoch, order[0])
        sample = dataset[order[0]]  # the same crop, noise and SNR each time, in whichever process
"""

from __future__ import annotations

import hashlib
import math
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy import random as numpy_random  # here, for otherwise each worker would import it anew

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = [
    "GeneratorStates",
    "Permutation",
    "derive_seed",
    "generator_states",
    "isolated_generators",
    "restore_generators",
    "seed_generators",
    "seed_sample",
]

_python_generator: Any = random.seed.__self__  # type: ignore[attr-defined] # the one behind the functions of the module
_seed_python = super(random.Random, _python_generator).seed

_NUM_ROUNDS = 8
_MASK_64 = (1 << 64) - 1


class Permutation:
    """An order of ``num_items`` items that is computed, not stored.

    ``permutation[position]`` is the index of the item at that place: each of ``0 … num_items - 1``
    comes once. Time and memory do not depend on the position or on ``num_items``, so a place in the
    middle costs what the first costs.

    Args:
        num_items: how many items there are; 0 is allowed.
        key: the same key gives the same order, on every machine; another key gives another order.

    Raises:
        ValueError: ``num_items`` is negative.
        IndexError: a position is not in ``0 … num_items - 1``.

    Source: a Feistel network over pairs of numbers, with cycle walking: Black and Rogaway, "Ciphers
    with arbitrary finite domains", CT-RSA 2002. It is made for shuffling, not for keeping secrets.

    >>> sorted(Permutation(5, key=1))
    [0, 1, 2, 3, 4]
    """

    def __init__(self, num_items: int, key: int) -> None:
        if num_items < 0:
            raise ValueError(f"num_items must be at least 0, got {num_items}")
        self.num_items = num_items
        # The smallest square that holds all items: values beyond the items are so few that walking
        # past them is rare.
        self._side = math.isqrt(max(num_items - 1, 0)) + 1
        self._round_keys = [derive_seed(key, number) for number in range(_NUM_ROUNDS)]
        # The rounds favour even permutations; swapping the first two or not makes up for it.
        self._swap = derive_seed(key, "swap") % 2 if num_items > 1 else 0

    def __len__(self) -> int:
        return self.num_items

    def __getitem__(self, position: int) -> int:
        if not 0 <= position < self.num_items:
            raise IndexError(f"position {position} is not in 0 … {self.num_items - 1}")
        index = self._encipher(position ^ self._swap if position < 2 else position)
        while index >= self.num_items:
            index = self._encipher(index)
        return index

    def __iter__(self) -> Iterator[int]:
        return map(self.__getitem__, range(self.num_items))

    def at(self, positions: Sequence[int]) -> list[int]:
        """Indices at several positions; faster than one by one, from four or so on.

        Raises:
            IndexError: as for one.
        """
        if len(positions) and not 0 <= min(positions) <= max(positions) < self.num_items:
            raise IndexError(f"a position is not in 0 … {self.num_items - 1}")
        values = np.array(positions, np.uint64)
        values[values < 2] ^= np.uint64(self._swap)
        indices = self._encipher_all(values)
        while (is_beyond := indices >= self.num_items).any():
            indices[is_beyond] = self._encipher_all(indices[is_beyond])
        found: list[int] = indices.tolist()
        return found

    def _encipher(self, value: int) -> int:
        left, right = divmod(value, self._side)
        for round_key in self._round_keys:
            left, right = right, (left + _scramble(right ^ round_key)) % self._side
        return left * self._side + right

    def _encipher_all(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        side = np.uint64(self._side)
        left, right = np.divmod(values, side)
        for round_key in self._round_keys:
            scrambled = _scramble_all(right ^ np.uint64(round_key))
            left, right = right, (left + scrambled % side) % side
        return left * side + right


def _scramble(value: int) -> int:
    """Finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): each bit of 64 depends on all
    others.
    """
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK_64
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK_64
    return value ^ value >> 31


def _scramble_all(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """As :func:`_scramble`; products wrap round by themselves."""
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


def derive_seed(*parts: int | str) -> int:
    """A 64-bit number that depends on all ``parts`` and their order, and is the same on every
    machine.

    >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(1, 0)
    (True, False)
    """
    text = ",".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=32).digest()[:8], "little")


def seed_generators(*parts: int | str) -> None:
    """Seed the global generators of Python, NumPy and PyTorch (CPU) from ``parts``, in a few
    microseconds.

    A generator that a dataset makes for itself (``numpy_random.default_rng()``) is not reached: seed
    it from one of these, or draw from these.
    """
    digest = hashlib.blake2b(",".join(map(str, parts)).encode(), digest_size=32).digest()
    _seed_python(int.from_bytes(digest[:8], "little"))
    _python_generator.gauss_next = None  # as random.seed does, which takes longer
    numpy_random.seed(int.from_bytes(digest[8:12], "little"))  # noqa: NPY002 - this is the one that datasets draw from
    # Not torch.manual_seed: it also visits all accelerators, which takes 100 times as long.
    torch.default_generator.manual_seed(int.from_bytes(digest[16:24], "little"))


def seed_sample(seed: int, epoch: int, index: int) -> None:
    """Seed the global generators for the sample ``index`` of a dataset in ``epoch`` of a run with
    ``seed``.
    """
    seed_generators(seed, epoch, index)


class GeneratorStates(NamedTuple):
    """States of the global generators of one process."""

    python: tuple[Any, ...]
    numpy: dict[str, Any]
    torch: torch.Tensor


def generator_states() -> GeneratorStates:
    """States of the global generators of Python, NumPy and PyTorch (CPU)."""
    numpy_state = numpy_random.get_state(legacy=False)  # noqa: NPY002 - the global generator is meant
    return GeneratorStates(random.getstate(), numpy_state, torch.default_generator.get_state())


def restore_generators(states: GeneratorStates) -> None:
    """Set the global generators to ``states``."""
    random.setstate(states.python)
    numpy_random.set_state(states.numpy)  # noqa: NPY002 - the global generator is meant
    torch.default_generator.set_state(states.torch)


@contextmanager
def isolated_generators() -> Iterator[None]:
    """Whatever is drawn or seeded inside, the global generators go on afterwards as if it had not
    been.
    """
    states = generator_states()
    try:
        yield
    finally:
        restore_generators(states)
