"The built site in a real browser: every page, in light and dark, at three widths, by mouse and keyboard."

import re
from importlib.resources import files
from urllib.parse import unquote, urldefrag, urljoin

import pytest
from browser import serve
from nbdev.config import get_config

TOPICS = (
    "console errors",
    "failed requests",
    "requests to other hosts",
    "sideways scroll",
    "accessibility",
    "pictures without a text",
    "head",
    "dead links",
)
VIEWS = ((390, "dark"), (768, "light"), (1400, "light"), (1400, "dark"))
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
SETTLED = "async () => { await window.MathJax?.startup?.promise; await document.fonts.ready; }"
FACTS = """() => ({
    language: document.documentElement.lang,
    title: document.title,
    headings: [...document.querySelectorAll('h1')].filter(e => e.checkVisibility()).length,
    silent: [...document.images].filter(i => i.closest('main') ? !i.alt : !i.hasAttribute('alt'))
        .map(i => i.src),
    ids: [...document.querySelectorAll('[id], a[name]')].map(e => e.id || e.name),
    links: [...document.querySelectorAll('a[href], link[rel=canonical]')].map(a => a.href)
        .concat([...document.querySelectorAll('meta[property="og:image"]')].map(m => m.content)),
})"""
TOO_WIDE = """() => {
    const tables = [...document.querySelectorAll('main :is(table, :has(> table))')]
        .filter(e => e.scrollWidth > e.clientWidth + 1);
    const wide = document.scrollingElement.scrollWidth <= innerWidth ? []
        : [...document.body.querySelectorAll('*')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1);
    const inner = wide.filter(e => !wide.some(other => other !== e && e.contains(other)));
    return [...tables, ...inner].slice(0, 3).map(e => e.outerHTML.slice(0, 150));
}"""
# one of each kind of coloured word in code is enough, of thousands
THIN = """() => {
    const words = [...document.querySelectorAll('.highlight span')];
    const kinds = words.map(e => e.className + getComputedStyle(e).color);
    words.forEach((e, i) => kinds.indexOf(kinds[i]) < i && e.replaceWith(...e.childNodes));
}"""
FAULTS = """async () => (await axe.run({ resultTypes: ['violations'], preload: false })).violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .map(v => `${v.id} at ${v.nodes.length} elements (${v.helpUrl}), such as `
        + `${v.nodes[0].target} ${v.nodes[0].html.slice(0, 150)}\\n${v.nodes[0].failureSummary}`)"""
FOCUS = """() => {
    const e = document.activeElement;
    if (!e || e === document.body) return null;
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    const shown = s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0
        || s.boxShadow !== 'none';
    const stops = window.stops ??= [], before = stops.indexOf(e);
    stops.push(e);
    return {
        before,
        html: e.outerHTML.slice(0, 150),
        kind: `${e.localName} ${e.className}`,
        href: e.href || '',
        seen: box.width > 0 && box.height > 0 && box.right > 0 && style.opacity > 0 && shown(style),
    };
}"""


def open_page(page, url):
    page.goto(url)
    page.evaluate(SETTLED)


def look(context, url, host):
    "All that is wrong with one page by itself, by topic; its anchors; where its links lead."
    wrong = {topic: [] for topic in TOPICS}
    places = {}  # {(topic, fault): where it shows}

    def request(request):
        if re.match("http|ws", request.url) and not request.url.startswith(host):
            wrong["requests to other hosts"].append(request.url)

    def response(response):
        if response.status >= 400:
            wrong["failed requests"].append(f"{response.status} {response.url}")

    def console(message):
        if message.type == "error":
            wrong["console errors"].append(message.text)

    page = context.new_page()
    page.on("request", request)
    page.on("response", response)
    page.on("requestfailed", lambda r: wrong["failed requests"].append(f"{r.failure} {r.url}"))
    page.on("console", console)
    page.on("pageerror", lambda error: wrong["console errors"].append(str(error)))
    for width, theme in VIEWS:
        place = f"at {width} px in {theme}"
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        open_page(page, url)
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        facts = page.evaluate(FACTS)
        for element in page.evaluate(TOO_WIDE):
            places.setdefault(("sideways scroll", element), []).append(place)
        page.evaluate(THIN)
        page.evaluate(AXE)
        for fault in page.evaluate(FAULTS):
            places.setdefault(("accessibility", fault), []).append(place)
    for (topic, fault), where in places.items():
        wrong[topic].append(f"{', '.join(where)}: {fault}")
    wrong["pictures without a text"] = facts["silent"]
    if facts["headings"] != 1:
        wrong["head"].append(f"{facts['headings']} h1 where there should be one")
    wrong["head"] += [f"no {name}" for name in ("title", "language") if not facts[name]]
    page.close()
    return wrong, set(facts["ids"]), facts["links"]


