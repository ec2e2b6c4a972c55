"""The page in a real browser: opened from the disk, clicked, typed at, listened to."""

from __future__ import annotations

import os
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiozen.report.page import write_report
from audiozen.results.run import Run
from tests.report.experiments import EVIL, Plan, write_experiment

pytestmark = pytest.mark.browser

PAGES = [
    ("baseline",),
    ("baseline", "larger"),
    ("baseline", "running", "from_python"),
    ("two_datasets",),
    ("running",),
    ("trained",),
    ("from_python",),
    ("silent",),
    ("only_settings",),
    ("all_nan",),
]
MINUS, DASH = "\u2212", "\u2013"
POSITION = "audiozenReport.player.position"


def cells(page, column: str) -> list[str]:
    """Texts of a column of the signals, as shown."""
    heads = [
        re.sub(r"[↑↓]", "", text).strip()
        for text in page.locator(".signals thead th").all_inner_texts()
    ]
    place = heads.index(column) + 1
    return page.locator(f".signals tbody tr > :nth-child({place})").all_inner_texts()


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace(MINUS, "-")) for text in texts if not text.startswith(DASH)]


def filter_by(page, text: str) -> None:
    page.fill("#filter", text)


def wait(page, condition: str) -> None:
    """Until an expression is true. (wait_for_function would evaluate text in the page, which its policy forbids.)"""
    check = f"const check = () => ({condition}) ? resolve() : requestAnimationFrame(check)"
    page.evaluate(f"() => new Promise((resolve) => {{ {check}; check(); }})")


def count(page) -> str:
    return page.inner_text(".count")


# ---- opening -----------------------------------------------------------------------------


