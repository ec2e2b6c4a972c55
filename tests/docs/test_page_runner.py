"""The runner of pages does what pages rely on, and notices what is wrong with them."""

from __future__ import annotations

import os
import random
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.docs.commands import is_plain
from tests.docs.pages import (
    PageError,
    is_like,
    is_like_but_for_numbers,
    read_blocks,
    run_page,
)

MODEL = """
    <!-- file: pieces/model.py -->
    ```python
    SIZE = 3
    ```
"""


@pytest.fixture
def run(tmp_path: Path):
    """Write a page, and run it."""

    def write_and_run(text: str) -> Path:
        page, folder = tmp_path / "page.md", tmp_path / "folder"
        page.write_text(textwrap.dedent(text))
        folder.mkdir(exist_ok=True)
        run_page(page, folder)
        return folder

    return write_and_run


def test_blocks_run_in_their_order_and_share_names_and_files(run):
    folder = run("""
        # Title

        ```python
        from pathlib import Path

        Path("made").touch()
        number = 3
        ```

        <!-- setup: sh
        mv made moved
        -->

        ```python
        assert Path("moved").exists()
        print(number)
        ```

        <!-- output -->

        ```text
        3
        ```
    """)
    assert (folder / "moved").exists()


def test_files_are_written_and_imported_from_the_folder_of_the_page(run):
    for size in (3, 4):  # modules of one page are not those of the next
        run(f"""
            <!-- file: pieces/model.py -->
            ```python
            SIZE = {size}
            ```
            ```python
            from pieces.model import SIZE
            assert SIZE == {size}
            ```
        """)
        assert "pieces.model" not in sys.modules


def test_commands_see_files_as_they_are_now(run):
    for page_part in ("8", "9"):
        run(f"""
            ```sh
            audiozen new recipe
            ```
            <!-- setup: python
            from pathlib import Path
            Path("recipe/model.py").write_text("import torch\\n\\n\\nclass Mine(torch.nn.Module):\\n"
                "    def __init__(self, size_{page_part}=1): super().__init__()\\n")
            -->
            <!-- exit: 2 -->
            ```sh
            audiozen train recipe/baseline.toml model.path=model.Mine model.args={{nothing=1}}
            ```
            <!-- output -->
            ```text
            error: ... size_{page_part} ...
            ```
            <!-- setup: sh
            rm -r recipe
            -->
        """)


def test_output_of_another_kind_is_noticed(run):
    with pytest.raises(PageError, match=r"page\.md:6: the page shows\s+4\s+and printed was\s+3"):
        run("""
            ```python
            print(3)
            ```
            <!-- output -->
            ```text
            4
            ```
        """)


def test_output_without_a_run_is_refused(run):
    with pytest.raises(PageError, match=r"page\.md:3: nothing was run right before"):
        run("""
            <!-- output -->
            ```text
            4
            ```
        """)


@pytest.mark.parametrize("command", ["false", "audiozen train nowhere.toml", "true | false"])
def test_commands_that_fail_are_noticed(run, command):
    with pytest.raises(PageError, match=r"page\.md:2: exit code \d in place of 0"):
        run(f"""
            ```sh
            {command}
            true
            ```
        """)


def test_commands_may_fail_as_the_page_says(run):
    run("""
        <!-- exit: 2 -->
        ```sh
        audiozen train nowhere.toml  # is not there
        ```
        <!-- output -->
        ```text
        error: ...nowhere.toml does not exist...
        ```
        <!-- exit: 7 -->
        ```sh
        exit 7
        ```
    """)
    with pytest.raises(PageError, match="exit code 0 in place of 2"):
        run("""
            <!-- exit: 2 -->
            ```sh
            audiozen --help
            ```
        """)


def test_nothing_is_run_after_a_command_that_failed(run):
    with pytest.raises(PageError, match="exit code 2 in place of 0"):
        run("""
            ```sh
            audiozen train nowhere.toml
            audiozen --help
            ```
        """)


def test_programs_see_modules_that_were_written_within_the_same_second(run):
    module = """
        <!-- file: pieces.py -->
        ```python
        SIZE = {}
        ```
        ```sh
        python program.py
        ```
        <!-- output -->
        ```text
        {}
        ```
    """
    run(
        """
        <!-- file: program.py -->
        ```python
        import pieces; print(pieces.SIZE)
        ```
    """
        + module.format(3, 3)
        + module.format(4, 4)
    )


def test_console_prints_what_stands_below_each_command(run):
    page = """
        ```console
        $ echo one | tr o O
        One
        $ echo two
        {}
        ```
    """
    run(page.format("two"))
    with pytest.raises(PageError, match=r"the page shows\s+three"):
        run(page.format("three"))


def test_programs_that_fail_are_shown_by_the_line_of_the_page(run):
    with pytest.raises(ZeroDivisionError) as caught:
        run("""
            Text.

            ```python
            a = 1
            a / 0
            ```
        """)
    assert caught.traceback[-1].lineno == 5  # counted from 0
    assert caught.traceback[-1].path.name == "page.md"
    assert caught.value.__notes__[0].endswith("page.md:4")


