"""Rules that the built site follows: it needs no network, its links lead somewhere, its pictures say what they show."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The anchors of a page, its links, what it loads, and its pictures' alternative texts."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.pictures: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        self.anchors |= {has[name] for name in ("id", "name") if name in has}
        if tag == "a" and "href" in has:
            self.links.append(has["href"])
        elif tag == "img":
            self.pictures[has.get("src", "")] = has.get("alt", "")
            self.loads.append(has.get("src", ""))
        elif tag in ("script", "iframe", "source", "video") and "src" in has:
            self.loads.append(has["src"])
        elif tag == "link" and "stylesheet" in has.get("rel", ""):
            self.loads.append(has["href"])


def problems(site: Path) -> Iterator[str]:
    """What is wrong with the pages of a site, each with its page."""
    files = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]  # templates of the theme
    pages = {path: _Page(path.read_text()) for path in files}
    for path, page in pages.items():
        name = path.relative_to(site)
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    yield f"{name} loads {link} from the network"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                yield f"{name} has a link that leads nowhere: {link}"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{name} has a link to a place that is not on the page: {link}"
        for source, text in page.pictures.items():
            if not text or text.endswith((".png", ".svg")):
                yield f"{name} has a picture without an alternative text: {source}"


def size(site: Path) -> float:
    """Its size in MB."""
    return sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6
