"""What the page showed where a test of the App fails."""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    page = item.funcargs.get("page") if report.when == "call" and report.failed else None
    if page is not None:
        page.screenshot(path=item.funcargs["shots"] / f"{item.name}.png")
        report.sections.append(("text of the page", page.locator("body").inner_text()))
    return report