def names(folder):
    "The pages of a site, as addresses relative to its home."
    pages = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.html"))]
    return [name for name in pages if not name.startswith("_")]


def look_at_all(browser, folder, url, home):
    "{topic: what is wrong, each with its page}; `home` is where the site is going to be published."
    with browser.new_context() as context:
        looks = {name: look(context, url + name, url) for name in names(folder)}
    wrong = {topic: [] for topic in TOPICS}
    for name, (found, _, links) in looks.items():
        for link in links:
            target, anchor = urldefrag(link.replace(home, url))
            if target.startswith(url):
                inner = unquote(target.removeprefix(url)) or "index.html"
                experiment = inner == "play.html" and "=" in anchor
                if not (folder / inner).is_file():
                    found["dead links"].append(f"no file for {link}")
                elif anchor and not experiment and unquote(anchor) not in looks[inner][1]:
                    found["dead links"].append(f"no such anchor: {link}")
        for topic in TOPICS:
            wrong[topic] += [f"{name}: {complaint}" for complaint in found[topic]]
    return wrong


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(10_000)
    yield page
    page.close()


@pytest.fixture(scope="module")
def wrong(browser, site_folder, site):
    config = get_config()
    return look_at_all(browser, site_folder, site, f"{config.doc_host}{config.doc_baseurl}/")


@pytest.mark.parametrize("topic", TOPICS)
def test_no_page_has(topic, wrong):
    assert not wrong[topic], "\n" + "\n".join(wrong[topic])


def test_there_is_a_page_for_each_notebook(site_folder, root):
    stages = {re.sub(r"^\d+_", "", path.stem) + ".html" for path in root.glob("nbs/*.ipynb")}
    assert stages <= set(names(site_folder))


BROKEN = """<!DOCTYPE html><html><head><link rel="icon" href="data:,"></head><body>
<h1>One</h1><h1>Two</h1><img src="here.png"><img src="http://192.0.2.1/there.png" alt="text">
<a href="nowhere.html">a</a><a href="#nothing">b</a><a href="play.html#start=zeros">c</a>
<p style="width: 1000px; color: #999">pale</p><script>throw new Error("broken script")</script>
</body></html>"""


def test_each_fault_is_noticed(browser, tmp_path):
    (tmp_path / "index.html").write_text(BROKEN)
    with serve(tmp_path) as url:
        wrong = look_at_all(browser, tmp_path, url, "https://example.org/")
    expected = {
        "console errors": "broken script",
        "failed requests": "404 .*here.png",
        "requests to other hosts": "192.0.2.1",
        "sideways scroll": "390 px in dark.*: <p",
        "accessibility": "color-contrast",
        "pictures without a text": "here.png",
        "head": "2 h1.*no title.*no language",
        "dead links": "nowhere.html.*#nothing.*play.html",
    }
    for topic in TOPICS:
        assert re.search(expected[topic], "".join(wrong[topic]), re.S), (topic, wrong[topic])


def test_browsers_refuse_to_load_from_elsewhere(page, site):
    open_page(page, f"{site}play.html")
    refused = """() => new Promise(resolve => {
        addEventListener('securitypolicyviolation', e => resolve(e.blockedURI));
        fetch('https://elsewhere.example/').catch(() => {});
        setTimeout(resolve, 5000);
    })"""
    assert page.evaluate(refused) == "https://elsewhere.example/"


def theme(page):
    return page.evaluate("document.documentElement.dataset.theme")


def test_dark_mode_switches_and_stays(page, site):
    page.emulate_media(color_scheme="light")
    open_page(page, site)
    assert theme(page) == "light"
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator(".theme-switch-button:visible").first.click()
    page.locator(".theme-change-button[data-mode=dark]:visible").first.click()
    assert theme(page) == "dark"
    assert page.evaluate(ground) != light
    page.reload()
    assert theme(page) == "dark"
    page.locator("a.right-next").click()
    page.wait_for_url(lambda url: url != site)
    assert theme(page) == "dark"


