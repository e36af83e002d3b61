"""The report page in a headless Chromium: sorts, filters, toggles, without console errors."""

import shutil

import pytest

from tests.reporting.fake_runs import write_run
from tta.commands.report import main

pytest.importorskip("plotly", reason="the page needs plotly (extra `report`)")
webdriver = pytest.importorskip("selenium.webdriver", reason="driving a browser needs selenium")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="needs Chromium and its driver (Debian: chromium-driver)"
    ),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.add_argument("--headless=new")
    options.add_argument("--no-sandbox")  # tests run as root in containers
    options.add_argument("--disable-dev-shm-usage")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    for method, skill in {"rmt": 1.5, "tent": 1.0, "<i>odd</i> $x$": 0.2}.items():
        title = {"title": method, "cost": {"stream_seconds": 1 + skill, "peak_memory_bytes": 1e8}}
        write_run(folder, method[:4].strip("<>"), skill=skill, images=20, **title)
    write_run(folder, "tent", batch_size=20, images=20)
    assert main([str(folder), "-o", str(folder / "report.html")]) == 0
    return folder / "report.html"


@pytest.fixture
def page(browser, file):
    browser.set_window_size(1280, 900)
    browser.get(file.as_uri())
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []


def methods(page):
    rows = page.find_elements(By.CSS_SELECTOR, "section:not([hidden]) tbody tr:not([hidden])")
    return [row.find_element(By.CLASS_NAME, "method").text for row in rows]


def header(page, name):
    found = page.find_elements(By.CSS_SELECTOR, "[data-section='0'] thead button")
    return next(button for button in found if button.text == name)


def curves(page):
    return page.execute_script(
        "return document.querySelector('[data-section=\"0\"] .plot').data.map(t => t.name)"
    )


def test_sorts_by_numbers_and_by_text(page):
    assert methods(page) == ["rmt", "tent", "<i>odd</i> $x$", "tent"]
    header(page, "ms").click()
    assert methods(page)[:3] == ["<i>odd</i> $x$", "tent", "rmt"]
    header(page, "ms").click()
    assert methods(page)[:3] == ["rmt", "tent", "<i>odd</i> $x$"]
    header(page, "method").send_keys(Keys.ENTER)
    assert methods(page)[:3] == ["<i>odd</i> $x$", "rmt", "tent"]
    assert "sorted by method, ascending" in page.find_element(By.ID, "status").text


def test_filters_methods_and_protocols(page):
    page.find_element(By.ID, "filter").send_keys("TENT, rmt")
    assert methods(page) == ["rmt", "tent", "tent"]
    page.find_element(By.CSS_SELECTOR, "#protocol option[value='1']").click()
    assert methods(page) == ["tent"]
    assert page.find_element(By.ID, "status").text == "1 row shown"


def test_a_method_shows_its_curve_and_configuration(page):
    assert len(curves(page)) == 3
    button = page.find_element(By.CSS_SELECTOR, "[data-method='2'] .method")
    button.send_keys(Keys.SPACE)
    assert button.get_attribute("aria-pressed") == "true"
    assert curves(page) == ["&lt;i&gt;odd&lt;/i&gt; $x$"]
    details = page.find_element(By.ID, "details-0-2")
    assert details.is_displayed()
    assert "num_samples: null" in details.text
    assert "stream digest" in details.text
    button.click()
    assert not details.is_displayed()
    assert len(curves(page)) == 3


def test_domains_and_themes_toggle(page):
    cell = page.find_element(By.CSS_SELECTOR, "td.domain")
    assert not cell.is_displayed()
    page.find_element(By.ID, "domains").click()
    assert cell.is_displayed()
    body = page.find_element(By.TAG_NAME, "body")
    light = body.value_of_css_property("background-color")
    page.find_element(By.ID, "theme").click()
    assert body.value_of_css_property("background-color") != light


def test_narrow_windows_scroll_the_table_alone(page):
    page.set_window_size(500, 844)  # Chromium's narrowest window
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    page.refresh()
    width = page.execute_script("return document.documentElement.scrollWidth")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= 390
