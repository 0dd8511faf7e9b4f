from html.parser import HTMLParser


class Tags(HTMLParser):
    """Collects addresses, ids, texts and alternative texts, and the tags left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.alts: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [values[key] or "" for key in ("src", "href") if key in values]
        self.alts += [values.get("alt") or ""] if tag == "img" else []
        self.alts += [values["aria-label"] or ""] if values.get("role") == "img" else []
        self.ids += [values["id"] or ""] if "id" in values else []
        if tag not in {"meta", "link", "img", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