def test_a_missing_page_is_answered_by_the_site(page, site):
    for missing in ("nothing.html", "no/such/page.html"):
        failed = []
        page.on("response", lambda r, f=failed: f.append(r.url) if r.status >= 400 else None)
        answer = page.goto(site + missing)
        assert answer.status == 404
        assert failed == [site + missing]
        assert page.locator("article h1").inner_text()
        page.locator("a.navbar-brand").first.click()
        page.wait_for_url(re.compile(f"^{site}(index.html)?$"))


def arrived_at(page, name):
    "Whether the browser shows the part of the page that its address names, and `name` stands there."
    anchor = unquote(urldefrag(page.url)[1])
    target = page.locator(f"[id='{anchor}']")
    text = target.inner_text()[:200]
    return name in text and target.evaluate(
        "e => { const y = e.getBoundingClientRect().top; return y >= -20 && y < innerHeight; }"
    )


@pytest.mark.parametrize("from_file", [False, True], ids=["served", "file"])
def test_search_finds_cross_entropy_and_leads_to_it(page, site, site_folder, from_file):
    home = (site_folder / "index.html").as_uri() if from_file else site
    page.goto(home)
    page.keyboard.press("Control+k")
    page.keyboard.type("cross_entropy")
    page.keyboard.press("Enter")
    page.locator("#search-results a", has_text="cross_entropy").first.click()
    page.wait_for_url("**/loss.html*#*")
    assert arrived_at(page, "cross_entropy")


def tab_stops(page):
    "What Tab reaches on the page, in order, until the focus leaves it or is back at the first."
    stops = []
    while True:
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUS)
        if stop is None or stop["before"] == 0:
            return stops
        assert stop["before"] < 0, f"the focus is trapped at {stop['html']}"
        stops.append(stop)


def test_every_page_is_reached_by_keyboard(page, site, site_folder):
    page.emulate_media(reduced_motion="reduce")  # a focus is shown at once
    waiting, seen, hidden = ["index.html"], {"index.html"}, {}
    while waiting:
        name = waiting.pop()
        open_page(page, site + name)
        for stop in tab_stops(page):
            if not stop["seen"]:
                hidden.setdefault(stop["kind"], set()).add(name)
            target = urldefrag(urljoin(site, stop["href"]))[0]
            inner = target.removeprefix(site)
            if target.startswith(site) and inner.endswith(".html") and inner not in seen:
                seen.add(inner)
                waiting.append(inner)
    assert not hidden, f"style :focus-visible of these: {hidden}"
    assert set(names(site_folder)) - seen <= {"404.html", "search.html"}


def test_a_trap_and_an_unseen_focus_are_noticed(page):
    links = "<a href='#' style='outline: none'>a</a><a href='#'>b</a>"
    page.set_content(links)
    assert [stop["seen"] for stop in tab_stops(page)] == [False, True]
    page.set_content(links + "<button onkeydown='event.preventDefault()'>c</button>")
    with pytest.raises(AssertionError, match="trapped at <button"):
        tab_stops(page)


def tab_to(page, selector):
    "Press Tab until what is focused matches."
    for _ in range(2000):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"Tab does not reach {selector} on {page.url}")


def test_stages_are_walked_in_order_with_tab_and_enter(page, site, root):
    stages = [re.sub(r"^\d+_", "", path.stem) for path in sorted(root.glob("nbs/[0-9]*.ipynb"))]
    open_page(page, site)
    for stage in stages:
        tab_to(page, "a.right-next")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/{stage}.html")


def test_search_is_used_by_keyboard(page, site):
    open_page(page, site)
    tab_to(page, ".search-button__button")
    page.keyboard.press("Enter")
    page.keyboard.type("cross_entropy")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html*")
    page.locator("#search-results a", has_text="cross_entropy").first.wait_for()
    tab_to(page, "#search-results a[href*='loss.html']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/loss.html*")


def test_the_first_tab_skips_to_the_text(page, site):
    open_page(page, site)
    for key in ("Tab", "Enter", "Tab"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_the_list_of_exercises_leads_to_one_and_its_solution_is_copied_by_keyboard(page, site):
    open_page(page, site + "exercises.html")
    link = page.locator("main a[href^='loss.html#exercise-']").last
    title = link.inner_text()
    link.click()
    page.wait_for_url("**/loss.html#exercise-*")
    assert arrived_at(page, title)
    solution = page.locator("details", has=page.get_by_text("A solution, and why")).last
    assert not solution.locator("pre").is_visible()
    solution.locator("summary").focus()
    page.keyboard.press("Enter")
    code = solution.locator("pre")
    assert code.is_visible()
    assert code.locator("span.k").count() > 0, "no colours"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    solution.locator("button.copybtn.success").wait_for()
