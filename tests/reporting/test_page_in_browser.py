"""The report page in a headless Chromium: views, addresses and CSV, without console errors."""

import csv
import shutil
import time

import pytest

from tests.reporting.fake_runs import write_run
from tta.commands.report import main

webdriver = pytest.importorskip("selenium.webdriver", reason="driving a browser needs selenium")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FIRST = "section:first-of-type"
ODD = "=<i>odd</i>, $x$"

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
    for method, skill in {"rmt": 1.5, "tent": 1.0, ODD: 0.2}.items():
        title = {"title": method, "cost": {"stream_seconds": 1 + skill, "peak_memory_bytes": 1e8}}
        passes = {"forwards": 1.0, "backwards": skill}
        write_run(folder, method[-2:], skill=skill, images=20, passes=passes, **title)
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
    found = page.find_elements(By.CSS_SELECTOR, f"{FIRST} thead button")
    return next(button for button in found if button.text == name)


def headings(page):
    found = page.find_elements(By.CSS_SELECTOR, f"{FIRST} thead button")
    return [button.text for button in found if button.is_displayed()]


def choose(page, control, value):
    page.find_element(By.CSS_SELECTOR, f"#{control} option[value='{value}']").click()


def tick(page, column):
    page.find_element(By.CSS_SELECTOR, ".menu summary").click()
    page.find_element(By.CSS_SELECTOR, f"#columns input[value='{column}']").click()
    page.find_element(By.CSS_SELECTOR, ".menu summary").click()


def first(page, selector):
    return page.find_element(By.CSS_SELECTOR, f"{FIRST} {selector}")


def legend(page):
    return [entry.text for entry in page.find_elements(By.CSS_SELECTOR, f"{FIRST} .legend span")]


def test_sorts_by_numbers_and_by_text(page):
    assert methods(page) == ["rmt", "tent", ODD, "tent"]
    header(page, "ms").click()
    assert methods(page)[:3] == [ODD, "tent", "rmt"]
    header(page, "ms").click()
    assert methods(page)[:3] == ["rmt", "tent", ODD]
    header(page, "method").send_keys(Keys.ENTER)
    assert methods(page)[:3] == [ODD, "rmt", "tent"]
    assert "sorted by method, ascending" in page.find_element(By.ID, "status").text


def test_filters_methods_and_protocols(page):
    page.find_element(By.ID, "filter").send_keys("TENT, rmt")
    assert methods(page) == ["rmt", "tent", "tent"]
    page.find_elements(By.CSS_SELECTOR, "#protocol option")[2].click()
    assert methods(page) == ["tent"]
    assert page.find_element(By.ID, "status").text.startswith("1 row shown")


def test_a_method_shows_its_curve_and_configuration(page):
    assert legend(page) == ["rmt", "tent", ODD]
    button = first(page, "[data-method='2'] .method")
    button.send_keys(Keys.SPACE)
    assert button.get_attribute("aria-pressed") == "true"
    assert legend(page) == [ODD]
    details = page.find_element(By.ID, button.get_attribute("aria-controls"))
    assert details.is_displayed()
    assert "num_samples: null" in details.text
    assert "stream digest" in details.text
    button.click()
    assert not details.is_displayed()
    assert len(legend(page)) == 3


def test_an_address_opens_the_same_view(page):
    header(page, "ms").click()
    tick(page, "domains")
    tick(page, "rank")
    choose(page, "picture", "heat")
    page.find_element(By.CSS_SELECTOR, "#metric option:last-child").click()
    first(page, "[data-method='1'] .method").click()
    page.find_elements(By.CSS_SELECTOR, "#protocol option")[1].click()
    address, shown = page.current_url, page.find_element(By.ID, "results").text
    page.get("about:blank")
    page.get(address)
    assert page.find_element(By.ID, "results").text == shown
    assert methods(page) == [ODD, "tent", "rmt"]
    assert headings(page)[:4] == ["method", "mean accuracy %", "a", "b"]
    assert "rank" not in headings(page)
    assert page.find_element(By.ID, "picture").get_attribute("value") == "heat"