@pytest.mark.parametrize("names", PAGES, ids="+".join)
def test_opens_without_a_complaint_or_a_request_and_fits_a_phone(show, page_of, names):
    page = show(page_of(*names))
    assert page.locator("h2").all_inner_texts() == [
        "Summary",
        "Curves",
        "Scores",
        "Listen",
        "Signals",
        "Settings",
        "Environment",
    ]
    assert not re.search(r"undefined|\[object|\bNaN(?! or infinite)", page.inner_text("main"))
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_thousand_signals_open_fast(show, tmp_path, capsys):
    plan = Plan(num_signals=1000, seconds=4, num_with_sound=40, num_steps=50_000)
    run = Run(write_experiment(tmp_path / "large", plan))
    path = tmp_path / "page.html"
    write_report(path, [run])
    page = show(path)
    ready = page.evaluate("audiozenReport.ready")
    nodes = page.evaluate("document.querySelectorAll('*').length")
    with capsys.disabled():
        size = path.stat().st_size
        print(f"\n1000 signals: {size / 1e6:.1f} MB, ready after {ready:.0f} ms, {nodes} elements")
    assert path.stat().st_size < 20e6
    assert nodes < 3000
    assert ready < 10_000
    assert count(page).startswith("1\u202f000 of 1\u202f000 shown")


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("names", [("baseline",), ("baseline", "larger")], ids="+".join)
def test_screenshots(show, page_of, tmp_path, names, scheme, width):
    """Kept in the folder that AUDIOZEN_SCREENSHOTS names, to be looked at."""
    folder = Path(os.environ.get("AUDIOZEN_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page = show(page_of(*names), width=width, color_scheme=scheme)
    path = folder / f"{'+'.join(names)}-{scheme}-{width}.png"
    page.screenshot(path=path, full_page=True)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = statistics.fmean(map(int, re.findall(r"\d+", background)))
    assert lightness > 200 if scheme == "light" else lightness < 60
    assert path.stat().st_size > 50_000


def test_theme_can_be_chosen(show, page_of):
    page = show(page_of("baseline"), color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    assert page.evaluate(background) == light
    page.click("#theme")
    assert page.inner_text("#theme") == "Theme: dark"
    assert page.evaluate(background) != light


# ---- text --------------------------------------------------------------------------------


def test_ids_stay_text(show, page_of):
    page = show(page_of("baseline"))
    assert EVIL in page.locator(".signals th.id").all_text_contents()
    assert page.title() == "baseline"
    assert page.locator("img[src=x]").count() == 0


def test_missing_parts_say_which_command_makes_them(show, page_of):
    page = show(page_of("running"))
    assert "torchrun --nproc-per-node 2 -m audiozen test recipe/baseline.toml" in page.inner_text(
        "#scores"
    )
    assert "trainer.test(" in show(page_of("from_python")).inner_text("#summary")


def test_validation_stands_in_for_a_test(show, page_of):
    page = show(page_of("trained"))
    assert "validation 4 signals" in page.inner_text("#summary")
    assert count(page).startswith("4 of 4 shown")


def test_failures_are_marked_with_their_reason(show, page_of):
    page = show(page_of("baseline"))
    summary = page.inner_text("#summary")
    assert "†" in summary
    assert "pesq_wb no_speech_found (1)" in summary
    assert f"{DASH} no_speech_found" in cells(page, "pesq_wb")


# ---- table -------------------------------------------------------------------------------


def test_click_on_a_head_sorts_and_missing_values_stay_last(show, page_of):
    page = show(page_of("baseline"))
    head = page.locator(".signals thead th", has_text="pesq_wb")
    for direction, is_reversed in (("ascending", False), ("descending", True)):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == direction
        texts = cells(page, "pesq_wb")
        assert texts[-1] == f"{DASH} no_speech_found"
        assert numbers(texts) == sorted(numbers(texts), reverse=is_reversed)
        assert len(numbers(texts)) == 9
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "none"
    assert cells(page, "id")[0] == "test_rain_0000"


def test_keyboard_sorts(show, page_of):
    page = show(page_of("baseline"))
    page.locator(".signals thead button", has_text="Δ si_sdr").focus()
    page.keyboard.press("Enter")
    gains = numbers(cells(page, "Δ si_sdr"))
    assert gains == sorted(gains)
    assert len(set(gains)) > 5


def test_words_and_conditions_filter(show, page_of, runs):
    page = show(page_of("baseline"))
    records = runs["baseline"].tables()["test"]
    filter_by(page, "STREET")
    assert len(cells(page, "id")) == sum(one["noise_type"] == "street" for one in records)
    filter_by(page, "noise_type=rain snr_db>=0 si_sdr<100")
    rainy = [one for one in records if one["noise_type"] == "rain" and one["snr_db"] >= 0]
    assert len(cells(page, "id")) == len(rainy)
    mean = statistics.fmean(one["si_sdr"] for one in rainy)
    assert count(page).startswith(f"{len(rainy)} of 10 shown, mean si_sdr {mean:.2f}, Δ si_sdr +")
    filter_by(page, "pesq_wb=nan")
    assert cells(page, "id") == ["test_rain_0004"]
    filter_by(page, "noise_type=rain pesq_wb!=nan")
    assert len(cells(page, "id")) == 2
    filter_by(page, "nothing_like_this")
    assert count(page) == "0 of 10 shown"


def test_unknown_column_in_a_filter_is_told(show, page_of):
    page = show(page_of("baseline"))
    filter_by(page, "pesk<2")
    assert page.inner_text("#filter-problem") == "There is no column pesk."
    filter_by(page, "")
    assert page.inner_text("#filter-problem") == ""


def test_pages_of_the_table(show, tmp_path):
    run = Run(write_experiment(tmp_path / "many", Plan(num_signals=120, parts=("test",))))
    write_report(tmp_path / "page.html", [run])
    page = show(tmp_path / "page.html")
    assert len(cells(page, "id")) == 50
    page.click("text=Last")
    assert len(cells(page, "id")) == 20
    filter_by(page, "street")
    assert len(cells(page, "id")) == 30


def test_columns_can_be_chosen(show, page_of):
    page = show(page_of("baseline"))
    page.click("text=Columns")
    page.get_by_label("stoi_noisy").check()
    assert len(numbers(cells(page, "stoi_noisy"))) == 10


def test_several_experiments_have_a_column_each_and_differences(show, page_of, runs):
    page = show(page_of("baseline", "larger"))
    baseline, larger = (runs[name].tables()["test"] for name in ("baseline", "larger"))
    expected = [b["si_sdr"] - a["si_sdr"] for a, b in zip(baseline, larger)]
    assert numbers(cells(page, "Δ larger")) == pytest.approx(expected, abs=0.006)
    page.locator("#signals").get_by_label("Metric").select_option("stoi")
    assert numbers(cells(page, "larger")) == pytest.approx([b["stoi"] for b in larger], abs=6e-5)


# ---- charts ------------------------------------------------------------------------------


def range_of(page, name: str = "valid/si_sdr") -> list[float]:
    """What a chart shows of its x axis."""
    return page.evaluate(
        """name => {
            const [{ plot }] = [...audiozenReport.charts].filter(({ box }) => box.ariaLabel.startsWith(name));
            return [plot.scales.x.min, plot.scales.x.max];
        }""",
        name,
    )


def test_dragging_zooms_and_a_double_click_shows_all(show, page_of):
    page = show(page_of("baseline"))
    before = range_of(page)
    over = page.locator("#curves .u-over").first
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 60, steps=5)
    page.mouse.up()
    low, high = range_of(page)
    assert before[0] < low < high < before[1]
    over.dblclick()
    assert range_of(page) == before


def test_hovering_and_arrow_keys_read_values(show, page_of):
    page = show(page_of("baseline"))
    figure = page.locator("#curves figure").first
    figure.locator(".plot").focus()
    page.keyboard.press("ArrowRight")
    assert figure.locator(".where").inner_text() == "step 100"
    page.keyboard.press("ArrowRight")
    assert figure.locator(".where").inner_text() == "step 200"
    page.keyboard.press("+")
    low, high = range_of(page)
    assert high - low < 500
    page.keyboard.press("0")
    assert range_of(page) == [100, 600]
    over = figure.locator(".u-over")
    box = over.bounding_box()
    over.hover(position={"x": box["width"] - 2, "y": 20})
    assert figure.locator(".where").inner_text() == "step 600"


def test_curves_can_be_drawn_over_epochs_and_time(show, page_of):
    page = show(page_of("baseline"))
    over = page.locator("#curves").get_by_label("Over")
    over.select_option("epoch")
    assert range_of(page) == [1, 6]
    over.select_option("time")
    assert range_of(page, "train/loss") == [0, pytest.approx(590 / 60, abs=0.01)]


def test_smoothing_leaves_the_curve_as_logged(show, page_of):
    page = show(page_of("baseline"))
    data = """() => [...audiozenReport.charts].find(({ box }) =>
        box.ariaLabel.startsWith('train/loss')).plot.data.slice(1).map((one) => [...one])"""
    logged, smoothed = page.evaluate(data)
    assert statistics.pstdev(np.diff(smoothed)) < 0.7 * statistics.pstdev(np.diff(logged))
    page.get_by_label("Smoothing of train/").fill("0")
    wait(page, f"({data})().length === 1")
    assert page.evaluate(data) == [logged]


def test_distribution_by_group_and_metric(show, page_of, runs):
    page = show(page_of("baseline"))
    scores = page.locator("#scores")
    scores.get_by_label("Metric").select_option("stoi")
    scores.get_by_label("By", exact=False).and_(page.locator("select")).select_option("snr_db")
    records = runs["baseline"].tables()["test"]
    rows = scores.locator("tbody tr").all_inner_texts()
    assert len(rows) == 5
    mean = statistics.fmean(one["stoi"] for one in records if one["snr_db"] == -5)
    assert rows[0].split()[0] == f"{MINUS}5"
    assert f"{mean:.4f}" in rows[0]


# ---- listening ---------------------------------------------------------------------------


def gains(page) -> list[float]:
    return page.evaluate("audiozenReport.player.voices.map(({ gain }) => gain.gain.value)")


def start(page) -> None:
    page.locator("button.play").click()
    wait(page, f"{POSITION} > 0.2")


def test_plays_and_switches_at_the_same_position(show, page_of):
    page = show(page_of("baseline"))
    start(page)
    assert page.inner_text("button.play") == "Pause"
    assert gains(page) == [1, 0, 0]
    before, after = page.evaluate(
        "() => { const { player } = audiozenReport; const before = player.position;"
        " player.select(1); return [before, player.position] }"
    )
    assert after - before < 0.1
    wait(page, "audiozenReport.player.voices[1].gain.gain.value === 1")
    assert gains(page) == [0, 1, 0]
    page.locator("button.play").click()
    position = page.evaluate(POSITION)
    assert position >= before
    left = page.evaluate("parseFloat(document.querySelector('.picture .cursor').style.left)")
    duration = page.evaluate("audiozenReport.player.duration")
    assert left == pytest.approx(100 * position / duration, abs=0.5)


def test_plays_to_the_end_and_stands_at_the_beginning(show, page_of):
    page = show(page_of("baseline"))
    page.evaluate("audiozenReport.player.seek(audiozenReport.player.duration - 0.3)")
    page.locator("button.play").click()
    wait(page, f"!audiozenReport.player.playing && {POSITION} === 0")


def test_keys_play_switch_seek_and_go_on(show, page_of):
    page = show(page_of("baseline"))
    page.locator("#listen").scroll_into_view_if_needed()
    page.evaluate("document.getElementById('listen').scrollIntoView({ behavior: 'instant' })")
    page.keyboard.press("3")
    assert page.evaluate("audiozenReport.player.role") == 2
    assert page.locator("input[name=role]").nth(2).is_checked()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(POSITION) == 1
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(POSITION) == 0
    first = page.inner_text(".title h3")
    page.keyboard.press("j")
    assert page.inner_text(".title h3") != first
    assert page.evaluate("audiozenReport.player.role") == 2
    page.keyboard.press("k")
    assert page.inner_text(".title h3") == first
    page.keyboard.press("Space")
    wait(page, f"{POSITION} > 0.1")
    page.keyboard.press("Space")
    assert not page.evaluate("audiozenReport.player.playing")


def test_keys_are_letters_where_text_is_typed(show, page_of):
    page = show(page_of("baseline"))
    start(page)
    first = page.inner_text(".title h3")
    page.locator("#filter").focus()
    page.keyboard.type("2 j")
    assert page.input_value("#filter") == "2 j"
    assert page.evaluate("audiozenReport.player.role") == 0
    assert page.inner_text(".title h3") == first


def test_click_on_a_spectrogram_seeks(show, page_of):
    page = show(page_of("baseline"))
    picture = page.locator(".picture").nth(2)
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] / 2, "y": 20})
    duration = page.evaluate("audiozenReport.player.duration")
    assert page.evaluate(POSITION) == pytest.approx(duration / 2, abs=0.02)


