from __future__ import annotations

import math

import pytest

from audiozen.errors import RequestError
from audiozen.tables.summary import Summary
from audiozen.tables.systems import System, SystemRow, system_rows
from audiozen.tables.text import Heading, chosen_metrics, format_summary, format_systems

NAN = math.nan

SUMMARY = {
    "si_sdr": Summary(15.2345, 824, 0),
    "si_sdr_noisy": Summary(8.4471, 824, 0),
    "pesq_wb": Summary(2.7123, 822, 2, {"no_utterance": 2}),
    "pesq_wb_noisy": Summary(1.9731, 823, 1, {"no_utterance": 1}),
    "stoi": Summary(0.9402, 824, 0),
    "stoi_noisy": Summary(0.9213, 824, 0),
    "loss": Summary(0.01234567, 824, 0),
}


def test_noisy_and_enhanced_stand_in_one_row() -> None:
    assert format_summary("test, 824 signals", SUMMARY).splitlines() == [
        "test, 824 signals",
        "",
        "metric     noisy  enhanced  difference    n  failed",
        "───────────────────────────────────────────────────",
        "si_sdr     8.45     15.23       +6.79   824",
        "pesq_wb   1.973†    2.712†     +0.739†  822       2",
        "stoi     0.9213    0.9402     +0.0189   824",
        "loss              0.01235               824",
        "",
        "† mean over the other signals. Failed:",
        "  pesq_wb: no_utterance (2)",
        "  pesq_wb_noisy: no_utterance (1)",
    ]


def test_markdown_is_a_table_with_the_same_cells() -> None:
    assert format_summary("test", SUMMARY, markdown=True).splitlines()[:6] == [
        "### test",
        "",
        "| metric | noisy | enhanced | difference | n | failed |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| si_sdr | 8.45 | 15.23 | +6.79 | 824 |  |",
        "| pesq_wb | 1.973† | 2.712† | +0.739† | 822 | 2 |",
    ]


def test_without_noisy_partners_there_is_one_value() -> None:
    summary = {"accuracy": Summary(0.5, 10, 0), "x_noisy": Summary(NAN, 0, 10, {"odd|even": 10})}
    assert format_summary("valid", summary).splitlines() == [
        "valid",
        "",
        "metric       mean   n  failed",
        "─────────────────────────────",
        "accuracy  0.5000   10",
        "x_noisy        -†   0      10",
        "",
        "† mean over the other signals. Failed:",
        "  x_noisy: odd|even (10)",
    ]


@pytest.mark.parametrize(
    ("mean", "text"),
    [
        (0.0, "0.000"),
        (-15.234, "-15.23"),
        (1234.5678, "1235"),
        (0.00123456, "0.001235"),
        (1.5e-9, "1.500e-09"),
        (2e12, "2.000e+12"),
        (math.inf, "inf"),
    ],
)
def test_values_have_four_digits(mean: float, text: str) -> None:
    lines = format_summary("t", {"x": Summary(mean, 1, 0)}).splitlines()
    assert lines[-1].split()[1] == text


def test_long_tables_fit_into_a_page() -> None:
    names = ["dnsmos_p835_overall", "composite_csig", "si_sdr_improvement_all"]
    summary = {}
    for name in names:
        summary[name] = Summary(-123.456, 100_000, 5, {"silent_reference": 5})
        summary[name + "_noisy"] = Summary(-1.5, 100_000, 0)
    assert max(map(len, format_summary("t", summary).splitlines())) <= 80


def test_no_metrics_are_said() -> None:
    assert format_summary("test", {}) == "test\n\nno metrics"


HEADINGS = {"si_sdr": Heading("dB", higher_is_better=True), "lsd": Heading("", False)}


def rows() -> list[SystemRow]:
    """Two systems on two groups; a signal of the second group failed in one of them."""
    first = [
        {"id": "1", "snr": "0", "si_sdr": 4.0, "lsd": 1.0, "si_sdr_noisy": 0.5},
        {"id": "2", "snr": "0", "si_sdr": 6.0, "lsd": 3.0, "si_sdr_noisy": -0.5},
        {"id": "3", "snr": "5", "si_sdr": 11.0, "lsd": 1.5, "si_sdr_noisy": 5.0},
    ]
    second = [{**record, "lsd": 2.0, "si_sdr": 5.0} for record in first]
    second[2] |= {"si_sdr": NAN, "si_sdr__error": "silent_estimate"}
    return system_rows([System("tiny", first), System("big|one", second)], ["snr"])