def test_warnings_are_errors(run):
    with pytest.raises(UserWarning, match="beware"):
        run("""
            ```python
            import warnings
            warnings.warn("beware")
            ```
        """)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```\na\n```", "page.md:1: a block without a language"),
        ("```fortran\na\n```", "nobody knows how to run 'fortran'"),
        (
            "<!-- outputs -->\n```text\na\n```",
            "unknown directive 'outputs'; there are file, output",
        ),
        ("<!-- exit: 2 -->\ntext\n", "'exit' belongs to no block"),
        ("```sh\ntrue\n", "page.md:1: the block has no end"),
        ("<!-- run by: tests/docs/test_none.py -->\n```sh\n```", "there is no file of tests"),
        ("<!-- run by: tests/test_start.py -->\n```sh\n```", "does not read this page"),
        ("<!-- file: ../a.py -->\n```python\n```", "a file outside of the folder"),
        ("```py\nclass Trainer(BaseTrainer):\n    x = 1\n```", "no file of the template"),
        ("```toml\n[modell]\n```", "an experiment file has no 'modell'"),
    ],
)
def test_blocks_that_nobody_would_run_are_refused(run, text, message):
    with pytest.raises(PageError) as caught:
        run(text)
    assert message in str(caught.value)


def test_excerpts_of_the_template_are_accepted(run):
    run("""
        ```py
        class Trainer(BaseTrainer):
            def training_step(self, batch, batch_idx):
                noisy, clean, _ = batch  # of a dataset
                return self.loss_function(self.model(noisy), clean)
        ```
    """)


def test_blocks_are_left_out_where_a_package_is_missing(run):
    run("""
        <!-- needs: json, no_such_package -->
        ```python
        raise ValueError
        ```
        <!-- output -->
        ```text
        never
        ```
    """)


def test_fences_may_be_longer_and_indented(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("1. a\n\n   ````text\n   ```\n     b\n   ````\n")
    [block] = read_blocks(page)
    assert (block.language, block.text, block.line) == ("text", "```\n  b\n", 3)


def test_process_is_left_as_it_was(run):
    def state():
        return (
            *(Path.cwd(), list(sys.path), list(sys.argv), dict(os.environ)),
            *(torch.get_num_threads(), torch.get_default_dtype(), random.getstate()),
            *(torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()),
        )

    before = state()
    run(
        MODEL
        + """
    ```python
    import os, random, sys
    import numpy, torch
    from pieces import model

    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    torch.set_default_dtype(torch.float64), torch.set_num_threads(2)
    os.environ["MARK"], sys.argv[:] = "1", ["other"]
    sys.path.append("other"), os.chdir("pieces")
    ```
    """
    )
    assert state() == before
    assert not {"pieces", "__page__"} & sys.modules.keys()


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        ("a ... c", "a b\nb c\n", True),
        ("a\nb", "a  \nb\n\n", True),
        ("a", "ab", False),
        ("a.c", "abc", False),
        ("...", "", True),
    ],
)
def test_dots_are_anything(shown, printed, expected):
    assert is_like(shown, printed) == expected


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        ("09:22:55 loss -9.763, 1,234 of 3", "10:01:00 loss 8, 7 of 1e-05", True),
        ("a  1.0  +2.5", "a  10.25   -2.5", True),
        ("a 1 of b", "a 1 of c", False),
        ("50/50, 2 s", "50, 2 s", False),
    ],
)
def test_numbers_may_differ_and_nothing_else(shown, printed, expected):
    assert is_like_but_for_numbers(shown, printed) == expected


def test_numbers_may_differ_where_the_page_says_so(run):
    page = """
        ```python
        print("seconds:", 12)
        ```
        <!-- output{} -->
        ```text
        seconds: 7
        ```
    """
    run(page.format(": other numbers"))
    with pytest.raises(PageError, match="printed was"):
        run(page.format(""))


def test_plain_commands_are_told_from_those_for_a_shell():
    for line in ("audiozen train a.toml  # with | remark", "python train.py --steps 3"):
        assert is_plain(line)
    for line in ("audiozen runs > file", "audiozen score $A", "ls", "audiozen train a && ls"):
        assert not is_plain(line)


def test_programs_are_run_with_their_arguments_and_codes(run):
    run("""
        <!-- file: program.py -->
        ```python
        import sys

        import pieces

        print(__name__, *sys.argv)
        if sys.argv[1:] == ["fail"]:
            raise ValueError("failed")
        sys.exit(len(sys.argv) - 1)
        ```
        <!-- file: pieces.py -->
        ```python
        ```
        ```sh
        python program.py
        echo between
        python program.py  # again
        ```
        <!-- output -->
        ```text
        __main__ program.py
        between
        __main__ program.py
        ```
        <!-- exit: 2 -->
        ```sh
        python program.py a b
        ```
        <!-- exit: 1 -->
        ```sh
        python program.py fail
        echo never
        ```
        <!-- output -->
        ```text
        ...ValueError: failed
        ```
    """)


def test_variables_and_folders_are_carried_over_from_line_to_line(run):
    run("""
        ```sh
        mkdir below
        cd below
        name=$(pwd)
        test "$(basename "$name")" = below
        touch program.py
        python program.py
        ```
    """)