def test_spectrograms_are_drawn(show, page_of):
    page = show(page_of("baseline"))
    sizes = page.evaluate(
        "Promise.all([...document.querySelectorAll('.picture img')].map(async (image) => "
        "{ await image.decode(); return [image.naturalWidth, image.naturalHeight] }))"
    )
    assert sizes == [[251, 257]] * 3


def test_sound_is_that_of_the_file_bit_for_bit(show, page_of, runs):
    page = show(page_of("baseline"))
    example = page.evaluate("audiozenReport.player.example")
    files = runs["baseline"].sounds(example["signal_id"], "test")
    for role, signal in enumerate(example["signals"]):
        samples = page.evaluate(
            "async ([number, role]) => [...(await audiozenReport.decode(number, role)).getChannelData(0)]",
            [example["number"], role],
        )
        expected, rate = soundfile.read(files[signal["role"]], dtype="int16")
        assert rate == signal["sample_rate"]
        values = np.array(samples)
        scale = np.where(values > 0, 32767, 32768)  # as Chromium turns integers to floats
        assert np.rint(values * scale).tolist() == expected.tolist()


def test_play_button_of_a_row_jumps_to_the_example(show, page_of):
    page = show(page_of("baseline"))
    button = page.locator(".signals button.jump").last
    signal_id = button.get_attribute("aria-label").removeprefix("Listen to ")
    button.click()
    wait(page, f"{POSITION} > 0.05")
    assert page.locator(".title h3").text_content() == signal_id


def test_several_experiments_share_one_player(show, page_of):
    page = show(page_of("baseline", "larger"))
    names = page.locator(".role .name").all_inner_texts()
    assert names == ["noisy", "baseline", "larger", "clean"]
    start(page)
    page.keyboard.press("3")
    wait(page, "audiozenReport.player.voices[2].gain.gain.value === 1")


# ---- settings ----------------------------------------------------------------------------


def test_only_settings_that_differ_are_shown_of_several(show, page_of):
    page = show(page_of("baseline", "larger"))
    rows = page.locator("#settings tbody th")
    assert set(rows.all_inner_texts()) == {"meta.exp_id", "model.path", "model.args.hidden_size"}
    page.locator("#settings input").check()
    assert "acoustics.n_fft" in rows.all_inner_texts()


def test_commands_are_copied(show, page_of):
    page = show(page_of("baseline"), permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the commands").click()
    page.wait_for_selector("#environment .copied:not(:empty)")
    assert page.evaluate("navigator.clipboard.readText()") == (
        "cd '/home/me/my work'\n"
        "git checkout 2ad555e0c0ffee00000000000000000000000000\n"
        "torchrun --nproc-per-node 2 -m audiozen train recipe/baseline.toml"
    )