def test_systems_stand_below_each_other_in_each_group() -> None:
    assert format_systems("test", rows(), headings=HEADINGS).splitlines() == [
        "test",
        "",
        "snr  system   n  si_sdr (dB) ↑          lsd ↓",
        "─────────────────────────────────────────────",
        "0    noisy    2   0.00 ± 0.71",
        "0    tiny     2   5.00 ± 1.41   2.000 ± 1.414",
        "0    big|one  2   5.00 ± 0.00   2.000 ± 0.000",
        "5    noisy    1   5.00",
        "5    tiny     1  11.00          1.500",
        "5    big|one  1      -       †  2.000",
        "all  noisy    3   1.67 ± 2.93",
        "all  tiny     3   7.00 ± 3.61   1.833 ± 1.041",
        "all  big|one  3   5.00 ± 0.00†  2.000 ± 0.000",
        "",
        "† mean over the other signals. Failed:",
        "  all, big|one, silent_estimate (1 of 3): si_sdr",
    ]


def test_markdown_marks_the_best_of_each_group_in_which_nothing_failed() -> None:
    text = format_systems("t", rows(), headings=HEADINGS, layout="markdown", show_std=False)
    assert text.splitlines() == [
        "### t",
        "",
        "| snr | system | n | si_sdr (dB) ↑ | lsd ↓ |",
        "| --- | --- | ---: | ---: | ---: |",
        "| 0 | noisy | 2 | 0.00 |  |",
        "| 0 | tiny | 2 | **5.00** | **2.000** |",
        "| 0 | big\\|one | 2 | **5.00** | **2.000** |",
        "| 5 | noisy | 1 | 5.00 |  |",
        "| 5 | tiny | 1 | 11.00 | **1.500** |",
        "| 5 | big\\|one | 1 | -† | 2.000 |",
        "| all | noisy | 3 | 1.67 |  |",
        "| all | tiny | 3 | 7.00 | **1.833** |",
        "| all | big\\|one | 3 | 5.00† | 2.000 |",
        "",
        "† mean over the other signals. Failed:",
        "",
        "- all, big|one, silent_estimate (1 of 3): si_sdr",
    ]


def test_latex_has_rules_space_between_groups_and_bold() -> None:
    text = format_systems("t", rows(), metrics=["lsd"], headings=HEADINGS, layout="latex")
    assert text.splitlines() == [
        "% t",
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{llrr}",
        r"\toprule",
        r"snr & system & n & lsd $\downarrow$ \\",
        r"\midrule",
        r"0 & noisy & 2 &  \\",
        r"0 & tiny & 2 & \textbf{2.000} $\pm$ 1.414 \\",
        r"0 & big$|$one & 2 & \textbf{2.000} $\pm$ 0.000 \\",
        r"\addlinespace",
        r"5 & noisy & 1 &  \\",
        r"5 & tiny & 1 & \textbf{1.500} \\",
        r"5 & big$|$one & 1 & 2.000 \\",
        r"\addlinespace",
        r"all & noisy & 3 &  \\",
        r"all & tiny & 3 & \textbf{1.833} $\pm$ 1.041 \\",
        r"all & big$|$one & 3 & 2.000 $\pm$ 0.000 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_nothing_is_best_where_the_direction_is_not_known_or_there_is_one_system() -> None:
    assert "**" not in format_systems("t", rows(), layout="markdown")
    alone = system_rows([System("a", [{"si_sdr": 1.0}])])
    assert "**" not in format_systems("t", alone, headings=HEADINGS, layout="markdown")


def test_columns_are_those_asked_for_in_that_order() -> None:
    assert chosen_metrics(rows()) == ["si_sdr", "lsd"]
    assert chosen_metrics(rows(), ["lsd", "si_sdr", "lsd"]) == ["lsd", "si_sdr"]
    with pytest.raises(RequestError, match="no metric 'si_sdr_i'; did you mean 'si_sdr'"):
        chosen_metrics(rows(), ["si_sdr_i"])


def test_systems_without_metrics_are_said() -> None:
    assert format_systems("t", system_rows([System("a", [{"id": "1"}])])) == "t\n\nno metrics"
