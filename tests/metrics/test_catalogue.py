from __future__ import annotations

import subprocess
import sys

import audiozen.acoustics
import audiozen.losses
import audiozen.metrics
from audiozen.metrics import METRICS
from audiozen.metrics.catalogue import IMPROVEMENT, metric_of


def test_every_metric_is_exported_under_its_name():
    for name, metric in METRICS.items():
        assert metric.function.__name__ == name
        assert getattr(audiozen.metrics, name) is metric.function


def test_only_dnsmos_does_without_a_reference():
    without = [name for name, metric in METRICS.items() if not metric.needs_reference]
    plain = ["dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808"]
    assert without == plain + [f"{name}_full" for name in plain]


def test_distances_are_better_when_lower():
    lower = [name for name, metric in METRICS.items() if not metric.higher_is_better]
    assert lower == ["lsd_urgent", "llr", "wss"]


def test_no_name_is_taken_for_an_improvement():
    assert not [name for name in METRICS if name.endswith(IMPROVEMENT)]


def test_improvements_are_of_their_metric():
    for name, metric in METRICS.items():
        assert metric_of(name) is metric_of(f"{name}{IMPROVEMENT}") is metric
    assert metric_of("wer") is metric_of("") is None


def test_module_tells_of_every_metric():
    told = audiozen.metrics.__doc__
    families = {name.removesuffix("_full").rpartition("_")[0] for name in METRICS if "dns" in name}
    assert families == {"dnsmos"}
    for name in METRICS:
        short = name.removesuffix("_full").removeprefix("dnsmos")
        assert f"``{name}``" in told or f"``{short}``" in told, name


def test_public_names_are_sorted_and_there():
    for name in ("acoustics", "losses", "metrics"):
        module = getattr(audiozen, name)
        assert module.__all__ == sorted(module.__all__)
        assert all(hasattr(module, public) for public in module.__all__)


def test_import_loads_no_optional_package():
    code = (
        "import sys, audiozen.metrics, audiozen.losses\n"
        "loaded = {'pesq', 'onnxruntime', 'scipy', 'librosa', 'speechmos'}\n"
        "assert not loaded & set(sys.modules), loaded & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
