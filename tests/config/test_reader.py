from __future__ import annotations

import os
import re
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audiozen.config.reader import read_config
from audiozen.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALID = """
[meta]
seed = 3
[trainer]
path = "audiozen.trainer.base_trainer.BaseTrainer"
[trainer.args]
max_epochs = 2
save_interval = { steps = 5 }
[acoustics]
sample_rate = 16000
[model]
path = "torch.nn.Linear"
args = { in_features = 4, out_features = 4 }
[loss_function]
path = "torch.nn.functional.l1_loss"
[optimizer]
path = "torch.optim.Adam"
[optimizer.args]
lr = 1e-3
[train_dataset]
path = "torch.utils.data.TensorDataset"
[train_dataset.dataloader]
batch_size = 2
[[test_dataset]]
path = "torch.utils.data.TensorDataset"
name = "seen"
[[test_dataset]]
path = "torch.utils.data.TensorDataset"
name = "unseen"
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    return write


def problems_of(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config(path, overrides)
    return caught.value.problems


def test_valid_file_is_read(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    resolved = read_config(write("baseline.toml", VALID))
    assert resolved.config.trainer_config.max_epochs == 2
    assert resolved.config.trainer_config.seed == 3
    assert [dataset.name for dataset in resolved.config.test_dataset] == ["seen", "unseen"]
    assert resolved.search_dirs == (tmp_path.resolve(), tmp_path.parent.resolve())


def test_single_evaluation_table_is_a_list_of_one(write: Callable[[str, str], Path]) -> None:
    text = VALID + '[validate_dataset]\npath = "torch.utils.data.TensorDataset"\n'
    assert len(read_config(write("x.toml", text)).config.validate_dataset) == 1


# ---- problems --------------------------------------------------------------------------------

TEN_MISTAKES = """\
[meta]
seed = "zero"
[trainer]
path = "trainer.Trainer"
[trainer.args]
max_epochs = "often"
max_grad_nrom = 5.0
gradient_accumulation_steps = 0
[acoustics]
sample_rate = 16000
win_length = 1024
[model]
path = "torch.nn.Linear"
[model.args]
in_features = 4
out_featuers = 4
[optimizer]
path = "torch.optim.Adan"
[lr_schedule]
path = "torch.optim.lr_scheduler.StepLR"
[train_dataset]
path = "torch.utils.data.TensorDataset"
[train_dataset.dataloader]
batchsize = 3
num_workers = -1
"""


def test_ten_mistakes_give_ten_lines(write: Callable[[str, str], Path]) -> None:
    write("trainer.py", "from audiozen.trainer.base_trainer import BaseTrainer as Trainer")
    path = write("baseline.toml", TEN_MISTAKES)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    problems = caught.value.problems
    expected = [
        "[meta] seed: expected an integer, at least 0 and at most 4294967295, got 'zero' (line 2)",
        "[trainer.args] max_epochs: expected a positive integer, got 'often' (line 6)",
        "[trainer.args] unknown key max_grad_nrom; did you mean 'max_grad_norm'? (line 7)",
        "[trainer.args] gradient_accumulation_steps: expected a positive integer, got 0 (line 8)",
        "[acoustics] win_length: 1024 is longer than n_fft (512); lower it or raise n_fft (line 11)",
        "[model.args] unknown key out_featuers; did you mean 'out_features'? (line 16)",
        "[lr_schedule] unknown table; did you mean 'lr_scheduler'? (line 19)",
        "[train_dataset.dataloader] unknown key batchsize; did you mean 'batch_size'? (line 24)",
        "[train_dataset.dataloader] num_workers: expected an integer, at least 0, got -1 (line 25)",
    ]
    assert len(problems) == 10
    assert [line for line in problems if "Adan" not in line] == expected
    assert problems[6].startswith("[optimizer] path: module 'torch.optim'")
    assert problems[6].endswith("has no 'Adan'; did you mean 'Adam'? (line 18)")
    assert str(caught.value).startswith(f"{path} has 10 problems:\n  [meta] seed")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("meta.seed=4 trainer.args.seed=5", "[trainer.args] seed: 5 here and 4 in [meta]; state it once, in [meta]"),
        ("trainer.args.patience=3", "[trainer.args] patience: counts validations, and there is no "),
        ("meta.exp_id=a/b", "[meta] exp_id: 'a/b' cannot be the name of a folder"),
        ("meta.save_dir=3", "[meta] save_dir: expected a string, got 3"),
        ("acoustics.n_fft=0", "[acoustics] n_fft: expected a positive integer, got 0"),
        ("acoustics.hop_length=513", "[acoustics] hop_length: 513 is longer than win_length (512)"),
        ("trainer.args.max_grad_norm=nan", "[trainer.args] max_grad_norm: expected a positive number, got nan"),
        ("trainer.args.ema_decay=1", "[trainer.args] ema_decay: expected a number, at least 0 and below 1, got 1"),
        ("trainer.args.device=3", "[trainer.args] device: expected a string, got 3"),
        ("trainer.args.compile=1", "[trainer.args] compile: expected true or false, got 1"),
        ("trainer.args.model=1", "[trainer.args] unknown key model; "),
        ("trainer.path=json.loads", "[trainer] path: 'json.loads' is a function; a trainer is a class"),
        ("trainer.path=torch.nn.Linear", "[trainer] path: the constructor of torch.nn.Linear takes no 'acoustics'"),
        ("model=3", "[model] expected a table, got 3"),
        ("model.path=torch.nn", "[model] path: 'torch.nn' is of type module, not a class or function"),
        ("model.args.bias=yes", "[model.args] bias: expected true or false, got 'yes'"),
        ("model.args.bias.path=no.Where", "[model.args.bias] path: no module 'no'"),
        ("loss_function.args.reductoin=sum", "[loss_function.args] unknown key reductoin; did you mean 'reduction'?"),
        ("lr_scheduler.path=torch.optim.lr_scheduler.StepLR", "[lr_scheduler.args] step_size: missing"),
        ("optimizer.args.lr=fast", "[optimizer.args] lr: expected a number"),
        ("optimizer.generator.path=torch.optim.Adam", "[optimizer] its names need [model] tables of the same names"),
        ("test_dataset.1.name=seen", "[test_dataset.1] name: 'seen' is taken by an earlier [[test_dataset]]"),
        ("test_dataset.1.dataloader.shuffle=3", "[test_dataset.1.dataloader] shuffle: expected true or false, got 3"),
        ("train_dataset.dataloader.collate_fn=json.laods", "[train_dataset.dataloader] collate_fn: module 'json'"),
        ("train_dataset=[1]", "[train_dataset] expected a table, got a list"),
        ("test_dataset=[1]", "[test_dataset] 0: expected a table, got 1"),
        ("nonsense=1", "[nonsense] unknown table; known tables: acoustics, "),
    ],
)  # fmt: skip
def test_one_mistake_gives_one_line(
    write: Callable[[str, str], Path], change: str, problem: str
) -> None:
    (line,) = problems_of(write("baseline.toml", VALID), *change.split())
    assert line.startswith(problem)


@pytest.mark.parametrize(
    ("path", "args"),
    [
        ("torch.nn.HuberLoss", "{ delta = 0.5 }"),
        ("torch.nn.CrossEntropyLoss", "{ ignore_index = 3, weight.path = 'torch.ones', weight.args.size = [2] }"),
        ("torch.nn.functional.huber_loss", "{ delta = 0.5 }"),
    ],
)  # fmt: skip
def test_loss_takes_what_its_constructor_or_its_call_does(
    write: Callable[[str, str], Path], path: str, args: str
) -> None:
    table = f'[loss_function]\npath = "{path}"\nargs = {args}\n'
    text = re.sub(r"\[loss_function\]\n(?:.+\n)+", table, VALID)
    assert table in text
    read_config(write("baseline.toml", text))


@pytest.mark.parametrize("table", ["trainer", "model"])
def test_missing_table_is_told(write: Callable[[str, str], Path], table: str) -> None:
    text = VALID.replace(f"[{table}]", "[meta.x]").replace(f"[{table}.args]", "[meta.x.args]")
    assert f"[{table}] missing, and it has no default" in problems_of(write("x.toml", text))


def test_names_of_models_optimizers_and_schedules_must_match(
    write: Callable[[str, str], Path],
) -> None:
    linear = 'path = "torch.nn.Linear"\nargs = { in_features = 1, out_features = 1 }\n'
    text = f"""
