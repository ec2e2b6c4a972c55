"""For the ``prepare.py`` of a corpus that somebody else keeps: look through its folder, then write manifests.

Everything that is missing or wrong is collected and told at once, and nothing is written then::

    def prepare(folder, out):
        corpus = CorpusFolder(folder)
        pairs = corpus.aligned({"noisy": "noisy_testset_wav", "clean": "clean_testset_wav"})
        return corpus.write(out, {f"{role}_test": entries for role, entries in pairs.items()})

    if __name__ == "__main__":
        sys.exit(run_prepare(prepare, "Write the manifests of ..."))
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiozen.data.audio import AudioInfo, audio_info, find_audio
from audiozen.data.manifest import Entry, faulty, write_manifest
from audiozen.errors import AudioError, AudioZENError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    IdOf = Callable[[Path], str | None]
    LabelsOf = Callable[[str], Mapping[str, Any]]
    Manifests = Mapping[str, Sequence[Entry]]

__all__ = ["CorpusFolder", "by_hash", "run_prepare", "some"]

logger = logging.getLogger(__name__)

NUM_THREADS = 8
"""That wait for a slow disk; reading a header takes no time beside it."""
NUM_HEADERS_TOLD = 5000
"""After so many headers each, it is told how far it has come."""
NUM_NAMED = 10


class CorpusFolder:
    """A folder, and what is wrong with it.

    Args:
        root: the folder.
        sample_rate: that all sounds must have, in Hz. None: any, if it is one and the same.

    Raises:
        ManifestError: there is no such folder.
    """

    def __init__(self, root: str | Path, sample_rate: int | None = None) -> None:
        self.root = Path(root)
        self.sample_rate = sample_rate
        self.problems: list[str] = []
        """One line each. Whoever looks adds to it; :meth:`write` refuses where there is one."""
        if not self.root.is_dir():
            raise faulty(self.root, ["there is no such folder; unpack the corpus there"])

    def find(self, folder: str, id_of: IdOf | None = None) -> dict[str, Path]:
        """The sound files of a folder and those below it, by id.

        Args:
            folder: relative to the corpus.
            id_of: gets a path relative to ``folder`` and returns the id, or None where the name is not as it should be.
                None: the path without its ending.
        """
        place = self.root / folder
        if not place.is_dir():
            self.problems.append(f"{folder}/: no such folder")
            return {}
        ids: dict[str, list[Path]] = {}
        strange = []
        for path in find_audio(place):
            relative = path.relative_to(place)
            name = id_of(relative) if id_of else relative.with_suffix("").as_posix()
            if name is None:
                strange.append(relative.as_posix())
            else:
                ids.setdefault(name, []).append(path)
        twice = [name for name, paths in ids.items() if len(paths) > 1]
        self._tell(f"{folder}/: names that are not understood", strange)
        self._tell(f"{folder}/: names that come more than once", twice)
        if not ids and not strange:
            self.problems.append(f"{folder}/: has no wav or flac file")
        return {name: paths[0] for name, paths in ids.items()}

    def entries(
        self, files: Mapping[str, Path], labels_of: LabelsOf | None = None, *, mono: bool = True
    ) -> list[Entry]:
        """Read the headers of sound files. Those that cannot be read, or have another rate, are problems.

        Args:
            files: by id.
            labels_of: gets an id and returns the labels.
            mono: more than one channel is a problem.
        """
        read = self._headers(files)
        self._tell_broken([error for error in read.values() if isinstance(error, AudioError)])
        found = {name: info for name, info in read.items() if isinstance(info, AudioInfo)}
        self._check_headers({self._name(files[name]): info for name, info in found.items()}, mono)
        return [
            Entry(name, files[name], rate, num_samples, dict(labels_of(name)) if labels_of else {})
            for name, (rate, num_samples, _) in found.items()
            if num_samples
        ]

    def aligned(
        self,
        folders: Mapping[str, str],
        id_of: IdOf | None = None,
        labels_of: LabelsOf | None = None,
    ) -> dict[str, list[Entry]]:
        """Signals that belong together, each kind in a folder of its own.

        A file without its partners is a problem, and so are partners of different lengths.

        Args:
            folders: by the name of the kind.
            id_of: as :meth:`find` takes it; partners have one id.
            labels_of: as :meth:`entries` takes it.

        Returns:
            The entries by the name of the kind, with the same ids in each.
        """
        found = {kind: self.find(folder, id_of) for kind, folder in folders.items()}
        every = {name for files in found.values() for name in files}
        for kind, files in found.items():
            if files:  # else it has been told
                lost = sorted(every - files.keys())
                self._tell(f"{folders[kind]}/: missing, though a partner is there", lost)
        names = sorted(set.intersection(*(set(files) for files in found.values())))
        entries = {
            kind: self.entries({name: files[name] for name in names}, labels_of)
            for kind, files in found.items()
        }
        self._compare_lengths(folders, entries)
        return entries

    def tell_number(
        self, what: str, found: Collection[str], published: int, listed: Collection[str] = ()
    ) -> None:
        """Say if there are not as many as were published. That is no problem: the folder may be a part on purpose.

        Args:
            what: is counted, such as ``"pairs for training"``.
            found: ids.
            published: how many there should be.
            listed: ids that there should be, where that is known; the missing ones are named.
        """
        lost = sorted(set(listed) - set(found))
        if len(found) != published or lost:
            named = f"; missing: {some(lost)}" if lost else ""
            logger.warning(
                "found %s of the %s %s%s", f"{len(found):,}", f"{published:,}", what, named
            )

    def write(self, out: Path, manifests: Manifests) -> Manifests:
        """Write ``<name>.jsonl`` for each, and return them.

        Raises:
            ManifestError: there are problems. It names them all, and nothing is written.
        """
        if self.problems:
            raise faulty(self.root, self.problems)
        for name, entries in manifests.items():
            write_manifest(out / f"{name}.jsonl", entries)
        return manifests

    def _headers(self, files: Mapping[str, Path]) -> dict[str, AudioInfo | AudioError]:
        read: dict[str, AudioInfo | AudioError] = {}
        with ThreadPoolExecutor(NUM_THREADS) as threads:
            for name, header in zip(files, threads.map(_header, files.values())):
                read[name] = header
                if len(read) % NUM_HEADERS_TOLD == 0:
                    logger.info("read %s of %s headers", f"{len(read):,}", f"{len(files):,}")
        return read

    def _tell_broken(self, errors: Sequence[AudioError]) -> None:
        self.problems += map(str, errors[:NUM_NAMED])
        if len(errors) > NUM_NAMED:
            self.problems.append(f"and {len(errors) - NUM_NAMED} more that cannot be read")

    def _check_headers(self, headers: Mapping[str, AudioInfo], mono: bool) -> None:
        rates = Counter(info.sample_rate for info in headers.values())
        if rates and self.sample_rate is None:
            self.sample_rate = rates.most_common(1)[0][0]
        others = {name: rate for name, (rate, _, _) in headers.items() if rate != self.sample_rate}
        wide = [name for name, info in headers.items() if mono and info.num_channels > 1]
        empty = [name for name, info in headers.items() if info.num_samples == 0]
        self._tell(
            f"not of {self.sample_rate} Hz",
            [f"{name} ({rate} Hz)" for name, rate in others.items()],
        )
        self._tell("more than one channel", wide)
        self._tell("without samples", empty)

    def _compare_lengths(
        self, folders: Mapping[str, str], entries: Mapping[str, Sequence[Entry]]
    ) -> None:
        (first, references), *rest = (
            (kind, {entry.id: entry.num_samples for entry in entries[kind]}) for kind in folders
        )
        for kind, lengths in rest:
            other = [
                f"{name} ({lengths[name]} and {references[name]} samples)"
                for name in lengths.keys() & references.keys()
                if lengths[name] != references[name]
            ]
            self._tell(f"{folders[kind]}/: not as long as in {folders[first]}/", sorted(other))

    def _tell(self, what: str, names: Sequence[str]) -> None:
        if names:
            self.problems.append(f"{what}: {some(names)}")

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def some(names: Sequence[str], num_named: int = NUM_NAMED) -> str:
    """The first of many names, and how many more there are.

    >>> some(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    rest = len(names) - num_named
    return ", ".join(names[:num_named]) + (f" and {rest} more" if rest > 0 else "")


def by_hash(names: Iterable[str]) -> list[str]:
    """Names in an order that looks random and is always the same; who else is there makes no difference."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def run_prepare(
    prepare: Callable[[Path, Path], Manifests],
    description: str,
    argv: Sequence[str] | None = None,
) -> int:
    """The command ``prepare.py FOLDER [--out OUT]``: write the manifests and count them, or say what is wrong.

    Args:
        prepare: gets the folder of the corpus and that of the manifests, and returns what it wrote.
        description: one sentence for ``--help``.
        argv: the arguments. None: those of the process.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, help="the corpus")
    parser.add_argument("--out", type=Path, help="folder of the manifests (the same)")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        manifests = prepare(arguments.folder, arguments.out or arguments.folder)
    except AudioZENError as error:
        logger.error("%s", error)  # noqa: TRY400 - the text is for people, without traceback
        return error.exit_code
    for name, entries in manifests.items():
        logger.info("%-24s %7d entries", name, len(entries))
    return 0


def _header(path: Path) -> AudioInfo | AudioError:
    try:
        return audio_info(path)
    except AudioError as error:
        return error
