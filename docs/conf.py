"Configuration of the site; what names the repository comes from settings.ini."

from nbdev.config import get_config

cfg = get_config()

project, author, release, copyright = cfg.title, cfg.author, cfg.version, cfg.copyright
language = "en"
extensions = [
    "myst_nb",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",
    "sphinxext.opengraph",
    "sphinx.ext.githubpages",
    "notfound.extension",
]

nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "attrs_block", "attrs_inline", "deflist"]
myst_heading_anchors = 3
add_module_names = False
toc_object_entries = False

html_theme = "sphinx_book_theme"
html_title = cfg.title
html_baseurl = ogp_site_url = f"{cfg.doc_host}{cfg.doc_baseurl}/"
html_context = {"default_mode": "auto"}
html_favicon = "../build/site/pages/digit.png"
html_static_path = ["_static", "../build/site/static"]
html_extra_path = ["../build/site/extra"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_use_index = html_domain_indices = False
html_theme_options = {
    "repository_url": cfg.git_url,
    "repository_branch": cfg.branch,
    "use_repository_button": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],
    "show_toc_level": 2,
    "back_to_top_button": False,
}
notfound_urls_prefix = f"{cfg.doc_baseurl}/"
ogp_social_cards = {"image_mini": "digit.png", "font": "DejaVu Sans"}


POLICY = "default-src 'self' file: data: blob: 'unsafe-inline'"  # nothing from other hosts


def add_policy(app, pagename, templatename, context, doctree):
    "What a browser may load for a page; file: is for pages that are opened without a server."
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    context["metatags"] = policy + context.get("metatags", "")


def add_tools(app, pagename, templatename, context, doctree):
    "The page on which one draws and trains, and those that ask for guesses, have scripts and styles of their own."
    asks = '<div class="mnist-guess"' in context.get("body", "")
    if pagename == "play" or asks:
        app.add_css_file("play.css")
    if pagename == "play":
        app.add_js_file("play.js", loading_method="defer")
    if asks:
        app.add_css_file("guess.css")
        app.add_js_file("guess.js", loading_method="defer")


def setup(app):
    app.connect("html-page-context", add_policy)
    app.connect("html-page-context", add_tools)
