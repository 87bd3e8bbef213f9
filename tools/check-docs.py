#!/usr/bin/env python3
"""Checks the documentation: each page is in the book, each link of one leads somewhere, and the reference names what the
plugin sends.

Run from the top of the checkout by `./x lint`. Knows links to files and to headings in files, of README.md, CONTRIBUTING.md,
SECURITY.md and docs/.
"""

import re
import sys
from pathlib import Path

LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchor(heading):
    """The id that a heading gets, on the web and in the book."""
    text = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def without_code(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return "\n".join("" if line.startswith("    ") else re.sub(r"`[^`]*`", "", line) for line in text.splitlines())


def anchors(path):
    lines = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S).splitlines()
    return {anchor(line.lstrip("#")) for line in lines if line.startswith("#")}


def broken(path):
    for number, line in enumerate(without_code(path.read_text()).splitlines(), 1):
        for link in LINK.findall(line):
            if "://" in link or link.startswith("mailto:"):
                continue
            name, _, place = link.partition("#")
            target = path.parent / name if name else path
            if not target.exists():
                yield f"{path}:{number}: there is no {name}"
            elif place and target.suffix == ".md" and place not in anchors(target):
                yield f"{path}:{number}: {target} has no heading #{place}"


def sent():
    """The names of messages, events and fields of the meta in the plugin's source."""
    for path in sorted(Path("gst-plugin-swsync/src").rglob("*.rs")):
        text = path.read_text().partition("#[cfg(test)]")[0]
        yield from re.findall(r'Structure::(?:builder|new_empty)\("(swsync-[a-z-]+)"', text)
        yield from re.findall(r'^const [A-Z]+: &str = "(swsync-[a-z-]+)";', text, flags=re.M)
        if path.name == "meta.rs":
            yield from re.findall(r'gstr!\("([a-z-]+)"\)', text)
            yield from re.findall(r'^    [a-z_]+: "([a-z-]+)",$', text, flags=re.M)


def unnamed():
    # Not messages: structures of properties and answers, which the elements' documentation lists.
    inner = {"swsync-frame", "swsync-src-stats", "swsync-modes", "swsync-camera", "swsync-rig-settings", "swsync-centre"}
    inner.add("swsync-dashboard")  # a program
    page = Path("docs/reference.md").read_text()
    names = set(sent()) - inner
    assert len(names) > 30, "the pattern finds nothing any more"
    return [f"docs/reference.md lacks `{name}`" for name in sorted(names) if f"`{name}`" not in page]


def main():
    book = Path("docs/SUMMARY.md").read_text()
    pages = sorted(Path("docs").rglob("*.md"))
    wrong = [f"docs/SUMMARY.md lacks {page}" for page in pages if page.name != "SUMMARY.md" and f"({page.relative_to('docs')})" not in book]
    for path in [Path("README.md"), Path("CONTRIBUTING.md"), Path("SECURITY.md"), *pages]:
        wrong += broken(path)
    wrong += unnamed()
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


main()