def test_back_and_forward_undo_and_redo(page):
    header(page, "ms").click()
    choose(page, "picture", "heat")
    page.back()
    assert page.find_element(By.ID, "picture").get_attribute("value") == "stream"
    assert methods(page)[:3] == [ODD, "tent", "rmt"]
    page.back()
    assert methods(page)[:3] == ["rmt", "tent", ODD]
    page.forward()
    assert methods(page)[:3] == [ODD, "tent", "rmt"]


def test_an_address_of_nonsense_shows_the_page(page):
    address = page.current_url.partition("#")[0]
    page.get("about:blank")
    page.get(f"{address}#protocol=zz&metric=1&picture=&sort=zz&ticked=zz&columns=zz&odd=1")
    assert methods(page) == ["rmt", "tent", ODD, "tent"]
    assert page.find_element(By.ID, "metric").get_attribute("value") == "error"


def test_domains_stand_beside_the_mean(page):
    assert "a" not in headings(page)
    tick(page, "domains")
    assert headings(page)[1:4] == ["mean error %", "a", "b"]


def test_csv_holds_what_is_shown(page, tmp_path):
    place = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.execute_cdp_cmd("Browser.setDownloadBehavior", place)
    page.find_element(By.ID, "filter").send_keys("odd rmt")
    header(page, "ms").click()
    tick(page, "domains")
    tick(page, "rank")
    first(page, ".csv").click()
    (file,) = wait(lambda: list(tmp_path.glob("*.csv")))
    rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
    assert rows[0] == headings(page)
    assert [row[0] for row in rows[1:]] == [f"'{ODD}", "rmt"]
    cells = page.find_elements(By.CSS_SELECTOR, f"{FIRST} tbody tr:not([hidden]) > *")
    shown = [cell.text for cell in cells if cell.is_displayed()]
    assert [cell or "–" for row in rows[1:] for cell in row] == [
        f"'{text}" if text == ODD else text or "–" for text in shown
    ]


def wait(found, seconds=10):
    for _ in range(20 * seconds):
        if found():
            return found()
        time.sleep(0.05)
    raise AssertionError("nothing came")


def test_accuracy_is_shown_for_error(page):
    error = float(first(page, "tbody td.number").text)
    page.find_element(By.CSS_SELECTOR, "#metric option:last-child").click()
    assert header(page, "mean accuracy %").is_displayed()
    assert float(first(page, "tbody td.number").text) == pytest.approx(100 - error, abs=0.011)
    assert methods(page)[:3] == ["rmt", "tent", ODD]
    header(page, "mean accuracy %").click()
    assert methods(page)[:3] == [ODD, "tent", "rmt"]


def test_pictures_tell_their_values(page):
    plot = first(page, ".plot")
    page.execute_script("arguments[0].focus()", plot)
    plot.send_keys(Keys.ARROW_RIGHT)
    tip = first(page, ".tip")
    assert tip.text.splitlines()[0] == "3 images seen, a"
    assert len(tip.text.splitlines()) == 4
    for picture, marks in {"ms_per_image": 3, "passes": 3, "memory_mib": 3, "heat": 27}.items():
        choose(page, "picture", picture)
        drawn = plot.find_elements(By.CSS_SELECTOR, ".point, g > rect")
        assert len(drawn) == marks
        ActionChains(page).move_to_element(drawn[0]).perform()
        assert tip.text.startswith("rmt")
        assert "error" in tip.text


def test_the_dark_theme(page):
    body = page.find_element(By.TAG_NAME, "body")
    light = body.value_of_css_property("background-color")
    page.find_element(By.ID, "theme").click()
    assert body.value_of_css_property("background-color") != light


def test_print_shows_no_controls_in_black_on_white(page):
    page.find_element(By.ID, "theme").click()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = [
        control
        for control in page.find_elements(By.CSS_SELECTOR, "input, select, summary, .csv, .skip")
        if control.is_displayed()
    ]
    colour = page.find_element(By.TAG_NAME, "body").value_of_css_property("color")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shown == []
    assert colour == "rgba(0, 0, 0, 1)"


def test_narrow_windows_scroll_the_table_alone(page):
    page.set_window_size(500, 844)  # Chromium's narrowest window
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    widths = []
    for picture in ("stream", "heat", "passes"):
        page.refresh()
        choose(page, "picture", picture)
        widths.append(page.execute_script("return document.documentElement.scrollWidth"))
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert max(widths) <= 390
