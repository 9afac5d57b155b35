"""The report: what it says, and that a browser shows it without a network."""

import base64
import io
import json
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

from helm_ase import HELMCalculator
from helm_ase.cli import main
from helm_ase.pictures import html_document, page, scene
from helm_ase.pictures.figure import formula_words

pytestmark = pytest.mark.scf

FLAGS = (
    "headless=new", "no-sandbox", "use-gl=angle", "use-angle=swiftshader", "enable-unsafe-swiftshader",
    "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update",
    "disable-sync", "window-size=1100,1600",
)  # fmt: skip
"""Software rendering, and none of the browser's own errands."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    atoms = molecule("CH3OH")
    write(folder / "methanol.xyz", atoms)
    assert main(["report", str(folder / "methanol.xyz"), "-o", str(folder / "page.html")]) == 0
    return folder / "page.html"


def test_the_page_says_what_the_calculator_says(written):
    atoms = molecule("CH3OH")
    atoms.calc = HELMCalculator()
    text = written.read_text(encoding="utf8")
    homo, lumo = atoms.calc.get_homo_lumo()
    assert f"{lumo - homo:.3f} eV" in text
    assert f"{atoms.get_potential_energy():.4f} eV" in text
    assert f"{atoms.calc.get_reliability().fock_residual * 1e6:.0f} µEh" in text
    assert atoms.calc.checkpoint.name in text
    assert "<h1>CH<sub>4</sub>O</h1>" in text
    assert '<p class="verdict trusted"><b>trusted</b>error bar ' in text
    assert "methanol.xyz · predicted by" in text
    assert '<meta name="viewport" content="width=device-width' in text
    assert "is no ionisation energy" in text
    change = atoms.calc.refine(2).energy - atoms.get_potential_energy()
    assert f" eV ({change:+.4f})" in text
    assert atoms.calc.get_reliability().words in text
    assert "http-equiv" in text.split("<style>")[0]
    assert [p.name for p in written.parent.iterdir() if "partial" in p.name] == []


def test_a_page_without_an_error_bar_says_why(tmp_path):
    atoms = molecule("H2O")
    atoms.calc = calc = HELMCalculator()
    other = replace(calc.checkpoint, level=replace(calc.checkpoint.level, variant="VWN5"))
    calc._loaded = calc._loaded._replace(checkpoint=other)
    page.write_page(tmp_path / "page.html", calc, spacing=0.5)
    text = (tmp_path / "page.html").read_text(encoding="utf8")
    assert "Not known: the labels have &#x27;b3lyp&#x27; as &#x27;VWN5&#x27;" in text
    assert "Mulliken" in text


def test_names_from_outside_are_text_and_not_code():
    table = html_document.table(("<b>", "x"), [("<script>alert(1)</script>", "&")])
    assert "<script>" not in table
    assert "&lt;script&gt;" in table
    assert html_document.formula_in_html("C2H6O") == "C<sub>2</sub>H<sub>6</sub>O"


def test_what_is_missing_is_said_first(monkeypatch, tmp_path, capsys):
    write(tmp_path / "x.xyz", molecule("H2O"))
    monkeypatch.setattr(scene, "find_spec", lambda name: None)
    assert main(["report", str(tmp_path / "x.xyz"), "-o", str(tmp_path / "x.html")]) == 1
    assert "pip install 'helm-ase[report]'" in capsys.readouterr().err
    monkeypatch.undo()
    command = ["report", str(tmp_path / "x.xyz"), "-o", str(tmp_path / "x.html"), "--orbitals", "pi"]
    assert main(command) == 1
    assert "no field 'pi'" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with its driver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


def wait_for(condition, seconds=60):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "the page did not get ready"
        time.sleep(0.2)


def picture(browser):
    """Pixels of the 3D view."""
    from matplotlib.image import imread

    element = browser.find_element("css selector", ".js-plotly-plot")
    return imread(io.BytesIO(base64.b64decode(element.screenshot_as_base64)))[:, :, :3]


def test_a_browser_shows_the_page_without_a_network(written, browser):
    browser.get(written.as_uri())
    wait_for(lambda: browser.find_elements("css selector", ".gl-container canvas"))
    wait_for(lambda: picture(browser).std() > 0.01)
    homo = picture(browser)[60:]  # without the buttons
    assert (np.abs(homo - homo[0, 0]).max(-1) > 0.1).mean() > 0.02  # more than background
    buttons = browser.find_elements("css selector", ".updatemenu-button")
    assert [b.text for b in buttons] == ["HOMO", "LUMO", "atoms only"]
    buttons[1].click()
    wait_for(lambda: np.abs(picture(browser)[60:] - homo).mean() > 1e-3)
    errors = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert errors == []
    messages = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in requests) == 1


def test_numbers_stand_low_in_formulas_only():
    assert formula_words("C2H6O") == "C$_{2}$H$_{6}$O"
    assert formula_words("run 2 of 3") == "run 2 of 3"
