"""The site of all pages: built once, read as files, looked at in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
import typer

from audiozen.cli.app import app
from tests.conftest import PATIENCE
from tests.surface.names import Module, public_modules

ROOT = Path(__file__).parents[2]
ELSEWHERE = re.compile(r"^(?:[a-z]+:)?//")
LOADED = {
    "link": "href",
    **dict.fromkeys(("audio", "embed", "iframe", "img", "script", "source", "video"), "src"),
}
"""What a browser fetches without being asked, by element."""


@dataclass
class Page(HTMLParser):
    """What one page of the site refers to."""

    path: Path
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.text = self.path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.ids.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if LOADED.get(tag) in given:
            self.loaded.append(given[LOADED[tag]])


class Site:
    """The pages in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_path = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
        self.pages = list(self.by_path.values())

    def named(self, name: str) -> Page:
        return self.by_path[self.folder / f"{name}.html"]

    def broken_links(self, page: Page) -> Iterator[str]:
        """Links to files that are not there, or to places in pages that have no such place."""
        for link in {*page.links, *page.loaded}:
            name, place = map(unquote, urldefrag(link.partition("?")[0]))
            if ELSEWHERE.match(link) or name.startswith(("mailto:", "data:")):
                continue
            path = (page.path.parent / name).resolve() if name else page.path
            if not path.is_file() or (place and place not in self.by_path[path].ids):
                yield f"{page.path.relative_to(self.folder)}: {link}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Built as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site").resolve()
    (recipe,) = re.findall(
        r"^\t\.venv/bin/sphinx-build (.*) build/docs$", (ROOT / "Makefile").read_text(), re.M
    )
    words = recipe.replace("build/doctrees", str(folder / "doctrees")).split()
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, str(folder / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        pytest.fail(built.stderr, pytrace=False)
    return Site(folder / "site")


def test_loads_nothing_from_elsewhere(site: Site) -> None:
    assert [
        (page.path, url) for page in site.pages for url in page.loaded if ELSEWHERE.match(url)
    ] == []
    for style in site.folder.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        urls = re.findall(r"url\(\s*[\"']?([^\"')]+)", text)
        assert [url for url in urls if ELSEWHERE.match(url)] == [], style
        assert "@import" not in text.replace("@import url(basic.css)", ""), style


def test_links_and_anchors_lead_somewhere(site: Site) -> None:
    assert [broken for page in site.pages for broken in site.broken_links(page)] == []


def test_every_page_is_in_the_navigation(site: Site) -> None:
    start = site.named("docs/index")
    (tree,) = re.findall(r'<div class="sidebar-tree">(.*?)\n</div>', start.text, re.DOTALL)
    listed = {(start.path.parent / link).resolve() for link in re.findall(r'href="([^"#]+)', tree)}
    pages = [
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("docs/reference/*.rst"),
        *ROOT.glob("recipes/**/*.md"),
    ]
    wanted = {site.folder / page.relative_to(ROOT).with_suffix(".html") for page in pages}
    assert sorted(wanted - listed - {start.path}) == []


def test_root_leads_to_the_start(site: Site) -> None:
    assert (
        '<meta http-equiv="refresh" content="0; url=docs/index.html">' in site.named("index").text
    )


def test_every_public_name_is_in_the_reference(site: Site) -> None:
    pages = [page for page in site.pages if "reference" in page.path.parts]
    described = set().union(*(page.ids for page in pages))
    for module in map(Module, public_modules()):
        for name in module.names:
            home = module.home(name)
            if home.definitions(name):  # otherwise a module
                assert {f"{module.name}.{name}", f"{home.name}.{name}"} & described, name


def test_every_option_is_in_the_reference(site: Site) -> None:
    ids = site.named("docs/reference/command_line").ids
    for name, command in typer.main.get_command(app).commands.items():
        options = [
            one for one in command.params if one.param_type_name == "option" and not one.hidden
        ]
        for parameter in options:
            for option in parameter.opts:
                assert f"cmdoption-audiozen-{name}-{option.lstrip('-')}" in ids


def test_formulas_are_drawn_without_a_script(site: Site) -> None:
    page = site.named("docs/reference/acoustics")
    assert {"math", "mfrac"} <= page.tags
    assert "mathjax" not in page.text.lower()


@pytest.fixture
def look(site: Site, browser: Any) -> Iterator[Any]:
    """Open a page from the disk, in a scheme of colours. In the end, none may have asked for what is elsewhere."""
    contexts, asked = [], list[str]()

    def open_page(name: str, scheme: str = "light") -> Any:
        contexts.append(browser.new_context(color_scheme=scheme))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site.folder / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.browser
def test_search_finds_a_function_and_a_page(look: Any) -> None:
    page = look("docs/index")
    page.get_by_placeholder("Search").fill("bootstrap_interval")
    page.keyboard.press("Enter")
    page.locator("#search-results a", has_text="bootstrap_interval").first.click()
    assert page.url.endswith(
        "docs/reference/results.html#audiozen.results.statistics.bootstrap_interval"
    )


CONTRASTS = """() => {
    const parse = text => text.match(/[\\d.]+/g).map(Number)
    const light = text => {
        const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
        const [r, g, b] = parse(text).map(v => linear(v / 255))
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const isClear = text => parse(text).length == 4 && parse(text)[3] == 0
    const behind = element => {
        while (element && isClear(getComputedStyle(element).backgroundColor)) element = element.parentElement
        return element ? getComputedStyle(element).backgroundColor : "rgb(255, 255, 255)"
    }
    const hasText = element => [...element.childNodes].some(node => node.nodeType == 3 && node.data.trim())
    return [...document.querySelectorAll("article *, .sidebar-tree *")].filter(hasText).map(element => {
        const [a, b] = [getComputedStyle(element).color, behind(element)].map(light)
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
        return [contrast, element.className + ": " + element.textContent.slice(0, 40)]
    }).sort((one, other) => one[0] - other[0])
}"""
"""Contrast of every text with what is behind it, as WCAG 2.2 defines it: the lowest first."""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["docs/index", "docs/stability", "docs/reference/acoustics"])
def test_texts_stand_out(look: Any, name: str, scheme: str) -> None:
    page = look(name, scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    lowest, text = page.evaluate(CONTRASTS)[0]
    assert lowest >= 4.5, text


@pytest.mark.browser
@pytest.mark.parametrize("name", ["docs/settings", "docs/reference/losses"])
def test_no_page_is_wider_than_the_window(look: Any, name: str) -> None:
    page = look(name)
    for width in (390, 800, 1100, 1330, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width
