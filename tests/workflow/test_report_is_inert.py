"""Whatever a study's text contains, no page of the report runs it."""

import base64
import re
from html.parser import HTMLParser

from project import STUDY

SCRIPT = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!--<script>"


class Markup(HTMLParser):
    """The elements of a page as a browser sees them: number of scripts, and handlers of events."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts, self.handlers, self.inside, self.texts = 0, [], False, []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.inside = tag == "script"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if not self.inside:
            self.texts.append(data)


def report(project):
    project.run("--report", "report.html")
    return (project.folder / "report.html").read_text("utf-8")


def test_text_of_a_study_runs_in_no_page(finished, tmp_path):
    plain = Markup(report(finished))
    assert plain.scripts > 20
    project = finished.copy(tmp_path / "project")
    rewards = {name: dict(spec, note=f"{name} {SCRIPT}") for name, spec in STUDY["rewards"].items()}
    project.study({"rewards": rewards})
    project.run()
    page = report(project)
    assert "alert(1)" in page, "the text is in the page"
    found = Markup(page)
    assert (found.scripts, found.handlers) == (plain.scripts, plain.handlers)
    assert not [text for text in found.texts if "alert" in text]
    inner = [base64.b64decode(data).decode() for data in re.findall(r"data:text/html[^,]*base64,([\w+/=]+)", page)]
    assert [text for text in inner if "alert(1)" in text], "the pages within show it as text"
    for text in inner:
        assert (Markup(text).scripts, Markup(text).handlers) == (0, [])