[trainer]
path = "audiozen.trainer.base_trainer.BaseTrainer"
[model.generator]
{linear}
[model.critic]
{linear}
[optimizer.generatr]
path = "torch.optim.Adam"
[lr_scheduler]
path = "torch.optim.lr_scheduler.ConstantLR"
"""
    assert problems_of(write("x.toml", text)) == [
        "[optimizer] generatr: no [model.generatr]; did you mean 'generator'? (line 12)",
        "[lr_scheduler] there are several optimizers; write [lr_scheduler.generatr] (line 14)",
    ]


def test_trainer_takes_arguments_of_its_own(write: Callable[[str, str], Path]) -> None:
    write(
        "trainer.py",
        """
        from audiozen.trainer.base_trainer import BaseTrainer
        class Trainer(BaseTrainer):
            def __init__(self, *args, alpha: float, beta: int = 1, sample_rate: int, **kwargs):
                super().__init__(*args, **kwargs)
        """,
    )
    path = write(
        "x.toml", VALID.replace("audiozen.trainer.base_trainer.BaseTrainer", "trainer.Trainer")
    )
    config = read_config(path, ["trainer.args.alpha=0.5"]).config
    assert config.trainer_extras == {"alpha": 0.5}
    assert problems_of(
        path, "trainer.args.beta=x", "trainer.args.alhpa=1", "trainer.args.max_step=3"
    ) == [
        "[trainer.args] alpha: missing, and it has no default (line 6)",
        "[trainer.args] unknown key alhpa; did you mean 'alpha'? (override)",
        "[trainer.args] unknown key max_step; did you mean 'max_steps'? (override)",
        "[trainer.args] beta: expected an integer, got 'x' (override)",
    ]


def test_misspelt_setting_is_told_though_the_trainer_is_missing(
    write: Callable[[str, str], Path],
) -> None:
    text = VALID.replace("audiozen.trainer.base_trainer.BaseTrainer", "nowhere.Trainer")
    path_problem, key_problem = problems_of(
        write("x.toml", text), "trainer.args.max_epchs=3", "trainer.args.own=1"
    )
    assert path_problem.startswith("[trainer] path: no module 'nowhere'")
    assert key_problem.startswith(
        "[trainer.args] unknown key max_epchs; did you mean 'max_epochs'?"
    )


# ---- files -----------------------------------------------------------------------------------


def test_missing_file_is_told_with_those_that_exist(
    write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    write("baseline.toml", VALID)
    with pytest.raises(
        RequestError, match=r"basline.toml does not exist .*; in .* there are: baseline.toml"
    ):
        read_config(tmp_path / "basline.toml")
    with pytest.raises(RequestError, match="is a folder, not a TOML file"):
        read_config(tmp_path)


@pytest.mark.parametrize("name", ["a\0b.toml", "x" * 5000, "/dev/zero", ""])
def test_odd_file_names_are_refused(name: str) -> None:
    with pytest.raises(RequestError):
        read_config(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[meta\n", "line 1"),
        (b"a = 1\na = 2\n", "line 2"),
        (b"x = \xff\xfe", r"not UTF-8 text \(line 1\)"),
        (b"a = 1\nb = '\xe4'", r"not UTF-8 text \(line 2\)"),
        (b"a = " + b"[" * 100_000, "nested more than 32 levels deep"),
        (b".".join([b"a"] * 1000) + b" = 1", "nested more than 32 levels deep"),
        (b"a = " + b"9" * 10_000, "cannot be read"),
        (b"[meta]\nseed = 0x" + b"f" * 10_000, r"\[meta\] seed: an integer of more than 64 bits"),
        (b"\0", "line 1"),
        (b"", r"\[trainer\] missing"),
        (b"extends = 3", "extends: expected the path of a TOML file"),
        (b"extends = 'missing.toml'", "missing.toml, which .* extends, does not exist"),
        (b"extends = '\\u0000'", "does not exist"),
        (b'extends = "\\u0000"', "extends: expected the path"),
        (b"extends = '.'", "is a folder"),
    ],
)
def test_unreadable_file_is_refused_with_the_place(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(content)
    with pytest.raises(RequestError, match=message):
        read_config(file)


def test_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xef\xbb\xbf" + VALID.encode())
    assert read_config(file).config.meta.seed == 3


# ---- extends ---------------------------------------------------------------------------------


def tables_of(path: Path, *overrides: str) -> dict[str, Any]:
    return read_config(path, overrides, check_code=False).tables


def test_extending_file_states_what_differs(write: Callable[[str, str], Path]) -> None:
    write("base.toml", VALID)
    write("middle.toml", 'extends = "base.toml"\n[optimizer.args]\nlr = 0.5\n')
    tables = tables_of(
        write("variants/v.toml", 'extends = "../middle.toml"\n[trainer.args]\nmax_epochs = 9\n')
    )
    assert tables["trainer"]["args"] == {"max_epochs": 9, "save_interval": {"steps": 5}}
    assert tables["optimizer"] == {"path": "torch.optim.Adam", "args": {"lr": 0.5}}
    assert "extends" not in tables


def test_lists_are_replaced(write: Callable[[str, str], Path]) -> None:
    write("base.toml", VALID)
    text = 'extends = "base.toml"\n[[test_dataset]]\npath = "torch.utils.data.TensorDataset"\n'
    assert tables_of(write("v.toml", text))["test_dataset"] == [
        {"path": "torch.utils.data.TensorDataset"}
    ]


def test_another_path_drops_args_of_the_old_one(write: Callable[[str, str], Path]) -> None:
    write("base.toml", VALID)
    text = 'extends = "base.toml"\n[optimizer]\npath = "torch.optim.SGD"\n[optimizer.args]\nmomentum = 0.9\n'
    assert tables_of(write("v.toml", text))["optimizer"]["args"] == {"momentum": 0.9}
    same = text.replace("SGD", "Adam")
    assert tables_of(write("w.toml", same))["optimizer"]["args"] == {"lr": 1e-3, "momentum": 0.9}


def test_another_trainer_keeps_the_settings(write: Callable[[str, str], Path]) -> None:
    write("base.toml", VALID.replace("max_epochs = 2", "max_epochs = 2\nalpha = 1"))
    text = 'extends = "base.toml"\n[trainer]\npath = "other.Trainer"\nargs = { beta = 2 }\n'
    args = tables_of(write("v.toml", text))["trainer"]["args"]
    assert args == {"max_epochs": 2, "save_interval": {"steps": 5}, "beta": 2}


def test_named_models_take_the_place_of_one(write: Callable[[str, str], Path]) -> None:
    write("base.toml", VALID)
    text = 'extends = "base.toml"\n[model.a]\npath = "a.A"\n[optimizer.a]\npath = "b.B"\n'
    assert tables_of(write("v.toml", text))["model"] == {"a": {"path": "a.A"}}


def test_one_model_takes_the_place_of_named_ones(write: Callable[[str, str], Path]) -> None:
    text = '[trainer]\npath = "a.T"\n[model.a]\npath = "a.A"\n[model.b]\npath = "a.B"\n'
    write("base.toml", text)
    tables = tables_of(write("v.toml", 'extends = "base.toml"\n[model]\npath = "c.C"\n'))
    assert tables["model"] == {"path": "c.C"}


def test_circle_of_extends_is_refused(write: Callable[[str, str], Path]) -> None:
    path = write("a.toml", 'extends = "b.toml"')
    write("b.toml", 'extends = "a.toml"')
    (problem,) = problems_of(path)
    assert problem.startswith("extends: goes round in a circle: ")
    assert problem.count("a.toml") == 2


def test_problem_of_a_base_names_its_file(write: Callable[[str, str], Path]) -> None:
    write("base.toml", VALID.replace("max_epochs = 2", "max_epochs = 0"))
    (problem,) = problems_of(write("v.toml", 'extends = "base.toml"'))
    assert (
        problem
        == "[trainer.args] max_epochs: expected a positive integer, got 0 (base.toml, line 7)"
    )


def test_code_of_the_base_is_found(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    write("recipe/net.py", "from torch.nn import Linear as Net")
    write("recipe/base.toml", VALID.replace("torch.nn.Linear", "net.Net"))
    resolved = read_config(write("elsewhere/deep/v.toml", 'extends = "../../recipe/base.toml"'))
    assert resolved.search_dirs[2] == tmp_path.resolve() / "recipe"


# ---- overrides -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "keys", "value"),
    [
        ("trainer.args.max_epochs=7", ["trainer", "args", "max_epochs"], 7),
        ("meta.exp_id=short run", ["meta", "exp_id"], "short run"),
        ("meta.description=a = b", ["meta", "description"], "a = b"),
        ("meta.description='7'", ["meta", "description"], "7"),
        ("meta.description=", ["meta", "description"], ""),
        ("meta.description=1\nseed = 2", ["meta", "description"], "1\nseed = 2"),
        ("meta.deterministic=true", ["meta", "deterministic"], True),
        ("trainer.args.max_grad_norm=inf", ["trainer", "args", "max_grad_norm"], float("inf")),
        ("trainer.args.save_interval={minutes = 1.5}", ["trainer", "args", "save_interval", "minutes"], 1.5),
        ("model.args.sizes=[1, 2]", ["model", "args", "sizes"], [1, 2]),
        ("test_dataset.1.args.x=1", ["test_dataset", 1, "args"], {"x": 1}),
    ],
)  # fmt: skip
def test_override_sets_a_value(
    write: Callable[[str, str], Path], override: str, keys: list[str | int], value: object
) -> None:
    found: Any = tables_of(write("x.toml", VALID), override)
    for key in keys:
        found = found[key]
    assert found == value
    assert type(found) is type(value)


def test_override_of_one_table_in_a_list_leaves_the_others(
    write: Callable[[str, str], Path],
) -> None:
    first, second = tables_of(write("x.toml", VALID), "test_dataset.1.args.x=1")["test_dataset"]
    assert "args" not in first
    assert second["name"] == "unseen"


def test_override_without_number_changes_all_tables_of_a_list(
    write: Callable[[str, str], Path],
) -> None:
    tables = tables_of(write("x.toml", VALID), "test_dataset.dataloader.batch_size=9")
    assert [item["dataloader"]["batch_size"] for item in tables["test_dataset"]] == [9, 9]


def test_override_of_a_path_drops_old_args_and_keeps_new_ones(
    write: Callable[[str, str], Path],
) -> None:
    tables = tables_of(
        write("x.toml", VALID), "optimizer.args.momentum=0.9", "optimizer.path=torch.optim.SGD"
    )
    assert tables["optimizer"] == {"path": "torch.optim.SGD", "args": {"momentum": 0.9}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_epochs", "expected key=value"),
        ("=3", "expected key=value"),
        ("trainer..args=3", "expected key=value"),
        ("model.args.sizes=[1, 2", "is not a TOML value"),
        ("test_dataset.2.name=x", "no table 2; there are 2, counted from 0"),
        ("extends=b.toml", "extends can only be stated in a file"),
        ("meta.seed=" + "9" * 400, "meta.* seed: an integer of more than 64 bits"),
        ("meta.description=\udcff", "description: not valid UTF-8"),
        ("a." * 50 + "a=1", "nested more than 32"),
        ("meta.x=" + "[" * 50_000, "is not a TOML value"),
    ],
)
def test_wrong_override_is_refused(
    write: Callable[[str, str], Path], override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(write("x.toml", VALID), [override], check_code=False)


# ---- environment -----------------------------------------------------------------------------


def test_environment_variables_are_filled_in(
    write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CORPUS", "/data/${HOME}")
    monkeypatch.delenv("OTHER", raising=False)
    text = (
        VALID
        + """args = { a = "${CORPUS}/x", b = ["${OTHER:-none}"], c = "$${CORPUS}", d = "${CONFIG_DIR}", e = "$5" }"""
    )
    args = tables_of(write("x.toml", text))["test_dataset"][1]["args"]
    folder = str(tmp_path.resolve())
    assert args == {"a": "/data/${HOME}/x", "b": ["none"], "c": "${CORPUS}", "d": folder, "e": "$5"}


def test_config_dir_is_that_of_the_file_in_which_it_stands(
    write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    write("base.toml", VALID + 'args = { a = "${CONFIG_DIR}" }')
    tables = tables_of(
        write("deep/v.toml", 'extends = "../base.toml"\n[meta]\ndescription = "${CONFIG_DIR}"')
    )
    assert tables["test_dataset"][1]["args"]["a"] == str(tmp_path.resolve())
    assert tables["meta"]["description"] == str(tmp_path.resolve() / "deep")


def test_missing_environment_variable_is_told(write: Callable[[str, str], Path]) -> None:
    assert "NOT_SET_HERE" not in os.environ
    text = VALID.replace("seed = 3", 'save_dir = "${NOT_SET_HERE}"\ndescription = "${1x}"')
    missing, malformed = problems_of(write("x.toml", text))
    assert missing.startswith(
        "[meta] save_dir: the environment variable NOT_SET_HERE is not set; set it, or write "
    )
    assert missing.endswith("${NOT_SET_HERE:-default} (line 3)")
    assert malformed.startswith(
        "[meta] description: ${1x} is not the name of an environment variable; write $${"
    )


# ---- any bytes -------------------------------------------------------------------------------


def read_bytes(folder: Path, content: bytes) -> None:
    file = folder / "fuzz.toml"
    file.write_bytes(content)
    try:
        read_config(file)
    except RequestError as error:
        assert str(error)  # noqa: PT017  # most inputs are refused, some are right; both are fine


FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@FUZZ
@given(content=st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    read_bytes(tmp_path, content)


@FUZZ
@given(data=st.data())
def test_mutated_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = VALID.encode()
    start = data.draw(st.integers(0, len(content)))
    length = data.draw(st.integers(0, 12))
    piece = data.draw(
        st.binary(max_size=8) | st.sampled_from([b"[", b"]", b"=", b'"', b".", b"\n", b"[[", b"{"])
    )
    read_bytes(tmp_path, content[:start] + piece + content[start + length :])


VALUES = ["3", "-1", "0", "1.5", "nan", "inf", "true", '""', '"x"', "[]", "[1]", "{}", "{ a = 1 }", '{ path = "x" }',
          "2020-01-01", "07:32:00", "[{}]", "9223372036854775807", '"\\u0000"', '[[["a"]]]', '"a.b"']  # fmt: skip
LINES = [line for line in VALID.splitlines() if "=" in line]


@FUZZ
@given(line=st.sampled_from(LINES), value=st.sampled_from(VALUES))
def test_swapped_types_are_read_or_refused(tmp_path: Path, line: str, value: str) -> None:
    key = line.partition("=")[0]
    read_bytes(tmp_path, VALID.replace(line, f"{key}= {value}", 1).encode())


@FUZZ
@given(table=st.sampled_from(["meta", "trainer", "acoustics", "model", "optimizer", "lr_scheduler", "loss_function",
                              "train_dataset", "validate_dataset", "test_dataset", "trainer.args", "model.args",
                              "test_dataset.dataloader", "model.args.in_features", "extends"]),
       value=st.sampled_from(VALUES))  # fmt: skip
def test_swapped_tables_are_read_or_refused(tmp_path: Path, table: str, value: str) -> None:
    file = tmp_path / "fuzz.toml"
    file.write_text(VALID)
    try:
        read_config(file, [f"{table}={value}"])
    except RequestError as error:
        assert str(error)  # noqa: PT017


@FUZZ
@given(override=st.text(max_size=40) | st.from_regex(r"[a-z_]+(\.[a-z_0-9]+)*=.*", fullmatch=True))
def test_any_override_is_taken_or_refused(tmp_path: Path, override: str) -> None:
    file = tmp_path / "fuzz.toml"
    file.write_text(VALID)
    try:
        read_config(file, [override], check_code=False)
    except RequestError as error:
        assert str(error)  # noqa: PT017
